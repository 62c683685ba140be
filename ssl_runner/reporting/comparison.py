"""Comparison of runs: find the settings that differ, aggregate over seeds, keep the protocol of each number.

A *setting* is a group of runs that differ only in their seed. A *column* is one metric of an evaluator under one
protocol. A *cell* holds the values of a setting's seeds in a column.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from ssl_runner.reporting import protocols
from ssl_runner.reporting.axes import Axis, describe, find_axes, matching
from ssl_runner.reporting.protocols import Number, numbers
from ssl_runner.reporting.rows import NOTHING, show, subject_name, subject_place
from ssl_runner.reporting.statistics import ALPHA, Interval, holm, interval, paired_p
from ssl_runner.results.address import Address, address, read_address
from ssl_runner.results.metrics import Better, Unit
from ssl_runner.results.result import PRETRAINED, UNTRAINED, Evaluation, Run
from ssl_runner.results.values import text

COSTS = ("seconds", "examples_per_second", "peak_memory_mb", "flops")  # of pretraining; keys of results.Cost


class Setting(NamedTuple):
    """Runs that differ only in their seed."""

    label: str  # what distinguishes it: "ratio=0.75"; NOTHING if there is a single setting
    values: Mapping[str, Any]  # by key of the axis
    runs: Mapping[int, Run]  # by seed
    section: str = ""  # its dataset, if settings differ in it: "cifar10"

    def cost(self, key: str) -> Interval | None:
        """One of COSTS over its runs; None if it was not measured."""
        costs = [getattr(run.result.cost, key) for run in self.runs.values()]
        measured = [cost for cost in costs if cost is not None]
        return interval(measured) if measured else None


class Column(NamedTuple):
    """One metric of one evaluator under one condition and protocol, on one set of data per section."""

    address: Address
    unit: Unit
    better: Better
    headline: bool
    protocol: Mapping[str, Any]  # its terms and data; by section if these differ
    own: bool = True  # evaluated on the data of each run, not on other data

    @property
    def key(self) -> str:
        """Its address: "linear.accuracy", "few_label.accuracy[labels=0.01]"."""
        return str(self.address)


class Cell(NamedTuple):
    """The values of one setting's seeds in one column."""

    values: Mapping[int, float]  # by seed, of the pretrained encoder
    interval: Interval
    controls: Mapping[str, Interval]  # by subject: random_start, pixels, ...
    differences: Mapping[str, Interval]  # pretrained minus control, paired over common seeds
    verdict: str  # "not above random start", or empty
    tied: bool  # has at least two seeds, and is not significantly different from the best of its column and section
    p: float = math.nan  # of that test, corrected for multiple tests; nan if not tested
    control_values: Mapping[str, Mapping[int, float]] = {}  # by subject and seed


class Comparison(NamedTuple):
    axes: tuple[Axis, ...]  # keys in which the runs differ, except for the seed; names of options first
    settings: tuple[Setting, ...]
    columns: tuple[Column, ...]
    cells: Mapping[tuple[str, str], Cell]  # by (Setting.label, Column.key)
    problems: tuple[str, ...] = ()  # what was omitted or failed, one line each


def compare(runs: Sequence[Run]) -> Comparison:
    """Aggregate the seeds of each setting, metric by metric.

    Of two runs with the same setting and seed the one that started later is used; the other is named in `problems`.
    """
    runs = beside(runs)
    descriptions, problems = describe(runs)
    axes = tuple(find_axes(descriptions))
    latest: dict[tuple[Any, ...], dict[int, Run]] = {}
    for run, description in sorted(zip(runs, descriptions, strict=True), key=lambda pair: pair[0].result.started):
        seeds = latest.setdefault(tuple(description.get(axis.key) for axis in axes), {})
        earlier = seeds.get(run.result.seed)
        if earlier is not None:
            problems.append(
                f"{earlier.folder} is skipped: {run.folder} has the same setting and seed and started later"
            )
        seeds[run.result.seed] = run
    settings = [
        Setting(
            label=_label(zip(axes, values, strict=True)),
            values=dict(zip((axis.key for axis in axes), values, strict=True)),
            runs=dict(sorted(seeds.items())),
            section=_section(zip(axes, values, strict=True)),
        )
        for values, seeds in latest.items()
    ]
    places = {axis.key: {value: place for place, value in enumerate(axis.values)} for axis in axes}
    settings.sort(key=lambda s: [places[key][value] for key, value in s.values.items()])
    sections = list(dict.fromkeys(setting.section for setting in settings))
    settings.sort(key=lambda s: sections.index(s.section))
    columns, cells = _cells(settings)
    return Comparison(axes, tuple(settings), columns, cells, tuple(problems))


def beside(runs: Sequence[Run]) -> list[Run]:
    """Put runs that pretrained nothing beside the others: their numbers depend on no precision of pretraining, so they
    stand in the columns of each that there is."""
    known = {found.precision.pretraining for run in runs for found in run.result.results} - {UNTRAINED}
    return [run._replace(result=replace(run.result, results=tuple(_in_each(run, sorted(known))))) for run in runs]


def _in_each(run: Run, precisions: Sequence[str]) -> Iterator[Evaluation]:
    for found in run.result.results:
        own = [found.precision.pretraining]
        for each in precisions if own == [UNTRAINED] and precisions else own:
            yield replace(found, precision=replace(found.precision, pretraining=each))


def each_run(comparison: Comparison) -> Comparison:
    """The same runs and columns with the seed as an axis, so that each run is a setting."""
    seeds = sorted({seed for setting in comparison.settings for seed in setting.runs})
    axis = Axis("seed", "seed", tuple(seeds), True)
    settings, cells = [], dict[tuple[str, str], Cell]()
    for setting in comparison.settings:
        for seed, run in setting.runs.items():
            label = f"seed={seed}" if setting.label == NOTHING else f"{setting.label} seed={seed}"
            settings.append(Setting(label, {**setting.values, "seed": seed}, {seed: run}, setting.section))
            for column in comparison.columns:
                cell = comparison.cells.get((setting.label, column.key))
                if cell is not None and seed in cell.values:
                    subjects = {PRETRAINED: cell.values, **cell.control_values}
                    own = {subject: {seed: of[seed]} for subject, of in subjects.items() if seed in of}
                    cells[label, column.key] = _cell(column, own)
    tested = _tested(settings, comparison.columns, cells)
    return comparison._replace(axes=(*comparison.axes, axis), settings=tuple(settings), cells=tested)


def _label(values: Iterable[tuple[Axis, Any]]) -> str:
    return " ".join(f"{axis.short}={text(value)}" for axis, value in values if value is not None) or NOTHING


def _section(values: Iterable[tuple[Axis, Any]]) -> str:
    """The dataset and its settings: numbers on different data are not ranked against each other."""
    said = [(axis, value) for axis, value in values if axis.key.partition(".")[0] == "dataset" and value is not None]
    return " ".join(text(value) if axis.key == "dataset" else f"{axis.short}={text(value)}" for axis, value in said)


def _cells(settings: Sequence[Setting]) -> tuple[tuple[Column, ...], dict[tuple[str, str], Cell]]:
    found: dict[tuple[Any, ...], list[tuple[Setting, int, Number]]] = {}
    for setting in settings:
        for seed, run in setting.runs.items():
            for number in numbers(run.result):
                found.setdefault(number.quantity, []).append((setting, seed, number))
    columns, cells = [], dict[tuple[str, str], Cell]()
    for all_runs in found.values():
        sections = [(setting.section, number) for setting, _, number in all_runs]
        for apart, places in protocols.columns(sections):
            first = all_runs[places[0]][2]
            column = Column(
                address=address(first.evaluator, first.metric, apart),
                unit=first.metric.unit,
                better=first.metric.better,
                headline=any(all_runs[place][2].metric.shown for place in places),
                protocol=protocols.together([sections[place] for place in places]),
                own=first.on.own,
            )
            columns.append(column)
            values: dict[str, dict[str, dict[int, float]]] = {}  # by setting, subject and seed
            for setting, seed, number in (all_runs[place] for place in places):
                for subject, value in number.values.items():
                    values.setdefault(setting.label, {}).setdefault(subject, {})[seed] = value
            cells |= {(label, column.key): _cell(column, by_subject) for label, by_subject in values.items()}
    return tuple(columns), _tested(settings, columns, cells)


def _cell(column: Column, values: Mapping[str, Mapping[int, float]]) -> Cell:
    """A cell from values by subject and seed, before tests against other settings."""
    own = values[PRETRAINED]
    controls = {subject: values[subject] for subject in sorted(values, key=subject_place) if subject != PRETRAINED}
    pairs = {subject: [own[seed] - of[seed] for seed in own if seed in of] for subject, of in controls.items()}
    return Cell(
        values=own,
        interval=interval(list(own.values())),
        controls={subject: interval(list(of.values())) for subject, of in controls.items()},
        differences={subject: interval(differences) for subject, differences in pairs.items() if differences},
        verdict=_verdict(column, own, controls),
        tied=False,
        control_values=controls,
    )


def _verdict(column: Column, own: Mapping[int, float], controls: Mapping[str, Mapping[int, float]]) -> str:
    """A warning about a number that is not finite or does not beat its controls; empty otherwise."""
    lost = sum(not math.isfinite(value) for value in own.values())
    if lost:
        return "not a number" + f" in {lost} of {len(own)} seeds" * (len(own) > 1)
    sign = column.better.sign
    if not sign:
        return ""
    unbeaten = []
    for subject, of in controls.items():
        # A control that is not finite cannot be compared.
        common = [seed for seed in own if seed in of and math.isfinite(of[seed])]
        gain = interval([sign * (own[seed] - of[seed]) for seed in common]) if common else None
        if gain is None or gain.low > 0:
            continue
        shown_alike = any(show(column.unit, own[seed]) == show(column.unit, of[seed]) for seed in common)
        if gain.n > 1 or gain.mean <= 0 or shown_alike:
            unbeaten.append(subject_name(subject))
    return f"not {'above' if sign > 0 else 'below'} {' or '.join(unbeaten)}" if unbeaten else ""


def _tested(
    settings: Sequence[Setting], columns: Sequence[Column], cells: Mapping[tuple[str, str], Cell]
) -> dict[tuple[str, str], Cell]:
    """Test each cell against the one with the best mean of its column and section.

    A paired t-test over common seeds, with Holm's correction for the number of tests. A setting with one seed is not
    tested, and cannot be the best, since one seed gives no variance. A setting is not significantly different if it has
    fewer than two seeds in common with the best, or is better on these.
    """
    tested = dict(cells)
    for column in columns:
        rivals: dict[str, list[str]] = {}
        for setting in settings:
            cell = cells.get((setting.label, column.key))
            if cell is not None and math.isfinite(cell.interval.mean) and cell.interval.n > 1 and column.better.sign:
                rivals.setdefault(setting.section if column.own else "", []).append(setting.label)
        sign = column.better.sign
        for labels in rivals.values():
            best = cells[max(labels, key=lambda label: sign * cells[label, column.key].interval.mean), column.key]
            p = {}
            for label in labels:
                values = cells[label, column.key].values
                common = [seed for seed in best.values if seed in values]
                if len(common) > 1 and values is not best.values:
                    ours, theirs = [values[seed] for seed in common], [best.values[seed] for seed in common]
                    p[label] = paired_p(ours, theirs) if sign * (sum(theirs) - sum(ours)) > 0 else 1.0
            corrected = dict(zip(p, holm(list(p.values())), strict=True))
            for label in labels:
                differs = corrected.get(label, 1.0) <= ALPHA
                tested[label, column.key] = cells[label, column.key]._replace(
                    tied=not differs, p=corrected.get(label, math.nan)
                )
    return tested


# ------------------------------------------------------------------------------------------------- selecting, sorting


def select(comparison: Comparison, words: Sequence[str], everything: bool) -> Comparison:
    """Keep the columns that words name, in this order: by a column's key, by its evaluator and metric ("knn.accuracy"),
    or by either of the two. The latter selects only headlines, unless `everything`.

    Raises ValueError for a word that names no column.
    """
    kept = {column.key: column for word in words for column in _named(word, comparison.columns, everything)}
    return comparison._replace(columns=tuple(kept.values()))


def sort(comparison: Comparison, by: str) -> Comparison:
    """Sort settings within their sections by a column, an axis or one of COSTS; missing values come last.

    Columns are sorted best first, axes and costs ascending; the suffix ":asc" or ":desc" overrides this. Raises
    ValueError for a name that matches none of these, or more than one.
    """
    word, order = _ordered(by)
    axes = matching(word, [axis.key for axis in comparison.axes])
    descending = False
    value: Callable[[Setting], Any]
    if len(axes) == 1:
        value = partial(_place_on, next(axis for axis in comparison.axes if axis.key == axes[0]))
    elif word in COSTS:
        value = partial(_cost_of, word)
    else:
        found = _named(word, comparison.columns, everything=False)
        if len(found) > 1:
            raise ValueError(f"{word!r} is more than one column; choose one of: {_keys(found)}")
        value = partial(_mean_in, comparison, found[0])
        descending = found[0].better is not Better.LOWER
    descending = order == "desc" if order else descending
    sections = list(dict.fromkeys(setting.section for setting in comparison.settings))

    def place(setting: Setting) -> tuple[int, bool, float]:
        number = value(setting)
        missing = math.isnan(number)
        return sections.index(setting.section), missing, 0 if missing else -number if descending else number

    return comparison._replace(settings=tuple(sorted(comparison.settings, key=place)))


def _ordered(by: str) -> tuple[str, str]:
    """The name to sort by, and the suffix "asc" or "desc", if any."""
    word, _, order = by.rpartition(":")
    return (word, order) if order in ("asc", "desc") else (by, "")


def _named(word: str, columns: Sequence[Column], everything: bool) -> list[Column]:
    """The columns of an address, an evaluator or a metric. For the latter two only headlines, unless `everything` or
    there are none."""
    near = [column for column in columns if word in (column.address.evaluator, column.address.metric)]
    if near:
        return near if everything else [column for column in near if column.headline] or near
    try:
        asked = read_address(word)
    except ValueError:
        asked = None
    found = [column for column in columns if asked is not None and asked.covers(column.address)]
    exact = [column for column in found if asked == column.address]
    if not found:
        raise ValueError(f"{word!r} is not a column; choose one of: {_keys(columns) or 'none'}")
    return exact or found


def _keys(columns: Sequence[Column]) -> str:
    return ", ".join(column.key for column in columns)


def _place_on(axis: Axis, setting: Setting) -> float:
    value = setting.values[axis.key]
    return math.nan if value is None else axis.values.index(value)


def _cost_of(key: str, setting: Setting) -> float:
    cost = setting.cost(key)
    return math.nan if cost is None else cost.mean


def _mean_in(comparison: Comparison, column: Column, setting: Setting) -> float:
    cell = comparison.cells.get((setting.label, column.key))
    return math.nan if cell is None else cell.interval.mean
