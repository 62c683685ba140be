"""What a finding holds, and what every one promises, for tests."""

import json
import math
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import asdict
from typing import Any, get_args

import yaml

from ssl_runner.config.names import TARGET
from ssl_runner.config.paths import options
from ssl_runner.config.signatures import locate
from ssl_runner.config.terms import settings_of
from ssl_runner.figures import Figure
from ssl_runner.interfaces import Finding
from ssl_runner.results.metrics import Better, Metric

PUBLISHED = {"analogies", "word_similarity"}  # sets that are published as a whole: no part of them is val


def metric(found: Finding, name: str, split: str = "test", **condition: str | int | float) -> Metric:
    """The one of that name, split and condition."""
    (one,) = (each for each in found.metrics if key(each) == (name, split, tuple(sorted(condition.items()))))
    return one


def value(found: Finding, name: str, split: str = "test", **condition: str | int | float) -> float:
    return metric(found, name, split, **condition).value


def key(each: Metric) -> tuple[str, str, tuple[tuple[str, Any], ...]]:
    """What tells a metric from the others of its evaluation."""
    return each.name, each.split, tuple(sorted(each.condition.items()))


def keys(found: Finding) -> list[tuple[str, str, tuple[tuple[str, Any], ...]]]:
    return [key(each) for each in found.metrics]


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
    for key, value in changes.items():
        inner = [each for each in found.values() if isinstance(each, dict) and TARGET in each and key in each]
        (inner[0] if inner and key not in found else found)[key] = value
    return found


def check(name: str, found: Finding) -> None:
    """Assert what a finding of the evaluation of that name promises."""
    node = node_of(name)
    evaluator = locate(node.pop("_target_"))
    check_metrics(found, val=name not in PUBLISHED)
    check_protocol(found, {*node, *settings_of(node)}, evaluator.presentation)
    assert all(isinstance(figure, get_args(Figure)) for figure in found.figures.values())


def check_metrics(found: Finding, *, val: bool) -> None:
    """Typed, finite, told apart, with something to look at first; and, but for descriptions, that on val too."""
    assert all(isinstance(each, Metric) for each in found.metrics)
    assert all(type(each.value) is float and math.isfinite(each.value) for each in found.metrics)
    assert len(set(keys(found))) == len(found.metrics)
    plain = [asdict(each) for each in found.metrics]
    assert json.loads(json.dumps(plain)) == plain
    first = [each for each in found.metrics if each.headline]
    assert first
    assert len({(each.unit, each.better) for each in first}) == 1
    if any(each.better is not Better.NEITHER for each in first):
        by_split = {
            split: {(each.name, tuple(each.condition.items())) for each in first if each.split == split}
            for split in ("train", "val", "test")
        }
        assert by_split["val"] == (by_split["test"] if val else set())


def check_protocol(found: Finding, known: set[str], presentation: frozenset[str]) -> None:
    """JSON that says a method, and of which no key has two meanings, settings included."""
    plain = asdict(found.protocol)
    assert json.loads(json.dumps(plain)) == plain
    assert presentation <= known
    assert "method" in {*known, *found.protocol.terms}
    kinds = [known, *(leaves(part) for part in plain.values())]
    kinds.append({term for each in found.metrics for term in each.terms} - {"tasks"})  # glue's: of its average alone
    assert sum(map(len, kinds)) == len(set.union(*kinds)), kinds


def leaves(part: Mapping[str, Any]) -> set[str]:
    """The keys of a part of a protocol under which values stand; those under which others do are conditions."""
    return {
        inner
        for key, value in part.items()
        for inner in (leaves(value) if isinstance(value, Mapping) and value else [key])
    }
