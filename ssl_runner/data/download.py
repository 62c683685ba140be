"""Downloads by torchvision's addresses and checksums, such that no half file ever lies under a final name."""

import http.client
import os
import socket
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TIMEOUT = 15  # seconds without an answer or a byte


def fetch(torchvision_class: str, root: Path, *, archive: Path | None) -> None:
    """Put the files of a set under `root`, as torchvision would lay them out, from `archive` or the network.

    Raises ValueError, whatever went wrong: its message says what.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Beside the final place, so that moving is renaming. Two runs that fetch at once both succeed.
        with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as folder, _timeout(TIMEOUT):
            _fill(Path(folder), torchvision_class, archive)
            for file in [path for path in Path(folder).rglob("*") if path.is_file()]:
                target = root / file.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, target)
    except (OSError, RuntimeError, EOFError, http.client.HTTPException, tarfile.TarError) as error:
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
    with tarfile.open(archive) as members:
        members.extractall(folder, filter="data")
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
    """For torchvision's downloads, which set none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
