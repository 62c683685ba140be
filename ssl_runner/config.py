"""Compose a config, and refuse a bad one before anything is built or downloaded.

Gates, each earlier and cheaper than the next: Hydra (unknown group or key); signatures (unknown, missing or ill-typed
parameters of each `_target_`); annotations (dataset, backbone, objective, evaluations that do not go together); then,
in `build`, constructors (values that clash) and one step on fake examples.
"""

import difflib
import hashlib
import importlib
import inspect
import json
import math
import os
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from ssl_runner.names import TARGET, added, current
from ssl_runner.secrets import secrets_in
from ssl_runner.terminal import brief

if TYPE_CHECKING:  # it imports torch
    from ssl_runner.interfaces import DataSpec

ALLOWED = ("ssl_runner.", "torch.optim.")  # what a config may name as `_target_`
KINDS = {  # of what each axis names; what lies within a node is of the kind that its parameter is annotated with
    "dataset": ("ssl_runner.interfaces.DataSource",),
    "objective": ("ssl_runner.interfaces.Objective",),
    "backbone": ("ssl_runner.interfaces.Encoder",),
    "optimizer": ("torch.optim.Optimizer",),
    "schedule": ("ssl_runner.optim.Schedule",),
    "evaluation": ("ssl_runner.interfaces.Evaluator", "ssl_runner.interfaces.Inspection"),
    "logger": ("ssl_runner.loggers.interface.RunLogger",),
}
SEVERAL = ("evaluation", "logger")  # axes of any number of nodes, by name
CONTEXT = frozenset({"self", "encoder", "spec", "params", "context"})  # parameters that the builder fills by name
NOT_IDENTITY = (  # what does not change a run's result: where it runs, where it writes, how it is watched
    "names", "contents", "output", "resume", "check", "sweep", "logger", "domain", "dataset.root", "dataset.cache",
    "dataset.download", "dataset.workers", "dataset.images.root", "dataset.images.download", "trainer.accelerator",
    "trainer.devices", "trainer.strategy", "trainer.log_every_n_steps", "trainer.checkpoint_minutes",
    "trainer.checkpoint_steps", "trainer.checkpoints", "trainer.skip_nonfinite", "trainer.monitor_examples",
    "trainer.watch_every", "trainer.early_stop",
)  # fmt: skip


class ConfigError(Exception):
    """What is wrong with a config, a line each: what is, what would be right, which key to set."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


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


# ------------------------------------------------------------------------------------------------------------- compose


def conf_dir() -> Path:
    """conf/ inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return next(folder for folder in (package / "conf", package.parent / "conf") if folder.is_dir())


def with_names(cfg: DictConfig, choices: Mapping[str, Any]) -> dict[str, Any]:
    """The composed config as a plain, resolved dict, with the chosen option of each axis as `names`."""
    names = {axis: option for axis, option in choices.items() if "hydra" not in axis and isinstance(option, str)}
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    try:
        plain: Any = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "?"
        missing = isinstance(error, MissingMandatoryValue)
        raise ConfigError(
            [f"{key}: it must be set: {key}=..." if missing else f"{key}: {str(error).splitlines()[0]}"]
        ) from error
    if secret := secrets_in(plain):
        raise ConfigError(secret)  # by itself: other messages repeat values
    return {"evaluation": {}, "logger": {}} | plain | {"names": names}  # an empty choice leaves no key


def compose(overrides: Sequence[str] = (), name: str = "config") -> dict[str, Any]:
    """Compose as the command line does, for programs and tests. Raises Hydra's own exceptions for its gate."""
    cfg = composed(overrides, name)
    return with_names(cfg, cfg.hydra.runtime.choices)


def composed(overrides: Sequence[str], name: str) -> DictConfig:
    """A config as Hydra composes it, its node `hydra` included; inside a task of Hydra's, from that task's folders."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    begun = GlobalHydra.instance().is_initialized()
    with nullcontext() if begun else initialize_config_dir(str(conf_dir()), version_base=version_base()), composing():
        return hydra_compose(name, list(overrides), return_hydra_config=True)


@contextmanager
def composing() -> Iterator[None]:
    """Hydra's own exceptions pass; whatever else it raises over words that it cannot read becomes a ConfigError."""
    from hydra.errors import HydraException

    try:
        yield
    except (HydraException, ConfigError):
        raise
    except Exception as error:  # of many kinds, AssertionError and RecursionError among them
        why = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise ConfigError([f"Hydra cannot read these words: {why}; write key=value, each in quotes"]) from error


def version_base() -> str | None:
    """Hydra 1.3 warns without it, 1.4 warns with it."""
    import hydra

    return "1.3" if hydra.__version__.startswith("1.3") else None


# ---------------------------------------------------------------------------------------------------------- signatures


def class_name(node: Mapping[str, Any]) -> str:
    """What the class of a node is called, wherever it lies."""
    return str(node[TARGET]).rpartition(".")[2]


def locate(target: str) -> type[Any]:
    """The class that `_target_` names. Raises ConfigError unless it is on the allowlist and exists."""
    if not isinstance(target, str) or not target.startswith(ALLOWED):
        raise ConfigError(
            [f"_target_: {brief(target)} is not allowed; a config may name classes of {', '.join(ALLOWED)}"]
        )
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError) as error:  # ValueError: of a zero byte in its name
        raise ConfigError([f"_target_: {brief(target)} cannot be imported: {error}"]) from error
    if not inspect.isclass(found) or not (found.__module__ + ".").startswith(ALLOWED):
        raise ConfigError([f"_target_: {brief(target)} is no class of {', '.join(ALLOWED)}"])
    return found


def parameters(cls: type[Any]) -> dict[str, tuple[Any, bool]]:
    """The parameters of a class that a config sets: name -> (annotation, whether it is required)."""
    hints = get_type_hints(cls.__init__)
    return {
        name: (hints.get(name, Any), p.default is p.empty)
        for name, p in inspect.signature(cls.__init__).parameters.items()
        if name not in CONTEXT and p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
    }


def unknown(key: str, known: Sequence[str], what: str) -> str:
    """ "no such key", and the nearest that exists."""
    near = difflib.get_close_matches(key.rpartition(".")[2], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(sorted(known)) or 'none'}"
    return f"{key}: no such {what}; {hint}"


def mismatch(value: Any, annotation: Any) -> str | None:
    """What `annotation` wants, in words, if `value` (plain, from YAML) is not that; else None."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation is Any or annotation is inspect.Parameter.empty:
        return None
    if origin in (Union, types.UnionType):
        wants = [mismatch(value, each) for each in args]
        return None if None in wants else " or ".join(dict.fromkeys(w for w in wants if w))
    if origin is Literal:
        return None if value in args and type(value) in map(type, args) else "one of " + ", ".join(map(str, args))
    if annotation is None or annotation is type(None):
        return None if value is None else "null"
    if annotation in (int, float) and (wanted := no_number(value)):
        return wanted
    if annotation is float:
        return None if isinstance(value, int | float) and not isinstance(value, bool) else "a number"
    if annotation in (int, str, bool):
        right = type(value) is annotation
        return None if right else {int: "a whole number", str: "text", bool: "true or false"}[annotation]
    if origin is tuple and Ellipsis not in args:
        wrong = not isinstance(value, list) or len(value) != len(args) or any(map(mismatch, value, args))
        return f"a list of {len(args)}: {', '.join(str(mismatch(object(), a)) for a in args)}" if wrong else None
    if origin in (list, tuple) or (origin is not None and issubclass(origin, Sequence)):
        wrong = not isinstance(value, list) or any(mismatch(each, args[0]) for each in value)
        return f"a list, each {mismatch(object(), args[0])}" if wrong else None
    if annotation is dict or origin is dict or (origin is not None and issubclass(origin, Mapping)):
        return None if isinstance(value, dict) else "a mapping"
    if inspect.isclass(annotation):  # an object: a node with its own `_target_`, checked by itself
        return None if isinstance(value, dict) and "_target_" in value else f"a config of a {annotation.__name__}"
    return None


def no_number(value: Any) -> str | None:
    """What a number of a config must be, in words, if `value` is a number and is not that; else None."""
    if type(value) is float and not math.isfinite(value):
        return "a finite number"
    if type(value) is int and not -(2**63) <= value < 2**63:
        return "a whole number of at most 64 bits"
    return None


def no_numbers(node: Any, path: str) -> list[str]:
    """A line for each number within a node that is none, whatever its parameter is annotated with."""
    if isinstance(node, Mapping):
        return [line for key, each in node.items() for line in no_numbers(each, f"{path}.{key}" if path else str(key))]
    if isinstance(node, list):
        return [line for place, each in enumerate(node) for line in no_numbers(each, f"{path}[{place}]")]
    wanted = no_number(node)
    return [] if wanted is None else [f"{path}: {brief(node)} is not allowed; it must be {wanted}"]


def ill_typed(path: str, value: Any, annotation: Any) -> list[str]:
    wanted = mismatch(value, annotation)
    if wanted is None:
        return []
    if numbers := no_numbers(value, path):  # which say it more exactly
        return numbers
    return [f"{path}: {brief(value)} is a {type(value).__name__}; it must be {wanted}"]


def classes(annotation: Any) -> list[type[Any]]:
    """The classes that an annotation allows, of which a node makes an object."""
    parts = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else [annotation]
    return [part for part in parts if inspect.isclass(part) and part is not type(None)]


def check_node(node: Any, path: str, kinds: Sequence[type[Any]]) -> list[str]:
    """Hold a node of the config, and all nodes in it, against the signatures of their `_target_`s.

    `kinds`: what it may be, for a class on the allowlist may do harm elsewhere than where it belongs.
    """
    if not isinstance(node, dict) or "_target_" not in node:
        return [f"{path}: needs a _target_; choose an option of the group: {path.replace('.', '/')}=..."]
    try:
        cls = locate(node["_target_"])
    except ConfigError as error:
        return [f"{path}.{problem}" for problem in error.problems]
    if not any(kind in cls.__mro__ for kind in kinds):  # not issubclass, which refuses a Protocol
        wanted = " or ".join(kind.__name__ for kind in kinds) or "a plain value"
        return [f"{path}._target_: {brief(node['_target_'])} does not belong here; it must be {wanted}"]
    known = parameters(cls)
    problems = []
    for key, value in node.items():
        if key == "_target_":
            continue
        if key not in known:
            problems.append(unknown(f"{path}.{key}", list(known), "parameter"))
            continue
        problems += ill_typed(f"{path}.{key}", value, known[key][0]) or no_numbers(value, f"{path}.{key}")
        if isinstance(value, dict) and "_target_" in value:
            problems += check_node(value, f"{path}.{key}", classes(known[key][0]))
    missing = [name for name, (_, required) in known.items() if required and name not in node]
    return problems + [f"{path}.{name}: missing; set it to {mismatch(object(), known[name][0])}" for name in missing]


def check_fields(node: Any, cls: type, path: str) -> list[str]:
    """Hold a mapping against the fields of a dataclass."""
    if not isinstance(node, dict):
        return [f"{path}: {brief(node)} is not a mapping"] if path else ["the config is not a mapping"]
    hints, dot = get_type_hints(cls), f"{path}." if path else ""
    known = [each.name for each in fields(cls)]
    problems = [unknown(dot + key, known, "key") for key in node if key not in known]
    for each in fields(cls):
        hint = hints[each.name]
        if each.name not in node:
            if each.default is MISSING and each.default_factory is MISSING:
                problems.append(f"{dot}{each.name}: missing")
        elif is_dataclass(hint):
            problems += check_fields(node[each.name], cast(type, hint), dot + each.name)
        else:
            value = node[each.name]
            problems += ill_typed(dot + each.name, value, hint) or no_numbers(value, dot + each.name)
    return problems


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
                    problems.append(f"{axis}.{name}: a name here may hold letters, digits, _ and - alone")
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
        problems.append(f"budget.amount is {config.budget.amount}; with budget.unit={config.budget.unit} it is whole")
    if config.trainer.monitor_examples and not config.trainer.validations:
        problems.append(
            f"trainer.monitor_examples is {config.trainer.monitor_examples}, and trainer.validations is 0; "
            "the monitor looks at each validation: set trainer.validations to 1 or more"
        )
    if config.trainer.early_stop == "collapse" and config.trainer.watch_every == 0:
        problems.append("trainer.watch_every is 0, no watch; with trainer.early_stop=collapse it must be 1 or more")
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


# --------------------------------------------------------------------------------------------------------- annotations


def fitting(axis: str, fits: Callable[[type[Any]], bool]) -> str:
    """The options of an axis whose class fits, for messages."""
    options = []
    for file in sorted((conf_dir() / axis).glob("*.yaml")):
        target = yaml.safe_load(file.read_text()).get("_target_")
        if target and fits(locate(target)):
            options.append(file.stem)
    return ", ".join(options) or "none yet"


def is_kind(cls: type[Any], wanted: type[Any]) -> bool:
    return issubclass(cls, wanted)


def gives(source: type[Any], wanted: type[Any]) -> bool:
    """Whether a DataSource's examples are of a spec's kind, by the annotation of its `spec`."""
    return issubclass(get_type_hints(source.spec.fget)["return"], wanted)


def check_fit(config: Config) -> None:
    """Hold the annotations of dataset, backbone and objective against each other. Raises ConfigError."""
    source, backbone, objective = (
        locate(node["_target_"]) for node in (config.dataset, config.backbone, config.objective)
    )
    spec = get_type_hints(source.spec.fget)["return"]
    name = {axis: f"{axis}={config.names.get(axis, '?')}" for axis in ("dataset", "backbone", "objective")}
    problems = []
    for axis, cls in (("backbone", backbone), ("objective", objective)):
        reads = get_type_hints(cls.__init__)["spec"]
        if not issubclass(spec, reads):
            problems.append(
                f"{name[axis]} reads {reads.kind}; {name['dataset']} is {spec.kind}. Datasets that fit: "
                + fitting("dataset", partial(gives, wanted=reads))
            )
    encoder = get_type_hints(objective.__init__)["encoder"]
    if not issubclass(backbone, encoder):
        problems.append(
            f"{name['objective']} needs {encoder.kind}; {name['backbone']} is {backbone.kind}. Backbones that fit: "
            + fitting("backbone", partial(is_kind, wanted=encoder))
        )
    if problems:
        raise ConfigError(problems)


def unfit_evaluations(config: Config, spec: "DataSpec") -> dict[str, str]:
    """The evaluations that do not go with the data or the objective: name -> why."""
    from ssl_runner.interfaces import Inspection, Masked

    objective, source = (locate(node["_target_"]) for node in (config.objective, config.dataset))
    why = {}
    for name, node in config.evaluation.items():
        cls = locate(node["_target_"])
        if not isinstance(spec, cls.reads):
            why[name] = f"it reads {cls.reads.kind}, and dataset={config.names.get('dataset', '?')} is {spec.kind}"
        elif issubclass(cls, Inspection):
            needs = get_type_hints(cls.__call__)["objective"]
            if not issubclass(objective, needs):
                fit = fitting("objective", partial(is_kind, wanted=needs))
                why[name] = f"objective={config.names.get('objective', '?')} cannot do that; objectives that can: {fit}"
        elif cls.needs_labels and spec.classes == 0:
            why[name] = f"it needs labels, and dataset={config.names.get('dataset', '?')} has none"
        elif cls.needs_labels and spec.classes == 1:
            only = f" ({spec.class_names[0]})" if spec.class_names else ""
            why[name] = f"it tells classes apart, and dataset={config.names.get('dataset', '?')} has one alone{only}"
        elif cls.needs_masks and not issubclass(source, Masked):
            why[name] = f"it needs masks, and dataset={config.names.get('dataset', '?')} has none"
    return why


# ------------------------------------------------------------------------------------------------------------ identity


def identity(plain: Mapping[str, Any]) -> str:
    """A hash of all that can change a run's result: ten hexadecimal digits.

    Files enter by their contents (`contents`, which `build.contents` finds), never by where they lie. A key that was
    added later is left out at the value that runs had before it, and names are those of now: so runs of older versions
    have the identity that the same command gives now.
    """
    text = json.dumps(_what_counts(plain, plain.get("contents") or {}), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def identity_but_for(plain: Mapping[str, Any], keys: Iterable[str]) -> str:
    """The same for runs that differ at most in the contents of what these keys name."""
    text = json.dumps(_what_counts(plain, dict.fromkeys(keys, "")), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _what_counts(plain: Mapping[str, Any], contents: Mapping[str, str]) -> dict[str, Any]:
    def keep(node: Any, path: str) -> Any:
        if path in contents:
            return {"contents": contents[path]}
        if isinstance(node, list):
            return [keep(each, f"{path}[]") for each in node]
        if not isinstance(node, Mapping):
            return node
        target = node.get(TARGET)
        later = added(target) if isinstance(target, str) else added(path)
        return {
            key: keep(value, f"{path}.{key}" if path else key)
            for key, value in sorted(node.items())
            if (f"{path}.{key}" if path else key) not in NOT_IDENTITY and not (key in later and later[key] == value)
        }

    kept: dict[str, Any] = keep(current(plain), "")
    if isinstance(kept.get("controls"), list):  # of those, what the data can have
        unfit = "pixels" if (plain.get("domain") or {}).get("name") == "text" else "bag_of_words"
        kept["controls"] = [control for control in kept["controls"] if control != unfit]
    return kept


def run_folder(config: Config, plain: Mapping[str, Any]) -> Path:
    """<output>/<dataset>-<objective>-<backbone>[-shuffled]/s<seed>-<identity>: the same config, the same folder."""
    name = file_name("-".join(config.names.get(axis, "?") for axis in ("dataset", "objective", "backbone")))
    return Path(config.output) / (name + control_suffix(config)) / f"s{config.seed}-{identity(plain)}"


def file_name(text: str) -> str:
    """`text` as the name of one file, which leads nowhere else.

    >>> file_name("../objective/loss=a b")
    '...objective.loss=a-b'
    """
    return re.sub(r"[^\w.+=,-]", "-", text.replace("/", "."))[:150]


def control_suffix(config: Config) -> str:
    """What the name of a run that is itself a control ends with; else nothing."""
    return "-shuffled" if config.control == "shuffled_target" else ""
