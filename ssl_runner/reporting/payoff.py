"""Up to how many labels does pretraining pay? The points where a pretrained network meets the untrained one.

Both are fine-tuned on the same labels. What is compared is found in the runs: settings that pretrain on some number of
examples, and beside them the same network without pretraining, as runs of their own (`objective=none`) or as each run's
random start.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ssl_runner.figures import Lines
from ssl_runner.reporting.comparison import Column, Comparison, Setting
from ssl_runner.reporting.rows import listed
from ssl_runner.reporting.statistics import CONFIDENCE, Interval, interval
from ssl_runner.results.result import RANDOM_START, Result
from ssl_runner.results.values import freeze

EVALUATOR, METRIC, LABELS = "few_label_finetune", "accuracy", "labels"  # the columns that are read
UNTRAINED = "none"  # the objective of runs that pretrain nothing
STARTS = ("weights", "start_from")  # the last words of keys that say where weights come from
LEAST_COUNTS = 3  # numbers of labels between which a point can be found


class Crossing(NamedTuple):
    """The number at which a gain ends, or begins, and where that lies with 95 % confidence.

    0: it lies below all numbers that were tried; infinity: above all of them. The bounds are nan for a single seed."""

    at: float
    low: float
    high: float


class Payoff(NamedTuple):
    """What one way of pretraining gains over the untrained network, over labels."""

    way: str  # the objective, and what else tells it apart
    examples: int  # that it pretrained on; 0: on none of these data (weights that came from elsewhere)
    gains: Mapping[int, Interval]  # number of labels -> accuracy above the untrained network, paired by seed

    @property
    def crossing(self) -> Crossing:
        """The number of labels from which on pretraining no longer pays."""
        return crossing(self.gains, rising=False)


def crossing(gains: Mapping[int, Interval], *, rising: bool) -> Crossing:
    """The number (of labels, of examples) at which the mean gain passes zero, by a straight line over its logarithm.

    Its interval is where the gain's own interval holds zero: from where its lower bound passes zero to where its upper
    bound does (`rising`: the other way round). So an interval is wide where the gain is flat.
    """
    x = sorted(gains)
    at, low, high = (
        _passes(x, [getattr(gains[place], part) for place in x], rising) for part in ("mean", "low", "high")
    )
    return Crossing(at, high, low) if rising else Crossing(at, low, high)


def _passes(x: Sequence[int], y: Sequence[float], rising: bool) -> float:
    """Where y first passes zero, downwards or upwards."""
    if any(map(math.isnan, y)):
        return math.nan
    sign = -1 if rising else 1
    if sign * y[0] <= 0:
        return 0.0
    for place in range(1, len(x)):
        if sign * y[place] <= 0:
            share = y[place - 1] / (y[place - 1] - y[place])
            return float(x[place - 1] * (x[place] / x[place - 1]) ** share)
    return math.inf


# ------------------------------------------------------------------------------------------------- from a comparison


def payoffs(comparison: Comparison) -> dict[str, list[Payoff]]:
    """What pretraining gains, by dataset; empty where runs do not say."""
    by_data: dict[str, list[Setting]] = {}
    for setting in comparison.settings:
        by_data.setdefault(setting.section, []).append(setting)
    found = {}
    for settings in by_data.values():
        several = list(_of_data(comparison, settings))
        if several:
            found[_first(settings[0]).name.dataset] = several
    return found


def _of_data(comparison: Comparison, settings: Sequence[Setting]) -> Iterator[Payoff]:
    """The settings on one dataset, in their order."""
    columns = [column for column in comparison.columns if _is_read(column)]
    base = {_network(setting): setting for setting in settings if _is_untrained(setting)}
    for setting in settings:
        if _is_untrained(setting):
            continue
        beside = base.get(_network(setting))
        gains = {}
        for column in columns:
            values = comparison.cells.get((setting.label, column.key))
            if values is None:
                continue
            if beside is None:
                others = values.control_values.get(RANDOM_START, {})
            else:
                cell = comparison.cells.get((beside.label, column.key))
                others = {} if cell is None else cell.values
            pairs = [value - others[seed] for seed, value in values.values.items() if seed in others]
            if pairs:
                gains[_count(setting, column)] = interval(pairs)
        if len(gains) >= LEAST_COUNTS:
            pretrained = _first(setting).pretraining
            some = pretrained is not None and pretrained.steps > 0
            yield Payoff(_way(comparison, setting), int(_first(setting).data.get("pretrain", 0)) if some else 0, gains)


def _is_read(column: Column) -> bool:
    place = column.address
    named = (place.evaluator, place.metric) == (EVALUATOR, METRIC)
    return named and list(place.condition) == [LABELS] and column.own


def _is_untrained(setting: Setting) -> bool:
    """Whether it has neither pretraining nor weights from elsewhere."""
    starts = [value for key, value in setting.values.items() if _is_start(key)]
    return _first(setting).name.objective == UNTRAINED and all(value in (None, UNTRAINED) for value in starts)


def _is_start(key: str) -> bool:
    return key.rpartition(".")[2] in STARTS


def _network(setting: Setting) -> object:
    """What a setting has in common with its untrained network."""
    of_it = [pair for pair in setting.values.items() if pair[0].startswith("backbone") and not _is_start(pair[0])]
    return freeze(of_it)


def _way(comparison: Comparison, setting: Setting) -> str:
    """How it was pretrained, in words; less the number of examples, which stands beside it."""
    from ssl_runner.reporting.comparison_figures import setting_name

    axes = [axis for axis in comparison.axes if axis.key != "pretrain_examples" and not axis.key.startswith("dataset")]
    untrained = _first(setting).name.objective == UNTRAINED
    if untrained:
        axes = [axis for axis in axes if axis.key != "objective"]
    said = setting_name(setting, axes) or _first(setting).name.objective
    return f"weights as they came ({said})" if untrained else said


def _count(setting: Setting, column: Column) -> int:
    """The number of labels of a column."""
    about = _first(setting)
    share = float(column.address.condition[LABELS])
    return max(round(share * int(about.data.get("train", 0))), 1)


def _first(setting: Setting) -> Result:
    return next(iter(setting.runs.values())).result


# ------------------------------------------------------------------------------------------------ a sentence, a figure


def sentence(dataset: str, found: Sequence[Payoff]) -> str:
    """Where pretraining pays: for each way, with the most examples, up to how many labels; and from how many examples
    on with the fewest labels."""
    most = {each.way: each for each in sorted(found, key=lambda each: each.examples)}
    parts = []
    for way, each in most.items():
        own = f" on {each.examples:,} examples" if each.examples else ""
        parts.append(f"{way}{own} {_pays(each)}")
    fewest = min(min(each.gains) for each in found)
    begins: dict[str, list[str]] = {}
    for way in most:
        begins.setdefault(_begins(found, way, fewest), []).append(way)
    begins.pop("", None)
    said = ", ".join(f"{listed(ways)} {start}" for start, ways in begins.items())
    start = f"; with {fewest:,} labels it pays by {said}" if said else ""
    return f"Does pretraining pay on {dataset}? Against training on the labels alone, {'; '.join(parts)}{start}."


def _pays(found: Payoff) -> str:
    counts = sorted(found.gains)
    at = found.crossing
    tried = f"({counts[0]:,} to {counts[-1]:,}{_bounds(at, counts)})"
    if at.at == 0:
        return f"pays at none of the numbers of labels that were tried {tried}"
    if at.at == math.inf:
        return f"pays at all numbers of labels that were tried {tried}"
    return f"pays up to {_rounded(at.at):,} labels{_bounds(at, counts, alone=True)}"


def _bounds(at: Crossing, tried: Sequence[int], alone: bool = False) -> str:
    """The interval of a crossing point, in words."""
    if math.isnan(at.low):
        said = "one seed, no interval"
    elif at.low == at.high:
        said = f"at {CONFIDENCE:.0%} confidence, too"
    else:
        low = f"fewer than {tried[0]:,}" if at.low == 0 else f"{_rounded(at.low):,}" if at.low < math.inf else "more"
        high = f"more than {tried[-1]:,}" if at.high == math.inf else f"{_rounded(at.high):,}"
        said = f"{CONFIDENCE:.0%} interval: {low} to {high}"
    return f" ({said})" if alone else f"; {said}"


def _begins(found: Sequence[Payoff], way: str, labels: int) -> str:
    """From how many examples on one way pays with so many labels."""
    gains = {each.examples: each.gains[labels] for each in found if each.way == way and labels in each.gains}
    if len(gains) < 2:
        return ""
    at, sizes = crossing(gains, rising=True), sorted(gains)
    bounds = _bounds(at, sizes, alone=True)
    if at.at == 0:
        return f"from {sizes[0]:,} examples on, the fewest that were tried{bounds}"
    if at.at == math.inf:
        return f"with none of the numbers of examples that were tried{bounds}"
    return f"from {_rounded(at.at):,} examples on{bounds}"


def _rounded(number: float) -> int:
    """To two digits: a point between numbers that were tried is known no better."""
    digits = max(0, math.floor(math.log10(number)) - 1) if number >= 1 else 0
    return round(number / 10**digits) * 10**digits


def figure(dataset: str, found: Sequence[Payoff]) -> Lines | None:
    """The crossing points over the number of pretraining examples, a curve for each way; None of a single number."""
    x = sorted({each.examples for each in found if each.examples})
    if len(x) < 2:
        return None
    counts = sorted({count for each in found for count in each.gains})
    y: dict[str, list[float]] = {}
    low: dict[str, list[float]] = {}
    high: dict[str, list[float]] = {}
    for way in dict.fromkeys(each.way for each in found):
        at = {each.examples: each.crossing for each in found if each.way == way}
        everywhere = at.get(0)  # weights from elsewhere: the same whatever number of examples there is
        points = [at.get(size, everywhere) for size in x]
        for part, curve in (("at", y), ("low", low), ("high", high)):
            curve[way] = [math.nan if p is None else _within(getattr(p, part), counts) for p in points]
    return Lines(
        x=x,
        y=y,
        x_label="examples to pretrain on",
        y_label="labels up to which it pays",
        log_x=True,
        log_y=True,
        low=low,
        high=high,
        note=f"Below a curve pretraining pays, above it training on the labels alone does as well. Band: "
        f"{CONFIDENCE:.0%} interval. A point at {counts[0]:,} labels says that it pays at no number of labels that was "
        f"tried, one at {counts[-1]:,} that it pays at all of them. {sentence(dataset, found)}",
    )


def _within(value: float, counts: Sequence[int]) -> float:
    return value if math.isnan(value) else float(min(max(value, counts[0]), counts[-1]))
