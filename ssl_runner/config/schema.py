"""The typed config of a run: dataclasses of conf/config.yaml. Each key states its range, and whether it is part of a
run's identity, in its field."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from ssl_runner.config.errors import ConfigError, brief
from ssl_runner.config.names import current
from ssl_runner.config.paths import file_name
from ssl_runner.config.secrets import secrets_in
from ssl_runner.config.signatures import KINDS, SEVERAL, check_fields, check_node, locate


def key(*, least: float | None = None, above: float | None = None, identity: bool = True) -> dict[str, Any]:
    """What is said of a key of the config, as a field's metadata.

    Args:
        least: the smallest value that is allowed; None: any.
        above: what the value must exceed; None: nothing.
        identity: whether the value can change a run's result. A value that cannot (where a run computes, where it
            writes, how it is watched) is no part of the run's identity.
    """
    return {"least": least, "above": above, "identity": identity}


@dataclass(frozen=True)
class Budget:
    """How long to pretrain."""

    unit: Literal["epochs", "steps", "samples", "minutes"]
    amount: float = field(metadata=key(above=0))


@dataclass(frozen=True)
class Trainer:
    """conf/trainer/default.yaml says what each is."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"] = field(metadata=key(identity=False))
    devices: int = field(metadata=key(least=1, identity=False))
    precision: Literal["auto", "bfloat16", "float32"]
    accumulate: int = field(metadata=key(least=1))
    clip_norm: float | None = field(metadata=key(above=0))
    compile: bool
    chunk: int | None = field(metadata=key(least=1, identity=False))
    recompute: Literal["none", "blocks"] = field(metadata=key(identity=False))
    log_every_n_steps: int = field(metadata=key(least=1, identity=False))
    validations: int = field(metadata=key(least=0))
    val_batches: int = field(metadata=key(least=1))
    monitor_examples: int = field(metadata=key(least=0, identity=False))
    checkpoint_minutes: float = field(metadata=key(above=0, identity=False))
    watch_every: int = field(metadata=key(least=0, identity=False))
    early_stop: Literal["none", "collapse"] = field(metadata=key(identity=False))
    strategy: Literal["ddp", "fsdp"] = field(metadata=key(identity=False))
    checkpoint_steps: int | None = field(metadata=key(least=1, identity=False))
    checkpoints: int = field(metadata=key(least=1, identity=False))
    skip_nonfinite: int = field(metadata=key(least=0, identity=False))
    lr_batch: int | None = field(metadata=key(least=1))
    layer_decay: float = field(metadata=key(above=0))
    weight_decay_end: float | None = field(metadata=key(least=0))


@dataclass(frozen=True)
class Sweep:
    """Several runs: conf/config.yaml says what each key is."""

    name: str | None
    params: dict[str, Any] | None
    search: Literal["grid", "random", "optuna"]
    trials: int = field(metadata=key(least=1))
    metric: str
    pruner: Literal["none", "median"]
    monitor: str
    ask: bool
    engine: Literal["local", "submitit", "ray"]
    jobs: int | None = field(metadata=key(least=1))
    settings: dict[str, Any] | None


@dataclass(frozen=True)
class StartFile:
    """What is known of a file of another library that `start_from` names: conf/config.yaml says what each key is."""

    source: str | None = None
    license: str | None = None
    prefix: str | None = None
    matched: float = 1.0
    mean: list[float] | None = None
    std: list[float] | None = None


@dataclass(frozen=True)
class Config:
    """A whole run, typed: conf/config.yaml. The axes' nodes stay plain dicts until `assembly` makes objects of them."""

    dataset: dict[str, Any]
    objective: dict[str, Any]
    backbone: dict[str, Any]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    evaluation: dict[str, Any]
    logger: dict[str, Any] = field(metadata=key(identity=False))
    trainer: Trainer
    budget: Budget
    seed: int = field(metadata=key(least=0))
    pretrain_examples: int | None = field(metadata=key(least=1))
    batch_size: int = field(metadata=key(least=1))
    control: Literal["none", "shuffled_target"]
    controls: list[Literal["random_start", "initial", "pixels", "bag_of_words"]]
    unfit: Literal["refuse", "skip"]
    start_from: str | None
    extend: str | None
    output: str = field(metadata=key(identity=False))
    resume: Literal["auto", "never", "must"] = field(metadata=key(identity=False))
    check: bool = field(metadata=key(identity=False))
    sweep: Sweep = field(metadata=key(identity=False))
    yes: bool = field(metadata=key(identity=False))
    names: dict[str, str] = field(
        metadata=key(identity=False)
    )  # the chosen option of each axis, for messages and folders
    domain: dict[str, Any] | None = field(metadata=key(identity=False), default=None)
    contents: dict[str, str] = field(
        metadata=key(identity=False), default_factory=dict
    )  # fingerprints of the files that keys name
    start_file: StartFile = StartFile()

    @property
    def start(self) -> Path | None:
        """The exported encoder to start from, a run's folder that holds one, or a file of another library; None: the
        start is random, or `backbone.weights` says what it is."""
        return None if self.start_from is None else Path(self.start_from)


def typed(plain: Any) -> Config:
    """The first gates: the root's keys and types, every node's signature, ranges of the root. Raises ConfigError."""
    if secret := secrets_in(plain):
        raise ConfigError(secret)
    if not isinstance(plain, dict):
        raise ConfigError(["the config is not a mapping"])
    plain = current(plain)
    if problems := [*check_fields(plain, Config, ""), *misfits(plain)]:
        raise ConfigError(list(dict.fromkeys(problems)))
    parts = {"budget": Budget, "trainer": Trainer, "sweep": Sweep, "start_file": StartFile}
    config = Config(**{**plain, **{name: cls(**plain[name]) for name, cls in parts.items()}})
    if problems := [*out_of_range(config), *clashes(config), *unwritable(config.output)]:
        raise ConfigError(problems)
    return config


def misfits(plain: Mapping[str, Any]) -> Iterator[str]:
    """A line for each mistake in the nodes of the axes: a class that does not belong there, a wrong parameter."""
    for axis, names in KINDS.items():
        kinds, node = [locate(name) for name in names], plain.get(axis)
        if not isinstance(node, dict):
            continue
        if axis not in SEVERAL:
            yield from check_node(node, axis, kinds)
            continue
        for name, each in node.items():
            if file_name(str(name)) != name:  # figures are called after it
                yield f"{axis}.{name}: a name here may contain only letters, digits, _ and -"
            yield from check_node(each, f"{axis}.{name}", kinds)


def clashes(config: Config) -> Iterator[str]:
    """A line for each two values of the root that do not go together."""
    if config.budget.unit in ("epochs", "steps") and config.budget.amount % 1:
        unit = f"budget.unit={config.budget.unit}"
        yield f"budget.amount is {config.budget.amount}; with {unit} it must be a whole number"
    if config.trainer.monitor_examples and not config.trainer.validations:
        yield (
            f"trainer.monitor_examples is {config.trainer.monitor_examples}, and trainer.validations is 0; "
            "the monitor runs at each validation: set trainer.validations to 1 or more"
        )
    less = [key for key in ("chunk", "recompute") if getattr(config.trainer, key) not in (None, "none")]
    if config.trainer.compile and less:
        yield (
            f"trainer.compile is true, and trainer.{less[0]} is {getattr(config.trainer, less[0])}; these do not go "
            "together: set one of them"
        )
    if config.trainer.early_stop == "collapse" and config.trainer.watch_every == 0:
        yield "trainer.watch_every is 0 (no checks for collapse); with trainer.early_stop=collapse it must be 1 or more"
    if config.control == "shuffled_target" and config.batch_size < 2:
        yield (f"batch_size is {config.batch_size}; with control=shuffled_target it must be 2 or more")


def leaves(node: Any, above: str = "") -> Iterator[tuple[str, Field[Any], Any]]:
    """(dotted key, field, value) of a dataclass and of those within it."""
    for each in fields(node):
        value, path = getattr(node, each.name), f"{above}{each.name}"
        yield path, each, value
        if is_dataclass(value):
            yield from leaves(value, f"{path}.")


def out_of_range(config: Config) -> Iterator[str]:
    """A line for each value that its field does not allow."""
    for path, each, value in leaves(config):
        least, above = each.metadata.get("least"), each.metadata.get("above")
        if value is not None and least is not None and value < least:
            yield f"{path} is {value}; it must be {least} or more"
        if value is not None and above is not None and not value > above:
            yield f"{path} is {value}; it must be above {above}"


def no_part_of_identity(cls: type[Any], above: str = "") -> Iterator[str]:
    """The dotted keys of a dataclass, and of those within it, that cannot change a run's result."""
    for each in fields(cls):
        if not each.metadata.get("identity", True):
            yield f"{above}{each.name}"
        elif isinstance(each.type, type) and is_dataclass(each.type):
            yield from no_part_of_identity(each.type, f"{above}{each.name}.")


def unwritable(output: str) -> list[str]:
    """Whether a folder could be made at `output`, without making it."""
    folder = Path(output).absolute()
    nearest = next(p for p in (folder, *folder.parents) if p.exists())
    if not nearest.is_dir():
        return [f"output: {brief(output)} cannot be a folder, {brief(str(nearest))} is a file; set output to a folder"]
    if not os.access(nearest, os.W_OK | os.X_OK):
        return [f"output: no permission to write in {brief(str(nearest))}; set output to a folder that can be written"]
    return []
