"""Try what may ask for too much memory or time, or write where it should not."""

import contextlib
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

ROOM = 8 * 2**30  # bytes of addresses beside what the tests have: what asks for more has to be refused, not to be had
PATIENCE = 120  # seconds after which it counts as hanging


def listing(folder: Path, without: Path | None = None) -> dict[str, int]:
    """Everything in a folder with its time of change."""
    inside = (path for path in sorted(folder.rglob("*")) if without is None or without not in (path, *path.parents))
    return {str(path.relative_to(folder)): path.lstat().st_mtime_ns for path in inside}


@contextlib.contextmanager
def bounded(place: Path) -> Iterator[None]:
    """In the folder `place`, with bounded memory and time; what lies around it is as it was."""

    def late(number: int, frame: object) -> None:
        raise TimeoutError(f"after {PATIENCE} s")

    before, home = listing(place.parent, place), os.getcwd()
    with Path("/proc/self/statm").open() as file:
        has = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (has + ROOM, hard))
    signal.alarm(PATIENCE)
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(home)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert listing(place.parent, place) == before
