"""A comparison as CSV, JSON, Markdown and LaTeX."""

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from ssl_runner.reporting.comparison import COSTS, Cell, Column, Comparison
from ssl_runner.reporting.rows import subject_place
from ssl_runner.reporting.statistics import Interval
from ssl_runner.reporting.tables import Sheet
from ssl_runner.results.plain import to_plain
from ssl_runner.results.result import PRETRAINED, RANDOM_START
from ssl_runner.results.values import text

RUN_COSTS = (*COSTS, "evaluation_seconds", "parameters", "device", "precision")  # keys of results.Cost
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "[": "{[}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$",
}  # fmt: skip


def settings_csv(comparison: Comparison) -> str:
    """One line a setting and column, every number in full; empty where there is none."""
    subjects = _controls(comparison)
    parts = [f"{subject}{part}" for subject in subjects for part in ("", "_low", "_high")]
    parts += [f"{subject}_difference{part}" for subject in subjects for part in ("", "_low", "_high")]
    axes = [axis.key for axis in comparison.axes]
    header = [
        *axes,
        "column",
        "evaluator",
        "metric",
        "unit",
        "headline",
        "protocol",
        "n",
        "mean",
        "low",
        "high",
        *parts,
    ]
    lines: list[list[Any]] = [[*header, "verdict", "tied", "p", *COSTS]]
    for setting in comparison.settings:
        named = ["" if setting.values[axis] is None else text(setting.values[axis]) for axis in axes]
        costs = [setting.cost(key) for key in COSTS]
        for column in comparison.columns:
            cell = comparison.cells.get((setting.label, column.key))
            if cell is None:
                continue
            protocol = json.dumps(to_plain(column.protocol), ensure_ascii=False)
            line: list[Any] = [*named, column.key, column.address.evaluator, column.address.metric, column.unit.value]
            line += [_yes(column.headline), protocol]
            line += [cell.interval.n, *_bounds(cell.interval)]
            line += [number for subject in subjects for number in _bounds(cell.controls.get(subject))]
            line += [number for subject in subjects for number in _bounds(cell.differences.get(subject))]
            line += [cell.verdict, _yes(cell.tied), _number(cell.p)]
            lines.append([*line, *("" if cost is None else _number(cost.mean) for cost in costs)])
    return _written(lines)


def runs_csv(comparison: Comparison) -> str:
    """One line a run, every number in full; controls in columns of their own: linear.accuracy:random_start."""
    columns = []
    for column in comparison.columns:
        cells = [comparison.cells.get((setting.label, column.key)) for setting in comparison.settings]
        subjects = {subject for cell in cells if cell is not None for subject in cell.control_values}
        columns += [(column.key, subject) for subject in (PRETRAINED, *sorted(subjects, key=subject_place))]
    names = ["run", "identity", "dataset", "objective", "backbone", "seed", "differs", "started"]
    headers = [key if subject == PRETRAINED else f"{key}:{subject}" for key, subject in columns]
    lines: list[list[Any]] = [[*names, *headers, *RUN_COSTS]]
    for setting in comparison.settings:
        for seed, run in setting.runs.items():
            result, name = run.result, run.result.name
            line: list[Any] = [run.folder, result.identity, name.dataset, name.objective, name.backbone, seed]
            line += ["" if setting.label == "-" else setting.label, result.started]
            for key, subject in columns:
                cell = comparison.cells.get((setting.label, key))
                line.append("" if cell is None else _of(cell, subject).get(seed, ""))
            costs = asdict(result.cost)
            lines.append([*line, *("" if costs[key] is None else costs[key] for key in RUN_COSTS)])
    return _written(lines)


def table(comparison: Comparison, columns: Sequence[Column]) -> tuple[list[str], list[list[str | float | None]]]:
    """A comparison as one table of plain values, names and rows: a row a setting, with the mean of each column, its
    interval, and the mean of the random start."""
    names = [axis.key for axis in comparison.axes] + ["seeds"]
    names += [f"{column.key}{part}" for column in columns for part in ("", " low", " high", " at random start")]
    rows: list[list[str | float | None]] = []
    for setting in comparison.settings:
        row: list[str | float | None] = [
            value if isinstance(value, int | float) or value is None else str(value)
            for value in (setting.values.get(axis.key) for axis in comparison.axes)
        ]
        row.append(len(setting.runs))
        for column in columns:
            cell = comparison.cells.get((setting.label, column.key))
            start = None if cell is None else cell.controls.get(RANDOM_START)
            row += [None] * 3 if cell is None else cell.interval[:3]
            row.append(None if start is None else start.mean)
        rows.append(row)
    return names, rows


def summary_json(comparison: Comparison) -> str:
    """`summary` as text."""
    return json.dumps(summary(comparison), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def summary(comparison: Comparison) -> dict[str, Any]:
    """Everything as JSON values: axes, settings with their runs, columns with their protocols, cells with the values of
    each seed. Numbers that are not finite are the texts "NaN", "Infinity" and "-Infinity"."""
    found: dict[str, Any] = to_plain(
        {
            "axes": [axis._asdict() for axis in comparison.axes],
            "settings": [
                {
                    "label": setting.label,
                    "section": setting.section,
                    "values": setting.values,
                    "runs": [
                        {
                            "name": run.name,
                            "folder": str(run.folder),
                            "seed": seed,
                            "identity": run.result.identity,
                            "started": run.result.started,
                            "command": run.result.command,
                            "cost": asdict(run.result.cost),
                        }
                        for seed, run in setting.runs.items()
                    ],
                }
                for setting in comparison.settings
            ],
            "columns": [
                {"key": column.key, **column._asdict(), "address": column.address._asdict()}
                for column in comparison.columns
            ],
            "cells": [
                {
                    "setting": setting.label,
                    "column": column.key,
                    "values": cell.values,
                    **_interval(cell.interval),
                    "controls": {
                        subject: {
                            "values": cell.control_values.get(subject, {}),
                            **_interval(found),
                            "difference": _interval(cell.differences.get(subject)),
                        }
                        for subject, found in cell.controls.items()
                    },
                    "verdict": cell.verdict,
                    "tied": cell.tied,
                    "p": None if math.isnan(cell.p) else cell.p,
                }
                for setting in comparison.settings
                for column in comparison.columns
                if (cell := comparison.cells.get((setting.label, column.key))) is not None
            ],
            "problems": comparison.problems,
        }
    )
    return found


def markdown(sheet: Sheet) -> str:
    """A pipe table, the legend beneath; what stands out is bold."""
    rows = []
    for row, cells in enumerate(sheet.rows):
        shown = [escaped(cell) for cell in cells]
        rows.append([f"**{cell}**" if (row, place) in sheet.strong else cell for place, cell in enumerate(shown)])
    table = pipes([escaped(header.replace("\n", " ")) for header in sheet.headers], sheet.right, rows)
    return "\n\n".join([escaped(sheet.title), table, *map(escaped, sheet.legend)]) + "\n"


def pipes(headers: Sequence[str], right: Sequence[bool], rows: Iterable[Sequence[str]]) -> str:
    """A pipe table of cells that are Markdown already."""
    lines = [headers, ["---:" if each else "---" for each in right], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(words: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", words).replace("\n", " ")


def latex(sheet: Sheet) -> str:
    """A tabular with the rules of booktabs, title and legend as comments; what stands out is bold."""
    lines = [f"% {line}" for line in (sheet.title, r"needs \usepackage{booktabs}", *sheet.legend)]
    lines.append(rf"\begin{{tabular}}{{{''.join('r' if right else 'l' for right in sheet.right)}}}")
    lines += [r"\toprule", _latex_row(sheet.headers), r"\midrule"]
    for row, cells in enumerate(sheet.rows):
        lines.append(_latex_row(cells, [(row, place) in sheet.strong for place in range(len(cells))]))
        if row in sheet.ends:
            lines.append(r"\midrule")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_row(cells: Sequence[str], strong: Iterable[bool] = ()) -> str:
    written = ["".join(LATEX.get(letter, letter) for letter in cell.replace("\n", " ")) for cell in cells]
    for place, bold in enumerate(strong):
        written[place] = rf"\textbf{{{written[place]}}}" if bold else written[place]
    return " & ".join(written) + r" \\"


def _controls(comparison: Comparison) -> list[str]:
    return sorted({subject for cell in comparison.cells.values() for subject in cell.controls}, key=subject_place)


def _of(cell: Cell, subject: str) -> Any:
    return cell.values if subject == PRETRAINED else cell.control_values.get(subject, {})


def _interval(found: Interval | None) -> dict[str, Any]:
    """Bounds that a single seed does not have are null."""
    if found is None:
        return {}
    single = {"low": None, "high": None} if found.n == 1 else {}
    return found._asdict() | single


def _bounds(found: Interval | None) -> list[Any]:
    return ["", "", ""] if found is None else [_number(found.mean), _number(found.low), _number(found.high)]


def _number(value: float) -> Any:
    return "" if math.isnan(value) else value


def _yes(value: bool) -> str:
    return "true" if value else "false"


def _written(lines: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(lines)
    return file.getvalue()
