"""Many runs lined up: what differs between them is found, seeds are put together, and each number keeps its protocol.

A *setting* is all that runs have in common but their seed. A *column* is one metric of an evaluator under one protocol.
A *cell* is what the seeds of a setting say in a column.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ssl_runner.reporting.results import Run


class Axis(NamedTuple):
    """A key of the config in which the runs differ: the name of an option, or a value."""

    key: str  # "objective", "objective.ratio"
    short: str  # as few of its last words as tell it apart from the other axes: "ratio"
    values: tuple[Any, ...]  # in ascending order if all are numbers, else as met; None where a run has no such key
    numeric: bool  # all values but None are numbers


class Setting(NamedTuple):
    """Runs that differ in their seed alone."""

    label: str  # what tells it apart: "ratio=0.75"; "-" where nothing does
    values: Mapping[str, Any]  # by an axis's key
    runs: Mapping[int, Run]  # by seed


class Column(NamedTuple):
    """One metric of one evaluator under one protocol."""

    key: str  # "linear.accuracy"; with what tells its protocol apart where there are several: "knn.accuracy{k=20}"
    evaluator: str
    metric: str
    protocol: Mapping[str, Any]  # less what the evaluator chose by itself, and the seed
    headline: bool
    higher_is_better: bool | None  # None: a description, neither is better


class Interval(NamedTuple):
    """Mean over seeds with its 95 % confidence interval (Student's t); low and high are nan for a single seed."""

    mean: float
    low: float
    high: float
    n: int


class Cell(NamedTuple):
    """What one setting's seeds say in one column."""

    values: Mapping[int, float]  # by seed, of the pretrained encoder
    interval: Interval
    controls: Mapping[str, Interval]  # by subject: random_start, pixels, ...
    differences: Mapping[str, Interval]  # pretrained less control, in pairs over common seeds
    verdict: str  # "not above random start", or empty
    tied: bool  # it cannot be told apart from the best of its column (the best itself included)


class Comparison(NamedTuple):
    axes: tuple[Axis, ...]  # those in which the runs differ, the seed apart; names of options first
    settings: tuple[Setting, ...]
    columns: tuple[Column, ...]
    cells: Mapping[tuple[str, str], Cell]  # by (Setting.label, Column.key)
