"""`ssl-compare`: tables of finished runs, aggregated over seeds, each number beside its control.

Reads only result files, needs no torch, and starts at once.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ssl_runner import __version__
from ssl_runner.commands.answers import REFUSED, Parser, Refused, answering, asked, refuse
from ssl_runner.config import plugins
from ssl_runner.config.errors import ConfigError
from ssl_runner.reporting import published
from ssl_runner.reporting.comparison import Column, Comparison, compare, each_run, select, sort
from ssl_runner.reporting.exports import latex, markdown, runs_csv, settings_csv, summary, summary_json
from ssl_runner.reporting.runs import find_runs
from ssl_runner.reporting.runs import where as meeting
from ssl_runner.reporting.tables import headlines, print_comparison, sheet
from ssl_runner.results.result import RESULT, Run, write_atomically
from ssl_runner.runtime.progress import Shown
from ssl_runner.runtime.terminal import Terminal, closable, guard, plain, say, write_line

ABOUT = (
    "Compare finished runs: runs that differ only in their seed share a row, and each number has its control beside it."
)
EXAMPLES = """examples:
  ssl-compare outputs                          all runs below a folder
  ssl-compare outputs --where objective=simclr --columns linear,knn.accuracy --sort linear.accuracy
                                               some runs and columns, the best first
  ssl-compare outputs --html compare.html      a page with table, plots and links to the reports
"""


PATIENCE = 0.5  # seconds of reading before something is shown


class AskedError(ValueError):
    """What was asked for cannot be had; the message names the option."""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 where there is nothing to compare or the request cannot be met."""
    guard()
    words = sys.argv[1:] if argv is None else argv
    try:
        with closable(), answering("ssl-compare", alone(words)) as answer:
            answer.update(_main(words))
    except Refused:
        return REFUSED
    return 0


def alone(words: Sequence[str]) -> bool:
    """Whether --json is given without a file: then the answer goes to standard output."""
    files = [after for word, after in zip(words, [*words[1:], "-"], strict=True) if asked([word])]
    return "--json=-" in words or any(file[:1] == "-" for file in files)


def _main(argv: Sequence[str]) -> dict[str, Any]:
    """Compare, and print or write it; returns what --json says."""
    options = _parser().parse_args(argv)
    try:
        plugins.enable(options.plugin)
    except ConfigError as error:
        refuse(error.problems)
    shown = Shown(Terminal(stderr=True), "reading runs:", patience=PATIENCE, transient=True)
    runs, problems = find_runs(options.path, lambda count: shown.show(None, f"{count:,} so far"))
    shown.close()
    for problem in problems:
        say(f"skipped: {problem}")
    if not runs:
        places = ", ".join(str(path) for path in options.path)
        refuse([f"no finished run in {places}: no folder there has a readable {RESULT}"])
    try:
        comparison = chosen(
            runs,
            where=options.where,
            seeds=options.seeds,
            columns=options.columns,
            every=options.all,
            apart=options.runs,
            by=options.sort,
        )
        for problem in comparison.problems:
            say(f"note: {problem}")
        comparison = comparison._replace(problems=(*problems, *comparison.problems))
        columns = comparison.columns if options.columns or options.all else headlines(comparison)
        figures = published.beside(comparison) if options.against else []
        if options.against and not figures:
            say(
                "note: no figure was published of these settings: none is a recipe (experiment=cifar10/simclr_resnet18)"
            )
        if not _write(comparison, columns, options):
            print_comparison(Terminal(), comparison, columns)
            _print_published(figures)
    except AskedError as error:
        refuse([str(error)])
    except BrokenPipeError:  # `closable` knows what to do
        raise
    except OSError as error:
        refuse([f"cannot write {error.filename}: {error.strerror}"])
    return summary(comparison) | ({"published": published.plain(figures)} if options.against else {})


def chosen(
    runs: Sequence[Run],
    *,
    where: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    columns: Sequence[str] | None = None,
    every: bool = False,
    apart: bool = False,
    by: str | None = None,
) -> Comparison:
    """The comparison that options ask for: --where, --seeds, --columns, --all, --runs and --sort in this order.

    Raises AskedError.
    """
    with _option("--where"):
        runs = meeting(runs, where)
    runs = [run for run in runs if seeds is None or run.result.seed in seeds]
    if not runs:
        raise AskedError("no run matches --where and --seeds")
    comparison = compare(runs)
    if apart:
        comparison = each_run(comparison)
    if columns is not None:
        with _option("--columns"):
            comparison = select(comparison, columns, every)
    if by is not None:
        with _option("--sort"):
            comparison = sort(comparison, by)
    return comparison


def _write(comparison: Comparison, columns: Sequence[Column], options: argparse.Namespace) -> bool:
    """Write the files asked for. Returns whether something was written to standard output, where it stands alone."""
    texts: list[tuple[str | None, Callable[[], str]]] = [
        (options.csv, partial(runs_csv if options.runs else settings_csv, comparison)),
        (options.json, partial(summary_json, comparison)),  # to standard output as the command's answer
        (options.markdown, lambda: markdown(sheet(comparison, columns))),
        (options.latex, lambda: latex(sheet(comparison, columns))),
    ]
    if sum(path == "-" for path, _ in texts) > 1:
        raise AskedError("only one of --csv, --json, --markdown and --latex can go to standard output")
    if str(options.html) == "-":
        raise AskedError("--html needs a file: its links to the reports are relative to it")
    for path, write in texts:
        if path is not None and path != "-":
            write_atomically(Path(path), write())
    if options.html is not None:
        say(f"drawing {options.html}")
        from ssl_runner.reporting.page import write_comparison  # jinja2 and matplotlib: only where asked for

        write_comparison(options.html, comparison, best_first=options.sort is None)
    for path, write in texts:
        if path == "-" and options.json != "-":
            print(plain(write()), end="")
    return any(path == "-" for path, _ in texts)


def _print_published(figures: Sequence[published.Beside]) -> None:
    """Own figures beside published ones, and what differs."""
    if not figures:
        return
    console = Terminal()
    console.print(published.table(figures))
    for line in published.legend(figures):
        write_line(console, line)


@contextmanager
def _option(name: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise AskedError(f"{name}: {error}") from error


def _words(written: str) -> list[str]:
    return [word.strip() for word in written.split(",") if word.strip()]


def _seeds(written: str) -> list[int]:
    try:
        return [int(word) for word in _words(written)]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{written!r} is not a list of whole numbers; write --seeds 0,1,2") from error


class _Parser(Parser):
    """A parser whose help begins with what the command does."""

    def format_help(self) -> str:
        return f"{self.prog}: {ABOUT}\n\n{super().format_help()}"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ssl-compare", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"ssl-compare {__version__}")
    parser.add_argument(
        "path", nargs="+", type=Path, help="folder of a run or a sweep, a folder with runs below it, or a pattern"
    )
    parser.add_argument("--runs", action="store_true", help="one row per run, instead of one per setting")
    parser.add_argument(
        "--plugin", metavar="PACKAGE", action="append", default=[], help="as in ssl-run; no run needs it to be compared"
    )
    choose = parser.add_argument_group("what to show")
    choose.add_argument(
        "--where",
        metavar="CONDITION",
        action="append",
        default=[],
        help="only runs that satisfy the condition: objective=simclr, 'ratio>=0.5'; operators = != < > <= >=; may be "
        "repeated",
    )
    choose.add_argument("--seeds", metavar="0,1,...", type=_seeds, help="only runs with these seeds")
    choose.add_argument("--columns", metavar="NAME,...", type=_words, help="only these columns: linear,knn.accuracy")
    choose.add_argument("--all", action="store_true", help="all metrics, not only the main one of each evaluation")
    choose.add_argument(
        "--sort", metavar="NAME[:asc|:desc]", help="sort by a column (best first), a setting, or seconds"
    )
    choose.add_argument(
        "--against",
        choices=["published"],
        help="also put published figures of recipes (experiment=cifar10/simclr_resnet18) beside own ones, with what "
        "differs",
    )
    write = parser.add_argument_group(
        "output files (- for standard output, with no table beside it; --html needs a file)"
    )
    write.add_argument("--csv", metavar="FILE", help="all numbers: one line per setting and column, or per run")
    write.add_argument(
        "--json",
        metavar="FILE",
        nargs="?",
        const="-",
        help="everything, including the values of each seed and run; without FILE, on standard output",
    )
    write.add_argument("--markdown", metavar="FILE", help="the table")
    write.add_argument("--latex", metavar="FILE", help="the table, in the style of booktabs")
    write.add_argument("--html", metavar="FILE", type=Path, help="a page with table, plots and links to the reports")
    return parser


if __name__ == "__main__":
    sys.exit(main())
