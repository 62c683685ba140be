"""Unpack archives safely: nothing is written outside of the folder, and size is limited."""

import gzip
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, cast

TIMES = 100  # a whole may be so many times as large as what is packed: texts and images reach 3 to 30, bombs 1000
FREE = 2**28  # bytes that any archive may hold besides
MOST_MEMBERS = 10**6
DAMAGE = (
    OSError,
    EOFError,
    LookupError,
    RuntimeError,
    ValueError,
    NotImplementedError,
    zlib.error,
    tarfile.TarError,
    zipfile.BadZipFile,
)


def check_size(unpacked: int, packed: int) -> None:
    """Raise ValueError if an archive unpacks to implausibly many bytes."""
    most = TIMES * packed + FREE
    if unpacked > most:
        raise ValueError(f"it unpacks from {packed:,} to {unpacked:,} bytes or more; the limit is {most:,}")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip, .tar or .tar.gz into a folder.

    Paths outside of the folder (absolute, or with "..") are refused, in a .zip placed inside. Links, devices and pipes
    are refused; so is an archive with more than `MOST_MEMBERS` members, or one that unpacks to more than `TIMES` times
    its size plus `FREE` bytes. Raises ValueError, with the archive's name, for any problem.
    """
    try:
        _unzip(archive, folder) if archive.suffix == ".zip" else _untar(archive, folder)
    except DAMAGE as error:
        raise ValueError(f"{archive.name} cannot be unpacked: {error}") from error


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as members:
        found = members.infolist()  # none gives more bytes than it says here
        if len(found) > MOST_MEMBERS:
            raise ValueError(f"it has {len(found)} members; the limit is {MOST_MEMBERS}")
        check_size(sum(each.file_size for each in found), archive.stat().st_size)
        members.extractall(folder)


def _untar(archive: Path, folder: Path) -> None:
    """Unpack a .tar or .tar.gz as a stream, so that no byte is unpacked twice, and none beyond the limit."""
    size = archive.stat().st_size
    with (
        _uncompressed(archive) as file,
        tarfile.open(fileobj=cast(IO[bytes], _Counted(file, size)), mode="r|") as members,
    ):
        for number, member in enumerate(members):
            if number >= MOST_MEMBERS:
                raise ValueError(f"it has more members than the limit, {MOST_MEMBERS}")
            if not (member.isreg() or member.isdir()):  # a link may lead out, by a path too long to be resolved
                raise ValueError(
                    f"{member.name!r} is neither a file nor a folder (type {member.type!r}); only these are unpacked"
                )
            parts = PurePosixPath(member.name).parts
            if not parts:  # the folder itself
                continue
            if parts[0] == "/" or ".." in parts or "\0" in member.name:
                raise ValueError(f"{member.name!r} would be written outside of the folder")
            members.extract(member, folder, filter="data")


def _uncompressed(archive: Path) -> IO[bytes] | gzip.GzipFile:
    return archive.open("rb") if archive.suffix == ".tar" else gzip.open(archive)


class _Counted:
    """A file that is read up to the limit of `check_size`."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile, packed: int) -> None:
        self.file = file
        self.packed = packed
        self.count = 0

    def read(self, size: int) -> bytes:
        content = self.file.read(size)
        self.count += len(content)
        check_size(self.count, self.packed)
        return content
