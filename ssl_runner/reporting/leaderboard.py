"""What a comparison says: which setting is ahead, by how much, and with which certainty."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ssl_runner.reporting.axes import Axis
from ssl_runner.reporting.comparison import Cell, Column, Comparison, Setting
from ssl_runner.reporting.comparison_figures import MAIN, setting_name
from ssl_runner.reporting.rows import label, show_interval
from ssl_runner.reporting.statistics import interval
from ssl_runner.results.address import read_address
from ssl_runner.results.metrics import Unit
from ssl_runner.results.result import RANDOM_START

SEARCHES = ("random", "optuna")  # values of sweep.search that look for a best setting


class Search(NamedTuple):
    """A search for the best setting by a figure of val."""

    kind: str  # of SEARCHES
    column: Column  # the figure that chose


class Ranked(NamedTuple):
    """A setting and its number in the column that ranks it."""

    setting: Setting
    cell: Cell


def search_of(comparison: Comparison) -> Search | None:
    """How the runs were found, if most of them are of a search whose figure they have; None else."""
    runs = [run for setting in comparison.settings for run in setting.runs.values()]
    swept = [_sweep(run.result.config) for run in runs]
    asked = Counter((str(each.get("search")), str(each.get("metric"))) for each in swept)
    (kind, metric), _ = max(asked.items(), key=lambda pair: pair[1], default=(("", ""), 0))
    if kind not in SEARCHES:
        return None
    try:
        wanted = read_address(metric)
    except ValueError:
        return None
    found = [column for column in comparison.columns if wanted.covers(column.address) and column.better.sign]
    return Search(kind, found[0]) if found else None


def _sweep(config: Mapping[str, Any]) -> Mapping[str, Any]:
    found = config.get("sweep")
    return found if isinstance(found, Mapping) else {}


def main_column(columns: Iterable[Column], search: Search | None = None) -> Column | None:
    """The column by which settings are ranked: that of a search, or the first headline in which one is better."""
    if search is not None:
        return search.column
    ordered = sorted((c for c in columns if c.headline and c.better.sign), key=lambda c: not MAIN.covers(c.address))
    return ordered[0] if ordered else None


def ranked(comparison: Comparison, settings: Sequence[Setting], column: Column | None) -> list[Ranked]:
    """Settings that have a finite number in a column, best first."""
    if column is None:
        return []
    there = [(setting, comparison.cells.get((setting.label, column.key))) for setting in settings]
    found = [Ranked(setting, cell) for setting, cell in there if cell and math.isfinite(cell.interval.mean)]
    return sorted(found, key=lambda each: -column.better.sign * each.cell.interval.mean)


def best_first(comparison: Comparison, settings: Sequence[Setting], column: Column | None) -> list[Setting]:
    """All settings, those without a number in the column last."""
    first = {each.setting.label: each.setting for each in ranked(comparison, settings, column)}
    return [*first.values(), *(setting for setting in settings if setting.label not in first)]


def verdict(comparison: Comparison, settings: Sequence[Setting], axes: Sequence[Axis], search: Search | None) -> str:
    """What is ahead among settings on one dataset, by how much, and with which certainty, in up to three sentences.
    `axes`: those in which they differ."""
    column = main_column((c for c in comparison.columns if _there(comparison, settings, c)), search)
    order = ranked(comparison, settings, column)
    if column is None or not order:
        return ""
    first = order[0]
    name = label(column.address)
    if len(order) == 1:
        return f"{name[0].upper()}{name[1:]} is {_shown(column, first.cell)}.{_above_start(column, first.cell)}"
    second = order[1]
    side = "above" if column.better.sign > 0 else "below"
    same = _shown(column, first.cell) == _shown(column, second.cell)
    by = "as far as shown the same as" if same else f"{_by(column, first, second)} {side}"
    said = (
        f"{words_of(first.setting, axes)} is ahead in {name}: {_shown(column, first.cell)}, {by} "
        f"{words_of(second.setting, axes)}, the second of {len(order)}"
    )
    return f"{said}; {_certainty(order, search)}.{_above_start(column, first.cell)}"


def words_of(setting: Setting, axes: Iterable[Axis]) -> str:
    return setting_name(setting, axes) or "the setting without a value"


def _there(comparison: Comparison, settings: Sequence[Setting], column: Column) -> bool:
    return any((setting.label, column.key) in comparison.cells for setting in settings)


def _shown(column: Column, cell: Cell) -> str:
    seeds = f" over {cell.interval.n} seeds" if cell.interval.n > 1 else ""
    return show_interval(column.unit, cell.interval) + seeds


def _by(column: Column, first: Ranked, second: Ranked) -> str:
    """The difference of means; of common seeds with its interval, where there are several."""
    common = [seed for seed in first.cell.values if seed in second.cell.values]
    pairs = [first.cell.values[seed] - second.cell.values[seed] for seed in common]
    means = [first.cell.interval.mean - second.cell.interval.mean]
    difference = interval(pairs if len(common) > 1 else means)
    if column.better.sign < 0:
        difference = difference._replace(mean=-difference.mean, low=-difference.high, high=-difference.low)
    points = " points" if column.unit is Unit.SHARE else ""
    return show_interval(column.unit, difference, sign=points)


def _certainty(order: Sequence[Ranked], search: Search | None) -> str:
    """How sure it is that the first is better than the second, and how many others cannot be told from it."""
    first, second = order[0].cell, order[1].cell
    common = [seed for seed in first.values if seed in second.values]
    chosen = ", and the best of many by a figure of val is biased upwards" if search else ""
    if len(common) < 2:
        why = "one seed each" if max(first.interval.n, second.interval.n) == 1 else "fewer than two seeds in common"
        return f"{why}, so whether that is more than chance is unknown{chosen}"
    tied = sum(each.cell.tied for each in order[1:])
    p = second.p
    about = f"paired t-test over {len(common)} common seeds, p = {p:.2g} after Holm's correction"
    if math.isnan(p):
        return f"not tested{chosen}"
    if second.tied:
        others = f"; {tied} settings cannot be told from it" if tied > 1 else ""
        return f"not significantly so ({about}){others}{chosen}"
    return f"significantly so ({about}){chosen}"


def _above_start(column: Column, cell: Cell) -> str:
    """Whether the best exceeds its controls."""
    if cell.verdict:
        return f" It is {cell.verdict}."
    if RANDOM_START not in cell.controls:
        return ""
    start = cell.controls[RANDOM_START]
    side = "above" if column.better.sign > 0 else "below"
    return f" It is {side} the same backbone, randomly initialized ({show_interval(column.unit, start)})."
