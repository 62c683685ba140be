"""Pretrain, evaluate, and leave a folder with all of it."""

import copy
import logging
import shlex
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import yaml
from rich.console import Console

from ssl_runner import build, checkpoints
from ssl_runner.checkpoints import Reached
from ssl_runner.commands.launch import check_devices, is_lost, launch
from ssl_runner.config import Config, ConfigError, control_suffix, identity, run_folder
from ssl_runner.interfaces import Batch, DataSource, Encoder, Objective, SplitName
from ssl_runner.locking import LOCK, locked
from ssl_runner.loggers.interface import Loggers, RunContext
from ssl_runner.memory import keep_freed_memory
from ssl_runner.metrics import DataRef, Metric
from ssl_runner.nn.normalise import Normalise
from ssl_runner.reporting.address import address
from ssl_runner.reporting.results import (
    PRETRAINED,
    RANDOM_START,
    REPORT,
    Cost,
    Evaluation,
    Name,
    Pretraining,
    Result,
    ResultError,
    read_result,
    write_atomically,
    write_result,
)  # fmt: skip
from ssl_runner.terminal import Terminal
from ssl_runner.world import LostError, joined, leave, meet, world

if TYPE_CHECKING:  # Lightning takes seconds: it is imported where it is needed, after the refusals
    from ssl_runner.data.module import DataModule


class Part(NamedTuple):
    """A run's place in a sweep."""

    sweep: str  # its name; "" outside of sweeps
    label: str  # what tells the run apart from the others: "ratio=0.75 s0"


ALONE = Part("", "")


def run(config: Config, plain: Mapping[str, Any], overrides: list[str], part: Part = ALONE) -> Path:
    """Do what a config says; return the run's folder.

    Raises ConfigError: for settings, before anything is downloaded or written; for damaged data, before training.
    Raises BusyError where another process does the same run, Stopped where it was asked to stop.
    """
    from ssl_runner.commands.findings import device_of
    from ssl_runner.reporting.page import write_report

    here = world()
    console = Terminal(quiet=here.rank > 0)
    source, spec = build.validate(config)
    device = device_of(config.trainer.accelerator)
    check_devices(config, spec, device)
    if config.trainer.monitor_examples and spec.classes == 0:
        unlabelled = f"dataset={config.names.get('dataset', '?')} has no labels"
        raise ConfigError([f"trainer.monitor_examples is {config.trainer.monitor_examples}; {unlabelled}: set it to 0"])
    folder = run_folder(config, plain)
    check_resumes(config, folder)
    if config.check:
        console.print(f"valid: {describe(config)}")
        return Path(config.output)
    done = finished(folder) if config.resume != "never" else None
    if done is not None:
        console.print(f"finished before ({done.started[:16].replace('T', ' ')}); resume=never runs it again")
        if not (folder / REPORT).exists():  # it was stopped at the very end
            write_report(folder)
    elif here.size == 1 < config.trainer.devices:
        launch(config, plain, overrides, part.sweep, part.label)
        return folder
    else:
        try:
            with nullcontext() if here.rank else locked(folder), joined(device):
                if here.rank:
                    pretrain_along(config, source, folder, console)
                    return folder
                done = pretrain_and_evaluate(config, plain, overrides, source, folder, console, part)
        except RuntimeError as error:
            if not is_lost(error):
                raise
            raise LostError([f"process {here.rank}: another process of this run is gone; it says why"]) from error
    show(console, folder, done)
    return folder


def check_resumes(config: Config, folder: Path) -> None:
    """Raise ConfigError where a run is to go on, and there is nothing to go on from."""
    if config.resume == "must" and finished(folder) is None and not list(checkpoints.files(folder)):
        raise ConfigError(
            [
                f"resume is must, and {str(folder)!r} has no checkpoint to go on from; give the settings of the run "
                "that was begun, or set resume=auto"
            ]
        )


def pretrain_along(config: Config, source: DataSource, folder: Path, console: Console) -> None:
    """What processes other than the first do: lend a device to pretraining. They write nothing."""
    data = load(config, source)
    model = fresh(config, data)
    meet()
    pretrain(config, model, data, Loggers([]), folder, checkpoints.find(folder).newest, console)


def pretrain_and_evaluate(
    config: Config,
    plain: Mapping[str, Any],
    overrides: list[str],
    source: DataSource,
    folder: Path,
    console: Console,
    part: Part,
) -> Result:
    """A whole run in `folder`; its result is written last."""
    from ssl_runner.commands.findings import bare, draw_task, evaluate
    from ssl_runner.reporting.environment import environment
    from ssl_runner.reporting.page import write_report

    started = datetime.now(UTC)
    data = load(config, source)
    model = fresh(config, data)
    console.print(f"{describe(config)} seed={config.seed}: {data.spec.size:,} examples to pretrain on")
    if "views" in config.objective:
        console.print(f"views: {views_of(config)}")
    if model.encoder.note:
        console.print(f"backbone: {model.encoder.note}")
    if config.start is not None:
        console.print(f"start_from: {said_of_start(config.start, model)}", soft_wrap=True)

    if config.resume == "never":
        clear(folder)
    checkpoints.tidy(folder)
    reached = going_on(folder, console)
    write_atomically(folder / "config.yaml", yaml.safe_dump(dict(plain), sort_keys=False))
    context = RunContext(
        folder=folder,
        outputs=Path(config.output),
        name=part.label
        or f"{config.names.get('objective')}-{config.names.get('dataset')}{control_suffix(config)}-s{config.seed}",
        tags=tuple(config.names.get(axis, "?") for axis in ("dataset", "objective", "backbone")),
        identity=identity(plain),
        seed=config.seed,
        group=part.sweep,
    )
    loggers = build.loggers(config, context)
    meet()  # the others look for the checkpoint from here on
    try:
        loggers.open(None if reached is None else reached.step)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    success = False
    try:
        loggers.log_config(dict(plain))
        pretraining, cost = pretrain(config, model, data, loggers, folder, reached, console)
        leave()  # the rest is this process' alone
        build.export_encoder(folder / "encoder", model.exported, config.backbone, data.spec)
        begun = time.monotonic()
        draw_task(model, data, folder / "figures")
        subjects: dict[str, Encoder] = {PRETRAINED: model.exported}
        if "random_start" in config.controls:
            subjects[RANDOM_START] = build.untrained(config, data.spec, model.encoder)
        subjects |= bare(config, data)
        fingerprint, judged = data.fingerprints(None, JUDGED)
        on = DataRef(dataset=config.names.get("dataset", "?"), fingerprint=judged)
        evaluations, failures = evaluate(config, subjects, model, data, folder, console, on, cost["precision"])
        versions, git = environment()
        result = Result(
            identity=identity(plain),
            name=Name(**{axis: config.names.get(axis, "?") for axis in ("dataset", "objective", "backbone")}),
            seed=config.seed,
            status="done",
            command=shlex.join(["ssl-run", *overrides]),
            started=started.isoformat(timespec="seconds"),
            results=tuple(evaluations),
            pretraining=pretraining,
            cost=Cost(**cost, evaluation_seconds=round(time.monotonic() - begun, 2)),
            versions=versions,
            git=git,
            data={"fingerprint": fingerprint}
            | {s: len(data.examples(s).label) for s in SPLITS}
            | {"pretrain": data.spec.size},
            overrides=tuple(overrides),
            config=dict(plain),
            sweep=part.sweep,
        )
        write_result(folder, result)
        loggers.log_summary(summary(evaluations))
        loggers.log_figures({path.stem: path for path in sorted((folder / "figures").glob("*.png"))})
        success = True
    finally:
        loggers.finish(success)
    write_report(folder)
    if failures:  # what was found is written; what was not is said
        show(console, folder, result)
        raise ConfigError(failures)
    return result


SPLITS: tuple[SplitName, ...] = ("pretrain", "train", "val", "test")
JUDGED: tuple[SplitName, ...] = ("train", "val", "test")  # what evaluations read


def load(config: Config, source: DataSource) -> "DataModule":
    """The data, read. Raises ConfigError for damaged files, and where a batch is larger than what there is."""
    from ssl_runner.data.module import DataModule

    here = world()
    data = DataModule(source, batch_size=config.batch_size, seed=config.seed, rank=here.rank, ranks=here.size)
    if here.local_rank:
        meet()  # the first process of a machine downloads, and decodes, for all of them
    try:
        data.setup()
        data.train_dataloader()
        data.val_dataloader()
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    if not here.local_rank:
        meet()
    return data


def fresh(config: Config, data: "DataModule") -> Objective:
    """The objective at the start of a run: random by the config's seed, its encoder normalising by the data's
    statistics, or with the encoder of `start_from`, whose statistics belong to its weights and stay."""
    model = build.objective(config, data.spec, config.start)
    data.moving = not model.counts_examples
    if config.start is None:
        build.fit_statistics(model, data.statistics)
    return model


def said_of_start(start: Path, model: Objective) -> str:
    """What a run took from an exported encoder, in words."""
    normalised = any(isinstance(part, Normalise) for part in model.encoder.modules())
    statistics = ", and images are normalised by its statistics, not by those of this dataset" if normalised else ""
    return f"the encoder, and every copy that the objective keeps of it, has the weights of {start}{statistics}"


def pretrain(
    config: Config,
    model: Objective,
    data: "DataModule",
    loggers: Loggers,
    folder: Path,
    reached: Reached | None,
    console: Console,
) -> tuple[Pretraining, dict[str, Any]]:
    """Train `model` for the config's budget in a run's folder, going on from the checkpoint that is `reached`.

    Raises ConfigError for what a setting can mend, Stopped where it was asked to stop.
    """
    import pytorch_lightning as pl
    from pytorch_lightning.plugins.environments import LightningEnvironment

    from ssl_runner.callbacks import Collapse, CollapsedError, Monitor, Record, peak_memory_mb
    from ssl_runner.commands.failures import diverged, is_out_of_memory, noted, out_of_memory
    from ssl_runner.commands.findings import device_of
    from ssl_runner.data.stream import BrokenDataError
    from ssl_runner.drawing import spread
    from ssl_runner.flops import flops_of_batch
    from ssl_runner.nn.gather import mean_over_ranks
    from ssl_runner.nn.sharding import shard, whole
    from ssl_runner.nn.synced_norm import synced
    from ssl_runner.precision import LIGHTNING, decide, name
    from ssl_runner.saving import Checkpoint, ToDisk
    from ssl_runner.strategies import Follow, Sharded, Together
    from ssl_runner.training import Clock, DivergedError, Pretrainer, total_steps

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # hardware lines and an advert at every Trainer
    settings, here = config.trainer, world()
    device = device_of(settings.accelerator)
    synced(model, device)
    sharded = here.size > 1 and settings.strategy == "fsdp"
    trained = model
    if sharded:  # `model` stays whole, in the host's memory, for what comes after training
        trained = copy.deepcopy(model)
        shard(trained, device)
    begun = "" if reached is None else reached.precision
    dtype, why = decide(settings.precision, device, model, begun)
    if 0 < mean_over_ranks(torch.tensor(float(dtype == torch.bfloat16))) < 1:
        dtype, why = torch.float32, "processes on machines of several kinds: not all would choose bfloat16"
    console.print(f"precision: {name(dtype)} ({why})", soft_wrap=True)
    if device.type == "cpu":
        keep_freed_memory()
    batches = len(data.train_dataloader())
    data.seen = 0 if reached is None else reached.batches % batches * config.batch_size
    steps = total_steps(config.budget, batches, config.batch_size, settings.accumulate)
    every = batches if steps is None else max(1, steps * settings.accumulate // max(settings.validations, 1))
    module = Pretrainer(
        trained,
        data.spec,
        build.optimizer(config, trained),
        build.schedule(config),
        Clock(config.budget, steps),
        config.seed,
        config.control,
        settings.skip_nonfinite or 0,
    )
    if settings.compile:
        model.encoder.compile()
    flops: int | None = None  # of a batch; where weights are shared out, none is counted
    record = Record([loggers], settings.log_every_n_steps, console, folder)
    callbacks: list[pl.Callback] = [record]
    if sharded or not here.rank:
        saving = Checkpoint(
            folder / checkpoints.FOLDER,
            minutes=settings.checkpoint_minutes,
            steps=settings.checkpoint_steps,
            count=settings.checkpoints or 1,
        )
        saving.folder.mkdir(parents=True, exist_ok=True)
        callbacks.append(saving)
    if here.size > 1:
        callbacks.insert(0, Follow())
    if settings.monitor_examples and (sharded or not here.rank):  # first, so that its seconds do not count in `record`
        callbacks.insert(0, Monitor(data, settings.monitor_examples, [loggers], config.batch_size))
    if settings.watch_every:
        watched = spread(data.examples("val"), data.spec, 256, device)
        callbacks.append(Collapse(watched, record, [loggers], settings.watch_every, settings.early_stop, console))
    trainer = pl.Trainer(
        accelerator=settings.accelerator,
        devices=here.local_size,
        num_nodes=here.size // here.local_size,
        strategy=Sharded() if sharded else Together() if here.size > 1 else "auto",
        plugins=[ToDisk()] if here.size > 1 else [ToDisk(), LightningEnvironment()],  # which asks SLURM nothing
        use_distributed_sampler=False,  # DataModule gives each process its part
        precision=LIGHTNING[name(dtype)],
        max_epochs=-1,
        max_steps=-1 if steps is None else steps,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.clip_norm,
        val_check_interval=every,
        check_val_every_n_epoch=None,
        limit_val_batches=settings.val_batches if settings.validations else 0,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=callbacks,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers")  # a batch is one gather in memory
        warnings.filterwarnings("ignore", ".*`broadcast_buffers` is deprecated")  # its successor is not in torch 2.6
        warnings.filterwarnings("ignore", ".*max_epochs")  # the budget ends training
        warnings.filterwarnings("ignore", ".*your dataloader is not resumable")  # DataModule.skip does that
        warnings.filterwarnings("ignore", "Sparse invariant checks")  # inside optimizers of sparse gradients
        warnings.filterwarnings("ignore", ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated")  # inside Lightning
        try:
            if not sharded:
                made = build.fake_batch(data.spec, config.batch_size // here.size)
                flops = here.size * flops_of_batch(model, Batch(*(part.to(device) for part in made)), dtype)
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats(device)  # what is asked for is training's
            trainer.fit(module, data, ckpt_path=None if reached is None else reached.path, weights_only=True)
        except BrokenDataError as error:
            raise ConfigError([noted(error)]) from error
        except DivergedError as error:  # in all processes at once, and one says so
            raise ConfigError([] if here.rank else [diverged(error, config, folder)]) from error
        except CollapsedError as error:
            raise ConfigError([] if here.rank else [str(error)]) from error
        except SystemExit as stop:  # Lightning's answer to a second Ctrl-C
            raise KeyboardInterrupt from stop
        except Exception as error:
            if is_out_of_memory(error):
                raise ConfigError([out_of_memory(error, config, trainer.global_step + 1)]) from error
            if reached is None or record.began:
                raise
            why = f"does not fit this run ({type(error).__name__}: {str(error)[:100]})"  # whole, with other contents
            raise ConfigError([f"{str(reached.path)!r} {why}; resume=never starts anew"]) from error
    if sharded:
        weights = whole(trained.state_dict())
        if not here.rank:
            model.load_state_dict(weights)
    model.to(device)
    pretraining = Pretraining(
        epochs=round(module.examples / data.spec.size, 2),
        steps=trainer.global_step,
        examples=module.examples,
        loss_first=record.loss_first,
        loss_last=record.last,
    )
    cost = {
        "seconds": round(module.clock.seconds, 2),
        "examples_per_second": round(module.examples / record.seconds, 1) if record.seconds else None,
        "peak_memory_mb": round(peak_memory_mb(device), 1),
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu, {torch.get_num_threads()} threads",
        "precision": name(dtype),
        "flops_per_step": None if flops is None else flops * settings.accumulate,
        "flops": None if flops is None else flops * module.batches,
        "parameters": sum(p.numel() for p in model.encoder.parameters()),
    }
    return pretraining, cost


def clear(folder: Path) -> None:
    """Remove all of an earlier run but the lock that this one holds."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def summary(evaluations: Sequence[Evaluation]) -> dict[str, Metric]:
    """The numbers of a run by subject and address: "pretrained/linear.accuracy"."""
    return {
        f"{found.subject}/{address(found.evaluator, metric)}": metric
        for found in evaluations
        for metric in found.metrics
    }


def going_on(folder: Path, console: Console) -> Reached | None:
    """What a run goes on from, said; None where it begins. Damaged checkpoints are said and removed, unless there is
    no other: then ConfigError is raised."""
    found = checkpoints.find(folder)
    for path, why in found.damaged.items():
        if found.newest is None:
            raise ConfigError([f"{str(path)!r} is damaged ({why}), and there is no other; resume=never starts anew"])
        console.print(f"warning: {path.name} is damaged ({why}); it is removed", style="yellow", soft_wrap=True)
        path.unlink()
    if found.newest is not None:
        console.print(f"going on from step {found.newest.step} ({found.newest.path.name})")
    return found.newest


def describe(config: Config) -> str:
    control = "" if config.control == "none" else f" control={config.control}"
    return " ".join(f"{axis}={config.names.get(axis, '?')}" for axis in ("dataset", "objective", "backbone")) + control


def views_of(config: Config) -> str:
    """Which views an objective takes, and how many of each example: "natural, 2 of each example"."""
    views = config.objective["views"]
    if views is None:
        return "none, examples as they are"
    count = f", {views['views']} of each example" if "views" in views else ""
    return config.names.get("objective/views", "of the config's own") + count


def finished(folder: Path) -> Result | None:
    """The result of a run that ended well, else None."""
    try:
        result = read_result(folder)
    except ResultError:
        return None
    return result if result.status == "done" else None


def show(console: Console, folder: Path, result: Result) -> None:
    """The table, and where to read on."""
    from ssl_runner.reporting.tables import result_table

    console.print(result_table(result))
    console.print(f"report:  {folder / 'report.html'}", soft_wrap=True)
    console.print(f"encoder: {folder / 'encoder'}", soft_wrap=True)
