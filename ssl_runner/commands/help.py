"""The text of --help: what a command does, and the comments of conf/ as the documentation of its groups and keys."""

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ssl_runner import __version__
from ssl_runner.config.documentation import about_group, choosable, document, expanded
from ssl_runner.config.paths import conf_dir

COLUMN = 34  # where comments begin
WIDEST = 120  # characters of a line
FLAGS = (
    ("--help", "print this text"),
    ("--version", "print the version"),
    ("--explain WHAT", "document a group, an option or a key: --explain dataset, dataset=mnist, budget"),
    ("--cfg job", "print the composed config and stop"),
    ("--info defaults", "print which files the config is composed of, in order"),
    ("--config-dir FOLDER", "add a folder of your own configs to conf/"),
    ("--plugin PACKAGE", "add the classes and options of a package of yours (docs/extending.md)"),
    ("--json", "answer with one JSON object on standard output; messages go to standard error"),
)


class Command(NamedTuple):
    """A command that composes a config."""

    name: str
    root: str  # the file of conf/ that it composes
    does: str  # one line
    examples: Sequence[tuple[str, str]]  # command line, what it does
    flags: Sequence[tuple[str, str]] = ()  # besides FLAGS

    @property
    def version(self) -> str:
        return f"{self.name} {__version__}"


def help_text(command: Command) -> str:
    """The whole text of `command --help`."""
    root = document(conf_dir() / f"{command.root}.yaml")
    chosen = {choice.group: choice.option for choice in root.choices}
    groups = [
        (f"{group}={option}" if (option := chosen.get(group)) else group, about_group(group))
        for group in choosable(root)
    ]
    known = f"Groups, with the default option (`{command.name} --explain GROUP` lists all options):"
    more = " (the options of a group add their own, `--explain GROUP=OPTION`)" if groups else ""
    parts = [
        f"{command.name}: {command.does}",
        f"Usage: {command.name} [GROUP=OPTION ...] [KEY=VALUE ...] [FLAG ...]",
        "Examples:\n" + "\n".join(f"  {line}\n      {what}" for line, what in command.examples),
        "Flags:\n" + rows((*FLAGS, *command.flags)),
        *([f"{known}\n{rows(groups)}"] if groups else []),
        f"Keys, with the default value{more}:\n"
        + rows((key.name if key.value is None else f"{key.name}={key.value}", key.comment) for key in expanded(root)),
    ]
    return "\n\n".join(parts)


def rows(pairs: Iterable[tuple[str, str]], indent: int = 2) -> str:
    """Two columns, the second one wrapped to the width of the terminal.

    >>> print(rows([("seed=0", "of all random numbers")]))
      seed=0                          of all random numbers
    """
    lines = []
    for name, comment in pairs:
        first = f"{' ' * indent}{name}"
        wrapped = _wrapped(comment, COLUMN)
        if len(first) > COLUMN - 2 or not wrapped:
            lines.append(first)
        else:
            wrapped[0] = first.ljust(COLUMN) + wrapped[0][COLUMN:]
        lines += wrapped
    return "\n".join(lines)


def paragraph(text: str, indent: int = 0) -> str:
    """`text` wrapped to the width of the terminal."""
    return "\n".join(_wrapped(text, indent))


def _wrapped(text: str, indent: int) -> list[str]:
    width = max(min(shutil.get_terminal_size((100, 24)).columns, WIDEST), COLUMN + 30)
    space = " " * indent
    return textwrap.wrap(
        text, width, initial_indent=space, subsequent_indent=space, break_long_words=False, break_on_hyphens=False
    )
