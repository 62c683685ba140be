"""The files that a run goes on from: written beside and renamed, read back before they count, the last few kept.

`last.ckpt` is the newest, `last-1.ckpt` the one before it, and so on. A checkpoint is torch's zip archive, which holds
a CRC-32 of each of its parts: reading it back compares them all.
"""

import os
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch

FOLDER = "checkpoints"  # of a run's folder
LAST = "last.ckpt"
PART = "last.part"
UNREADABLE = (  # what reading a damaged one raises, or one with other contents
    OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, NotImplementedError,
    pickle.UnpicklingError, struct.error, zipfile.BadZipFile,
)  # fmt: skip


class Reached(NamedTuple):
    """How far a checkpoint had come."""

    path: Path
    step: int  # of the optimizer
    batches: int  # over all epochs
    precision: str = ""  # what was computed in: "bfloat16"; "": not known


class Found(NamedTuple):
    """What there is to go on from."""

    newest: Reached | None  # that can be read
    damaged: dict[Path, str]  # newer ones, and why they cannot be read


def files(run: Path) -> list[Path]:
    """The checkpoints in a run's folder, the newest first."""
    return sorted((run / FOLDER).glob("last*.ckpt"), key=_age)


def find(run: Path) -> Found:
    """The newest checkpoint in a run's folder that is whole."""
    damaged: dict[Path, str] = {}
    for path in files(run):
        try:
            return Found(verify(path), damaged)
        except ValueError as error:
            damaged[path] = str(error)
    return Found(None, damaged)


def verify(path: Path) -> Reached:
    """Read all of a checkpoint. Raises ValueError, which says why, for one that is cut or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
        if wrong is not None:
            raise ValueError(f"{wrong} in it does not match its checksum")
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        at = int(state["global_step"]), int(state["budget"]["batches"])
        return Reached(path, *at, str(state.get("precision", "")))
    except UNREADABLE as error:
        raise ValueError(reason(error)) from error


def reason(error: BaseException) -> str:
    """What an error says, in at most a line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:100]


def write(state: Mapping[str, Any], path: Path) -> None:
    """Write a state to the disk. Raises OSError; then nothing is left of it."""
    try:
        with path.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        path.unlink(missing_ok=True)
        cause = error.__context__ if isinstance(error, RuntimeError) else error  # torch hides what the file raised
        if not isinstance(cause, OSError):
            raise
        raise OSError(cause.errno, cause.strerror, str(path)) from error


def keep(part: Path, count: int) -> None:
    """Make a written checkpoint the newest of `count`, once it has been read back. Raises OSError if it is damaged.

    Killed at any point, it leaves the checkpoint before whole, under its own name or the next.
    """
    try:
        verify(part)
    except ValueError as error:
        part.unlink(missing_ok=True)
        raise OSError(f"{str(part)!r} was not read back as it was written: {error}") from error
    names = [part.with_name(LAST if not age else f"last-{age}.ckpt") for age in range(count)]
    for newer, older in reversed(list(pairwise(names))):
        if newer.exists():
            os.replace(newer, older)
    os.replace(part, names[0])
    for path in part.parent.glob("last-*.ckpt"):
        if path not in names:
            path.unlink()
    _flush(part.parent)


def tidy(folder: Path) -> None:
    """Remove what a killed process had begun to write in a run's folder, which must be locked."""
    for pattern in ("*.part", "*.tmp"):
        for path in folder.rglob(pattern):
            path.unlink()


def _age(path: Path) -> int:
    found = re.fullmatch(r"last-(\d+)\.ckpt", path.name)
    return int(found[1]) if found else 0


def _flush(folder: Path) -> None:
    """Have the disk know the names in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
