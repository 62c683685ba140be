"""`--json`: a command's answer as one JSON object on standard output, and all else that is said on standard error."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from ssl_runner import __version__
from ssl_runner.results.plain import to_plain
from ssl_runner.results.result import REPORT, plain_result, read_result
from ssl_runner.runtime.terminal import closable, say, shown

FLAG = "--json"
REFUSED = 2  # exit code: it is not done, and the message says why


class Refused(SystemExit):
    """The end of a command that was refused or stopped. `problems`: its messages, which were printed already."""

    def __init__(self, problems: Sequence[str], code: int = REFUSED, folder: Path | None = None) -> None:
        super().__init__(code)
        self.problems = list(problems)
        self.folder = folder  # of a run that is finished in spite of them


def refuse(problems: Sequence[str], code: int = REFUSED, folder: Path | None = None) -> NoReturn:
    """Print one line per problem, and end with an exit code."""
    for problem in problems:
        say(f"error: {problem}")
    raise Refused(problems, code, folder)


class Parser(argparse.ArgumentParser):
    """argparse, which refuses a command line as commands refuse anything else."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        refuse([message])


def asked(words: Sequence[str]) -> bool:
    """Whether a command line has --json, which argparse lets be shortened. The other processes of a run stay silent."""
    return _is_first() and any(len(word) > 2 and FLAG.startswith(word) for word in words)


def _is_first() -> bool:
    """Whether this is the process of a run that speaks, and writes its result."""
    return "WORLD_SIZE" not in os.environ or os.environ.get("RANK", "0") == "0"


def begin(what: str) -> None:
    """Print what a command does, before it imports what takes seconds; the other processes of a run stay silent."""
    if _is_first():
        say(what, sys.stdout)


def about_run(folder: Path) -> dict[str, Any]:
    """What --json says of a finished run; nothing in its other processes, which end before it is written. Raises
    ResultError."""
    if not _is_first():
        return {}
    return {
        "folder": str(folder),
        "report": str(folder / REPORT),
        "encoder": str(folder / "encoder"),
        "result": plain_result(read_result(folder)),
    }


@contextmanager
def answering(command: str, is_asked: bool) -> Iterator[dict[str, Any]]:
    """Print the answer of a command as it ends, if that is asked for: what is put in the dictionary, with the command,
    its exit code and, where it failed, the messages. Otherwise the dictionary is for nothing."""
    answer: dict[str, Any] = {}
    if not is_asked:
        yield answer
        return
    about: dict[str, Any] = {"command": command, "version": __version__, "exit_code": 0, "error": []}
    with closable():
        try:
            with _printing_to_stderr():
                yield answer
        except BaseException as error:
            about |= _ended(error)
            raise
        finally:  # in ASCII, which any terminal, pipe and locale takes
            print(json.dumps(to_plain(about | answer), indent=1, allow_nan=False), flush=True)


def _ended(error: BaseException) -> dict[str, Any]:
    """Exit code and messages of what ends a command; the run that is finished in spite of it."""
    if not isinstance(error, SystemExit):
        return {"exit_code": 1, "error": [shown(f"{type(error).__name__}: {error}")]}
    code = error.code if isinstance(error.code, int) else int(error.code is not None)
    said = [error.code.removeprefix("error: ")] if isinstance(error.code, str) else []
    problems = getattr(error, "problems", said) or ["a process of this run has said why"] * bool(code)
    folder: Path | None = getattr(error, "folder", None)
    about: Mapping[str, Any] = {} if folder is None else about_run(folder)
    return {"exit_code": code, "error": [shown(each) for each in problems], **about}


@contextmanager
def _printing_to_stderr() -> Iterator[None]:
    """What is printed inside goes to standard error, also what processes print that are started there."""
    output, descriptor = sys.stdout, None
    output.flush()
    with suppress(OSError):  # one of the two is closed
        descriptor = os.dup(1)
        os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout = output
        if descriptor is not None:
            os.dup2(descriptor, 1)
            os.close(descriptor)
