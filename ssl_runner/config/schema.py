"""The typed config of a run: dataclasses of conf/config.yaml, and the valid ranges of their fields."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ssl_runner.config.errors import ConfigError, brief
from ssl_runner.config.names import current
from ssl_runner.config.paths import file_name
from ssl_runner.config.secrets import secrets_in
from ssl_runner.config.signatures import KINDS, SEVERAL, check_fields, check_node, locate


@dataclass(frozen=True)
class Budget:
    """How long to pretrain."""

    unit: Literal["epochs", "steps", "samples", "minutes"]
    amount: float


@dataclass(frozen=True)
class Trainer:
    """conf/trainer/default.yaml says what each is."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"]
    devices: int
    precision: Literal["auto", "bfloat16", "float32"]
    accumulate: int
    clip_norm: float | None
    compile: bool
    log_every_n_steps: int
    validations: int
    val_batches: int
    monitor_examples: int
    checkpoint_minutes: float
    watch_every: int
    early_stop: Literal["none", "collapse"]
    strategy: Literal["ddp", "fsdp"]
    checkpoint_steps: int | None
    checkpoints: int
    skip_nonfinite: int


@dataclass(frozen=True)
class Sweep:
    """Several runs: conf/config.yaml says what each key is."""

    name: str | None
    params: dict[str, Any] | None
    search: Literal["grid", "random", "optuna"]
    trials: int
    metric: str
    pruner: Literal["none", "median"]
    monitor: str
    engine: Literal["local", "submitit", "ray"]
    jobs: int | None
    settings: dict[str, Any] | None


@dataclass(frozen=True)
class Config:
    """A whole run, typed: conf/config.yaml. The axes' nodes stay plain dicts until `build` makes objects of them."""

    dataset: dict[str, Any]
    objective: dict[str, Any]
    backbone: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    evaluation: dict[str, Any]
    logger: dict[str, Any]
    trainer: Trainer
    budget: Budget
    seed: int
    batch_size: int
    control: Literal["none", "shuffled_target"]
    controls: list[Literal["random_start", "pixels", "bag_of_words"]]
    unfit: Literal["refuse", "skip"]
    start_from: str | None
    output: str
    resume: Literal["auto", "never", "must"]
    check: bool
    sweep: Sweep
    names: dict[str, str]  # the chosen option of each axis, for messages and folders
    domain: dict[str, Any] | None = None
    contents: dict[str, str] = field(default_factory=dict)  # fingerprints of the files that settings name, by key

    @property
    def start(self) -> Path | None:
        """The exported encoder to start from, or a run's folder that holds one; None: the random start."""
        return None if self.start_from is None else Path(self.start_from)


def typed(plain: Any) -> Config:
    """The first gates: the root's keys and types, every node's signature, ranges of the root. Raises ConfigError."""
    if secret := secrets_in(plain):
        raise ConfigError(secret)
    if not isinstance(plain, dict):
        raise ConfigError(["the config is not a mapping"])
    plain = current(plain)
    problems = check_fields(plain, Config, "")
    for axis, names in KINDS.items():
        kinds, node = [locate(name) for name in names], plain.get(axis)
        if isinstance(node, dict) and axis in SEVERAL:
            for name, each in node.items():
                if file_name(str(name)) != name:  # figures are called after it
                    problems.append(f"{axis}.{name}: a name here may contain only letters, digits, _ and -")
                problems += check_node(each, f"{axis}.{name}", kinds)
        elif isinstance(node, dict):
            problems += check_node(node, axis, kinds)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    parts = {"budget": Budget, "trainer": Trainer, "sweep": Sweep}
    config = Config(**{**plain, **{key: cls(**plain[key]) for key, cls in parts.items()}})
    problems = [
        f"{key} is {value}; it must be {least} or more"
        for key, value, least in (
            ("batch_size", config.batch_size, 1),
            ("seed", config.seed, 0),
            ("trainer.devices", config.trainer.devices, 1),
            ("trainer.accumulate", config.trainer.accumulate, 1),
            ("trainer.log_every_n_steps", config.trainer.log_every_n_steps, 1),
            ("trainer.validations", config.trainer.validations, 0),
            ("trainer.val_batches", config.trainer.val_batches, 1),
            ("sweep.trials", config.sweep.trials, 1),
            ("sweep.jobs", 1 if config.sweep.jobs is None else config.sweep.jobs, 1),
            ("trainer.monitor_examples", config.trainer.monitor_examples, 0),
            ("trainer.watch_every", config.trainer.watch_every, 0),
            (
                "trainer.checkpoint_steps",
                1 if config.trainer.checkpoint_steps is None else config.trainer.checkpoint_steps,
                1,
            ),
            ("trainer.checkpoints", config.trainer.checkpoints, 1),
            ("trainer.skip_nonfinite", config.trainer.skip_nonfinite, 0),
        )
        if value < least
    ]
    positive = {"budget.amount": config.budget.amount, "trainer.checkpoint_minutes": config.trainer.checkpoint_minutes}
    if config.trainer.clip_norm is not None:
        positive["trainer.clip_norm"] = config.trainer.clip_norm
    problems += [f"{key} is {value}; it must be above 0" for key, value in positive.items() if not value > 0]
    if config.budget.unit in ("epochs", "steps") and config.budget.amount % 1:
        problems.append(
            f"budget.amount is {config.budget.amount}; with budget.unit={config.budget.unit} it must be a whole number"
        )
    if config.trainer.monitor_examples and not config.trainer.validations:
        problems.append(
            f"trainer.monitor_examples is {config.trainer.monitor_examples}, and trainer.validations is 0; "
            "the monitor runs at each validation: set trainer.validations to 1 or more"
        )
    if config.trainer.early_stop == "collapse" and config.trainer.watch_every == 0:
        problems.append(
            "trainer.watch_every is 0 (no checks for collapse); with trainer.early_stop=collapse it must be 1 or more"
        )
    if config.control == "shuffled_target" and config.batch_size < 2:
        problems.append(f"batch_size is {config.batch_size}; with control=shuffled_target it must be 2 or more")
    problems += unwritable(config.output)
    if problems:
        raise ConfigError(problems)
    return config


def unwritable(output: str) -> list[str]:
    """Whether a folder could be made at `output`, without making it."""
    folder = Path(output).absolute()
    nearest = next(p for p in (folder, *folder.parents) if p.exists())
    if not nearest.is_dir():
        return [f"output: {brief(output)} cannot be a folder, {brief(str(nearest))} is a file; set output to a folder"]
    if not os.access(nearest, os.W_OK | os.X_OK):
        return [f"output: no permission to write in {brief(str(nearest))}; set output to a folder that can be written"]
    return []
