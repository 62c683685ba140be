"""Delete and archive runs: what `ssl-runs` does with their files."""

import hashlib
import io
import os
import secrets
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import IO

from ssl_runner.config.errors import ConfigError
from ssl_runner.reporting.runs import is_run
from ssl_runner.runtime.locks import LOCK, locked

SUMS = "SHA256SUMS"  # in an archived run, as sha256sum -c reads it
LEFT = ("*.part", "*.tmp")  # by a process that was killed
OF_RUNS = (  # what runs write into their folders (outputs/README.md)
    "report.html", "result.json", "metrics.csv", "config.yaml", "status.json", "nonfinite.json", "wandb_id", "encoder",
    "figures", "predictions", "checkpoints", "tensorboard", "events.out.tfevents.*", "export", LOCK, SUMS, *LEFT,
)  # fmt: skip
COMPRESSED = (".tar.gz", ".tgz")
CHUNK = 2**20  # bytes read at once


def check_runs(folders: Sequence[Path], *, strict: bool = True) -> None:
    """Raise ConfigError for folders that are no run's, and if `strict` for those that hold anything else."""
    problems = []
    for folder in folders:
        what = f"{str(folder)!r}"
        if folder.is_symlink() or not folder.is_dir():
            problems.append(f"{what} is not a folder" + " but a link to one" * folder.is_symlink())
        elif not is_run(os.listdir(folder)):
            problems.append(f"{what} is no run: it has neither result.json nor metrics.csv")
        elif strict and (
            other := sorted(name for name in os.listdir(folder) if not any(fnmatch(name, own) for own in OF_RUNS))
        ):
            problems.append(
                f"{what} holds what is no run's: {', '.join(other)}; move it elsewhere first, or add --other-files"
            )
    if problems:
        raise ConfigError(problems)


@contextmanager
def all_locked(folders: Sequence[Path]) -> Iterator[None]:
    """Keep every process out of runs. Raises BusyError if one is in use."""
    with ExitStack() as stack:
        for folder in dict.fromkeys(each.resolve() for each in folders):
            stack.enter_context(locked(folder))
        yield


def delete(folders: Sequence[Path]) -> None:
    """Delete runs, all or, if one is in use, none. Killed half-way, it leaves a hidden folder that is no run's.

    Raises BusyError, and OSError for what cannot be deleted.
    """
    with all_locked(folders):
        for folder in dict.fromkeys(each.resolve() for each in folders):
            gone = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
            os.replace(folder, gone)
            shutil.rmtree(gone)


def size(folder: Path) -> int:
    """The bytes of all files of a run."""
    return sum(path.stat().st_size for path in files(folder))


def files(folder: Path) -> list[Path]:
    """The files of a run, without its lock and what a killed process had begun to write."""
    found = (
        path for path in sorted(folder.rglob("*")) if path.is_file() and path not in (folder / LOCK, folder / SUMS)
    )
    return [path for path in found if not any(fnmatch(path.name, pattern) for pattern in LEFT)]


def archive(folders: Sequence[Path], target: Path) -> int:
    """Copy runs to a tar file or, by any other name, a folder; returns how many files were copied.

    Each run is <group>/<run> in it, as in the output folder, with the SHA-256 of its files in `SUMS`. All is read back
    before it gets its name. Raises ConfigError where something is there already, BusyError if a run is in use, OSError.
    """
    places = {folder: Path(folder.resolve().parent.name) / folder.resolve().name for folder in folders}
    if len(set(places.values())) < len(places):
        raise ConfigError(["two of the runs have the same place in the archive; archive them one by one"])
    packed = target.suffix == ".tar" or any(target.name[-len(end) :] == end for end in COMPRESSED)
    there = [target] if packed else [target / place for place in places.values()]
    if taken := [str(path) for path in there if path.exists()]:
        raise ConfigError([f"{path!r} exists already; choose another name" for path in taken])
    with all_locked(folders):
        return _pack(places, target) if packed else sum(_copy(folder, target / places[folder]) for folder in folders)


def _pack(places: dict[Path, Path], target: Path) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    sums: dict[str, str] = {}
    try:
        with tarfile.open(part, "x" if target.suffix == ".tar" else "x:gz") as tar:
            for folder, place in places.items():
                own = {}
                for path in files(folder):
                    name = path.relative_to(folder).as_posix()
                    own[name] = _add(tar, f"{place.as_posix()}/{name}", path)
                about = tarfile.TarInfo(f"{place.as_posix()}/{SUMS}")
                content = _listed(own).encode()
                about.size = len(content)
                tar.addfile(about, io.BytesIO(content))
                sums |= {f"{place.as_posix()}/{name}": digest for name, digest in own.items()}
        _check_packed(part, sums)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return len(sums)


def _add(tar: tarfile.TarFile, name: str, path: Path) -> str:
    """Add a file, with nothing of its owner; returns the SHA-256 of what was read."""
    with path.open("rb") as file:
        about = tar.gettarinfo(arcname=name, fileobj=file)
        about.uid = about.gid = 0
        about.uname = about.gname = ""
        about.type, about.linkname = tarfile.REGTYPE, ""  # a second name of a file too has its content
        about.size = os.fstat(file.fileno()).st_size
        read = _Hashed(file)
        tar.addfile(about, read)  # type: ignore[arg-type]
    return read.digest.hexdigest()


class _Hashed:
    """A file that hashes what is read of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def read(self, count: int) -> bytes:
        found = self.file.read(count)
        self.digest.update(found)
        return found


def _check_packed(part: Path, sums: dict[str, str]) -> None:
    """Raise OSError unless an archive has these files with these contents."""
    with tarfile.open(part) as tar:
        read = {about.name: _digest(file) for about in tar if (file := tar.extractfile(about)) and about.name in sums}
    if read != sums:
        raise OSError(f"{str(part)!r} reads back differently from what was written")


def _copy(folder: Path, target: Path) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    sums = {}
    try:
        for path in files(folder):
            name = path.relative_to(folder)
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, part / name)
            with path.open("rb") as before, (part / name).open("rb") as after:
                sums[name.as_posix()] = _digest(before)
                if _digest(after) != sums[name.as_posix()]:
                    raise OSError(f"{str(part / name)!r} reads back differently from what was written")
        (part / SUMS).write_text(_listed(sums), encoding="utf-8")
        os.replace(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return len(sums)


def _listed(sums: dict[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in sums.items())


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
