"""How far long loops have come, in reading data and in evaluating, told to whoever listens: `commands/waiting.py`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

Listener = Callable[[str, float | None], None]  # what is done, and which part of it is, in [0, 1]; None: not known
Item = TypeVar("Item")


class Loop:
    """A loop of `total` items that is under way; None: not known. What is told is the part of the outermost loop."""

    def __init__(self, doing: str, total: float | None) -> None:
        self.doing = doing
        self.total = None if total is None else max(total, 1.0)
        self.done = 0.0

    def advance(self, count: float = 1) -> None:
        """Count items as done."""
        self.done += count
        _tell()


_loops: list[Loop] = []  # the outermost first
_listeners: list[Listener] = []


def _tell() -> None:
    if not _listeners or not _loops:
        return
    part, share, first = 0.0, 1.0, _loops[0]
    for each in _loops:
        if each.total is None:
            break
        part += share * min(each.done / each.total, 1.0)
        share /= each.total
    known = first.total is not None
    _listeners[-1](first.doing if known else f"{first.doing}: {first.done:,.0f}", min(part, 1.0) if known else None)


@contextmanager
def heard(listener: Listener) -> Iterator[None]:
    """Have a listener told of all loops inside."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def loop(doing: str, total: float | None) -> Iterator[Loop]:
    """A loop over `total` items, whose body calls `advance`."""
    found = Loop(doing, total)
    _loops.append(found)
    _tell()
    try:
        yield found
    finally:
        _loops.remove(found)


def tracked(items: Sequence[Item], doing: str) -> Iterator[Item]:
    """The items, one after the other; each counts as done when the next is asked for."""
    with loop(doing, len(items)) as found:
        for item in items:
            yield item
            found.advance()
