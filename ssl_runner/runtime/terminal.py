"""Safe output to a terminal: untrusted text cannot control it, use rich's markup, flood it, or reveal a secret."""

import os
import re
import select
import shutil
import sys
import textwrap
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from ssl_runner.config.secrets import without_secrets

LONGEST = 4000  # characters of a message; a list of what there is may take 2000
CLOSED = 128 + 13  # exit code of a program that SIGPIPE ends, as a shell gives it
JOINERS = "\u200c\u200d"  # which letters of some scripts need; the other characters of format can reorder what is shown
UNBROKEN = 10_000  # columns of what is no terminal
NOTEBOOK = 100  # columns of a table below a cell
SPACES = re.compile(r" +(?=\n)")
SCREENS = re.compile(r"[^\x20-\x7e\n\t]")


def plain(text: str) -> str:
    """`text` with characters replaced that could control a terminal or reorder its text.

    >>> plain("a\x1b[2Jb")
    'a\N{REPLACEMENT CHARACTER}[2Jb'
    """
    return text if text.isprintable() else SCREENS.sub(_harmless, text)


def _harmless(found: re.Match[str]) -> str:
    character = found[0]
    kind = unicodedata.category(character)
    evil = (kind[0] == "C" or kind in ("Zl", "Zp")) and character not in JOINERS
    return "\N{REPLACEMENT CHARACTER}" if evil else character


def shown(text: str) -> str:
    """A message that is safe to print: plain, of bounded length, without the values of secrets of the environment."""
    text = plain(without_secrets(text))
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} [...] {text[-LONGEST // 4 :]}"


def say(text: object, file: IO[str] | None = None) -> None:
    """Print a line after making it safe (`shown`), by default to standard error; a terminal breaks it between words."""
    file, said = sys.stderr if file is None else file, shown(str(text))
    print(folded(said, shutil.get_terminal_size().columns) if file.isatty() else said, file=file, flush=True)


def write_line(console: Console, text: str, style: str = "") -> None:
    """Print a line of words: a terminal breaks it between two of them, and a pipe and a file not at all.

    A word that is longer than a line, as a path, stays whole: the terminal itself goes on in its next line.
    """
    console.print(folded(text, console.width) if console.is_terminal else text, style=style, soft_wrap=True)


def folded(text: str, columns: int) -> str:
    """`text` with line ends between words, and each line indented as its first one.

    >>> print(folded("  one two outputs/runs/1a2b3c", 10))
      one two
      outputs/runs/1a2b3c
    """
    return "\n".join(
        textwrap.fill(
            line, columns, break_long_words=False, break_on_hyphens=False,
            subsequent_indent=line[: len(line) - len(line.lstrip())],
        )
        for line in text.split("\n")
    )  # fmt: skip


class Terminal(Console):
    """rich's console without markup, highlighting or control characters in text.

    In a notebook lines are text below the cell, as those of `print`: rich would make an output of HTML of each. In a
    pipe and a file no line is broken, unless COLUMNS says how wide they are; and none ends in spaces. They are no
    terminals where FORCE_COLOR is set either, as notebooks set it for what they start: they cannot move a cursor.
    """

    def __init__(self, **settings: Any) -> None:
        ours = {"highlight": False, "markup": False, "emoji": False, "force_jupyter": False}
        file = settings.get("file") or (sys.stderr if settings.get("stderr") else sys.stdout)
        ours["force_terminal"] = file.isatty() and not in_notebook()  # whose output says that it is one
        super().__init__(**ours | settings)
        if not (self.is_terminal or "width" in settings or os.environ.get("COLUMNS", "").isdigit()):
            self.width = NOTEBOOK if in_notebook() else UNBROKEN

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        rendered = super().render(renderable, options)
        safe = (each if each.control else each._replace(text=plain(each.text)) for each in rendered)
        return safe if self.is_terminal else unpadded(safe)

    def on_broken_pipe(self) -> None:
        """Leave it to `closable`: rich's own way is exit code 1."""
        raise BrokenPipeError


def unpadded(segments: Iterable[Segment]) -> Iterator[Segment]:
    """The segments without spaces at the ends of lines.

    >>> "".join(each.text for each in unpadded([Segment("a  "), Segment("b "), Segment(" "), Segment("\\n")]))
    'a  b\\n'
    """
    held: list[Segment] = []  # spaces, of which it is not known yet whether a line ends in them
    for segment in segments:
        text = SPACES.sub("", segment.text)
        if text.lstrip(" ")[:1] == "\n":
            held, text = [], text.lstrip(" ")
        words = text.rstrip(" ")
        if words:
            yield from held
            held = []
            yield segment._replace(text=words)
        if len(words) < len(text):
            held.append(segment._replace(text=text[len(words) :]))
        elif segment.control:
            yield segment
    yield from held


def in_notebook() -> bool:
    """Whether what is printed is shown below a cell of a notebook."""
    return type(sys.stdout).__module__ == "ipykernel.iostream"


def notebook_line() -> Callable[[str], None] | None:
    """In a notebook, a function that shows a line below the cell in place of the one that it showed before; None
    elsewhere."""
    if not in_notebook():
        return None
    from IPython.display import TextDisplayObject, display

    class Line(TextDisplayObject):  # type: ignore[misc, no-untyped-call]
        def __repr__(self) -> str:
            return plain(str(self.data))

    handle = display(Line(""), display_id=True)
    return lambda text: handle.update(Line(text))


@contextmanager
def closable() -> Iterator[None]:
    """End quietly where whoever reads the output closes it, as in `| head -1`.

    The exit code is that of a program that SIGPIPE ends. The signal itself is not used, since it would also end a run
    whose network connection breaks.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not (closed := closed_outputs()):
            raise
        for stream in closed:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # for what is still to be flushed
        sys.exit(CLOSED)


def closed_outputs() -> list[IO[str]]:
    """Standard output and error, where one is a pipe that is no longer read."""
    closed = []
    for stream in (sys.stdout, sys.stderr):
        poll = select.poll()
        try:
            poll.register(stream.fileno(), 0)  # errors are reported without being asked for
        except (OSError, ValueError):  # it has no file
            continue
        if poll.poll(0):
            closed.append(stream)
    return closed


def guard() -> None:
    """Make Python's warnings and tracebacks, which may repeat untrusted names, safe to print."""
    before = warnings.formatwarning
    if getattr(before, "guards", False):
        return

    def formatted(*about: Any, **more: Any) -> str:
        return told(before(*about, **more))

    formatted.guards = True  # type: ignore[attr-defined]
    warnings.formatwarning = formatted
    sys.excepthook = lambda *about: print(told("".join(traceback.format_exception(*about))), end="", file=sys.stderr)


def told(text: str) -> str:
    """Several lines that are safe to print, each like a message."""
    return "\n".join(map(shown, text.split("\n")))
