"""Image files decoded once, into a cache that is memory-mapped. n images, C channels, S side."""

import hashlib
import io
import json
import os
import struct
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssl_runner.data.mapped import mapped

CACHE_FORMAT = 1  # to be raised when what is decoded changes
FORMATS = (
    "BMP",
    "GIF",
    "JPEG",
    "PNG",
    "PPM",
    "TIFF",
    "WEBP",
)  # which run no program: EPS would Ghostscript
TOGETHER = 512  # files in the hands of the workers at a time


class Decoded(NamedTuple):
    data: Tensor  # (kept, C, S, S) uint8, memory-mapped
    kept: Tensor  # (kept,) int64: places in the list of files
    broken: tuple[str, ...]  # "path: why" of the others


def decode_all(root: Path, files: Sequence[Path], *, size: int, channels: int, cache: Path, workers: int) -> Decoded:
    """Decode `files` (under `root`), or take them from `cache` if neither they nor the settings have changed.

    Files are known by their paths, lengths and times of change. Raises OSError where the cache cannot be
    written, ValueError where it is damaged.
    """
    stats = [file.stat() for file in files]
    known = [(str(file.relative_to(root)), s.st_size, s.st_mtime_ns) for file, s in zip(files, stats, strict=True)]
    identity = json.dumps([CACHE_FORMAT, str(root), size, channels, known])
    folder = cache / hashlib.sha256(identity.encode()).hexdigest()[:24]
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".decoding-") as temporary:
            made = Path(temporary) / "made"
            made.mkdir()
            _decode_into(made, root, files, size, channels, workers)
            try:
                made.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another run was quicker, with the same
                    raise
    return _open(folder, len(files), size, channels)


def _open(folder: Path, n: int, size: int, channels: int) -> Decoded:
    try:
        broken = json.loads((folder / "broken.json").read_text())
        places = {place for place, _ in broken}
        kept = [place for place in range(n) if place not in places]
        if not kept:
            data = torch.empty(0, channels, size, size, dtype=torch.uint8)
        else:
            shape = (len(kept), channels, size, size)
            data = mapped(folder / "images.uint8", shape)
    except (OSError, ValueError) as error:
        raise ValueError(f"the cache {folder} is damaged ({error}); delete it") from error
    return Decoded(data, torch.tensor(kept, dtype=torch.int64), tuple(why for _, why in broken))


def _decode_into(made: Path, root: Path, files: Sequence[Path], size: int, channels: int, workers: int) -> None:
    from rich.console import Console
    from rich.progress import Progress

    broken: list[tuple[int, str]] = []
    console = Console(file=sys.stderr)
    with (
        ThreadPoolExecutor(
            workers
        ) as pool,  # threads: Pillow decodes and resizes without holding the interpreter's lock
        (made / "images.uint8").open("wb") as out,
        Progress(console=console, disable=not console.is_terminal, transient=True) as progress,
    ):
        task = progress.add_task("decoding images", total=len(files))
        for start in range(0, len(files), TOGETHER):
            some = files[start : start + TOGETHER]
            for place, image in enumerate(pool.map(lambda file: _try(file, size, channels), some), start):
                if isinstance(image, str):
                    broken.append((place, f"{files[place].relative_to(root)}: {image}"))
                else:
                    out.write(image)
            progress.advance(task, len(some))
        out.flush()
        os.fsync(out.fileno())
    (made / "broken.json").write_text(json.dumps(broken))


def _try(file: Path | BinaryIO, size: int, channels: int) -> bytes | str:
    """The pixels of an image, or why there are none."""
    from PIL import Image

    try:
        return decode(file, size, channels).tobytes()
    except (OSError, EOFError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        return f"{error}" or type(error).__name__


def decode(file: Path | BinaryIO, size: int, channels: int) -> np.ndarray:
    """(C, size, size) uint8: upright, the shorter side resized to `size`, the centre cut out; transparency is dropped.

    Raises OSError and others of `_try` for what is no whole image.
    """
    from PIL import Image, ImageOps

    with Image.open(file, formats=FORMATS) as opened:
        opened.draft(None, (2 * size, 2 * size))  # lets JPEG skip detail that is not needed
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I"):  # 16 bits of grey, of which convert("L") would clip all but the lowest 8
            image = Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
        elif image.mode == "F":
            raise ValueError("an image of floats, whose range is not known")
        elif image.mode == "P":
            image = image.convert("RGBA")
        fitted = ImageOps.fit(image.convert("RGB" if channels == 3 else "L"), (size, size), Image.Resampling.BICUBIC)
    return np.asarray(fitted).reshape(size, size, channels).transpose(2, 0, 1)


def decode_bytes(content: bytes, size: int, channels: int) -> np.ndarray:
    """`decode` of a file's content. Raises ValueError for what is no whole image."""
    found = _try(io.BytesIO(content), size, channels)
    if isinstance(found, str):
        raise ValueError(found)
    return np.frombuffer(bytearray(found), dtype=np.uint8).reshape(channels, size, size)
