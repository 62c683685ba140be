"""Tables of one run and of many, for the terminal and as CSV."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

import rich.box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ssl_runner.reporting.results import PRETRAINED, RANDOM_START, Result, Run
from ssl_runner.reporting.rows import NOTHING, Row, is_share, result_rows, subject_name, subjects

LONGEST = 28  # characters before a name or a list of overrides goes on in the next line
COSTS = ("seconds", "examples_per_second", "peak_memory_mb", "evaluation_seconds", "parameters", "device", "precision")


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


class Line(NamedTuple):
    """One run of a comparison."""

    run: Run
    differs: str  # the overrides that not all runs share
    rows: dict[str, Row]  # by column


class Comparison(NamedTuple):
    columns: list[str]  # keys of rows, in the order they were met
    lines: list[Line]  # by dataset, then by name and seed, or best first


def compare(runs: Sequence[Run], sort: str | None = None) -> Comparison:
    """Line up runs. `sort`: a column, or what comes before its dot; within each dataset the best run comes first.

    Raises ValueError for a `sort` that is no column, or several.
    """
    found = [{row.key: row for row in result_rows(run.result)} for run in runs]
    columns = list(dict.fromkeys(key for rows in found for key in rows))
    shared = set.intersection(*(set(run.result.overrides) for run in runs)) if runs else set()
    lines = [
        Line(run, " ".join(o for o in run.result.overrides if o not in shared and _tells(o)), rows)
        for run, rows in zip(runs, found, strict=True)
    ]
    lines.sort(key=lambda line: (*_name(line.run), line.run.result.seed, line.run.name))
    if sort is not None:
        column = _column(sort, columns)
        lines.sort(key=lambda line: (line.run.result.name.dataset, _rank(line.rows.get(column))))
    return Comparison(columns, lines)


def comparison_table(comparison: Comparison, columns: Sequence[str] | None = None, folders: bool = True) -> Table:
    """One row a run, one column a headline: the other conditions of a metric are in the CSV.

    `columns`: only these. `folders`: seconds and folder too.
    """
    columns = headlines(comparison) if columns is None else columns
    table = Table(
        box=rich.box.SIMPLE_HEAD, caption_justify="left", caption_style="", pad_edge=False, padding=(0, 1, 0, 0)
    )
    table.caption = _legend(comparison)
    for title in ("dataset", "objective", "backbone", "seed"):
        table.add_column(title, justify="right" if title == "seed" else "left", no_wrap=True)
    table.add_column("differs", overflow="fold", max_width=LONGEST)
    for column in columns:
        unit = " %" * is_share(column)
        table.add_column(Text(column.replace(".", "\n", 1).replace("_", " ") + unit), justify="right")
    if folders:
        table.add_column("seconds", justify="right", no_wrap=True)
        table.add_column("run", overflow="fold", max_width=LONGEST)
    last = len(comparison.lines) - 1
    for place, line in enumerate(comparison.lines):
        name, seconds = line.run.result.name, line.run.result.cost.seconds
        cells = [name.dataset, name.objective, name.backbone, str(line.run.result.seed), line.differs]
        cells += [_beside(line.rows.get(column)) for column in columns]
        if folders:
            cells += [NOTHING if seconds is None else f"{seconds:,.0f}", line.run.name]
        ends = place < last and comparison.lines[place + 1].run.result.name.dataset != name.dataset
        table.add_row(*(Text(cell) for cell in cells), end_section=ends)
    return table


def comparison_tables(comparison: Comparison, width: int) -> list[Table]:
    """The same for a terminal of `width` characters: without folders where they do not fit, wrapped, in parts."""
    whole = comparison_table(comparison)
    if table_width(whole).maximum <= width:
        return [whole]
    parts: list[list[str]] = [[]]
    for column in headlines(comparison):
        if parts[-1] and table_width(comparison_table(comparison, [*parts[-1], column], folders=False)).minimum > width:
            parts.append([])
        parts[-1].append(column)
    tables = [comparison_table(comparison, part, folders=False) for part in parts]
    for table in tables[:-1]:
        table.caption = None
    return tables


def table_width(table: Table) -> Measurement:
    """Characters a table takes: at least, every space a place to break, and at most."""
    console = Console(width=10_000)
    return Measurement.get(console, console.options, table)


def headlines(comparison: Comparison) -> list[str]:
    """The columns that are their evaluator's headline."""
    wanted = {key for line in comparison.lines for key, row in line.rows.items() if row.headline}
    return [column for column in comparison.columns if column in wanted]


def to_csv(comparison: Comparison) -> str:
    """Every number in full, a run a line; controls in columns of their own: linear.accuracy:random_start."""
    columns = []
    for column in comparison.columns:
        rows = [line.rows[column] for line in comparison.lines if column in line.rows]
        columns += [(column, subject) for subject in subjects(rows)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ["run", "identity", "dataset", "objective", "backbone", "seed", "differs", "started"]
    headers = [column if subject == PRETRAINED else f"{column}:{subject}" for column, subject in columns]
    writer.writerow([*names, *headers, *COSTS])
    for line in comparison.lines:
        result = line.run.result
        name = result.name
        values = [line.rows[c].values.get(s, "") if c in line.rows else "" for c, s in columns]
        cost = asdict(result.cost)
        costs = ["" if cost[key] is None else cost[key] for key in COSTS]
        about = [line.run.folder, result.identity, name.dataset, name.objective, name.backbone, result.seed]
        writer.writerow([*about, line.differs, result.started, *values, *costs])
    return text.getvalue()


def _beside(row: Row | None) -> str:
    """A number and its control, without their unit, and a mark where it does not beat one."""
    if row is None:
        return NOTHING
    control = f" ({row.shown(RANDOM_START)})" if RANDOM_START in row.values else ""
    return (row.shown(PRETRAINED) + control).replace(" %", "") + "*" * bool(row.verdict)


def _legend(comparison: Comparison) -> str | None:
    rows = [row for line in comparison.lines for row in line.rows.values() if row.headline]
    said = []
    if any(RANDOM_START in row.values for row in rows):
        said.append("(in parentheses: the same backbone at its random start)")
    if any(row.verdict for row in rows):
        controls = " or ".join(subject_name(subject) for subject in subjects(rows) if subject != PRETRAINED)
        said.append(f"* not a number, or not better than {controls}" if controls else "* not a number")
    return "\n".join(said) or None


def _title(result: Result) -> str:
    return f"{result.name.objective}, {result.name.dataset}, {result.name.backbone}, seed {result.seed}"


def _name(run: Run) -> tuple[str, str, str]:
    name = run.result.name
    return name.dataset, name.objective, name.backbone


def _tells(override: str) -> bool:
    """Whether an override says something that the other columns do not: not the names, nor what changes no number."""
    key = override.lstrip("+~").partition("=")[0]
    return key not in ("dataset", "objective", "backbone", "seed", "logger") and not key.startswith(
        ("hydra.", "logger.")
    )


def _column(sort: str, columns: Sequence[str]) -> str:
    if sort in columns:
        return sort
    near = [column for column in columns if sort in column.partition(".")[::2]]
    if len(near) == 1:
        return near[0]
    among = ", ".join(near or columns) or "none"
    raise ValueError(f"{sort!r} is {'more than one column' if near else 'no column'}; choose one of: {among}")


def _rank(row: Row | None) -> float:
    """Best first, what is missing or not a number last."""
    value = math.nan if row is None else row.values.get(PRETRAINED, math.nan)
    if row is None or math.isnan(value):
        return math.inf
    return value if row.higher_is_better is False else -value
