"""The files that a run goes on from: written beside and renamed, read back before they count, the last few kept.

`last.ckpt` is the newest, `last-1.ckpt` the one before it, and so on. A checkpoint is torch's zip archive, and in the
comment at its end, which readers of zip pass over, the SHA-256 of all bytes before it. Those of older versions have no
comment: of them the CRC-32 of each part is compared, and that the archive's list says the same as its parts.
"""

import hashlib
import os
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch

FOLDER = "checkpoints"  # of a run's folder
LAST = "last.ckpt"
PART = "last.part"
UNREADABLE = (  # what reading a damaged one raises, or one with other contents
    OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, NotImplementedError,
    pickle.UnpicklingError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
CONTENTS = "contents"  # key of the fingerprints of the files that the run reads
END = b"PK\x05\x06"  # of a zip archive: this, 16 bytes, the length of the comment in two bytes, the comment
END_LENGTH = 22
SAYS = b"ssl-runner sha256 "  # begins the comment; the digest of all before it follows, in hexadecimal digits
COMMENT_LENGTH = len(SAYS) + 64


class Reached(NamedTuple):
    """How far a checkpoint had come."""

    path: Path
    step: int  # of the optimizer
    batches: int  # over all epochs
    precision: str = ""  # what was computed in: "bfloat16"; "": not known
    contents: Mapping[str, str] = {}  # fingerprints of the files that the run reads, by setting; {}: not known


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
    state = load(path, mmap=True)
    try:
        at = int(state["global_step"]), int(state["budget"]["batches"])
        contents = {str(key): str(value) for key, value in state.get(CONTENTS, {}).items()}
        return Reached(path, *at, str(state.get("precision", "")), contents)
    except UNREADABLE as error:
        raise ValueError(reason(error)) from error


def load(path: Path, *, mmap: bool) -> dict[str, Any]:
    """The state in a checkpoint, on the CPU. Raises ValueError, which says why, for one that is cut or damaged."""
    try:
        check(path)
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        return state
    except UNREADABLE as error:
        raise ValueError(reason(error)) from error


def check(path: Path) -> None:
    """Compare all bytes of a checkpoint with its checksum. Raises ValueError, and others of `UNREADABLE`."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        end = max(0, size - COMMENT_LENGTH)
        file.seek(end)
        comment = file.read()
        if comment.startswith(SAYS):
            if comment[len(SAYS) :] != _digest(file, end + len(SAYS)):
                raise ValueError("its checksum does not match")
            return
        file.seek(max(0, size - END_LENGTH))
        last = file.read()
    if not last.startswith(END) or last[-2:] != b"\0\0":
        raise ValueError("its end is missing or damaged")
    _check_parts(path)


def _digest(file: BinaryIO, length: int) -> bytes:
    """Of the first bytes of a file, as hexadecimal digits."""
    found = hashlib.sha256()
    file.seek(0)
    while length > 0 and (part := file.read(min(length, 2**20))):
        found.update(part)
        length -= len(part)
    return found.hexdigest().encode()


def _check_parts(path: Path) -> None:
    """Of an archive without a checksum. Raises ValueError where a part is damaged, or the list that torch believes."""
    with zipfile.ZipFile(path) as archive:
        for part in archive.infolist():
            if part.compress_type != zipfile.ZIP_STORED or part.compress_size != part.file_size:
                raise ValueError(f"{part.filename} in it is compressed, which no checkpoint is")
        wrong = archive.testzip()
    if wrong is not None:
        raise ValueError(f"the checksum of {wrong} in it does not match")


def reason(error: BaseException) -> str:
    """What an error says, in at most a line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:100]


def write(state: Mapping[str, Any], path: Path) -> None:
    """Write a state to the disk, its checksum last. Raises OSError; then nothing is left of it."""
    try:
        with path.open("w+b") as file:
            torch.save(dict(state), file)
            end = file.seek(0, os.SEEK_END)
            file.seek(end - 2)  # the length of the archive's comment
            file.write(COMMENT_LENGTH.to_bytes(2, "little") + SAYS)
            digest = _digest(file, end + len(SAYS))
            file.seek(0, os.SEEK_END)
            file.write(digest)
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
        raise OSError(f"{str(part)!r} reads back differently from what was written: {error}") from error
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
