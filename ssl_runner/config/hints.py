"""What a command line that names no key or option of ours probably means."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

MOST = 3  # keys that a hint names


class Meant(NamedTuple):
    """What a word of another tool is here: the first of `keys` that the config has, and how it is set; `without`: what
    to say where it has none of them."""

    keys: tuple[str, ...]
    how: str = ""
    without: str = ""


EPOCHS = Meant(("budget.amount",), "its unit is budget.unit, epochs by default")
STEPS = Meant(("budget.amount",), "with budget.unit=steps")
RATE = Meant(("optimizer.lr",))
BACKBONE = Meant(("backbone",), "networks of libraries are backbone=timm backbone.name=resnet18 and its kin")
OBJECTIVE = Meant(("objective",))
FILES = Meant(
    ("dataset.path", "dataset.root"), without="dataset=image_folder dataset.path=FOLDER reads a folder of yours"
)
SIZE = Meant(
    ("dataset.size",), without="this dataset's images keep their size; image_folder and its kin resize by dataset.size"
)
WORKERS = Meant(
    ("dataset.workers",), without="examples lie in memory and views are made on the device, so there are no workers"
)
DEVICES = Meant(("trainer.devices",))
PRECISION = Meant(("trainer.precision",))
VIEWS = Meant(("objective/views",))
EVALUATION = Meant(("evaluation",), "evaluation=[linear,knn]")
RESUMED = Meant(("resume",), "the same command resumes an interrupted run; start_from=RUN begins with its weights")
WEIGHTS = Meant(("start_from",), "of a run or a file; backbone.weights=pretrained takes those of a library")
FOLDER = Meant(("output",))
WANDB = Meant(("logger",), "logger=wandb with logger.wandb.project and its other keys; logger=csv writes files alone")

BORROWED: Mapping[str, Meant] = {  # words of Lightning, timm, lightly, solo-learn and transformers
    **dict.fromkeys(("learning_rate", "base_lr", "blr"), RATE),
    **dict.fromkeys(("wd", "decay"), Meant(("optimizer.weight_decay",))),
    **dict.fromkeys(("epochs", "max_epochs", "num_epochs", "n_epochs", "num_train_epochs", "train_epochs"), EPOCHS),
    **dict.fromkeys(("steps", "max_steps", "num_steps", "iterations", "iters", "max_iters"), STEPS),
    **dict.fromkeys(("max_time", "minutes"), Meant(("budget.amount",), "with budget.unit=minutes")),
    **dict.fromkeys(("warmup_epochs", "warmup_steps", "warmup_ratio"), Meant(("schedule.warmup",))),
    **dict.fromkeys(("opt", "optim", "optimiser"), Meant(("optimizer",))),
    **dict.fromkeys(("scheduler", "sched", "lr_scheduler", "lr_schedule"), Meant(("schedule",))),
    **dict.fromkeys(("model", "arch", "architecture", "encoder", "network", "net"), BACKBONE),
    **dict.fromkeys(("method", "task", "pretext", "pretext_task", "algorithm", "ssl_method"), OBJECTIVE),
    "data": Meant(("dataset",)),
    **dict.fromkeys(("data_dir", "data_path", "dataset_path", "train_dir", "path", "root"), FILES),
    **dict.fromkeys(("image_size", "img_size", "input_size", "crop_size", "resolution"), SIZE),
    **dict.fromkeys(("num_workers", "workers", "n_workers", "dataloader_num_workers"), WORKERS),
    **dict.fromkeys(("bs", "batch", "train_batch_size", "per_device_train_batch_size"), Meant(("batch_size",))),
    **dict.fromkeys(("gpus", "num_gpus", "ngpus", "gpu", "num_devices", "world_size"), DEVICES),
    **dict.fromkeys(("device", "cuda", "no_cuda"), Meant(("trainer.accelerator",))),
    **dict.fromkeys(("amp", "fp16", "bf16", "half", "mixed_precision"), PRECISION),
    **dict.fromkeys(
        ("accumulate_grad_batches", "gradient_accumulation_steps", "accum_iter"), Meant(("trainer.accumulate",))
    ),
    **dict.fromkeys(("gradient_clip_val", "clip_grad", "max_grad_norm", "grad_clip"), Meant(("trainer.clip_norm",))),
    **dict.fromkeys(("check_val_every_n_epoch", "val_check_interval"), Meant(("trainer.validations",))),
    **dict.fromkeys(("compile_model", "torch_compile"), Meant(("trainer.compile",))),
    **dict.fromkeys(("augmentations", "augmentation", "aug", "transform", "transforms"), VIEWS),
    **dict.fromkeys(("eval", "evaluate", "evaluator", "evaluators", "probe", "metrics"), EVALUATION),
    **dict.fromkeys(("ckpt_path", "resume_from_checkpoint", "checkpoint", "resume_from", "ckpt"), RESUMED),
    **dict.fromkeys(("pretrained", "weights", "init", "finetune_from"), WEIGHTS),
    **dict.fromkeys(("output_dir", "save_dir", "exp_dir", "default_root_dir", "log_dir", "outdir"), FOLDER),
    **dict.fromkeys(("seed_everything", "random_seed", "random_state"), Meant(("seed",))),
    **dict.fromkeys(("wandb", "wandb_project", "project", "entity", "run_name", "tags"), WANDB),
    **dict.fromkeys(("dry_run", "fast_dev_run"), Meant(("check",), "check=true tries one step and stops")),
}  # fmt: skip
OF_HYDRA: Mapping[str, str] = {  # keys of Hydra that other projects set -> what does it here
    "hydra/launcher": "sweep.engine chooses where runs are executed: local, submitit or ray",
    "hydra.launcher": "sweep.settings sets the engine that sweep.engine chooses",
    "hydra/sweeper": "sweep.search chooses how runs are found: grid, random or optuna",
    "hydra.sweeper": "sweep.params names what is swept, sweep.search and sweep.trials how",
    "hydra.run.dir": "output sets the folder of all runs",
    "hydra.sweep.dir": "output sets the folder of all runs",
    "hydra.job.chdir": "commands work in the folder in which they are started",
}


def hint(key: str, keys: Sequence[str]) -> str:
    """What a key that there is not probably means, as the end of a message; "" where nothing is near.

    A key of that name in another place, then what the word is in other tools, then a key that is spelled alike.
    """
    word = key.rpartition(".")[2].rpartition("/")[2].lower().replace("-", "_")
    if same := [each for each in keys if each.rpartition(".")[2] == word]:
        return f"; did you mean {_some(same)}?"
    if (meant := BORROWED.get(word)) is None:
        return nearest(key, keys)
    own = next((each for each in meant.keys if each in keys), None)
    if own is None:
        return f"; {meant.without}" if meant.without else nearest(key, keys)
    return f"; did you mean {own}?" + (f" ({meant.how})" if meant.how else "")


def nearest(word: str, words: Sequence[str]) -> str:
    """The nearest of `words`, as the end of a message; "" where none is near."""
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def instead(key: str) -> str:
    """What does here what a key of Hydra does elsewhere, as the end of a message; "" where nothing does."""
    found = next((said for name, said in OF_HYDRA.items() if f"{key}.".startswith(f"{name}.")), "")
    return f"; {found}" if found else ""


def _some(names: Iterable[str]) -> str:
    first = sorted(names, key=lambda name: (name.count("."), name))[:MOST]
    return " or ".join(first)
