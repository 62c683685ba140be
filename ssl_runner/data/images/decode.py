"""Decode image files once, into a memory-mapped cache. n images, C channels, S side."""

import hashlib
import io
import itertools
import json
import os
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssl_runner.data.any.mapped import mapped
from ssl_runner.data.any.progress import loop
from ssl_runner.interfaces import Stored

if TYPE_CHECKING:
    from PIL import Image

CACHE_FORMAT = 2  # to be raised when what is decoded changes
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # which run no program: EPS would Ghostscript
TOGETHER = 512  # files in the hands of the workers at a time
DEPTH = 16  # bits of a value as it is stored, of images of more than 8
DIM = (
    2**14
)  # a set of such images that stays below it may have been stored with fewer bits than the files have room for

DAMAGE = (OSError, EOFError, SyntaxError, ValueError, struct.error)  # what Pillow raises for files that are no images


class Decoding(NamedTuple):
    """What becomes of an image: see conf/dataset/image_folder.yaml."""

    size: int
    channels: int
    depth: int | None = None
    bits: int = 8  # of a value as it is kept, 8 or 16
    range: tuple[float, float] | None = None  # of images of floats
    whole: bool = False  # scaled to the square as a whole, rather than its center square cut out

    @property
    def stored(self) -> Stored:
        return "uint8" if self.bits == 8 else "uint16"

    @property
    def white(self) -> int:
        return 2**self.bits - 1

    def identity(self) -> list[Any]:
        """For the name of a cache: settings of later versions only where they are set."""
        later = [self.bits, self.range] if (self.bits, self.range) != (8, None) else []
        return [self.size, self.channels, self.depth, *later, *(["whole"] if self.whole else [])]


class Picture(NamedTuple):
    pixels: np.ndarray  # (C, S, S) uint8 or uint16
    highest: int | None  # value of an image of more than 8 bits, as it is stored; of others None


class Decoded(NamedTuple):
    data: Tensor  # (kept, C, S, S) uint8 or uint16, memory-mapped
    kept: Tensor  # (kept,) int64: places in the list of files
    broken: tuple[str, ...]  # "path: why" of the others
    deep: int  # images of more than 8 bits among them
    highest: int  # value of these, as it is stored
    brightest: int  # value of `data`, of 255
    labels: Sequence[int | str] = ()  # of those kept, where labels came with the images


Row = tuple[Any, int | str | None]  # what `decode` reads, and its label where that comes with it


class Items(NamedTuple):
    """Images to decode, in order."""

    n: int | None  # None: known when all are read
    rows: Callable[[], Iterator[Callable[[], Row]]]  # each is called in a thread of its own, before it is decoded
    name: Callable[[int], str]  # by place, for messages


def decode_all(root: Path, files: Sequence[Path], how: Decoding, *, cache: Path, workers: int) -> Decoded:
    """Decode `files` (under `root`), or take them from `cache` if neither they nor the settings have changed.

    Files are known by their paths, lengths and times of change. Raises OSError where the cache cannot be written,
    ValueError where it is damaged.
    """
    stats = [file.stat() for file in files]
    stated = zip(files, stats, strict=True)
    known = [(_within(file, root), s.st_size, s.st_mtime_ns, s.st_ctime_ns) for file, s in stated]
    rows = (partial(_unlabeled, file) for file in files)
    items = Items(len(files), lambda: rows, lambda place: known[place][0])
    return decode_items(items, [CACHE_FORMAT, str(root), *how.identity(), known], how, cache=cache, workers=workers)


def _unlabeled(file: Path) -> Row:
    return file, None


def _within(file: Path, root: Path) -> str:
    """The path relative to `root`, if it lies there."""
    return str(file.relative_to(root) if file.is_relative_to(root) else file)


def decode_items(items: Items, identity: Any, how: Decoding, *, cache: Path, workers: int) -> Decoded:
    """Decode images, or take them from `cache` if `identity` (which becomes JSON) has not changed.

    Raises OSError where the cache cannot be written, ValueError where it is damaged.
    """
    folder = cache / hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:24]
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".decoding-") as temporary:
            made = Path(temporary) / "made"
            made.mkdir()
            _decode_into(made, items, how, workers)
            try:
                made.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another run was quicker, with the same
                    raise
    return _open(folder, how, items.n)


def _open(folder: Path, how: Decoding, n: int | None) -> Decoded:
    try:
        about = json.loads((folder / "about.json").read_text())
        broken = about["broken"]
        places = {place for place, _ in broken}
        kept = [place for place in range(about["n"] if n is None else n) if place not in places]
        shape = (len(kept), how.channels, how.size, how.size)
        if not kept:
            data = torch.from_numpy(np.empty(shape, how.stored))
        else:
            data = mapped(folder / f"images.{how.stored}", shape, how.stored)
        reasons = tuple(why for _, why in broken)
        deep, highest, brightest = (int(about[key]) for key in ("deep", "highest", "brightest"))
        index = torch.tensor(kept, dtype=torch.int64)
        return Decoded(data, index, reasons, deep, highest, brightest, about.get("labels", ()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"the cache {folder} is damaged ({error}); delete it") from error


def _decode_into(made: Path, items: Items, how: Decoding, workers: int) -> None:
    broken: list[tuple[int, str]] = []
    labels: list[int | str] = []
    deep = highest = brightest = read = 0
    with (
        ThreadPoolExecutor(
            workers
        ) as pool,  # threads: Pillow decodes and resizes without holding the interpreter's lock
        (made / f"images.{how.stored}").open("wb") as out,
        loop("decoding images", items.n) as progress,
    ):
        rows = items.rows()
        while some := list(itertools.islice(rows, TOGETHER)):
            for place, (image, label) in enumerate(pool.map(partial(_item, how), some), read):
                if isinstance(image, str):
                    broken.append((place, f"{items.name(place)}: {image}"))
                    continue
                out.write(image.pixels.tobytes())
                brightest = max(brightest, int(image.pixels.max()) * 255 // how.white)
                if label is not None:
                    labels.append(label)
                if image.highest is not None:
                    deep, highest = deep + 1, max(highest, image.highest)
            read += len(some)
            progress.advance(len(some))
        out.flush()
        os.fsync(out.fileno())
    about = {"broken": broken, "deep": deep, "highest": highest, "brightest": brightest, "n": read}
    (made / "about.json").write_text(json.dumps(about | ({"labels": labels} if labels else {})))


def _item(how: Decoding, row: Callable[[], Row]) -> tuple[Picture | str, int | str | None]:
    from PIL import Image

    try:
        found, label = row()
    except (*DAMAGE, Image.DecompressionBombError) as error:
        return reason(error), None
    return _try(found, how), label


def check_range(what: str, depth: int | None, *, deep: int, highest: int, brightest: int) -> None:
    """Raise ValueError for images that are black, or nearly so. `what`: their origin; see `Decoded`.

    If no value of images of more than 8 bits uses the upper two of 16 bits, they may have been stored with fewer bits,
    and would be read too dark: then their depth must be set.
    """
    if deep and depth is None and highest < DIM:
        white = likely_white(highest)
        raise ValueError(
            f"the {deep} images of more than 8 bits in {what} go up to {highest} of 65535, so they would "
            f"appear dark; if their values have {white.bit_length()} bits (0 to {white}), set "
            f"dataset.depth={white.bit_length()}; if they are meant to be dark, set dataset.depth={DEPTH}"
        )
    if brightest <= 1:
        raise ValueError(
            f"the images in {what} are black: no value exceeds {brightest} of 255; if 1 is meant to be white, "
            "save them with values from 0 to 255"
        )


def likely_white(highest: int) -> int:
    """The highest value of the usual number of bits with which images up to `highest` may have been stored."""
    return int(2 ** max(8, next((bits for bits in (8, 10, 12, 14) if highest < 2**bits), DEPTH)) - 1)


def check_ends(ends: Sequence[float] | None) -> None:
    """Raise ValueError if the setting `range` is none."""
    if ends is not None and not ends[0] < ends[1]:
        raise ValueError(f"dataset.range is {list(ends)}; it must be [black, white], the first below the second")


def check_depth(depth: int | None) -> None:
    """Raise ValueError if the setting is out of range."""
    if depth is not None and not 1 <= depth <= DEPTH:
        raise ValueError(f"dataset.depth is {depth}; it must be 1 to {DEPTH} bits, or null")


def _try(file: "Path | BinaryIO | Image.Image", how: Decoding) -> Picture | str:
    """An image, or the reason why it cannot be read."""
    from PIL import Image

    try:
        return decode(file, how)
    except (*DAMAGE, Image.DecompressionBombError) as error:
        return reason(error)


def reason(error: Exception) -> str:
    return f"{error}" or type(error).__name__


def decode(file: "Path | BinaryIO | Image.Image", how: Decoding) -> Picture:
    """An image upright, the shorter side resized to `how.size`, the center cut out (with `how.whole` both sides are
    resized, and nothing is cut off); transparency is dropped.

    `how.depth`: bit depth of gray images of more than 8 bits, whose highest value becomes white; None: 16. With
    `how.bits` 16 all shades of these are kept; color images of 16 bits are read by their upper 8, and refused where 16
    are to be kept. Images of floats are read by `how.range`, and refused without it. Raises OSError and others of
    `DAMAGE` for what is no whole image, and for values that go beyond `depth` or `range`.
    """
    from PIL import Image

    if isinstance(file, Image.Image):
        with file:  # its file is closed, if it has one
            return _decode(file, how)
    with Image.open(file, formats=FORMATS) as opened:
        opened.draft(None, (2 * how.size, 2 * how.size))  # lets JPEG skip detail that is not needed
        return _decode(opened, how)


def _decode(opened: "Image.Image", how: Decoding) -> Picture:
    from PIL import Image, ImageOps

    upper = _upper_bytes(opened)
    image = ImageOps.exif_transpose(opened)
    highest = None
    if image.mode.startswith("I"):  # gray of 16 or 32 bits, of which convert("L") would clip all but the lowest 8
        values = np.asarray(image).astype(np.int64)
        most = 2 ** (how.depth or DEPTH) - 1
        least, highest = int(values.min()), int(values.max())
        if least < 0 or highest > most:
            named = f"dataset.depth={how.depth}" if how.depth else "16 bits"
            raise ValueError(f"its values go from {least} to {highest}; with {named} they may go from 0 to {most}")
        if how.bits == 8:
            image = Image.fromarray(((values * 255 + most // 2) // most).astype(np.uint8))
        else:
            return Picture(_fitted_deep(values / most, how), highest)
    elif image.mode == "F":
        shares = _shares(image, how.range)
        if how.bits != 8:
            return Picture(_fitted_deep(shares, how), None)
        image = Image.fromarray(np.rint(shares * 255).astype(np.uint8))
    if upper:
        highest = 256 * max(_brightest(image)) + 255  # at most
        if how.depth not in (None, DEPTH) or how.bits == DEPTH:
            stated = "dataset.bits is 16" if how.bits == DEPTH else f"dataset.depth is {how.depth}"
            raise ValueError(
                f"color images of 16 bits are read by their upper 8 bits, and {stated}: save it with 8 bits"
            )
    if image.mode == "P":
        image = image.convert("RGBA")
    return Picture(_fitted(image, how), highest)


def _shares(image: "Image.Image", ends: tuple[float, float] | None) -> np.ndarray:
    """The values of an image of floats as parts of the range. Raises ValueError for those outside, and without one."""
    if ends is None:
        raise ValueError("an image of floats, whose value range is unknown: set dataset.range to [black, white]")
    values = np.asarray(image).astype(np.float64)
    least, highest = float(values.min()), float(values.max())
    if not (ends[0] <= least and highest <= ends[1]):  # nan is in no range
        raise ValueError(f"its values go from {least:g} to {highest:g}, and dataset.range is {list(ends)}: widen it")
    shares: np.ndarray = (values - ends[0]) / (ends[1] - ends[0])
    return shares


def _fitted_deep(shares: np.ndarray, how: Decoding) -> np.ndarray:
    """A gray image (H, W) in [0, 1] -> (C, S, S), with 16 bits."""
    from PIL import Image

    image = Image.fromarray((shares * how.white).astype(np.float32))
    fitted = np.asarray(_to_square(image, how))
    kept = np.rint(fitted.clip(0, how.white)).astype(np.uint16)
    return np.broadcast_to(kept, (how.channels, how.size, how.size))


def _fitted(image: "Image.Image", how: Decoding) -> np.ndarray:
    """An image of 8 bits -> (C, S, S)."""
    colors = image.convert("RGB" if how.channels == 3 else "L")
    fitted = np.asarray(_to_square(colors, how))
    pixels = fitted.reshape(how.size, how.size, how.channels).transpose(2, 0, 1)
    return pixels if how.bits == 8 else pixels.astype(np.uint16) * 257  # 255 becomes 65535


def _to_square(image: "Image.Image", how: Decoding) -> "Image.Image":
    from PIL import Image, ImageOps

    side = (how.size, how.size)
    if how.whole:
        return image.resize(side, Image.Resampling.BICUBIC)
    return ImageOps.fit(image, side, Image.Resampling.BICUBIC)


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


def decode_bytes(content: bytes, how: Decoding) -> Picture:
    """`decode` of a file's content. Raises ValueError for an invalid or truncated image."""
    found = _try(io.BytesIO(content), how)
    if isinstance(found, str):
        raise ValueError(found)
    return Picture(np.array(found.pixels, order="C"), found.highest)  # a copy, for torch wants to be able to write
