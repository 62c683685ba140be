"""What a finding holds, and what every one promises, for tests."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, get_args

import yaml

from ssl_runner.config.names import TARGET
from ssl_runner.config.paths import options
from ssl_runner.config.signatures import locate
from ssl_runner.config.terms import settings_of
from ssl_runner.figures import Figure
from ssl_runner.interfaces import Finding
from ssl_runner.results.metrics import Metric
from ssl_runner.testing.findings import check_metrics, check_protocol
from ssl_runner.testing.findings import key as key
from ssl_runner.testing.findings import keys as keys

# Published as a whole: no part of these sets is val.
PUBLISHED = {"analogies", "minimal_pairs", "sts_tasks", "word_similarity"}


def metric(found: Finding, name: str, split: str = "test", **condition: str | int | float) -> Metric:
    """The one of that name, split and condition."""
    (one,) = (each for each in found.metrics if key(each) == (name, split, tuple(sorted(condition.items()))))
    return one


def value(found: Finding, name: str, split: str = "test", **condition: str | int | float) -> float:
    return metric(found, name, split, **condition).value


def by_name(metrics: Iterable[Metric]) -> dict[str, float]:
    """Those of the test split that hold under no condition."""
    return {each.name: each.value for each in metrics if each.split == "test" and not each.condition}


def names(found: Finding) -> set[str]:
    return {each.name for each in found.metrics}


def node_of(name: str) -> dict[str, Any]:
    """The config of the evaluation of that name; what its defaults list chooses is null."""
    node = yaml.safe_load(options("evaluation")[name].read_text())
    return {key: value for key, value in node.items() if key != "defaults"}


def changed(node: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A node with some settings changed; one that an inner node holds is set there."""
    found = deepcopy(dict(node))
    for setting, value in changes.items():
        inner = [each for each in found.values() if isinstance(each, dict) and TARGET in each and setting in each]
        (inner[0] if inner and setting not in found else found)[setting] = value
    return found


def check(name: str, found: Finding) -> None:
    """Assert what a finding of the evaluation of that name promises."""
    node = node_of(name)
    evaluator = locate(node.pop("_target_"))
    check_metrics(found, val=name not in PUBLISHED)
    check_protocol(found, {*node, *settings_of(node)}, evaluator.presentation)
    assert all(isinstance(figure, get_args(Figure)) for figure in found.figures.values())
