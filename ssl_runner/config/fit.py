"""What goes with what: dataset, backbone, objective and evaluations, by their annotations."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

if TYPE_CHECKING:  # it imports torch
    from ssl_runner.interfaces import DataSpec
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.paths import options
from ssl_runner.config.plain_yaml import read_yaml
from ssl_runner.config.schema import Config
from ssl_runner.config.signatures import locate


def fitting(axis: str, fits: Callable[[type[Any]], bool]) -> str:
    """The options of an axis whose class fits, for messages."""
    found = []
    for name, file in options(axis).items():
        target = _target(file)
        if target and fits(locate(target)):
            found.append(name)
    return ", ".join(found) or "none yet"


@cache
def _target(file: Path) -> str | None:
    """The class that an option of conf/ names. Read once: a search over options that do not fit asks at each."""
    found: str | None = read_yaml(file.read_text(encoding="utf-8")).get("_target_")
    return found


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
