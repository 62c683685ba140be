"""The figures of a comparison, chosen from its data.

A swept number is a curve with its band, a choice is bars, two axes together are a heat map. Settings on different
datasets never share a picture.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ssl_runner.figures import Bars, Dots, HeatMap, Lines, Point
from ssl_runner.figures import Drawn as Figure
from ssl_runner.reporting.axes import Axis
from ssl_runner.reporting.comparison import Cell, Column, Comparison, Setting
from ssl_runner.reporting.payoff import figure as payoff_figure
from ssl_runner.reporting.payoff import payoffs
from ssl_runner.reporting.plots import LEAST_DRAWN, MOST_NAMED_DOTS, save_figure
from ssl_runner.reporting.rows import label, listed, show, show_interval, unit_word
from ssl_runner.results.address import Address
from ssl_runner.results.metrics import Better, Unit
from ssl_runner.results.result import (
    METRICS,
    PRETRAINED,
    RANDOM_START,
    ResultError,
    Run,
    read_metrics,
)
from ssl_runner.results.values import freeze, text

MAIN = Address("linear", "accuracy")  # the column to draw first, where there is one
MOST_FIGURES = 12  # that are shown
MOST_CURVES = 6  # in one picture: the best
MOST_MAPS = 4  # of one pair of axes
MOST_BARS = 20
MOST_CELLS = 16  # rows or columns of a heat map
MOST_STEPS = 200  # places of a training curve
LEAST_SWEPT = 3  # values of an axis that make a curve
LONG_NAME = 22  # characters of the name of a setting from which on its color says a part of it
SAME_COST = 1.01  # a ratio of operations that is no difference
LEAST_RANKED = 4  # settings that make a rank correlation


class Panel(NamedTuple):
    """A figure of a comparison."""

    name: str  # of its file: letters, digits and hyphens; no two are alike
    title: str
    figure: Figure


class Group(NamedTuple):
    """The settings on one dataset."""

    dataset: str
    settings: tuple[Setting, ...]
    axes: tuple[Axis, ...]  # those in which these settings differ
    columns: tuple[Column, ...]  # those with a number here; headlines first, the main one before all
    cells: Mapping[tuple[str, str], Cell]  # by (Setting.label, Column.key); those with a finite mean
    links: Mapping[Path, str]  # a run's folder -> the URL of its report

    def link(self, setting: Setting) -> str:
        """To the report of the first seed that has one."""
        return next((self.links[run.folder] for run in setting.runs.values() if run.folder in self.links), "")

    def found(self, column: Column) -> list[tuple[Setting, Cell]]:
        """The settings that have a number in a column, best first where one is better."""
        pairs = [(setting, self.cells.get((setting.label, column.key))) for setting in self.settings]
        there = [(setting, cell) for setting, cell in pairs if cell is not None]
        if column.better.sign:
            there.sort(key=lambda pair: -column.better.sign * pair[1].interval.mean)
        return there


class Place(NamedTuple):
    """A cell and where it stands on an axis."""

    x: float
    setting: Setting
    cell: Cell
    column: Column


def comparison_figures(comparison: Comparison, links: Mapping[Path, str] | None = None) -> list[Panel]:
    """All pictures of a comparison, the most informative first. `links`: a run's folder -> the URL of its report."""
    groups = _groups(comparison, links or {})
    panels = [
        Panel(re.sub(r"[^a-z0-9]+", "-", f"pretraining-pays-on-{dataset}".lower()), "Where pretraining pays", drawn)
        for dataset, found in payoffs(comparison).items()
        if (drawn := payoff_figure(dataset, found)) is not None
    ]
    for make in (_of_main_column, _over_conditions, _training, _ranks, _of_other_columns):
        for group in groups:
            for title, figure in make(group):
                whole = f"{title}, on {group.dataset}" if len(groups) > 1 else title
                name = re.sub(r"[^a-z0-9]+", "-", whole.lower()).strip("-")[:80]
                if any(panel.name == name for panel in panels):
                    name += f"-{len(panels)}"
                panels.append(Panel(name, whole, figure))
    return panels


def save_comparison_figures(folder: Path, comparison: Comparison) -> list[Path]:
    """Write the first `MOST_FIGURES` pictures as `save_figure` does. Returns the paths of the PNGs, in order."""
    panels = comparison_figures(comparison)[:MOST_FIGURES]
    return [save_figure(folder, panel.name, panel.figure, panel.title, place) for place, panel in enumerate(panels)]


def column_name(column: Column) -> str:
    """A column in words: "knn accuracy", "few label accuracy, labels=0.01"."""
    return label(column.address)


def setting_name(setting: Setting, axes: Iterable[Axis]) -> str:
    """The name of a setting by its values on `axes`: "simclr, ratio=0.75". Empty if there are none."""
    named = [(axis, setting.values.get(axis.key)) for axis in axes]
    return ", ".join(
        say_value(value) if _names_option(axis) else f"{axis.short}={say_value(value)}"
        for axis, value in named
        if value is not None
    )


def say_value(value: Any) -> str:
    """A value of an axis, as short as it can be told."""
    return f"{value:.6g}" if isinstance(value, float) else text(value)


def differing(axes: Iterable[Axis], settings: Sequence[Setting]) -> list[Axis]:
    """The axes in which some settings differ."""
    return [axis for axis in axes if len({repr(setting.values.get(axis.key)) for setting in settings}) > 1]


def datasets(comparison: Comparison) -> dict[str, list[Setting]]:
    """Settings by the data they were trained and judged on: a dataset's name, and what else tells it apart."""
    about = [axis for axis in comparison.axes if axis.key.startswith("dataset.") and not axis.numeric]
    by_dataset: dict[str, list[Setting]] = {}
    for setting in comparison.settings:
        parts = (_first(setting).result.name.dataset, setting_name(setting, about))
        by_dataset.setdefault(", ".join(filter(None, parts)), []).append(setting)
    return by_dataset


def _groups(comparison: Comparison, links: Mapping[Path, str]) -> list[Group]:
    cells = {key: cell for key, cell in comparison.cells.items() if math.isfinite(cell.interval.mean)}
    groups = []
    for dataset, settings in datasets(comparison).items():
        columns = [c for c in comparison.columns if any((setting.label, c.key) in cells for setting in settings)]
        columns.sort(key=lambda c: (not c.headline, not c.better.sign, not MAIN.covers(c.address)))
        axes = differing(comparison.axes, settings)
        groups.append(Group(dataset, tuple(settings), tuple(axes), tuple(columns), cells, links))
    return groups


# -------------------------------------------------------------------------------------------------- what was swept


def _of_main_column(group: Group) -> Iterator[tuple[str, Figure]]:
    for column in _headlines(group)[:1]:
        yield from _of_column(group, column)
        yield from _cost(group, column)


def _of_other_columns(group: Group) -> Iterator[tuple[str, Figure]]:
    curves = [columns for columns in _families(group) if len(columns) >= LEAST_DRAWN]
    for column in _headlines(group)[1:]:
        if not any(column in columns for columns in curves):  # else it is a place of a curve
            yield from _of_column(group, column)


def _of_column(group: Group, column: Column) -> Iterator[tuple[str, Figure]]:
    for axis in group.axes:
        if _swept(group, axis):
            yield from _along(group, column, axis)
    maps = list(_maps(group, column))
    yield from maps
    choices = [axis for axis in group.axes if not _swept(group, axis)]
    choices = _telling(group, choices, group.settings)
    if not maps or any(axis not in (_pair(group) or ()) for axis in choices):  # else the maps say it all
        yield from _bars(group, column, choices)


def _along(group: Group, column: Column, axis: Axis) -> Iterator[tuple[str, Figure]]:
    """A column over a swept axis: curves, a setting of the other axes each, or dots where those never stand still."""
    there = [(setting, cell) for setting, cell in group.found(column) if setting.values.get(axis.key) is not None]
    along = [other for other in group.axes if other != axis and _goes_along(group, axis, other)]
    others = [other for other in group.axes if other != axis and other not in along]
    others = _telling(group, others, [setting for setting, _ in there])
    curves: dict[str, list[Place]] = {}
    for setting, cell in there:
        x = setting.values[axis.key]
        curves.setdefault(setting_name(setting, others), []).append(Place(float(x), setting, cell, column))
    places = [place for curve in curves.values() for place in curve]
    if len({place.x for place in places}) < LEAST_SWEPT:
        return
    title = f"{_title(column)} by {axis.short}"
    log = log_scale([place.x for place in places])
    if max(len(curve) for curve in curves.values()) < LEAST_SWEPT:
        yield title, _plane(group, column, places, axis.short, log, _about_seeds(places, "line"))
        return
    lines = _curves(group, column_name(column), curves, axis.short, log)
    yield title, lines._replace(note=" ".join([lines.note, *_went_along(along)]))


def _curves(group: Group, name: str, curves: Mapping[str, Sequence[Place]], x_label: str, log_x: bool) -> Lines:
    """The first few curves of two points or more: with their bands, their runs as dots, the random start beneath."""
    whole = [curve for curve, places in curves.items() if len(places) > 1][:MOST_CURVES]
    whole.sort(key=lambda curve: min(group.settings.index(place.setting) for place in curves[curve]))
    shown = {curve or PRETRAINED: curves[curve] for curve in whole}
    every = [place for places in shown.values() for place in places]
    column = every[0].column
    x = sorted({place.x for place in every})
    cells = {curve: _in_order(places, x) for curve, places in shown.items()}
    references = _merged(_starts(cells, column.unit))
    notes = [_about_seeds(every, "band")]
    if references:
        notes.append("Dotted: the same backbone, randomly initialized.")
    if len(curves) > len(shown):
        which = "" if not column.better.sign else ": the best that have two points or more"
        notes.append(f"Shown are {len(shown)} of {len(curves)} curves{which}.")
    return Lines(
        x=x,
        y=_drawn(cells, column.unit, "mean"),
        x_label=x_label,
        y_label=name + _in_unit(column),
        log_x=log_x,
        note=" ".join([*notes, *_direction(column)]),
        low=_drawn(cells, column.unit, "low"),
        high=_drawn(cells, column.unit, "high"),
        references=references,
        points={curve: _runs(group, places) for curve, places in shown.items()},
    )


def _in_order(places: Iterable[Place], x: Iterable[float]) -> list[Cell | None]:
    at = {place.x: place.cell for place in places}
    return [at.get(value) for value in x]


def _drawn(
    cells: Mapping[str, Sequence[Cell | None]], unit: Unit, part: Literal["mean", "low", "high"]
) -> dict[str, list[float]]:
    """One part of each interval, nan where there is no cell."""
    return {
        name: [math.nan if cell is None else _bounded(unit, cell.interval._asdict()[part]) for cell in series]
        for name, series in cells.items()
    }


def _ends(unit: Unit, places: Iterable[Place], part: Literal["low", "high"]) -> list[float]:
    return [_bounded(unit, place.cell.interval._asdict()[part]) for place in places]


def _bounded(unit: Unit, value: float) -> float:
    """A value as it is drawn: the interval of a share does not pass 0 or 100 %."""
    return 100 * min(max(value, 0.0), 1.0) if unit is Unit.SHARE and math.isfinite(value) else value


def _starts(cells: Mapping[str, Sequence[Cell | None]], unit: Unit) -> dict[str, list[float]]:
    """The mean of each random start, nan where there is none."""
    scale = _scale(unit)
    return {
        name: [
            scale * cell.controls[RANDOM_START].mean if cell is not None and RANDOM_START in cell.controls else math.nan
            for cell in series
        ]
        for name, series in cells.items()
    }


def _merged(starts: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """One reference for all curves where they agree, or one each; none where there are none."""
    known = {curve: values for curve, values in starts.items() if any(math.isfinite(value) for value in values)}
    together: list[float] = []
    for values in zip(*known.values(), strict=True):
        finite = [value for value in values if math.isfinite(value)]
        if finite and not np.allclose(finite, finite[0], rtol=1e-6, atol=0):
            return {curve: list(values) for curve, values in known.items()}
        together.append(finite[0] if finite else math.nan)
    return {"random start": together} if known else {}


def _plane(
    group: Group, column: Column, places: Sequence[Place], x_label: str, log_x: bool, note: str, named: bool = False
) -> Dots:
    """A dot a setting, colored by the first option in which the settings differ."""
    scale = _scale(column.unit)
    option = next(filter(_names_option, group.axes), None)
    telling = _telling(group, group.axes, group.settings)
    groups: dict[str, list[Place]] = {}
    for place in places:
        groups.setdefault(say_value(place.setting.values.get(option.key)) if option else "", []).append(place)
    if len(groups) > MOST_CURVES:  # more than there are colors
        groups = {"": list(places)}
    names = {place.setting.label: setting_name(place.setting, telling) for place in places}
    rest = [axis for axis in telling if axis is not option]
    if named and len(groups) > 1 and len(rest) == 1 and max(map(len, names.values())) > LONG_NAME:
        values = {place.setting.label: place.setting.values.get(rest[0].key) for place in places}
        names = {label: "" if value is None else say_value(value) for label, value in values.items()}
        note = f"{note} Beside each dot: {rest[0].short}."

    def point(place: Place) -> Point:
        name = names[place.setting.label]
        title = f"{place.setting.label}: {show_interval(column.unit, place.cell.interval)}"
        return Point(place.x, scale * place.cell.interval.mean, title, group.link(place.setting), name if named else "")

    return Dots(
        points={name: [point(place) for place in members] for name, members in groups.items()},
        x_label=x_label,
        y_label=column_name(column) + _in_unit(column),
        log_x=log_x,
        note=" ".join([note, *_direction(column)]),
        low={
            name: [_bounded(column.unit, place.cell.interval.low) for place in members]
            for name, members in groups.items()
        },
        high={
            name: [_bounded(column.unit, place.cell.interval.high) for place in members]
            for name, members in groups.items()
        },
    )


def _maps(group: Group, column: Column) -> Iterator[tuple[str, Figure]]:
    """A column over two axes of three values or more: a map for each setting of the others, where half is there."""
    pair = _pair(group)
    if pair is None:
        return
    down, across = pair
    rows, columns = _values(group, down), _values(group, across)
    others = _telling(group, [axis for axis in group.axes if axis not in pair], group.settings)
    maps: dict[str, list[tuple[Setting, Cell]]] = {}
    for setting, cell in group.found(column):
        if setting.values.get(down.key) is not None and setting.values.get(across.key) is not None:
            maps.setdefault(setting_name(setting, others), []).append((setting, cell))
    full = {name: found for name, found in maps.items() if 2 * len(found) >= len(rows) * len(columns)}
    shown = dict(list(full.items())[:MOST_MAPS])
    means = [cell.interval.mean * _scale(column.unit) for found in shown.values() for _, cell in found]
    for name, found in shown.items():
        values = np.full((len(rows), len(columns)), math.nan)
        points = []
        for setting, cell in found:
            row, place = rows.index(setting.values[down.key]), columns.index(setting.values[across.key])
            values[row, place] = cell.interval.mean * _scale(column.unit)
            title = f"{setting.label}: {show_interval(column.unit, cell.interval)}"
            points.append(Point(place, row, title, group.link(setting)))
        unit = f" in {unit_word(column.unit)}" if unit_word(column.unit) else ""
        notes = [f"{_title(column)}{unit}, mean over seeds; blank where there is no run."]
        if len(maps) > len(shown):
            notes.append(f"Shown are {len(shown)} of {len(maps)} maps.")
        yield (
            f"{_title(column)} by {down.short} and {across.short}" + f", {name}" * bool(name),
            HeatMap(
                rows=[say_value(value) for value in rows],
                columns=[say_value(value) for value in columns],
                values=values,
                row_label=down.short,
                column_label=across.short,
                decimals=_decimals(column.unit, means),
                span=(min(means), max(means)),  # the same for all maps
                note=" ".join([*notes, *_direction(column)]),
                points=points,
            ),
        )


def _bars(group: Group, column: Column, choices: Sequence[Axis]) -> Iterator[tuple[str, Figure]]:
    """A column by the choices that were made, at the best of what was swept."""
    swept = [axis for axis in group.axes if _swept(group, axis)]
    along = [axis for axis in group.axes if axis not in choices and axis not in swept]
    if swept and not column.better.sign:
        return  # there is no best
    best: dict[tuple[str, str], tuple[Setting, Cell]] = {}  # by (label, series)
    labeled, others = _labeled(group, choices)
    for setting, cell in group.found(column):  # best first
        best.setdefault((setting_name(setting, labeled), setting_name(setting, others)), (setting, cell))
    if len(best) < 2:
        return
    names = sorted({name for _, name in best})
    labels = list(dict.fromkeys(label for label, _ in best))
    shown = labels[: max(1, MOST_BARS // len(names))]
    series = {
        name: [Place(x, *best[label, name], column) for x, label in enumerate(shown) if (label, name) in best]
        for name in names
    }
    every = [place for places in series.values() for place in places]
    cells = {name: _in_order(places, range(len(shown))) for name, places in series.items()}
    starts = _starts(cells, column.unit)
    notes = [_about_seeds(every, "line")]
    if any(math.isfinite(value) for values in starts.values() for value in values):
        notes.append("Mark across a bar: the same backbone, randomly initialized.")
    notes += _went_along(along)
    if swept:
        over = listed([axis.short for axis in swept])
        notes.append(f"Each bar is the best over {over}, selected by the number shown.")
    if len(shown) < len(labels):
        notes.append(f"Shown are the best {len(shown)} of {len(labels)}.")
    yield (
        f"{_title(column)} by {listed([axis.short for axis in choices])}",
        Bars(
            labels=[label or "none" for label in shown],
            values=_drawn(cells, column.unit, "mean"),
            value_label=column_name(column) + _in_unit(column),
            decimals=_decimals(column.unit, [_scale(column.unit) * place.cell.interval.mean for place in every]),
            note=" ".join([*notes, *_direction(column)]),
            low=_drawn(cells, column.unit, "low"),
            high=_drawn(cells, column.unit, "high"),
            references=starts,
            points={name: _runs(group, places) for name, places in series.items()},
        ),
    )


def _labeled(group: Group, choices: Sequence[Axis]) -> tuple[list[Axis], list[Axis]]:
    """The axis that labels bars, and those that are series beside each other: where each goes with each."""
    if len(choices) > 1:
        first = max(choices, key=lambda axis: len(_values(group, axis)))
        others = [axis for axis in choices if axis is not first]
        labels = {setting_name(setting, [first]) for setting in group.settings}
        series = {setting_name(setting, others) for setting in group.settings}
        both = {setting_name(setting, choices) for setting in group.settings}
        if len(series) <= MOST_CURVES and len(both) == len(labels) * len(series):
            return [first], others
    return list(choices), []


def _cost(group: Group, column: Column) -> Iterator[tuple[str, Figure]]:
    """A column against what pretraining cost, a dot a setting: the seconds that it took, and its operations, which are
    the same on every machine. Operations that are the same for all settings are not drawn."""
    for key, title, remark in (
        ("seconds", "cost", "Seconds as measured by each run; runs that shared a machine took longer."),
        ("flops", "FLOPs", "Operations of all steps, as counted of one; they do not depend on the machine."),
    ):
        costs = [(setting, cell, setting.cost(key)) for setting, cell in group.found(column)]
        places = [Place(cost.mean, setting, cell, column) for setting, cell, cost in costs if cost and cost.mean > 0]
        spent = [place.x for place in places]
        if len(places) < 2 or (key == "flops" and max(spent) <= min(spent) * SAME_COST):
            continue
        factor, unit = (1.0, "seconds") if key == "seconds" else operations(max(spent))
        places = [place._replace(x=place.x / factor) for place in places]
        note = f"{_about_seeds(places, 'line')} {remark}"
        log = log_scale([min(spent), max(spent)])
        named = len(places) <= MOST_NAMED_DOTS
        yield (
            f"{_title(column)} against {title}",
            _plane(group, column, places, f"pretraining, {unit}", log, note, named),
        )


def operations(largest: float) -> tuple[float, str]:
    """The unit that suits numbers of operations up to `largest`: its size and its name.

    >>> operations(2.3e10), operations(12)
    ((1000000000.0, 'GFLOPs'), (1.0, 'FLOPs'))
    """
    step = max(0, min(5, int(math.log10(max(largest, 1.0)) // 3)))
    return 1000.0**step, f"{('', 'K', 'M', 'G', 'T', 'P')[step]}FLOPs"


# ------------------------------------------------------------------------------------------ beyond what was swept


def _over_conditions(group: Group) -> Iterator[tuple[str, Figure]]:
    """A metric over a number that is its condition, the share of labels or the block that is read: a curve a setting,
    the random start beneath."""
    for columns in _families(group):
        first = columns[0].address
        key = next(iter(first.condition))
        curves: dict[str, list[Place]] = {}
        telling = _telling(group, group.axes, group.settings)
        for column in columns:
            place = float(column.address.condition[key])
            for setting, cell in group.found(column):
                curves.setdefault(setting_name(setting, telling), []).append(Place(place, setting, cell, column))
        if len({place.x for places in curves.values() for place in places}) < LEAST_DRAWN:
            continue
        order = sorted(curves, key=lambda name: -sum(p.cell.interval.mean for p in curves[name]) / len(curves[name]))
        name = label(first._replace(condition={}))
        words = key.replace("_", " ")
        log = log_scale([float(column.address.condition[key]) for column in columns])
        lines = _curves(group, name, {name: curves[name] for name in order}, words, log)
        yield f"{name[0].upper()}{name[1:]} by {words}", lines


def _families(group: Group) -> list[list[Column]]:
    """Headlines that are one metric under one condition, which is a number."""
    families: dict[Any, list[Column]] = {}
    for column in _headlines(group):
        place = column.address
        if len(place.condition) == 1 and all(isinstance(value, int | float) for value in place.condition.values()):
            family = freeze([place.evaluator, place.metric, *place.condition, place.apart])
            families.setdefault(family, []).append(column)
    return list(families.values())


def _training(group: Group) -> Iterator[tuple[str, Figure]]:
    """The curves of pretraining over one another: losses of one objective alone, as they have no common unit."""
    ranked = [setting for column in _headlines(group)[:1] for setting, _ in group.found(column)]
    settings = ranked + [setting for setting in group.settings if setting not in ranked]
    read = cache(_metrics)
    by_objective: dict[str, list[Setting]] = {}
    for setting in settings:
        by_objective.setdefault(_first(setting).result.name.objective, []).append(setting)
    for objective, alike in by_objective.items():
        title = f"Training loss, {objective}" if len(by_objective) > 1 else "Training loss"
        yield from _over_steps(group, "train/loss", Unit.PLAIN, alike, title, "loss", read)
    said = "validation k-NN accuracy (%)"
    yield from _over_steps(group, "val/knn_accuracy", Unit.SHARE, settings, "k-NN accuracy while training", said, read)


def _over_steps(
    group: Group,
    name: str,
    unit: Unit,
    settings: Sequence[Setting],
    title: str,
    y_label: str,
    read: Callable[[Path], list[dict[str, float]]],
) -> Iterator[tuple[str, Figure]]:
    """One metric of metrics.csv, the mean over the seeds of the first few settings."""
    scale = _scale(unit)
    axes = _telling(group, group.axes, settings)
    histories: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for setting in sorted(settings[:MOST_CURVES], key=group.settings.index):
        of_seeds = []
        for run in setting.runs.values():
            rows = [row for row in read(run.folder) if "step" in row and math.isfinite(row.get(name, math.nan))]
            points = sorted((row["step"], row[name]) for row in rows)
            if len(points) > 1:
                steps, values = np.array(points).T
                of_seeds.append((steps, scale * values))
        if of_seeds:
            histories[setting_name(setting, axes) or PRETRAINED] = of_seeds
    if not histories:
        return
    every = np.unique(np.concatenate([steps for of_seeds in histories.values() for steps, _ in of_seeds]))
    x = every if len(every) <= MOST_STEPS else np.linspace(every[0], every[-1], MOST_STEPS)
    y = {
        curve: np.mean([np.interp(x, steps, values, math.nan, math.nan) for steps, values in of_seeds], axis=0).tolist()
        for curve, of_seeds in histories.items()
    }
    several = any(len(of_seeds) > 1 for of_seeds in histories.values())
    notes = ["Mean over seeds, up to the last step that all of them reached."] if several else []
    if len(settings) > MOST_CURVES:
        notes.append(f"Shown are {MOST_CURVES} of {len(settings)} settings.")
    yield title, Lines(x=x.tolist(), y=y, x_label="step", y_label=y_label, note=" ".join(notes))


def _metrics(folder: Path) -> list[dict[str, float]]:
    try:
        return read_metrics(folder / METRICS)
    except ResultError:  # missing or broken: the other runs have theirs
        return []


def _ranks(group: Group) -> Iterator[tuple[str, Figure]]:
    """Whether evaluators agree on which setting is better."""
    from scipy.stats import spearmanr  # takes a second to import

    columns = [column for column in _headlines(group) if column.better.sign]
    if len(columns) < 2:
        return
    values = np.full((len(columns), len(columns)), math.nan)
    numbers = []
    for row, first in enumerate(columns):
        for place, second in enumerate(columns):
            pairs = [(_rank(group, setting, first), _rank(group, setting, second)) for setting in group.settings]
            both = [(a, b) for a, b in pairs if a is not None and b is not None]
            if len(both) >= LEAST_RANKED and all(len(set(side)) > 1 for side in zip(*both, strict=True)):
                values[row, place] = spearmanr(*zip(*both, strict=True)).statistic
                numbers.append(len(both))
    if not np.isfinite(values[~np.eye(len(columns), dtype=bool)]).any():
        return
    names = [column_name(column) for column in columns]
    note = (
        f"Spearman's rho over {_range(numbers)} settings: 1 if two evaluations rank the settings "
        "identically, 0 if their rankings are unrelated."
    )
    yield "Agreement of the evaluations", HeatMap(names, names, values, "", "", 2, (0.0, 1.0), note)


def _rank(group: Group, setting: Setting, column: Column) -> float | None:
    """A number that is the higher the better."""
    cell = group.cells.get((setting.label, column.key))
    return None if cell is None else cell.interval.mean * column.better.sign


# ---------------------------------------------------------------------------------------------------------- helpers


def _headlines(group: Group) -> list[Column]:
    return [column for column in group.columns if column.headline]


def _names_option(axis: Axis) -> bool:
    return not axis.numeric and "." not in axis.key


def _telling(group: Group, axes: Iterable[Axis], settings: Sequence[Setting]) -> list[Axis]:
    """Of some axes those that tell settings apart: without choices that follow from the others."""
    kept: list[Axis] = []
    told = 1
    for axis in axes:
        keys = {repr([setting.values.get(a.key) for a in (*kept, axis)]) for setting in settings}
        if len(keys) > told or (_swept(group, axis) and differing([axis], settings)):
            kept.append(axis)
            told = len(keys)
    return kept


def _first(setting: Setting) -> Run:
    return next(iter(setting.runs.values()))


def _values(group: Group, axis: Axis) -> list[Any]:
    """The values of an axis that are there, in its order."""
    there = {repr(setting.values.get(axis.key)) for setting in group.settings}
    return [value for value in axis.values if value is not None and repr(value) in there]


def _swept(group: Group, axis: Axis) -> bool:
    return axis.numeric and axis.key != "seed" and len(_values(group, axis)) >= LEAST_SWEPT


def _pair(group: Group) -> tuple[Axis, Axis] | None:
    """The two axes of most values, where both have enough for a map and no more than it can show."""
    axes = [axis for axis in group.axes if axis.key != "seed"]
    long = [axis for axis in axes if LEAST_SWEPT <= len(_values(group, axis)) <= MOST_CELLS]
    long.sort(key=lambda axis: -len(_values(group, axis)))
    return (long[0], long[1]) if len(long) > 1 else None


def _goes_along(group: Group, axis: Axis, other: Axis) -> bool:
    """Whether two numbers were swept as one: each value with its own of the other, in one order."""
    if not other.numeric:
        return False
    pairs = {(setting.values.get(axis.key), setting.values.get(other.key)) for setting in group.settings}
    known = sorted((a, b) for a, b in pairs if a is not None and b is not None)
    steps = [(c > a, (d > b) - (d < b)) for (a, b), (c, d) in pairwise(known)]
    return len(known) == len(pairs) and steps in ([(True, 1)] * len(steps), [(True, -1)] * len(steps))


def log_scale(places: Iterable[float]) -> bool:
    """Whether values ask for a logarithmic axis: they span a factor of 20, or grow by one factor.

    >>> log_scale([0.25, 0.5, 0.75]), log_scale([0.05, 0.1, 0.2]), log_scale([1, 30]), log_scale([0, 1, 1000])
    (False, True, True, False)
    """
    found = sorted(set(places))
    if len(found) < 2 or found[0] <= 0:
        return False
    factors = [high / low for low, high in pairwise(found)]
    return found[-1] / found[0] >= 20 or (len(factors) > 1 and max(factors) < 1.05 * min(factors))


def _runs(group: Group, places: Iterable[Place]) -> list[Point]:
    """A point a seed, which leads to its report."""
    return [
        Point(
            place.x,
            _scale(place.column.unit) * value,
            f"{place.setting.label}, seed {seed}: {show(place.column.unit, value)}",
            group.links.get(place.setting.runs[seed].folder, ""),
        )
        for place in places
        for seed, value in place.cell.values.items()
        if math.isfinite(value)
    ]


def _scale(unit: Unit) -> float:
    return 100.0 if unit is Unit.SHARE else 1.0


def _decimals(unit: Unit, values: Iterable[float]) -> int:
    """Digits after the point such that the largest value has three that count; a share has one."""
    largest = max(map(abs, values), default=0.0)
    if unit is Unit.SHARE or not largest:
        return 1
    return min(6, max(0, 2 - math.floor(math.log10(largest))))


def _in_unit(column: Column) -> str:
    """What stands behind a column's name: " (%)"."""
    return f" ({unit_word(column.unit)})" if unit_word(column.unit) else ""


def _title(column: Column) -> str:
    name = column_name(column)
    return name[0].upper() + name[1:]


def _direction(column: Column) -> list[str]:
    return ["Lower is better."] if column.better is Better.LOWER else []


def _went_along(axes: Sequence[Axis]) -> list[str]:
    said = listed([axis.short for axis in axes])
    return [f"{said} changed together with it, so the effect may be due to either."] if axes else []


def _about_seeds(places: Sequence[Place], mark: str) -> str:
    seeds = [place.cell.interval.n for place in places]
    if max(seeds) == 1:
        return "One seed each: the variation over seeds is unknown."
    return f"{mark.capitalize()}: 95 % interval of the mean over {_range(seeds)} seeds."


def _range(numbers: Sequence[int]) -> str:
    least, most = min(numbers), max(numbers)
    return str(most) if least == most else f"{least} to {most}"
