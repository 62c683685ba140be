"""Downloads with checksums; incomplete files never have a final name."""

import hashlib
import http.client
import os
import shutil
import socket
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ssl_runner.data.any.archives import unpack

TIMEOUT = 15  # seconds without an answer or a byte


class Remote(NamedTuple):
    """A file to download; an archive (.zip, .tar, .tar.gz) is unpacked in its folder."""

    path: str  # under the root
    urls: tuple[str, ...]  # tried one after the other
    checksum: str  # "md5:..." or "sha256:..."


def fetch(torchvision_class: str, root: Path, *, archive: Path | None) -> None:
    """Put the files of a dataset under `root`, in torchvision's layout, from `archive` or the network.

    Raises ValueError, with the cause, for any failure.
    """
    _into(root, lambda folder: _fill(folder, torchvision_class, archive))


def fetch_files(files: Sequence[Remote], root: Path) -> None:
    """Put `files` under `root`, archives unpacked: from an archive in that folder, else from the network.

    Raises ValueError, with the cause, for any failure.
    """

    def fill(folder: Path) -> None:
        for file in files:
            own, path = root / file.path, folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if own.is_file():
                _check(own, file.checksum)
                path = own
            else:
                _first_of(file, path)
            if path.name.endswith((".zip", ".tar", ".tar.gz")):
                unpack(path, (folder / file.path).parent)
                (folder / file.path).unlink(missing_ok=True)

    _into(root, fill)


def _first_of(file: Remote, path: Path) -> None:
    failures = []
    for url in file.urls:
        try:
            print(f"downloading {url}", file=sys.stderr)
            with urllib.request.urlopen(url) as answer, path.open("wb") as out:
                shutil.copyfileobj(answer, out, 2**20)
            return _check(path, file.checksum)
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            failures.append(f"{url}: {error}")
    raise RuntimeError("; ".join(failures))


def _check(path: Path, checksum: str) -> None:
    kind, _, wanted = checksum.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if found != wanted:
        raise RuntimeError(f"{path.name} is damaged: its {kind} is {found}, not {wanted}")


def _into(root: Path, fill: Callable[[Path], None]) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Beside the final place, so that moving is renaming. Two runs that fetch at once both succeed.
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as folder, _timeout(TIMEOUT):
            fill(Path(folder))
            for file in [path for path in Path(folder).rglob("*") if path.is_file() and not path.is_symlink()]:
                target = root / file.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, target)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _fill(folder: Path, torchvision_class: str, archive: Path | None) -> None:
    from torchvision import datasets
    from torchvision.datasets.utils import check_integrity, download_url

    kind = getattr(datasets, torchvision_class)
    if issubclass(kind, datasets.MNIST):
        for filename, checksum in kind.resources:
            _from_any(kind.mirrors, folder / torchvision_class / "raw", filename, checksum)
        return
    if archive is None:
        download_url(kind.url, folder, filename=kind.filename, md5=kind.tgz_md5)
        archive = folder / kind.filename
    elif not check_integrity(archive, kind.tgz_md5):
        raise RuntimeError(f"{archive} is damaged (its checksum is wrong); delete it")
    unpack(archive, folder)
    (folder / kind.filename).unlink(missing_ok=True)


def _from_any(mirrors: list[str], folder: Path, filename: str, checksum: str) -> None:
    from torchvision.datasets.utils import download_url

    failures = []
    for mirror in mirrors:
        try:
            return download_url(mirror + filename, folder, filename=filename, md5=checksum)
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            failures.append(f"{mirror + filename}: {error}")
    raise RuntimeError("; ".join(failures))


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """For downloads that set none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
