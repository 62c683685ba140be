"""The address of a column: one string, written and read only here.

few_label.accuracy[labels=0.01]              evaluator, metric, condition
linear.accuracy[split=val]                   not on "test"
knn.accuracy{k=20}                           where another column differs in k
linear.accuracy{on=stl10,label=ship}         data that are not the run's own
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ssl_runner.results.metrics import Metric
from ssl_runner.results.values import parse, text

WORD = r'"(?:[^"\\]|\\.)*"|\[[^\]]*\]|[^,=\[\]{}"]+'  # of a pair: quoted, a list, or plain
PAIR = re.compile(rf"\s*({WORD})=({WORD})\s*(,|$)")
WHOLE = re.compile(r"([^.\[\]{}\s]+)\.([^.\[\]{}]+?)(?:\[((?:\"(?:[^\"\\]|\\.)*\"|[^\"\]])*)\])?(?:\{(.*)\})?")

ON = "on"  # the key of data that are not the run's own


class Address(NamedTuple):
    """The address of a number. `condition`: of its metric, with "split" if that is not "test"."""

    evaluator: str
    metric: str
    condition: Mapping[str, Any] = {}
    apart: Mapping[str, Any] = {}  # terms and data that tell it from columns that are called alike otherwise

    def __str__(self) -> str:
        condition = f"[{_pairs(self.condition)}]" if self.condition else ""
        apart = f"{{{_pairs(self.apart)}}}" if self.apart else ""
        return f"{self.evaluator}.{self.metric}{condition}{apart}"

    def covers(self, other: "Address") -> bool:
        """Whether `other` names the same number; it may be qualified further in `apart`."""
        own, its = dict(self.condition), dict(other.condition)
        return self[:2] == other[:2] and own == its and self.apart.items() <= other.apart.items()


def address(evaluator: str, metric: Metric, apart: Mapping[str, Any] = {}) -> Address:
    """Of one metric."""
    split = {} if metric.split == "test" else {"split": metric.split}
    return Address(evaluator, metric.name, {**metric.condition, **split}, apart)


def read_address(written: str) -> Address:
    """Parse an address, as `str` writes it. Raises ValueError for an invalid one.

    >>> read_address("few_label.accuracy[labels=0.01,split=val]").condition
    {'labels': 0.01, 'split': 'val'}
    """
    found = WHOLE.fullmatch(written.strip())
    if found is None:
        raise ValueError(f"{written!r} is not a column; write evaluator.metric, or evaluator.metric[condition=value]")
    evaluator, metric, condition, apart = found.groups()
    return Address(evaluator, metric, dict(_read(condition or "", written)), dict(_read(apart or "", written)))


def _pairs(values: Mapping[str, Any]) -> str:
    return ",".join(f"{_word(key)}={_word(value)}" for key, value in values.items())


def _word(value: Any) -> str:
    written = text(value)
    plain = isinstance(value, list | tuple) and '"' not in written and "{" not in written
    return written if plain or not set(written) & set(',=[]{}"') or written[:1] == '"' else json.dumps(written)


def _read(pairs: str, whole: str) -> Iterator[tuple[str, Any]]:
    place = 0
    while place < len(pairs):
        found = PAIR.match(pairs, place)
        if found is None:
            raise ValueError(f"{whole!r} is not a column: {pairs[place:]!r} is not key=value")
        yield str(parse(found[1])), parse(found[2])
        place = found.end()
