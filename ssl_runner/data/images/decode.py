"""Decode image files once, into a memory-mapped cache. n images, C channels, S side."""

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
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssl_runner.data.any.mapped import mapped

if TYPE_CHECKING:
    from PIL import Image

CACHE_FORMAT = 2  # to be raised when what is decoded changes
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # which run no program: EPS would Ghostscript
TOGETHER = 512  # files in the hands of the workers at a time
DEPTH = 16  # bits of a value as it is stored, of images of more than 8
DIM = (
    2**14
)  # a set of such images that stays below it may have been stored with fewer bits than the files have room for


class Picture(NamedTuple):
    pixels: np.ndarray  # (C, S, S) uint8
    highest: int | None  # value of an image of more than 8 bits, as it is stored; of others None


class Decoded(NamedTuple):
    data: Tensor  # (kept, C, S, S) uint8, memory-mapped
    kept: Tensor  # (kept,) int64: places in the list of files
    broken: tuple[str, ...]  # "path: why" of the others
    deep: int  # images of more than 8 bits among them
    highest: int  # value of these, as it is stored
    brightest: int  # value of `data`


def decode_all(
    root: Path, files: Sequence[Path], *, size: int, channels: int, depth: int | None, cache: Path, workers: int
) -> Decoded:
    """Decode `files` (under `root`), or take them from `cache` if neither they nor the settings have changed.

    Files are known by their paths, lengths and times of change. `depth`: see `decode`. Raises OSError where the cache
    cannot be written, ValueError where it is damaged.
    """
    stats = [file.stat() for file in files]
    stated = zip(files, stats, strict=True)
    known = [(str(file.relative_to(root)), s.st_size, s.st_mtime_ns, s.st_ctime_ns) for file, s in stated]
    identity = json.dumps([CACHE_FORMAT, str(root), size, channels, depth, known])
    folder = cache / hashlib.sha256(identity.encode()).hexdigest()[:24]
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".decoding-") as temporary:
            made = Path(temporary) / "made"
            made.mkdir()
            _decode_into(made, root, files, size, channels, depth, workers)
            try:
                made.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another run was quicker, with the same
                    raise
    return _open(folder, len(files), size, channels)


def _open(folder: Path, n: int, size: int, channels: int) -> Decoded:
    try:
        about = json.loads((folder / "about.json").read_text())
        broken = about["broken"]
        places = {place for place, _ in broken}
        kept = [place for place in range(n) if place not in places]
        if not kept:
            data = torch.empty(0, channels, size, size, dtype=torch.uint8)
        else:
            shape = (len(kept), channels, size, size)
            data = mapped(folder / "images.uint8", shape)
        reasons = tuple(why for _, why in broken)
        counts = (int(about[key]) for key in ("deep", "highest", "brightest"))
        return Decoded(data, torch.tensor(kept, dtype=torch.int64), reasons, *counts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"the cache {folder} is damaged ({error}); delete it") from error


def _decode_into(
    made: Path, root: Path, files: Sequence[Path], size: int, channels: int, depth: int | None, workers: int
) -> None:
    from rich.console import Console
    from rich.progress import Progress

    broken: list[tuple[int, str]] = []
    deep = highest = brightest = 0
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
            for place, image in enumerate(pool.map(lambda file: _try(file, size, channels, depth), some), start):
                if isinstance(image, str):
                    broken.append((place, f"{files[place].relative_to(root)}: {image}"))
                    continue
                out.write(image.pixels.tobytes())
                brightest = max(brightest, int(image.pixels.max()))
                if image.highest is not None:
                    deep, highest = deep + 1, max(highest, image.highest)
            progress.advance(task, len(some))
        out.flush()
        os.fsync(out.fileno())
    about = {"broken": broken, "deep": deep, "highest": highest, "brightest": brightest}
    (made / "about.json").write_text(json.dumps(about))


def check_range(what: str, depth: int | None, *, deep: int, highest: int, brightest: int) -> None:
    """Raise ValueError for images that are black, or nearly so. `what`: their origin; see `Decoded`.

    If no value of images of more than 8 bits uses the upper two of 16 bits, they may have been stored with fewer bits,
    and would be read too dark: then their depth must be set.
    """
    if deep and depth is None and highest < DIM:
        bits = max(8, next((bits for bits in (8, 10, 12, 14) if highest < 2**bits), DEPTH))
        raise ValueError(
            f"the {deep} images of more than 8 bits in {what} go up to {highest} of 65535, so they would "
            f"appear dark; if their values have {bits} bits (0 to {2**bits - 1}), set "
            f"dataset.depth={bits}; if they are meant to be dark, set dataset.depth={DEPTH}"
        )
    if brightest <= 1:
        raise ValueError(
            f"the images in {what} are black: no value exceeds {brightest} of 255; if 1 is meant to be white, "
            "save them with values from 0 to 255"
        )


def check_depth(depth: int | None) -> None:
    """Raise ValueError if the setting is out of range."""
    if depth is not None and not 1 <= depth <= DEPTH:
        raise ValueError(f"dataset.depth is {depth}; it must be 1 to {DEPTH} bits, or null")


def _try(file: Path | BinaryIO, size: int, channels: int, depth: int | None) -> Picture | str:
    """An image, or the reason why it cannot be read."""
    from PIL import Image

    try:
        return decode(file, size, channels, depth)
    except (OSError, EOFError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        return f"{error}" or type(error).__name__


def decode(file: Path | BinaryIO, size: int, channels: int, depth: int | None = None) -> Picture:
    """An image upright, the shorter side resized to `size`, the center cut out; transparency is dropped.

    `depth`: bit depth of gray images of more than 8 bits, whose highest value becomes 255; None: 16. Color images of
    16 bits are read by their upper 8. Raises OSError and others of `_try` for what is no whole image, and for values
    that go beyond `depth`.
    """
    from PIL import Image, ImageOps

    with Image.open(file, formats=FORMATS) as opened:
        opened.draft(None, (2 * size, 2 * size))  # lets JPEG skip detail that is not needed
        upper = _upper_bytes(opened)
        image = ImageOps.exif_transpose(opened)
        highest = None
        if image.mode.startswith("I"):  # gray of 16 or 32 bits, of which convert("L") would clip all but the lowest 8
            values = np.asarray(image).astype(np.int64)
            most = 2 ** (depth or DEPTH) - 1
            least, highest = int(values.min()), int(values.max())
            if least < 0 or highest > most:
                named = f"dataset.depth={depth}" if depth else "16 bits"
                raise ValueError(f"its values go from {least} to {highest}; with {named} they may go from 0 to {most}")
            image = Image.fromarray(((values * 255 + most // 2) // most).astype(np.uint8))
        elif image.mode == "F":
            raise ValueError("an image of floats, whose value range is unknown")
        elif upper:
            highest = 256 * max(_brightest(image)) + 255  # at most
            if depth not in (None, DEPTH):
                raise ValueError(
                    "color images of 16 bits are read by their upper 8 bits, and dataset.depth is "
                    f"{depth}: save it with 8 bits"
                )
        if image.mode == "P":
            image = image.convert("RGBA")
        fitted = ImageOps.fit(image.convert("RGB" if channels == 3 else "L"), (size, size), Image.Resampling.BICUBIC)
    return Picture(np.asarray(fitted).reshape(size, size, channels).transpose(2, 0, 1), highest)


def _upper_bytes(image: "Image.Image") -> bool:
    """Whether Pillow will read the upper 8 of 16 bits."""
    tiles = getattr(image, "tile", None)  # of an image that a file holds: how its parts are decoded
    if image.mode.startswith(("I", "F")) or not tiles:
        return False
    _, _, _, how = tiles[0]
    parts = how if isinstance(how, tuple) else (how,)
    return any(isinstance(part, str) and ";16" in part for part in parts) or (
        image.format == "PPM" and isinstance(parts[-1], int) and parts[-1] > 255
    )


def _brightest(image: "Image.Image") -> list[int]:
    """The highest value of each band, except for transparency."""
    return [int(np.asarray(image.getchannel(band)).max()) for band in image.getbands() if band not in "Aa"]


def decode_bytes(content: bytes, size: int, channels: int, depth: int | None) -> Picture:
    """`decode` of a file's content. Raises ValueError for an invalid or truncated image."""
    found = _try(io.BytesIO(content), size, channels, depth)
    if isinstance(found, str):
        raise ValueError(found)
    return Picture(np.ascontiguousarray(found.pixels), found.highest)
