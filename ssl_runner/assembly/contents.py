"""Fingerprints of the contents of files, independent of their location.

All bytes are read where they are `WHOLE` or fewer. Of more, the names and lengths of all files count, and `BLOCKS`
blocks, evenly from beginning to end: a change that keeps every length, and falls between the blocks, is not seen.
"""

import hashlib
import time
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path

WHOLE = 2**28  # bytes, of all files together
BLOCK = 2**16  # bytes
BLOCKS = 1024
READ = 2**20  # bytes at once
SETTLED = 10**9  # nanoseconds; two changes that are nearer to each other may have one time

_known: dict[str, str] = {}  # files as they are on disk -> fingerprint: a sweep asks of the same ones for each run


def fingerprint(files: Mapping[str, Path]) -> str:
    """Of files by the names that they have among the data: 16 hexadecimal digits. Raises OSError."""
    stats = {name: files[name].stat() for name in sorted(files)}
    place = repr(
        [(name, str(files[name]), s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in stats.items()]
    )
    key = hashlib.sha256(place.encode()).hexdigest()
    if key in _known:
        return _known[key]
    found = _fingerprint(files, {name: s.st_size for name, s in stats.items()})
    if time.time_ns() - max((s.st_ctime_ns for s in stats.values()), default=0) > SETTLED:
        _known[key] = found
    return found


def _fingerprint(files: Mapping[str, Path], sizes: Mapping[str, int]) -> str:
    found = hashlib.sha256(repr(list(sizes.items())).encode())
    if sum(sizes.values()) > WHOLE:
        for name, start in _places(sizes):
            with files[name].open("rb") as file:
                file.seek(start)
                found.update(file.read(BLOCK))
    else:
        for name in sizes:
            with files[name].open("rb") as file:
                while part := file.read(READ):
                    found.update(part)
    return found.hexdigest()[:16]


def _places(sizes: Mapping[str, int]) -> list[tuple[str, int]]:
    """Where blocks begin, all files taken as one in the order of their names: (name, place in the file)."""
    names, ends = list(sizes), list(accumulate(sizes.values()))
    places = []
    for number in range(BLOCKS):
        start = number * (ends[-1] - BLOCK) // (BLOCKS - 1)
        which = bisect_right(ends, start)
        places.append((names[which], start - ends[which] + sizes[names[which]]))
    return places
