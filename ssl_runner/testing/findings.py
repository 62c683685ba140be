"""What every finding of an evaluator promises."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ssl_runner.interfaces import Finding
from ssl_runner.results.metrics import Better, Metric


def key(each: Metric) -> tuple[str, str, tuple[tuple[str, Any], ...]]:
    """What tells a metric from the others of its evaluation."""
    return each.name, each.split, tuple(sorted(each.condition.items()))


def keys(found: Finding) -> list[tuple[str, str, tuple[tuple[str, Any], ...]]]:
    return [key(each) for each in found.metrics]


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
