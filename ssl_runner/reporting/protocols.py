"""Comparability of numbers: a column has one evaluator, metric, split and condition, and equal protocol terms.

What was chosen and what was measured is no term; every other part of a protocol is, known here or not.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from ssl_runner.reporting.older import evaluations_now
from ssl_runner.results.address import ON
from ssl_runner.results.metrics import DataRef, Metric
from ssl_runner.results.result import PRETRAINED, Evaluation, Result
from ssl_runner.results.values import freeze

MOST_KEYS = 3  # of a protocol that stand in an address
LONGEST = 60  # characters of them
PROTOCOL = "protocol"  # the key of a digest


class Number(NamedTuple):
    """A metric of a run's pretrained encoder, and of its controls under the same protocol."""

    evaluator: str
    metric: Metric
    values: dict[str, float]  # by subject
    terms: dict[str, Any]  # frozen
    on: DataRef

    @property
    def quantity(self) -> tuple[Any, ...]:
        """What is the same for all numbers that are called alike."""
        return self.evaluator, *quantity(self.metric)


def quantity(metric: Metric) -> tuple[Any, ...]:
    return metric.name, metric.split, freeze(metric.condition)


def numbers(result: Result) -> Iterator[Number]:
    """All metrics of a run's pretrained encoder, with those of its controls.

    A control counts where its terms and data are the same: `ssl-evaluate` may leave one of an earlier evaluation.
    """
    controls: dict[tuple[Any, ...], dict[str, float]] = {}
    results = evaluations_now(result)
    for found in results:
        if found.subject != PRETRAINED:
            for metric in found.metrics:
                controls.setdefault(_same(found, metric), {})[found.subject] = metric.value
    for found in results:
        if found.subject == PRETRAINED:
            for metric in found.metrics:
                values = {PRETRAINED: metric.value, **controls.get(_same(found, metric), {})}
                yield Number(found.evaluator, metric, values, _terms(found, metric), found.on)


def _terms(found: Evaluation, metric: Metric) -> dict[str, Any]:
    return {key: freeze(value) for key, value in found.terms(metric).items()}


def _same(found: Evaluation, metric: Metric) -> tuple[Any, ...]:
    return found.evaluator, *quantity(metric), freeze(found.terms(metric)), freeze(vars(found.on))


def columns(found: Sequence[tuple[str, Number]]) -> list[tuple[dict[str, Any], list[int]]]:
    """Put numbers of one quantity, each with its section, in columns: what tells each column's protocol from the
    others', and the places of its numbers.

    Numbers of different terms never share a column. Those of different data do where each section has its own data;
    within a section they do not. Numbers on data that are not the run's own share a column where the data are the same.
    """
    by_terms: dict[Any, list[int]] = {}
    for place, (_, number) in enumerate(found):
        by_terms.setdefault((freeze(number.terms), freeze(elsewhere(number.on))), []).append(place)
    parts: list[tuple[dict[str, Any], list[int]]] = []
    for places in by_terms.values():
        by_data: dict[str, list[int]] = {}
        for place in places:
            by_data.setdefault(found[place][1].on.fingerprint, []).append(place)
        sections = [{found[place][0] for place in same} for same in by_data.values()]
        number = found[places[0]][1]
        called = {**elsewhere(number.on), **number.terms}
        own = number.on.own
        if (own or len(by_data) == 1) and sum(map(len, sections)) == len(set().union(*sections)):
            parts.append((called, places))
        else:
            parts += [({**called, "fingerprint": data}, same) for data, same in by_data.items()]
    told = apart([called for called, _ in parts])
    return [
        ({**elsewhere(found[places[0]][1].on), **differs}, places)
        for differs, (_, places) in zip(told, parts, strict=True)
    ]


def elsewhere(on: DataRef) -> dict[str, Any]:
    """A description of data that are not the run's own; empty for its own."""
    return {} if on.own else {ON: on.dataset, **{key: freeze(value) for key, value in on.settings.items()}}


def together(found: Sequence[tuple[str, Number]]) -> dict[str, Any]:
    """The protocol of a column's numbers; where sections differ in a key, its value by section."""
    by_section = {
        section: {**number.terms, "data": number.on.dataset, "fingerprint": number.on.fingerprint}
        for section, number in found
    }
    first, *others = by_section.values()
    return {
        key: value
        if all(other.get(key) == value for other in others)
        else {section: each.get(key) for section, each in by_section.items()}
        for key, value in first.items()
    }


def apart(protocols: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What tells protocols apart, one each: as few of their keys as are different for any two. Where that would be
    long, a digest of each.

    >>> apart([{"layer": "pooled", "k": 20}, {"layer": "pooled", "k": 200}]), apart([{"k": 20}])
    ([{'k': 20}, {'k': 200}], [{}])
    """
    if len(protocols) == 1:
        return [{}]
    keys = list(dict.fromkeys(key for protocol in protocols for key in protocol))
    keys = [key for key in keys if len({freeze([key in each, each.get(key)]) for each in protocols}) > 1]
    for count in range(1, min(len(keys), MOST_KEYS) + 1):
        for some in combinations(keys, count):
            told = [{key: each[key] for key in some if key in each} for each in protocols]
            said = all(own or not each.keys() & set(keys) for own, each in zip(told, protocols, strict=True))
            if said and len(set(map(freeze, told))) == len(told) and all(len(str(own)) <= LONGEST for own in told):
                return told
    return [{PROTOCOL: _digest(each)} for each in protocols]


def _digest(protocol: Mapping[str, Any]) -> str:
    return f"p{hashlib.sha256(repr(freeze(protocol)).encode()).hexdigest()[:7]}"  # a letter first: no number
