"""What a finding holds, for tests."""

from typing import Any

from ssl_runner.interfaces import Finding
from ssl_runner.metrics import Metric


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


def names(found: Finding) -> set[str]:
    return {each.name for each in found.metrics}
