"""The error of an invalid config: what is wrong, what would be right, which key to set."""

from collections.abc import Sequence
from pathlib import Path

VALUE = 120  # characters of a value that a message repeats


class ConfigError(Exception):
    """An invalid config. `problems`: one line each, with the value, what would be valid, and the key to set.

    `folder`: of the run that is finished all the same, where only some of its evaluations failed.
    """

    def __init__(self, problems: Sequence[str], folder: Path | None = None) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)
        self.folder = folder


def brief(value: object) -> str:
    """A value as a message repeats it: its `repr`, cut where it is long.

    >>> brief("a" * 500)[-20:]
    'aaaa... (502 in all)'
    """
    text = repr(value)
    return text if len(text) <= VALUE else f"{text[:VALUE]}... ({len(text)} in all)"
