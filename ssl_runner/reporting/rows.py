"""The numbers of a run as rows, each beside its controls, and how a person reads them.

Numbers stand together only where they have one key: evaluator, metric, and layer if not the pooled features. A
result that does not beat its control says so.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from ssl_runner.reporting.results import BAG_OF_WORDS, PIXELS, PRETRAINED, RANDOM_START, Evaluation, Result
from ssl_runner.reporting.statistics import Interval

SUBJECTS = {  # in the order of columns
    PRETRAINED: "pretrained",
    RANDOM_START: "random start",
    PIXELS: "pixels",
    BAG_OF_WORDS: "bag of words",
}
NOTHING = "-"


class Row(NamedTuple):
    """One number of one evaluator, for every subject it was found of."""

    evaluator: str
    metric: str
    layer: str  # "" for the pooled features
    headline: bool  # of its evaluator; the others are the same metric under other conditions
    higher_is_better: bool | None  # None: a description, neither is better
    values: dict[str, float]  # by subject, the pretrained encoder first

    @property
    def key(self) -> str:
        """The column it stands in: linear.accuracy, linear.accuracy[-2]."""
        return f"{self.evaluator}.{self.metric}" + f"[{self.layer}]" * bool(self.layer)

    @property
    def label(self) -> str:
        words = f"{self.evaluator.replace('_', ' ')} {metric_name(self.metric)}"
        return f"{words}, layer {self.layer}" if self.layer else words

    @property
    def controls(self) -> dict[str, float]:
        return {subject: value for subject, value in self.values.items() if subject != PRETRAINED}

    @property
    def bars(self) -> bool:
        """Whether its values can be drawn as shares of a whole bar."""
        return is_share(self.metric) and all(0 <= value <= 1 for value in self.values.values())

    def shown(self, subject: str) -> str:
        return show(self.metric, self.values[subject]) if subject in self.values else NOTHING

    @property
    def shown_difference(self) -> str:
        """From the random start."""
        if PRETRAINED not in self.values or RANDOM_START not in self.values:
            return NOTHING
        return show_difference(self.metric, self.values[PRETRAINED], self.values[RANDOM_START])

    @property
    def unbeaten(self) -> list[str]:
        """The controls that the pretrained encoder is not better than by so much that it shows."""
        if self.higher_is_better is None:
            return []
        return [subject for subject in self.controls if not self._beats(subject)]

    @property
    def verdict(self) -> str:
        """What to say of a number that does not beat its controls: "not above random start". Empty if it does."""
        if math.isnan(self.values.get(PRETRAINED, 0)):
            return "not a number"
        side = "above" if self.higher_is_better else "below"
        return f"not {side} {' or '.join(map(subject_name, self.unbeaten))}" if self.unbeaten else ""

    def _beats(self, subject: str) -> bool:
        difference = self.values.get(PRETRAINED, math.nan) - self.values[subject]
        if math.isnan(difference):  # no claim to refute, or a control that fell over
            return True
        better = difference > 0 if self.higher_is_better else difference < 0
        return better and self.shown(PRETRAINED) != self.shown(subject)


def is_share(metric: str) -> bool:
    """Whether a metric is a share of one, shown in percent: accuracies of every kind."""
    return "accuracy" in metric


def show(metric: str, value: float) -> str:
    """A metric's value as a person reads it: a share in percent, any other with three or four digits.

    >>> show("accuracy@10%", 0.9704), show("effective_rank", 43.271), show("nmi", 0.61), show("mse", 0.01234)
    ('97.0 %', '43.27', '0.610', '0.0123')
    """
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else f"{value:+}"
    if is_share(metric):
        return f"{100 * value:.1f} %"
    return f"{value:.2e}" if 0 < abs(value) < 1e-3 else f"{value:,.{_decimals(value)}f}"


def show_difference(metric: str, value: float, control: float) -> str:
    """How far a value lies above a control, as finely as the larger of the two is shown.

    >>> show_difference("accuracy", 0.971, 0.835), show_difference("nmi", 0.5028, 0.5242)
    ('+13.6 points', '-0.021')
    """
    difference = value - control
    if math.isnan(difference):
        return NOTHING
    if not math.isfinite(difference):
        return f"{difference:+}"
    if is_share(metric):
        return f"{100 * difference:+.1f} points"
    return f"{difference:+,.{_decimals(max(value, control, key=abs))}f}"


def show_interval(metric: str, interval: Interval) -> str:
    """A mean and half the width of its interval, as finely as the mean is shown; a single number without.

    >>> show_interval("accuracy", Interval(0.972, 0.969, 0.975, 3)), show_interval("nmi", Interval(0.61, 0.6, 0.62, 3))
    ('97.2 ± 0.3 %', '0.610 ± 0.010')
    """
    mean = show(metric, interval.mean)
    half = (interval.high - interval.low) / 2
    if not math.isfinite(half):
        return mean
    if is_share(metric):
        return f"{mean.removesuffix(' %')} ± {100 * half:.1f} %"
    return f"{mean} ± {half:.1e}" if "e" in mean else f"{mean} ± {half:,.{_decimals(interval.mean)}f}"


def _decimals(value: float) -> int:
    size = abs(value)
    return 4 if 0 < size < 0.1 else 3 if size < 1 else 2 if size < 100 else 1 if size < 1000 else 0


def result_rows(result: Result) -> list[Row]:
    """Headlines, in the order they were found. Where an evaluator has its headline under several conditions
    (accuracy@1%, accuracy@10%), each is a row."""
    rows: dict[str, Row] = {}
    for found in result.results:
        for metric, value in found.metrics.items():
            if metric.split("@")[0] != found.headline.split("@")[0]:
                continue
            row = Row(found.evaluator, metric, layer(found), metric == found.headline, found.higher_is_better, {})
            rows.setdefault(row.key, row).values[found.subject] = value
    return [
        row._replace(values={s: row.values[s] for s in sorted(row.values, key=subject_place)}) for row in rows.values()
    ]


def layer(found: Evaluation) -> str:
    """The layer an evaluation read, "" for the pooled features."""
    name = str(found.protocol.get("layer", "pooled"))
    return "" if name == "pooled" else name


def subjects(rows: Sequence[Row]) -> list[str]:
    """Whom the rows are about, the pretrained encoder first."""
    return sorted({subject for row in rows for subject in row.values}, key=subject_place)


def metric_name(metric: str) -> str:
    """
    >>> metric_name("val_accuracy@10%")
    'val accuracy at 10%'
    """
    return metric.replace("_", " ").replace("@", " at ")


def subject_name(subject: str) -> str:
    return SUBJECTS.get(subject, subject.replace("_", " "))


def subject_place(subject: str) -> tuple[int, str]:
    return (list(SUBJECTS).index(subject) if subject in SUBJECTS else len(SUBJECTS)), subject
