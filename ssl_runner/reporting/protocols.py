"""Comparability of numbers: a column has one evaluator, metric, split and condition, and equal protocol terms.

All parts of a protocol are terms, except for what was chosen and what was measured.
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

MOST_KEYS = 3  # protocol keys in an address, at most
LONGEST = 60  # characters of these, at most
PROTOCOL = "protocol"  # the key of a digest in an address


class Number(NamedTuple):
    """A metric of a run's pretrained encoder, and of its controls under the same protocol."""

    evaluator: str
    metric: Metric
    values: dict[str, float]  # by subject
    terms: dict[str, Any]  # frozen
    on: DataRef

    @property
    def quantity(self) -> tuple[Any, ...]:
        """The identity of the quantity, without its protocol."""
        return self.evaluator, *quantity(self.metric)


def quantity(metric: Metric) -> tuple[Any, ...]:
    return metric.name, metric.split, freeze(metric.condition)


def numbers(result: Result) -> Iterator[Number]:
    """All metrics of a run's pretrained encoder, with those of its controls.

    Only controls with the same terms and data are included, since a folder may still hold a control of an earlier
    `ssl-evaluate`.
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
    """Assign numbers of one quantity, each with its section, to columns. Returns for each column what distinguishes its
    protocol from the others', and the indices of its numbers.

    Numbers with different terms never share a column. Numbers on different data share one only across sections. Numbers
    on data other than the run's own share one only if these data are the same.
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
    """A description of data other than the run's own; empty for its own."""
    return {} if on.own else {ON: on.dataset, **{key: freeze(value) for key, value in on.settings.items()}}


def together(found: Sequence[tuple[str, Number]]) -> dict[str, Any]:
    """The protocol of a column's numbers; for a key that differs between sections, its value by section."""
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
    """What distinguishes protocols, one each: the fewest keys with which all differ; if that is too long, a digest of
    each.

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
    return f"p{hashlib.sha256(repr(freeze(protocol)).encode()).hexdigest()[:7]}"  # a letter first: not a number
