"""Which numbers may stand in one column: those of one evaluator and metric under one protocol.

An evaluation records all that it was done with. Of this, what the evaluator chose by itself and what it measured is no
protocol; every other key is, known here or not.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from ssl_runner.reporting.results import PRETRAINED, Evaluation, Result
from ssl_runner.reporting.values import freeze, text

MEASURED = frozenset(  # of the run, the encoder, the subset drawn; how much it read of texts; how a control answers
    {"seed", "width", "indices", "left out", "layer weights", "read", "cut", "control"}
)
_GRID = frozenset({"learning_rate", "weight_decay", "at the grid's edge"})
CHOSEN = {  # by protocol["evaluator"]
    "linear probe": _GRID,
    "linear probe of words": _GRID,
    "linear probe on few labels": _GRID,
}
SIZES = frozenset({"train", "examples", "clusters", "neighbours", "labels", "val labels", "chosen on"})  # of the data


class Number(NamedTuple):
    """A metric of a run's pretrained encoder, and of its controls under the same protocol."""

    evaluator: str
    metric: str
    headline: bool
    higher_is_better: bool | None
    values: dict[str, float]  # by subject
    terms: dict[str, Any]  # of the protocol: those that can be the same on all data
    data: dict[str, Any]  # of the protocol: what was evaluated on, numbers of examples and the fingerprint


def numbers(result: Result) -> Iterator[Number]:
    """All that was found of a run's pretrained encoder.

    A control counts where its protocol is the same: `ssl-evaluate` may leave one of an earlier evaluation.
    """
    found: dict[tuple[str, str], list[tuple[Evaluation, dict[str, Any], dict[str, Any]]]] = {}
    for evaluation in result.results:
        for metric in evaluation.metrics:
            terms, data = protocol(result, evaluation, metric)
            found.setdefault((evaluation.evaluator, metric), []).append((evaluation, terms, data))
    for (evaluator, metric), all_subjects in found.items():
        for evaluation, terms, data in all_subjects:
            if evaluation.subject != PRETRAINED:
                continue
            values = {other.subject: other.metrics[metric] for other, *same in all_subjects if same == [terms, data]}
            values[PRETRAINED] = evaluation.metrics[metric]
            known = metric.partition("@")[0] == evaluation.headline.partition("@")[0]
            better = evaluation.higher_is_better if known else None  # what is recorded is said of the headline
            yield Number(evaluator, metric, metric == evaluation.headline, better, values, terms, data)


def protocol(result: Result, found: Evaluation, metric: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The protocol of one metric: its terms, and the data it was evaluated on; values are frozen.

    Of a metric under a condition (accuracy@1%), what `subsets` records of that condition counts, and of no other.
    """
    recorded = {key: value for key, value in found.protocol.items() if key != "subsets"}
    subsets = found.protocol.get("subsets", {})
    _, at, condition = metric.partition("@")
    if condition in subsets:
        recorded |= subsets[condition]
    elif subsets and not at:
        recorded["subsets"] = {name: _kept(found, subset) for name, subset in subsets.items()}
    terms = {key: freeze(value) for key, value in _kept(found, recorded).items()}
    if elsewhere(found.evaluator):
        return terms, {}
    data = {key: terms.pop(key) for key in list(terms) if key in SIZES}
    data |= {f"{split} examples": result.data[split] for split in ("train", "val", "test") if split in result.data}
    data |= {key: result.data[key] for key in ("fingerprint",) if key in result.data}
    return terms, data


def elsewhere(evaluator: str) -> bool:
    """Whether an evaluator was given other data than the run's, which its name says: "linear on cifar10"."""
    return " on " in evaluator


def _kept(found: Evaluation, recorded: Mapping[str, Any]) -> dict[str, Any]:
    chosen = CHOSEN.get(str(found.protocol.get("evaluator")), frozenset())
    return {key: value for key, value in recorded.items() if key not in MEASURED | chosen}


def columns(found: Sequence[tuple[str, Number]]) -> list[tuple[dict[str, Any], list[int]]]:
    """Put the numbers of one evaluator and metric, each with its section, in columns: what their protocol is called by,
    and their places.

    Numbers of different terms never share a column. Those of different data do where each section has its own data;
    within a section they do not.
    """
    by_terms: dict[frozenset[Any], list[int]] = {}
    for place, (_, number) in enumerate(found):
        by_terms.setdefault(frozenset(number.terms.items()), []).append(place)
    parts: list[tuple[dict[str, Any], list[int]]] = []
    for places in by_terms.values():
        by_data: dict[frozenset[Any], list[int]] = {}
        for place in places:
            by_data.setdefault(frozenset(found[place][1].data.items()), []).append(place)
        sections = [{found[place][0] for place in same} for same in by_data.values()]
        terms = found[places[0]][1].terms
        if sum(map(len, sections)) == len(set().union(*sections)):
            parts.append((terms, places))
        else:
            parts += [(terms | found[same[0]][1].data, same) for same in by_data.values()]
    return parts


def together(found: Sequence[tuple[str, Number]]) -> dict[str, Any]:
    """The protocol of a column's numbers; where sections differ in a key, its value by section."""
    by_section = {section: number.terms | number.data for section, number in found}
    first, *others = by_section.values()
    return {
        key: value
        if all(other.get(key) == value for other in others)
        else {section: each.get(key) for section, each in by_section.items()}
        for key, value in first.items()
    }


def suffixes(protocols: Sequence[Mapping[str, Any]]) -> list[str]:
    """The shortest that tells protocols apart, one each: as few of their keys as are different for any two.

    >>> suffixes([{"layer": "pooled", "k": 20}, {"layer": "pooled", "k": 200}]), suffixes([{"k": 20}])
    (['{k=20}', '{k=200}'], [''])
    """
    if len(protocols) == 1:
        return [""]
    keys = list(dict.fromkeys(key for protocol in protocols for key in protocol))
    said = [{key: text(each[key]) if key in each else "-" for key in keys} for each in protocols]
    keys = [key for key in keys if len({each[key] for each in said}) > 1]
    for count in range(1, len(keys) + 1):
        for some in combinations(keys, count):
            found = [f"{{{','.join(f'{key}={each[key]}' for key in some)}}}" for each in said]
            if len(set(found)) == len(found):
                return found
    raise ValueError(f"these protocols are no different: {protocols}")
