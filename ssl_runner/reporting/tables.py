"""Text tables of one run and of comparisons."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import rich.box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ssl_runner.reporting.comparison import COSTS, Cell, Column, Comparison
from ssl_runner.reporting.rows import (
    NOTHING,
    result_rows,
    show_interval,
    subject_name,
    subject_place,
    subjects,
    unit_word,
)
from ssl_runner.reporting.statistics import Interval
from ssl_runner.results.result import RANDOM_START, Result
from ssl_runner.results.values import freeze, text
from ssl_runner.runtime.terminal import Terminal, write_line

NARROWEST = 12  # characters of a heading's line that are not broken
WIDEST = 25  # characters of a line of a heading
LONGEST = 28  # characters before a name or a value goes on in the next line
UNBEATEN, TIED, ONE = "*", "=", "¹"  # marks beside a number


def result_table(result: Result) -> Table:
    """One row per metric: the pretrained encoder, its controls, and the difference to its random start.

    A number that does not beat its controls says so beneath its name.
    """
    rows = result_rows(result)
    there = subjects(rows)
    table = Table(
        title=_title(result), title_justify="left", title_style="bold", box=rich.box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("evaluation")
    for subject in there:
        table.add_column(subject_name(subject).replace(" ", "\n"), justify="right", no_wrap=True)
    if RANDOM_START in there:
        table.add_column("difference to\nrandom start", justify="right", no_wrap=True)
    for row in rows:
        label = Text(row.label)
        if row.verdict:
            label.append(f"\n  {row.verdict}", style="yellow")
        cells = [row.shown(subject) for subject in there]
        if RANDOM_START in there:
            cells.append(row.shown_difference)
        table.add_row(label, *map(Text, cells))
    return table


class Sheet(NamedTuple):
    """A table as text, for a terminal or a document."""

    title: str
    headers: list[str]  # lines apart
    right: list[bool]  # which columns are numbers
    rows: list[list[str]]
    strong: set[tuple[int, int]]  # (row, column) of cells that stand out
    ends: set[int]  # rows after which a section ends
    legend: list[str]


class _Part(NamedTuple):
    """A column of a sheet."""

    header: str
    right: bool
    cells: list[str]
    strong: list[bool]


def sheet(comparison: Comparison, columns: Sequence[Column] | None = None) -> Sheet:
    """One row per setting: its axes, number of seeds, metrics and cost.

    `columns`: only these; None: every evaluator's headline.
    """
    columns = headlines(comparison) if columns is None else columns
    return _sheet(comparison, columns, _results(comparison, columns) + _costs(comparison))


def print_comparison(console: Console, comparison: Comparison, columns: Sequence[Column] | None = None) -> None:
    """The comparison as tables that fit, and below them what their signs mean."""
    columns = headlines(comparison) if columns is None else columns
    console.print(*comparison_tables(comparison, console.width, columns))
    for line in _legend(comparison, columns):
        write_line(console, line)


def comparison_tables(comparison: Comparison, width: int, columns: Sequence[Column] | None = None) -> list[Table]:
    """The same for a terminal of `width` characters: in parts where it does not fit, each with the axes."""
    columns = headlines(comparison) if columns is None else columns
    whole = as_table(sheet(comparison, columns))
    if table_width(whole).maximum <= width:
        return [whole]
    parts: list[list[_Part]] = [[]]
    for part in _results(comparison, columns) + _costs(comparison):
        longer = _sheet(comparison, columns, [*parts[-1], part])
        if parts[-1] and table_width(as_table(longer)).minimum > width:
            parts.append([])
        parts[-1].append(part)
    sheets = [_sheet(comparison, columns, part) for part in parts]
    sheets = [sheets[0], *(each._replace(title="") for each in sheets[1:])]
    return [as_table(each) for each in sheets]


def as_table(sheet: Sheet) -> Table:
    """For the terminal; without the legend."""
    table = Table(
        title=Text(sheet.title, style="bold") if sheet.title else None,
        title_justify="left",
        title_style="",
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for header, right in zip(sheet.headers, sheet.right, strict=True):
        justify: Literal["right", "left"] = "right" if right else "left"
        least = min(max(map(len, header.splitlines()), default=0), NARROWEST) if right else None
        table.add_column(
            Text(header), justify=justify, overflow="fold", min_width=least, max_width=None if right else LONGEST
        )
    for row, cells in enumerate(sheet.rows):
        styled = [Text(cell, style="bold" if (row, place) in sheet.strong else "") for place, cell in enumerate(cells)]
        table.add_row(*styled, end_section=row in sheet.ends)
    return table


def table_width(table: Table) -> Measurement:
    """Characters a table takes: at least, every space a place to break, and at most."""
    console = Terminal(width=10_000)
    return Measurement.get(console, console.options, table)


def headlines(comparison: Comparison) -> list[Column]:
    """The columns of headlines. Where settings are compared, those in which a single one has a number are left out, if
    another column is called alike: in units of its own each says nothing of the others (`alone`)."""
    left_out = {column.key for column in alone(comparison)}
    return [column for column in comparison.columns if column.headline and column.key not in left_out]


def alone(comparison: Comparison) -> list[Column]:
    """Headlines that stand in columns of their own though they are called alike: losses of different tasks,
    likelihoods under different densities. Each has a number of one setting, and so there is nothing to compare."""
    if len(comparison.settings) < 2:
        return []
    settings = Counter(key for _, key in comparison.cells)
    names = Counter((c.address.evaluator, c.address.metric, freeze(c.address.condition)) for c in comparison.columns)
    return [
        column
        for column in comparison.columns
        if column.headline
        and settings[column.key] == 1
        and names[column.address.evaluator, column.address.metric, freeze(column.address.condition)] > 1
    ]


def _sheet(comparison: Comparison, columns: Sequence[Column], parts: Sequence[_Part]) -> Sheet:
    settings = comparison.settings
    about = [
        _Part(axis.short, axis.numeric, [_value(setting.values[axis.key]) for setting in settings], [])
        for axis in comparison.axes
    ]
    if not _single(comparison):
        about.append(_Part("seeds", True, [str(len(setting.runs)) for setting in settings], []))
    every = [*about, *parts]
    return Sheet(
        title=_comparison_title(comparison),
        headers=[part.header for part in every],
        right=[part.right for part in every],
        rows=[list(cells) for cells in zip(*(part.cells for part in every), strict=True)],
        strong={(row, place) for place, part in enumerate(every) for row, strong in enumerate(part.strong) if strong},
        ends={row for row, (one, next_) in enumerate(pairwise(settings)) if one.section != next_.section},
        legend=_legend(comparison, columns),
    )


def _results(comparison: Comparison, columns: Sequence[Column]) -> list[_Part]:
    parts = []
    rivals = Counter(setting.section for setting in comparison.settings)
    marked = [not _single(comparison) and rivals[setting.section] > 1 for setting in comparison.settings]
    for column in columns:
        cells = [comparison.cells.get((setting.label, column.key)) for setting in comparison.settings]
        tied = [cell is not None and cell.tied and mark for cell, mark in zip(cells, marked, strict=True)]
        shown = [_beside(column, cell) + TIED * mark for cell, mark in zip(cells, tied, strict=True)]
        if not _single(comparison):
            shown = [
                told + ONE * (cell is not None and cell.interval.n == 1)
                for told, cell in zip(shown, cells, strict=True)
            ]
        parts.append(_Part(heading(column), True, shown, tied))
    return parts


def heading(column: Column) -> str:
    """A column's name in short lines: evaluator, metric and unit, then what its address adds."""
    address = column.address
    metric = " ".join(filter(None, [address.metric.replace("_", " "), unit_word(column.unit)]))
    told = [f"{key}={text(value)}".replace("_", " ") for key, value in {**address.condition, **address.apart}.items()]
    return "\n".join([address.evaluator.replace("_", " "), metric, *(line for each in told for line in folded(each))])


def folded(words: str) -> list[str]:
    """Words in lines of at most WIDEST characters.

    >>> folded("precision=float32"), folded("objective.views.crop=[0.2,1.0] and more")
    (['precision=float32'], ['objective.views.crop=[0.2', ',1.0] and more'])
    """
    return [words[place : place + WIDEST] for place in range(0, len(words), WIDEST)]


def _costs(comparison: Comparison) -> list[_Part]:
    """What was measured of pretraining, the mean over seeds; and where each run lies, if every setting is one run."""
    parts = []
    headers = ("pretraining\nseconds", "examples\n/ second", "peak\nMB", "pretraining\nTFLOPs")
    for key, header in zip(COSTS, headers, strict=True):
        costs = [setting.cost(key) for setting in comparison.settings]
        if any(cost is not None for cost in costs):
            cells = [NOTHING if cost is None else _cost(key, cost.mean) for cost in costs]
            parts.append(_Part(header, True, cells, []))
    if _single(comparison):
        runs = [run.name for setting in comparison.settings for run in setting.runs.values()]
        parts.append(_Part("run", False, runs, []))
    return parts


def _cost(key: str, value: float) -> str:
    """
    >>> _cost("seconds", 1234.5), _cost("flops", 4.57e11), _cost("flops", 0)
    ('1,234', '0.457', '0')
    """
    if key != "flops":
        return f"{value:,.0f}"
    return f"{value / 1e12:.3g}" if value < 1e15 else f"{value / 1e12:,.0f}"


def _single(comparison: Comparison) -> bool:
    """Whether every setting is one run."""
    return all(len(setting.runs) == 1 for setting in comparison.settings)


def _beside(column: Column, cell: Cell | None) -> str:
    """A mean with its interval, its control's mean, both without their unit, and a mark where it does not beat one."""
    if cell is None:
        return NOTHING
    control = ""
    if RANDOM_START in cell.controls:
        mean = cell.controls[RANDOM_START].mean
        control = f" ({show_interval(column.unit, Interval(mean, math.nan, math.nan, 1), sign='')})"
    return show_interval(column.unit, cell.interval, sign="") + control + UNBEATEN * bool(cell.verdict)


def _value(value: Any) -> str:
    return NOTHING if value is None else text(value)


def _comparison_title(comparison: Comparison) -> str:
    """How much is compared, and what all of it has in common."""
    runs = [run for setting in comparison.settings for run in setting.runs.values()]
    said = f"{len(runs)} run{'s' * (len(runs) != 1)}"
    if not _single(comparison):
        said += f", {len(comparison.settings)} setting{'s' * (len(comparison.settings) != 1)}"
    names = [asdict(run.result.name) for run in runs]
    shared = [name for axis, name in names[0].items() if all(other[axis] == name for other in names)] if names else []
    return said + (f" of {', '.join(shared)}" if shared else "")


def _legend(comparison: Comparison, columns: Sequence[Column]) -> list[str]:
    shown = {column.key for column in columns}
    cells = [cell for (_, key), cell in comparison.cells.items() if key in shown]
    said = []
    if any(cell.interval.n > 1 for cell in cells):
        said.append("± half of the 95 % confidence interval of the mean over seeds (Student's t)")
    if any(RANDOM_START in cell.controls for cell in cells):
        said.append("(in parentheses: the same backbone, randomly initialized)")
    if any(cell.verdict for cell in cells):
        subjects = sorted({subject for cell in cells for subject in cell.controls}, key=subject_place)
        named = f", or not better than {' or '.join(map(subject_name, subjects))}" if subjects else ""
        doubt = ": the interval of the paired differences contains 0" * any(cell.interval.n > 1 for cell in cells)
        said.append(f"{UNBEATEN} not a number{named}{doubt}")
    sections = len({setting.section for setting in comparison.settings})
    if not _single(comparison) and len(comparison.settings) > sections and any(cell.tied for cell in cells):
        where = " on its data" * (sections > 1)
        said.append(
            f"{TIED} the best of its column{where}, or not significantly different from it (paired t-test over common "
            "seeds, Holm's correction, 5 %)"
        )
    if any(cell.interval.n == 1 for cell in cells):
        mark = "" if _single(comparison) else f"{ONE} "
        said.append(f"{mark}one seed: the variation over seeds is unknown, so the number is not tested")
    if apart := sorted({f"{column.address.evaluator}.{column.address.metric}" for column in alone(comparison)}):
        said.append(f"not shown, since each setting has its own unit or task: {', '.join(apart)} (--all shows them)")
    return said


def _title(result: Result) -> str:
    return f"{result.name.objective}, {result.name.dataset}, {result.name.backbone}, seed {result.seed}"
