"""`ssl-runs`: list, show, delete and archive runs, unfinished ones too.

Reads only small files, needs no torch, and starts at once.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from ssl_runner import __version__
from ssl_runner.commands.answers import Parser, Refused, answering, asked, refuse
from ssl_runner.commands.run_files import archive, check_runs, delete, size
from ssl_runner.config.errors import ConfigError
from ssl_runner.reporting.inventory import AXES, STATUSES, Entry, entries, entry
from ssl_runner.results.result import REPORT, ResultError, plain_result, read_result
from ssl_runner.runtime.job_file import BUSY
from ssl_runner.runtime.locks import BusyError
from ssl_runner.runtime.terminal import Terminal, closable, guard, say

ABOUT = "List, show, delete and archive runs, finished or not."
EXAMPLES = """examples:
  ssl-runs list                                         all runs below outputs/
  ssl-runs list --status failed,unfinished --older 7d   what was left behind a week ago
  ssl-runs show outputs/mnist_5k-simclr-convnet/s0-1a2b3c4d5e
  ssl-runs archive outputs/mnist_5k-simclr-convnet/s0-1a2b3c4d5e simclr.tar.gz
  ssl-runs delete outputs/mnist_5k-simclr-convnet/s0-1a2b3c4d5e --yes
"""
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
COLUMNS = ("folder", "status", *AXES, "seed", "changed")  # of a line in a pipe or a file


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0; 2 where the request cannot be met; 75 where a run is in use."""
    guard()
    words = sys.argv[1:] if argv is None else argv
    try:
        with closable(), answering("ssl-runs", asked(words)) as answer:
            options = _parser().parse_args(words)
            answer.update(_done(options))
    except Refused as end:
        return int(end.code or 0)
    return 0


def _done(options: argparse.Namespace) -> Mapping[str, Any]:
    work: Callable[[argparse.Namespace], Mapping[str, Any]] = options.work
    try:
        return work(options)
    except ConfigError as error:
        refuse(error.problems)
    except BusyError as error:
        refuse([str(error)], BUSY)
    except BrokenPipeError:  # `closable` knows what to do
        raise
    except OSError as error:
        refuse([f"{error.strerror or error}: {error.filename}" if error.filename else str(error)])


def about(found: Entry) -> dict[str, Any]:
    """What --json says of a run."""
    return found._asdict() | {"folder": str(found.folder), "changed": _moment(found.changed)}


def _list(options: argparse.Namespace) -> Mapping[str, Any]:
    missing = [f"{str(path)!r} does not exist" for path in options.path if not path.exists()]
    if missing:
        refuse(missing)
    problems: list[str] = []
    found = [each for each in entries(options.path, problems) if _wanted(each, options)]
    found.sort(key=lambda each: str(each.folder))
    for problem in problems:
        say(f"note: {problem}")
    console = Terminal()
    if console.is_terminal:
        console.print(_table(found))
    else:
        for each in found:
            print("\t".join(_cell(value) for key, value in about(each).items() if key in COLUMNS))
    return {"runs": [about(each) for each in found], "problems": problems}


def _wanted(found: Entry, options: argparse.Namespace) -> bool:
    chosen = {"status": options.status, **{axis: getattr(options, axis) for axis in AXES}}
    age = time.time() - found.changed
    named = all(names is None or getattr(found, key) in names for key, names in chosen.items())
    return named and (options.older is None or age > options.older) and (options.newer is None or age <= options.newer)


def _table(found: Sequence[Entry]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("run", "status", "seed", "changed", ""):
        table.add_column(title, overflow="fold")
    for each in found:
        how = each.why or ("" if each.progress in (None, 1.0) else f"{each.progress:.0%} pretrained")
        moment = datetime.fromtimestamp(each.changed).strftime("%Y-%m-%d %H:%M")
        table.add_row(str(each.folder), each.status, "" if each.seed is None else str(each.seed), moment, how)
    table.caption = f"{len(found)} run{'s' * (len(found) != 1)}"
    table.caption_justify = "left"
    return table


def _cell(value: object) -> str:
    """A value in a line of cells; as a JSON string where it has characters that would end the cell or the line."""
    written = "" if value is None else str(value)
    return written if written.isprintable() and written[:1] != '"' else json.dumps(written)


def _show(options: argparse.Namespace) -> Mapping[str, Any]:
    check_runs(options.run, strict=False)
    (folder,) = options.run
    found = entry(folder)
    about_it = about(found) | {"bytes": size(folder), "result": None, "report": None}
    console = Terminal()
    for key, value in about_it.items():
        if value not in (None, ""):
            console.print(f"{key + ':':10} {value}", soft_wrap=True)
    try:
        result = read_result(folder)
    except ResultError:  # which `status` and `why` have said
        return about_it
    from ssl_runner.reporting.tables import result_table

    console.print(f"command:   {result.command}", soft_wrap=True)
    console.print(result_table(result))
    report = folder / REPORT
    return about_it | {"result": plain_result(result), "report": str(report) if report.exists() else None}


def _delete(options: argparse.Namespace) -> Mapping[str, Any]:
    check_runs(options.run)
    total = sum(map(size, options.run))
    if not options.yes:
        _ask(f"delete {len(options.run)} run{'s' * (len(options.run) != 1)}, {total / 1e6:,.1f} MB?")
    delete(options.run)
    for folder in options.run:
        say(f"deleted: {folder}", sys.stdout)
    return {"deleted": [str(folder) for folder in options.run], "bytes": total}


def _ask(question: str) -> None:
    """Refuse, unless a person at the terminal says yes."""
    if not sys.stdin.isatty():
        refuse([f"{question} There is nobody to ask: add --yes"])
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        refuse(["nothing was deleted"])


def _archive(options: argparse.Namespace) -> Mapping[str, Any]:
    check_runs(options.run, strict=False)
    count = archive(options.run, options.target)
    say(f"archived: {options.target} ({count} files)", sys.stdout)
    return {"archive": str(options.target), "runs": [str(folder) for folder in options.run], "files": count}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _words(written: str) -> list[str]:
    return [word.strip() for word in written.split(",") if word.strip()]


def _states(written: str) -> list[str]:
    words = _words(written)
    if unknown := [word for word in words if word not in STATUSES]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: no such status; choose of {', '.join(STATUSES)}")
    return words


def _age(written: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", written)
    if found is None:
        raise argparse.ArgumentTypeError(f"{written!r} is not an age; write 30m, 12h, 7d or 4w")
    return float(found[1]) * SECONDS[found[2]]


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="ssl-runs", description=ABOUT, epilog=EXAMPLES, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"ssl-runs {__version__}")
    shared = Parser(add_help=False)
    shared.add_argument(
        "--json", action="store_true", help="answer with one JSON object on standard output; messages go to stderr"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", parents=[shared], help="runs below folders", description="List runs.")
    listing.set_defaults(work=_list)
    listing.add_argument("path", nargs="*", type=Path, default=[Path("outputs")], help="folders (outputs)")
    listing.add_argument("--status", metavar="A,B", type=_states, help=f"of {', '.join(STATUSES)}")
    for axis in AXES:
        listing.add_argument(f"--{axis}", metavar="A,B", type=_words, help=f"only of this {axis}")
    listing.add_argument("--older", metavar="AGE", type=_age, help="last changed longer ago than 30m, 12h, 7d, 4w")
    listing.add_argument("--newer", metavar="AGE", type=_age, help="changed since")

    what = {
        "show": ("what is known of a run", _show),
        "delete": ("delete runs, after a question", _delete),
        "archive": ("copy runs to a .tar.gz or .tar file, or a folder, with checksums", _archive),
    }
    for name, (help_, work) in what.items():
        each = commands.add_parser(name, parents=[shared], help=help_, description=f"{help_.capitalize()}.")
        each.set_defaults(work=work)
        each.add_argument("run", nargs=1 if name == "show" else "+", type=Path, metavar="RUN", help="a run's folder")
        if name == "delete":
            each.add_argument("--yes", action="store_true", help="do not ask")
        if name == "archive":
            each.add_argument("target", type=Path, metavar="FILE", help="a new .tar.gz or .tar file, or a folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())
