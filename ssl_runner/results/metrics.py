"""What a number is: its unit, which way it is better, under which condition it was found, by which protocol, on what.

Evaluations make these, `reporting` reads them. Kept apart from `interfaces` so that tables and pages need no torch. No
part of a number's meaning is in its name: nothing is found by taking a name apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple

Split = Literal["train", "val", "test"]


class Unit(StrEnum):
    SHARE = "share"  # of one; shown in percent
    NATS = "nats"
    BITS = "bits"
    DB = "dB"
    CORRELATION = "correlation"  # in [-1, 1]
    PLAIN = "plain"  # a number, a count, a ratio, or the unit of the task itself


class Better(StrEnum):
    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"  # a description

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is, 0 where neither is."""
        return {Better.HIGHER: 1, Better.LOWER: -1, Better.NEITHER: 0}[self]


class Kind(NamedTuple):
    """What a number is, independent of its name: unit and direction."""

    unit: Unit = Unit.PLAIN
    better: Better = Better.NEITHER


RIGHT = Kind(Unit.SHARE, Better.HIGHER)  # the share that is right
BASELINE = Kind(Unit.SHARE, Better.NEITHER)  # the share that is right without looking, and other shares


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number that an evaluation found.

    Two metrics are the same quantity where name, split and condition are equal: ("accuracy", "test", {"labels": 0.01}).
    """

    name: str  # "accuracy"
    value: float
    unit: Unit
    better: Better
    headline: bool = False  # whether it is what a person looks at first
    split: Split = "test"  # that it was found on; a figure of "val" may guide a search, one of "test" never
    condition: Mapping[str, str | int | float] = field(default_factory=dict)  # {"labels": 0.01}, {"layer": -2}
    terms: Mapping[str, Any] = field(default_factory=dict)  # as `Protocol.terms`, of this metric alone

    @property
    def shown(self) -> bool:
        """Whether it is shown in short tables: a headline of the test split."""
        return self.headline and self.split == "test"


def share(name: str, value: float, *, better: Better = Better.HIGHER, **fields: Any) -> Metric:
    """A share in [0, 1], higher is better, such as an accuracy. `fields`: other fields of `Metric`."""
    return Metric(name=name, value=value, unit=Unit.SHARE, better=better, **fields)


def description(name: str, value: float, **fields: Any) -> Metric:
    """A descriptive number, neither higher nor lower is better. `fields`: other fields of `Metric`."""
    return Metric(name=name, value=value, unit=Unit.PLAIN, better=Better.NEITHER, **fields)


def correlation(name: str, value: float, **fields: Any) -> Metric:
    """A correlation with reference values, higher is better. `fields`: other fields of `Metric`."""
    return Metric(name=name, value=value, unit=Unit.CORRELATION, better=Better.HIGHER, **fields)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The protocol of an evaluation: how its numbers were obtained.

    Numbers of different terms are never put in one column. The settings in an evaluator's config are terms by
    themselves (`Evaluator.presentation` apart): an evaluator adds what is not a setting.
    """

    terms: Mapping[str, Any] = field(default_factory=dict)  # what defines the numbers: method, contents of a file
    chosen: Mapping[str, Any] = field(default_factory=dict)  # on "val": a learning rate; by condition, if need be
    measured: Mapping[str, Any] = field(default_factory=dict)  # found on the way: examples, coverage, what was cut


@dataclass(frozen=True, kw_only=True)
class DataRef:
    """The data that an evaluation read."""

    dataset: str  # the option's name
    own: bool = True  # those of the run, as they were set for it
    fingerprint: str = ""  # of the contents of train, val and test; "" in results of schema 1 that had none
    settings: Mapping[str, Any] = field(default_factory=dict)  # of other data: what differs from the run's, or the file


@dataclass(frozen=True, kw_only=True)
class Precision:
    """The data types of pretraining and evaluation, as resolved; "" if unknown."""

    pretraining: str = ""  # "float32"
    evaluation: str = ""
