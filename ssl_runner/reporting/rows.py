"""The metrics of a run as rows, each beside its controls, and their formatting.

A row holds numbers of one address. A result that is not better than its control is marked.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ssl_runner.reporting.older import evaluations_now
from ssl_runner.reporting.protocols import apart, elsewhere, quantity
from ssl_runner.reporting.statistics import Interval
from ssl_runner.results.address import ON, Address, address
from ssl_runner.results.metrics import Better, Metric, Unit
from ssl_runner.results.result import (
    BAG_OF_WORDS,
    INITIAL,
    PIXELS,
    PRETRAINED,
    RANDOM_START,
    Evaluation,
    Result,
)
from ssl_runner.results.values import freeze, text

SUBJECTS = {  # in the order of columns
    PRETRAINED: "pretrained",
    RANDOM_START: "random start",
    INITIAL: "initial weights",
    PIXELS: "pixels",
    BAG_OF_WORDS: "bag of words",
}
NOTHING = "-"
BASELINES = {  # what is right without looking -> what stands above it, of the same evaluation or the same log
    "chance": "accuracy",
    "majority": "accuracy",
    "most_frequent": "accuracy",
    "chance_accuracy": "accuracy",
    "masked_majority": "masked_accuracy",
    "next_chance": "next_accuracy",
    "map_chance": "map",
}
PLAINLY = {  # numbers that are no number of their evaluator's name: (evaluator, metric) -> words
    ("gap", "log_p"): "exact log p",
    ("gap", "elbo"): "ELBO",
    ("gap", "kl_to_posterior"): "KL(q || posterior)",
    ("gap", "log_p_data"): "log p of the data's own distribution",
}


class Row(NamedTuple):
    """One number of one evaluator, for every subject it was found of."""

    address: Address
    unit: Unit
    better: Better
    values: dict[str, float]  # by subject, the pretrained encoder first
    baseline: tuple[str, float] | None = None  # what is right without looking: ("chance", 0.25)

    @property
    def label(self) -> str:
        return label(self.address)

    @property
    def controls(self) -> dict[str, float]:
        return {subject: value for subject, value in self.values.items() if subject != PRETRAINED}

    @property
    def bars(self) -> bool:
        """Whether the values can be drawn as bars from 0 to 1."""
        return self.unit is Unit.SHARE and all(0 <= value <= 1 for value in self.values.values())

    def shown(self, subject: str) -> str:
        return show(self.unit, self.values[subject]) if subject in self.values else NOTHING

    @property
    def shown_difference(self) -> str:
        """The difference to the random start, formatted."""
        if PRETRAINED not in self.values or RANDOM_START not in self.values:
            return NOTHING
        return show_difference(self.unit, self.values[PRETRAINED], self.values[RANDOM_START])

    @property
    def unbeaten(self) -> list[str]:
        """The controls that the pretrained encoder does not beat, as the values are shown."""
        if self.better is Better.NEITHER:
            return []
        return [subject for subject in self.controls if not self._beats(subject)]

    @property
    def verdict(self) -> str:
        """A remark on a number that does not beat its controls: "not above random start". Empty if it does."""
        if math.isnan(self.values.get(PRETRAINED, 0)):
            return "not a number"
        side = "above" if self.better is Better.HIGHER else "below"
        return f"not {side} {self.unbeaten_words}" if self.unbeaten_words else ""

    @property
    def unbeaten_words(self) -> str:
        """The controls that it does not beat, and what is right without looking: "pixels or chance"."""
        blind = [self.baseline[0]] if self.baseline and self._blind else []
        return " or ".join([*map(subject_name, self.unbeaten), *blind])

    @property
    def shown_baseline(self) -> str:
        """ "chance 25.0 %"; empty where there is none."""
        return f"{self.baseline[0]} {show(self.unit, self.baseline[1])}" if self.baseline else ""

    @property
    def _blind(self) -> bool:
        """Whether the number is no better than what is right without looking."""
        if self.baseline is None or not self.better.sign or PRETRAINED not in self.values:
            return False
        return self.better.sign * (self.values[PRETRAINED] - self.baseline[1]) <= 0

    def _beats(self, subject: str) -> bool:
        difference = self.values.get(PRETRAINED, math.nan) - self.values[subject]
        if math.isnan(difference):  # no claim to refute, or a control that fell over
            return True
        return self.better.sign * difference > 0 and self.shown(PRETRAINED) != self.shown(subject)


def label(address: Address) -> str:
    """An address in words.

    >>> label(Address("few_label", "accuracy", {"labels": 0.01}))
    'few label accuracy, labels=0.01'
    """
    plainly = PLAINLY.get((address.evaluator, address.metric))
    words = plainly or f"{address.evaluator} {address.metric}".replace("_", " ")
    apart = {key: value for key, value in address.apart.items() if key != ON}
    where = f" on {address.apart[ON]}" if ON in address.apart else ""
    told = [f"{key.replace('_', ' ')}={text(value)}" for key, value in {**address.condition, **apart}.items()]
    return ", ".join([words + where, *told])


def listed(words: Sequence[str]) -> str:
    """
    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def unit_word(unit: Unit) -> str:
    """What stands behind a number in the heading of its column; empty where it has no unit, or the task's own."""
    return {Unit.SHARE: "%", Unit.NATS: "nats", Unit.BITS: "bits", Unit.DB: "dB"}.get(unit, "")


def show(unit: Unit, value: float) -> str:
    """A value as a person reads it: a share in percent, any other with three or four digits.

    >>> show(Unit.SHARE, 0.9704), show(Unit.PLAIN, 43.271), show(Unit.PLAIN, 0.61), show(Unit.PLAIN, 0.01234)
    ('97.0 %', '43.27', '0.610', '0.0123')
    """
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else f"{value:+}"
    if unit is Unit.SHARE:
        return f"{100 * value:.1f} %"
    return f"{value:.2e}" if 0 < abs(value) < 1e-3 else f"{value:,.{_decimals(value)}f}"


def show_difference(unit: Unit, value: float, control: float) -> str:
    """How far a value lies above a control, as finely as the larger of the two is shown.

    >>> show_difference(Unit.SHARE, 0.971, 0.835), show_difference(Unit.PLAIN, 0.5028, 0.5242)
    ('+13.6 points', '-0.021')
    """
    difference = value - control
    if math.isnan(difference):
        return NOTHING
    if not math.isfinite(difference):
        return f"{difference:+}"
    if unit is Unit.SHARE:
        return f"{100 * difference:+.1f} points"
    return f"{difference:+,.{_decimals(max(value, control, key=abs))}f}"


def show_interval(unit: Unit, interval: Interval, sign: str = " %") -> str:
    """A mean and half the width of its interval, as finely as the mean is shown; a single number without. `sign`: after
    a share.

    >>> show_interval(Unit.SHARE, Interval(0.972, 0.969, 0.975, 3)), show_interval(Unit.PLAIN, Interval(6.1, 6, 6.2, 3))
    ('97.2 ± 0.3 %', '6.10 ± 0.10')
    """
    half = (interval.high - interval.low) / 2
    if unit is Unit.SHARE and math.isfinite(interval.mean):
        spread = f" ± {100 * half:.1f}" if math.isfinite(half) else ""
        return f"{100 * interval.mean:.1f}{spread}{sign}"
    mean = show(unit, interval.mean)
    if not math.isfinite(half):
        return mean
    small = 0 < abs(interval.mean) < 1e-3
    return f"{mean} ± {half:.1e}" if small else f"{mean} ± {half:,.{_decimals(interval.mean)}f}"


def _decimals(value: float) -> int:
    size = abs(value)
    return 4 if 0 < size < 0.1 else 3 if size < 1 else 2 if size < 100 else 1 if size < 1000 else 0


def result_rows(result: Result) -> list[Row]:
    """Headlines, in the order they were found: a row each for every condition, and for every protocol."""
    return [row for row, headline in _rows(result) if headline]


def report_rows(result: Result) -> list[Row]:
    """Headlines, and what else stands beside what is right without looking: a task's accuracy beside chance."""
    on_test = ((row, headline) for row, headline in _rows(result) if "split" not in row.address.condition)
    return [row for row, headline in on_test if headline or row.baseline]


def _rows(result: Result) -> Iterator[tuple[Row, bool]]:
    """All numbers of a result with whether they are headlines. Those of a control without one of the pretrained encoder
    have rows too."""
    found: dict[tuple[Any, ...], dict[tuple[Any, ...], list[tuple[Evaluation, Metric]]]] = {}
    for evaluation in evaluations_now(result):
        for metric in evaluation.metrics:
            protocol = freeze([evaluation.terms(metric), vars(evaluation.on)])
            alike = found.setdefault((evaluation.evaluator, *quantity(metric)), {})
            alike.setdefault(protocol, []).append((evaluation, metric))
    for alike in found.values():
        firsts = [numbers[0] for numbers in alike.values()]
        told = apart([{**elsewhere(e.on), **e.terms(metric)} for e, metric in firsts])
        for differs, numbers in zip(told, alike.values(), strict=True):
            evaluation, metric = numbers[0]
            values = {evaluation.subject: metric.value for evaluation, metric in numbers}
            place = address(evaluation.evaluator, metric, {**elsewhere(evaluation.on), **differs})
            ordered = {subject: values[subject] for subject in sorted(values, key=subject_place)}
            yield Row(place, metric.unit, metric.better, ordered, _baseline(evaluation, metric)), metric.shown


def _baseline(evaluation: Evaluation, metric: Metric) -> tuple[str, float] | None:
    """What is right without looking, of the same evaluation, split and condition; the highest of several."""
    found = [
        (each.value, each.name.replace("_", " "))
        for each in evaluation.metrics
        if BASELINES.get(each.name) == metric.name and (each.split, each.condition) == (metric.split, metric.condition)
    ]
    return max(found)[::-1] if found else None


def subjects(rows: Sequence[Row]) -> list[str]:
    """The subjects of the rows, the pretrained encoder first."""
    return sorted({subject for row in rows for subject in row.values}, key=subject_place)


def subject_name(subject: str) -> str:
    return SUBJECTS.get(subject, subject.replace("_", " "))


def subject_place(subject: str) -> tuple[int, str]:
    return (list(SUBJECTS).index(subject) if subject in SUBJECTS else len(SUBJECTS)), subject
