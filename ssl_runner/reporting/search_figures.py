"""The history of a search for the best setting: every trial in its order, and what the good ones have in common."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_runner.figures import Dots, Parallel, Point
from ssl_runner.reporting.comparison import Column, Comparison
from ssl_runner.reporting.comparison_figures import Panel, column_name, differing, log_scale, say_value, setting_name
from ssl_runner.reporting.leaderboard import Ranked, Search, ranked
from ssl_runner.reporting.rows import show_interval, unit_word
from ssl_runner.results.metrics import Unit

MOST_AXES = 7  # of parallel coordinates


def search_figures(comparison: Comparison, search: Search, links: Mapping[Path, str]) -> list[Panel]:
    """Of the trials that are finished, the figure that chose. `links`: a run's folder -> the URL of its report."""
    order = ranked(comparison, comparison.settings, search.column)
    if len(order) < 2:
        return []
    panels = [
        Panel("search-history", "Every trial, in the order of their start", _history(comparison, order, search, links))
    ]
    if parallel := _parallel(comparison, order, search.column):
        panels.append(Panel("search-settings", "Settings of all trials, the best one strong", parallel))
    return panels


def searched(comparison: Comparison, search: Search) -> str:
    """What was searched, and what chose, in words."""
    order = ranked(comparison, comparison.settings, search.column)
    if not order:
        return ""
    how = "guided by the results so far (optuna)" if search.kind == "optuna" else "drawn at random"
    best = order[0]
    axes = differing(comparison.axes, [each.setting for each in order])
    shown = show_interval(search.column.unit, best.cell.interval)
    return (
        f"{len(order)} finished trials, {how}. What chose is {column_name(search.column)}: {shown} with "
        f"{setting_name(best.setting, axes) or 'the only setting'}. It is biased upwards, the more so the more trials "
        "there are; figures of test did not choose."
    )


def _history(comparison: Comparison, order: Sequence[Ranked], search: Search, links: Mapping[Path, str]) -> Dots:
    column = search.column
    began = sorted(order, key=lambda each: min(run.result.started for run in each.setting.runs.values()))
    scale = 100.0 if column.unit is Unit.SHARE else 1.0
    points: dict[str, list[Point]] = {"trials": [], "the best": []}
    for number, each in enumerate(began, start=1):
        link = next((links[run.folder] for run in each.setting.runs.values() if run.folder in links), "")
        best = each is order[0]
        said = f"trial {number}, {each.setting.label}: {show_interval(column.unit, each.cell.interval)}"
        name = "the best" if best else ""  # its setting is in the sentence above
        point = Point(float(number), scale * each.cell.interval.mean, said, link, name)
        points["the best" if best else "trials"].append(point)
    unit = f" ({unit_word(column.unit)})" if unit_word(column.unit) else ""
    note = "A dot a trial; the one that was chosen has another color."
    if column.better.sign < 0:
        note += " Lower is better."
    return Dots(points, "trial", column_name(column) + unit, note=note)


def _value(value: Any, numeric: bool) -> Any:
    return value if numeric or value is None else say_value(value)


def _parallel(comparison: Comparison, order: Sequence[Ranked], column: Column) -> Parallel | None:
    """A line a trial: its settings, and at the end the figure that chose."""
    settings = [each.setting for each in order]
    axes = differing(comparison.axes, settings)[: MOST_AXES - 1]
    if not axes:
        return None
    values = {axis.short: [_value(setting.values.get(axis.key), axis.numeric) for setting in settings] for axis in axes}
    scale = 100.0 if column.unit is Unit.SHARE else 1.0
    unit = f" ({unit_word(column.unit)})" if unit_word(column.unit) else ""
    values[column_name(column) + unit] = [round(scale * each.cell.interval.mean, 4) for each in order]
    numbers = {axis.short: [float(v) for v in values[axis.short] if v is not None] for axis in axes if axis.numeric}
    return Parallel(
        axes=values,
        best=0,  # best first
        strength=[1 - place / len(order) for place in range(len(order))],
        log=[name for name, found in numbers.items() if log_scale([min(found), max(found)])],
        note="A line a trial, the stronger the better; its last axis is the figure that chose.",
    )
