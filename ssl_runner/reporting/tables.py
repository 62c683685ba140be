"""Tables of one run and of many, as text."""

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
from ssl_runner.reporting.results import RANDOM_START, Result
from ssl_runner.reporting.rows import (
    NOTHING,
    is_share,
    result_rows,
    show,
    show_interval,
    subject_name,
    subject_place,
    subjects,
)
from ssl_runner.reporting.values import text

LONGEST = 28  # characters before a name or a value goes on in the next line
UNBEATEN, TIED = "*", "="  # marks beside a number


def result_table(result: Result) -> Table:
    """One row a number: the pretrained encoder, its controls, and how far it lies from its random start.

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
    """One row a setting: its axes, its number of seeds, what was found, what it cost.

    `columns`: only these; None: every evaluator's headline.
    """
    columns = headlines(comparison) if columns is None else columns
    return _sheet(comparison, columns, _results(comparison, columns) + _costs(comparison))


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
    sheets = [*(each._replace(legend=[]) for each in sheets[:-1]), sheets[-1]]
    return [as_table(each) for each in sheets]


def as_table(sheet: Sheet) -> Table:
    """For the terminal."""
    table = Table(
        title=Text(sheet.title, style="bold") if sheet.title else None,
        title_justify="left",
        title_style="",
        caption=Text("\n".join(sheet.legend)) if sheet.legend else None,
        caption_justify="left",
        caption_style="",
        box=rich.box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for header, right in zip(sheet.headers, sheet.right, strict=True):
        justify: Literal["right", "left"] = "right" if right else "left"
        table.add_column(Text(header), justify=justify, overflow="fold", max_width=None if right else LONGEST)
    for row, cells in enumerate(sheet.rows):
        styled = [Text(cell, style="bold" if (row, place) in sheet.strong else "") for place, cell in enumerate(cells)]
        table.add_row(*styled, end_section=row in sheet.ends)
    return table


def table_width(table: Table) -> Measurement:
    """Characters a table takes: at least, every space a place to break, and at most."""
    console = Console(width=10_000)
    return Measurement.get(console, console.options, table)


def headlines(comparison: Comparison) -> list[Column]:
    """The columns that are their evaluator's headline."""
    return [column for column in comparison.columns if column.headline]


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
        header = f"{column.evaluator}\n{column.key.removeprefix(column.evaluator + '.')}".replace("_", " ")
        unit = " %" * is_share(column.metric)
        shown = [_beside(column, cell) + TIED * mark for cell, mark in zip(cells, tied, strict=True)]
        parts.append(_Part(header + unit, True, shown, tied))
    return parts


def _costs(comparison: Comparison) -> list[_Part]:
    """What was measured of pretraining, the mean over seeds; and where each run lies, if every setting is one run."""
    parts = []
    for key, header in zip(COSTS, ("pretraining\nseconds", "examples\n/ second", "peak\nMB"), strict=True):
        costs = [setting.cost(key) for setting in comparison.settings]
        if any(cost is not None for cost in costs):
            cells = [NOTHING if cost is None else f"{cost.mean:,.0f}" for cost in costs]
            parts.append(_Part(header, True, cells, []))
    if _single(comparison):
        runs = [run.name for setting in comparison.settings for run in setting.runs.values()]
        parts.append(_Part("run", False, runs, []))
    return parts


def _single(comparison: Comparison) -> bool:
    """Whether every setting is one run."""
    return all(len(setting.runs) == 1 for setting in comparison.settings)


def _beside(column: Column, cell: Cell | None) -> str:
    """A mean with its interval, its control's mean, both without their unit, and a mark where it does not beat one."""
    if cell is None:
        return NOTHING
    control = f" ({show(column.metric, cell.controls[RANDOM_START].mean)})" if RANDOM_START in cell.controls else ""
    return (show_interval(column.metric, cell.interval) + control).replace(" %", "") + UNBEATEN * bool(cell.verdict)


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
        said.append("(in parentheses: the same backbone at its random start)")
    if any(cell.verdict for cell in cells):
        subjects = sorted({subject for cell in cells for subject in cell.controls}, key=subject_place)
        named = f", or not better than {' or '.join(map(subject_name, subjects))}" if subjects else ""
        doubt = ": the interval of the difference in pairs holds 0" * any(cell.interval.n > 1 for cell in cells)
        said.append(f"{UNBEATEN} not a number{named}{doubt}")
    sections = len({setting.section for setting in comparison.settings})
    if not _single(comparison) and len(comparison.settings) > sections and any(cell.tied for cell in cells):
        where = " on its data" * (sections > 1)
        said.append(
            f"{TIED} the best of its column{where}, or not told apart from it (paired t-test over common seeds, "
            "Holm's correction, 5 %)"
        )
    if any(cell.interval.n == 1 for cell in cells) and len(comparison.settings) > 1:
        said.append("one seed says nothing of chance: without two seeds in common nothing is told apart")
    return said


def _title(result: Result) -> str:
    return f"{result.name.objective}, {result.name.dataset}, {result.name.backbone}, seed {result.seed}"
