"""ssl-compare: one table of many finished runs.

Reads only what runs left behind, needs no torch, and starts at once.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from ssl_runner.reporting.results import METRICS, RESULT, ResultError, Run, read_result, write_atomically
from ssl_runner.reporting.tables import Comparison, compare, comparison_table, comparison_tables, table_width, to_csv


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 where there is nothing to compare or the request cannot be met."""
    options = _parser().parse_args(argv)
    runs, problems = find_runs(options.path)
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)
    if not runs:
        places = ", ".join(str(path) for path in options.path)
        return _refuse(f"no finished run in {places}: no folder there has a readable {RESULT}")
    try:
        comparison = compare(runs, options.sort)
    except ValueError as error:
        return _refuse(f"--sort: {error}")
    try:
        if options.csv == "-":
            print(to_csv(comparison), end="")
            return 0
        if options.csv is not None:
            write_atomically(Path(options.csv), to_csv(comparison))
        if options.html is not None:
            from ssl_runner.reporting.page import write_comparison  # jinja2 and matplotlib: only where asked for

            write_comparison(options.html, comparison)
    except OSError as error:
        return _refuse(f"cannot write {error.filename}: {error.strerror}")
    _print(comparison)
    return 0


def find_runs(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """All finished runs in and under `paths`, each once, and a line for each that is broken or did not finish."""
    runs, problems, seen = [], [], set()
    for path in paths:
        if not path.exists():
            problems.append(f"{path} does not exist")
        for folder in _run_folders(path):
            if folder.resolve() in seen:
                continue
            seen.add(folder.resolve())
            if not (folder / RESULT).exists():
                problems.append(f"{folder} has no {RESULT}: the run did not finish, or is still running")
                continue
            try:
                result = read_result(folder)
            except ResultError as error:
                problems.append(str(error))
                continue
            if result.status == "done":
                runs.append(Run("", folder, result))
            else:
                problems.append(f"{folder}: the run ended as {result.status!r}")
    return _named(runs), problems


def _named(runs: Sequence[Run]) -> list[Run]:
    """Call each run by its folder, as seen from the folder that holds them all."""
    if not runs:
        return []
    parents = [str(run.folder.resolve().parent) for run in runs]
    start = os.path.commonpath(parents)
    return [run._replace(name=os.path.relpath(run.folder.resolve(), start)) for run in runs]


def _run_folders(path: Path) -> Iterator[Path]:
    """Folders with a result, or with the curves of a run that has none yet; hidden folders apart."""
    if path.is_file():
        path = path.parent
    for folder, inside, files in os.walk(path):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        if RESULT in files or METRICS in files:
            yield Path(folder)


def _print(comparison: Comparison) -> None:
    """In a terminal the table takes its width, or is cut in several; in a file or a pipe it takes all that it needs."""
    console = Console()
    if console.is_terminal:
        console.print(*comparison_tables(comparison, console.width))
    else:
        table = comparison_table(comparison)
        Console(width=table_width(table).maximum).print(table)


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ssl-compare", description="Make one table of many finished runs.")
    parser.add_argument("path", nargs="+", type=Path, help="a run's folder, or one with runs somewhere under it")
    parser.add_argument("--csv", metavar="FILE", help="write every number in full; - for standard output, alone")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write the table as a page with links to the reports")
    parser.add_argument("--sort", metavar="METRIC", help="best first within each dataset, by a column: linear.accuracy")
    return parser


if __name__ == "__main__":
    sys.exit(main())
