"""Compatibility of dataset, backbone, objective and evaluations, by the annotations of their classes."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from ssl_runner.config.errors import ConfigError
from ssl_runner.config.paths import options
from ssl_runner.config.plain_yaml import read_yaml
from ssl_runner.config.schema import Config
from ssl_runner.config.signatures import KINDS, classes, locate, nodes_of, parameters

if TYPE_CHECKING:  # it imports torch
    from ssl_runner.interfaces import DataSpec


def option_classes(axis: str) -> dict[str, type[Any]]:
    """The class of each option of a group; sets of options have none."""
    targets = {name: _target(file) for name, file in options(axis).items()}
    return {name: locate(target) for name, target in targets.items() if target}


def fitting(axis: str, fits: Callable[[type[Any]], bool]) -> str:
    """The options of a group whose class satisfies `fits`, comma-separated, for messages."""
    return ", ".join(name for name, cls in option_classes(axis).items() if fits(cls)) or "none yet"


def spec_of(source: type[Any]) -> type[Any]:
    """The kind of data that a DataSource gives, by the annotation of its `spec`."""
    found: type[Any] = get_type_hints(source.spec.fget)["return"]
    return found


def reads(cls: type[Any]) -> type[Any]:
    """The kind of data that a backbone, an objective or an evaluation is for."""
    found: type[Any] = cls.reads if hasattr(cls, "reads") else get_type_hints(cls.__init__)["spec"]
    return found


def needs_encoder(objective: type[Any]) -> type[Any]:
    """The kind of encoder that an objective trains."""
    found: type[Any] = get_type_hints(objective.__init__)["encoder"]
    return found


def needs_objective(evaluation: type[Any]) -> type[Any]:
    """What an `Inspection` needs of the objective; of an `Evaluator`, nothing: any object."""
    from ssl_runner.interfaces import Inspection

    found: type[Any] = (
        get_type_hints(evaluation.__call__)["objective"] if issubclass(evaluation, Inspection) else object
    )
    return found


def answers(objective: type[Any], evaluation: type[Any]) -> bool:
    """Whether an objective does what an evaluation asks of it; one that trains nothing answers no `Inspection`."""
    needs = needs_objective(evaluation)
    return needs is object or (issubclass(objective, needs) and objective.trains)


@cache
def _target(file: Path) -> str | None:
    """The class that an option of conf/ names. Read once: a search over options that do not fit asks at each."""
    found: str | None = read_yaml(file.read_text(encoding="utf-8")).get("_target_")
    return found


def is_kind(cls: type[Any], wanted: type[Any]) -> bool:
    return issubclass(cls, wanted)


def gives(source: type[Any], wanted: type[Any]) -> bool:
    """Whether a DataSource's examples are of a spec's kind, by the annotation of its `spec`."""
    return issubclass(spec_of(source), wanted)


def check_fit(config: Config) -> None:
    """Check that dataset, backbone and objective are compatible by their annotations. Raises ConfigError."""
    from ssl_runner.interfaces import Paired

    source, backbone = (locate(node["_target_"]) for node in (config.dataset, config.backbone))
    spec = spec_of(source)
    name = {axis: f"{axis}={config.names.get(axis, '?')}" for axis in ("dataset", "backbone", "objective")}
    tasks = {named: cls for named, _, cls in objectives(config)}
    problems = []
    for label, cls in ((name["backbone"], backbone), *tasks.items()):
        wanted = reads(cls)
        if not issubclass(spec, wanted):
            problems.append(
                f"{label} reads {wanted.kind}; {name['dataset']} is {spec.kind}. Datasets that fit: "
                + fitting("dataset", partial(gives, wanted=wanted))
            )
        if label in tasks and cls.reads_pairs and not issubclass(source, Paired):
            problems.append(
                f"{label} reads two views of each example; {name['dataset']} has one. Datasets that fit: "
                + fitting("dataset", partial(is_kind, wanted=Paired))
            )
    for label, cls in tasks.items():
        encoder = needs_encoder(cls)
        if not issubclass(backbone, encoder):
            problems.append(
                f"{label} needs {encoder.kind}; {name['backbone']} is {backbone.kind}. Backbones that fit: "
                + fitting("backbone", partial(is_kind, wanted=encoder))
            )
    if problems:
        raise ConfigError(problems)


def objectives(config: Config) -> Iterator[tuple[str, Mapping[str, Any], type[Any]]]:
    """The objective and those that it is made of: (its name for messages, node, class)."""
    from ssl_runner.interfaces import Objective

    for path, node, cls in nodes_of(Objective, config.objective, "objective"):
        yield (f"objective={config.names.get('objective', '?')}" if path == "objective" else path), node, cls


def unfit_evaluations(config: Config, spec: "DataSpec") -> dict[str, str]:
    """The evaluations that are incompatible with the data or the objective: name -> reason."""
    from ssl_runner.interfaces import Inspection

    objective = locate(config.objective["_target_"])
    why = {}
    for name, node in config.evaluation.items():
        cls = locate(node["_target_"])
        if not isinstance(spec, cls.reads):
            why[name] = f"it reads {cls.reads.kind}, and dataset={config.names.get('dataset', '?')} is {spec.kind}"
        elif issubclass(cls, Inspection):
            if not answers(objective, cls):
                fit = fitting("objective", partial(answers, evaluation=cls))
                why[name] = (
                    f"objective={config.names.get('objective', '?')} does not support it; objectives that do: {fit}"
                )
        elif cls.needs_labels and spec.classes == 0:
            why[name] = _unlabeled(config)
        elif cls.needs_labels and spec.classes == 1:
            only = f" ({spec.class_names[0]})" if spec.class_names else ""
            why[name] = f"it needs several classes, and dataset={config.names.get('dataset', '?')} has one{only}"
        elif lacking := _lacking(cls, config, spec):
            why[name] = lacking
    return why


def _unlabeled(config: Config) -> str:
    """Why a dataset has no labels for an evaluation; of a table whose windows lose theirs, with what keeps them."""
    dataset = f"dataset={config.names.get('dataset', '?')}"
    if config.dataset.get("example") == "window" and config.dataset.get("label_column") is not None:
        return (
            f"it needs labels, and windows of running text have none; with dataset.example=document each text of "
            f"{dataset} has the label of its row"
        )
    return f"it needs labels, and {dataset} has none"


def _lacking(cls: type[Any], config: Config, spec: "DataSpec") -> str:
    """What an `Evaluator` needs of dataset and backbone and does not find; "" where it finds all."""
    from ssl_runner.interfaces import Boxed, ImageSpec, Masked, Tagged

    source, backbone = locate(config.dataset["_target_"]), locate(config.backbone["_target_"])
    dataset = f"dataset={config.names.get('dataset', '?')}"
    if cls.needs_masks and not issubclass(source, Masked):
        return f"it needs masks, and {dataset} has none"
    images = spec if isinstance(spec, ImageSpec) else None
    for needs, kind, what, names in (
        (cls.needs_boxes, Boxed, "boxes", images and images.box_names),
        (cls.needs_tags, Tagged, "labels of several classes per image", images and images.tag_names),
    ):
        if needs and not names:
            may = fitting("dataset", partial(is_kind, wanted=kind))
            return f"it needs {what}, and {dataset} has none; datasets that may have them: {may}"
    if not issubclass(backbone, cls.encoders):
        return (
            f"it needs {' or '.join(each.kind for each in cls.encoders)}; backbone={config.names.get('backbone', '?')} "
            f"is {backbone.kind}"
        )
    return ""


def partners(group: str, cls: type[Any]) -> dict[str, list[str]]:
    """The options of other groups that are compatible with a class of `group`: group -> names; {}: no rule applies.

    Labels and masks depend on the files of a dataset, and are not checked here.
    """
    above, _, key = group.rpartition("/")
    if above:
        return {above: [name for name, owner in option_classes(above).items() if _takes(owner, key, cls)]}
    if group not in ("dataset", "backbone", "objective", "evaluation"):
        return {}
    if not any(kind in cls.__mro__ for kind in map(locate, KINDS[group])):  # a node within an option
        return {}
    axes = {axis: option_classes(axis) for axis in ("dataset", "backbone", "objective", "evaluation")}
    axes[group] = {"": cls}
    runs = list(_runs(*(set(found.values()) for found in axes.values())))
    return {
        axis: [name for name, other in found.items() if any(run[place] is other for run in runs)]
        for place, (axis, found) in enumerate(axes.items())
        if axis != group
    }


def _runs(
    sources: Iterable[type[Any]],
    backbones: Iterable[type[Any]],
    objectives: Iterable[type[Any]],
    evaluations: Iterable[type[Any]],
) -> Iterator[tuple[type[Any], ...]]:
    """All that go together: source, backbone, objective, evaluation."""
    from ssl_runner.interfaces import Paired

    encoders = {objective: (needs_encoder(objective), reads(objective)) for objective in objectives}
    asked = {evaluation: reads(evaluation) for evaluation in evaluations}
    for source in sources:
        spec = spec_of(source)
        for backbone in (each for each in backbones if issubclass(spec, reads(each))):
            for objective, (encoder, its) in encoders.items():
                if not (issubclass(spec, its) and issubclass(backbone, encoder)):
                    continue
                if objective.reads_pairs and not issubclass(source, Paired):
                    continue
                for evaluation, of in asked.items():
                    if issubclass(spec, of) and answers(objective, evaluation):
                        yield source, backbone, objective, evaluation


def _takes(owner: type[Any], key: str, cls: type[Any]) -> bool:
    """Whether a class has a parameter `key` that may be an object of `cls`."""
    known = parameters(owner)
    return key in known and any(kind in cls.__mro__ for kind in classes(known[key][0]))
