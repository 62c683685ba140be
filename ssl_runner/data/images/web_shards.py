"""Images in tar archives (shards) that are read sequentially, in WebDataset's format."""

import hashlib
import itertools
import logging
import re
import tarfile
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Unpack
from urllib.parse import urlsplit

import numpy as np
import torch
from torch import Tensor

from ssl_runner.data.any.labels import some
from ssl_runner.data.any.stream import BrokenDataError, Passes, Raw, shuffled
from ssl_runner.data.images.decode import check_range, decode_bytes
from ssl_runner.data.images.decoded import DecodeSettings, checked
from ssl_runner.interfaces import Contents, DataSource, Examples, ImageSpec, SplitName

IMAGES = frozenset(["bmp", "jpeg", "jpg", "pgm", "png", "ppm", "tif", "tiff", "webp"])
LABEL = "cls"  # the suffix of a member that holds a class
LONGEST = 1000  # bytes of a class's name
LARGEST = 2**26  # bytes of a member that are read
MOST_SHARDS = 10**6
TRIES = 3  # of a shard by URL, whose connection may break
TIMEOUT = 30  # seconds without an answer or a byte
STRIDE = 2**32  # between the first indices of two shards

log = logging.getLogger(__name__)


class WebShards(DataSource):
    """Images in tar archives: members of one name but for what follows its first dot are an example, side by side.

    `train`, `val`, `test`: files or URLs (http, https), with {000..099} or {a,b} for many. An example is an image
    (key.jpg, key.png, ...) and, where there is one, its class in text (key.cls): a number, or one of `class_names`.
    Other members are ignored. Images are decoded as `ImageFolder` does: the shorter side to `size` pixels, the center
    square kept.

    Pretraining reads "train" as it is needed, in `streams` streams. Stream s has the shards s, s + streams, ...; each
    pass goes through them in a new random order, and through a buffer of `buffer` / `streams` encoded examples of which
    a random one comes next. So an example meets others of its own shard and of the few read before and after it: shards
    should be mixed when they are written. A batch takes as many examples of each stream; several devices share the
    streams, and have together the batches of one. The order follows from (seed, epoch). An epoch is `examples` long;
    where streams have unequal parts of them, some of a short one come twice in it, and some of a long one do not.

    In memory are the buffer, a batch for each of `workers`, and `most` examples of each split, evenly from all its
    shards: those of "train" for statistics and evaluations. Nothing is unpacked: names in an archive are read, and
    never become paths.

    `Batch.index` is unlike for unlike examples, but no place in a list of them.
    """

    def __init__(
        self,
        *,
        train: str,
        val: str,
        test: str,
        examples: int | None,
        classes: int,
        class_names: list[str] | None,
        streams: int,
        buffer: int,
        most: int,
        **settings: Unpack[DecodeSettings],
    ) -> None:
        self.how = checked(settings)
        for name, number in (("streams", streams), ("buffer", buffer)):
            if number < 1:
                raise ValueError(f"dataset.{name} is {number}; it must be at least 1")
        if examples is not None and examples < 1:
            raise ValueError(f"dataset.examples is {examples}; it must be at least 1, or null to count local shards")
        if classes < 0:
            raise ValueError(f"dataset.classes is {classes}; it must be 0 (unlabeled) or the number of classes")
        self.names = _checked_names(class_names, classes)
        if most < 2:
            raise ValueError(f"dataset.most is {most}; it must be at least 2")
        if buffer < streams:
            raise ValueError(f"dataset.buffer is {buffer}; it must be at least dataset.streams, {streams}")
        self.shards = {
            name: braces(name, pattern) for name, pattern in (("train", train), ("val", val), ("test", test))
        }
        for name, shards in self.shards.items():
            check_urls(name, shards)
        if len(self.shards["train"]) < streams:
            raise ValueError(
                f"dataset.streams is {streams}, and dataset.train names {len(self.shards['train'])} shards; each "
                "stream needs one: set it to that or less"
            )
        self.examples = examples
        self.classes = classes or len(self.names)
        self.streams = streams
        self.buffer = buffer
        self.most = most
        self.on_broken = settings["on_broken"]
        self.workers = settings["workers"]

    @property
    def spec(self) -> ImageSpec:
        how = self.how
        return ImageSpec(
            channels=how.channels,
            height=how.size,
            width=how.size,
            stored=how.stored,
            range=(0, how.white),
            classes=self.classes,
            class_names=self.names,
        )

    def check(self) -> None:
        for name, shards in self.shards.items():
            for shard in shards:
                if not is_url(shard) and not Path(shard).expanduser().is_file():
                    raise ValueError(f"dataset.{name}: {shard!r} is not an existing file")
        if self.examples is None and any(is_url(shard) for shard in self.shards["train"]):
            raise ValueError(
                "dataset.examples is null; shards by URL are not counted: set it to the number of training images"
            )

    def contents(self) -> Contents:
        """Of splits whose shards are all local: an address stays as it is."""
        return {
            name: {str(place): Path(shard).expanduser().absolute() for place, shard in enumerate(shards)}
            for name, shards in self.shards.items()
            if not any(map(is_url, shards))
        }

    def load(self) -> Mapping[SplitName, Examples]:
        self.check()
        if self.examples is None:
            self.examples = sum(_count(shard) for shard in self.shards["train"])
            if self.examples == 0:
                raise ValueError(f"dataset.train: there is no image in {self.shards['train'][0]!r} and the others")
        train, val, test = (self._some(name) for name in ("train", "val", "test"))
        return {"pretrain": train, "train": train, "val": val, "test": test}

    def length(self) -> int:
        """Number of examples per epoch, after `load`."""
        return self.examples or 0

    def passes(self, *, batch: int, seed: int, rank: int, ranks: int, skip: int) -> Passes:
        """The batches of process `rank` of `ranks`: its part of `batch` examples each, `skip` of them seen before.

        Raises ValueError where streams cannot be shared out.
        """
        if self.streams % ranks:
            raise ValueError(
                f"dataset.streams is {self.streams}; {ranks} devices share them: set a multiple of {ranks}"
            )
        if batch % self.streams:
            raise ValueError(
                f"batch_size is {batch}; it takes equally many examples from each of "
                f"dataset.streams={self.streams}: set a multiple of it"
            )
        own = range(rank * self.streams // ranks, (rank + 1) * self.streams // ranks)
        return Passes(
            [lambda epoch, number=number: self._stream(number, seed, epoch) for number in own],  # type: ignore[misc]
            self._decode,
            each=batch // self.streams,
            batches=self.length() // batch,
            skip=skip,
            workers=self.workers,
            skip_broken=self.on_broken == "skip",
        )

    def _stream(self, number: int, seed: int, epoch: int) -> Iterator[Raw]:
        """Endless passes, each shuffled separately, so that each example occurs once per pass."""
        generator = torch.Generator().manual_seed(_mixed(seed, epoch, number))
        places = range(number, len(self.shards["train"]), self.streams)

        def one_pass() -> Iterator[Raw]:
            for place in torch.randperm(len(places), generator=generator).tolist():
                yield from read_shard(self.shards["train"][places[place]], places[place], self.names)

        while True:
            given = 0
            for example in shuffled(one_pass(), self.buffer // self.streams, generator):
                given += 1
                yield example
            if not given:
                raise BrokenDataError(f"there is no image in {self.shards['train'][number]!r} (dataset.train)")

    def _some(self, name: str) -> Examples:
        """The first examples of each shard, at most `most` of all."""
        shards = self.shards[name][: self.most]
        found, labels, broken = [], [], []
        for number, shard in enumerate(shards):
            share = (number + 1) * self.most // len(shards) - number * self.most // len(shards)
            for raw in itertools.islice(read_shard(shard, number, self.names), share):
                try:
                    found.append(decode_bytes(raw.content, self.how))
                    labels.append(raw.label)
                except ValueError as error:
                    broken.append(f"{raw.name}: {error}")
        if broken and self.on_broken == "refuse":
            raise ValueError(f"dataset.{name}: {broken[0]}; repair it, or set dataset.on_broken=skip")
        if broken:
            log.warning("skipped: %d images of dataset.%s, the first is %s", len(broken), name, broken[0])
        where = f"{shards[0]!r}" + (" and others" if shards[1:] else "")
        if not found:
            raise ValueError(f"dataset.{name}: there is no image in {where}")
        deep = [each.highest for each in found if each.highest is not None]
        brightest = max(int(each.pixels.max()) for each in found) * 255 // self.how.white
        check_range(
            f"{where} (dataset.{name})",
            self.how.depth,
            deep=len(deep),
            highest=max(deep, default=0),
            brightest=brightest,
        )
        label = torch.tensor(labels)
        if self.classes and not 0 <= int(label.min()) <= int(label.max()) < self.classes:
            raise ValueError(
                f"dataset.classes is {self.classes}; the classes in dataset.{name} lie from {int(label.min())} (-1: an "
                f"image without .{LABEL}) to {int(label.max())}: they must lie from 0 to {self.classes - 1}, or set "
                "dataset.classes=0"
            )
        data = torch.from_numpy(np.stack([each.pixels for each in found]))
        return Examples(data, label if self.classes else torch.full_like(label, -1))

    def _decode(self, content: bytes) -> Tensor:
        """(C, size, size) uint8 or uint16. Raises ValueError for an invalid or truncated image."""
        return torch.from_numpy(decode_bytes(content, self.how).pixels)


# -------------------------------------------------------------------------------------------------------------- shards


def braces(name: str, pattern: str) -> list[str]:
    """The names that a pattern stands for: "a-{08..10}.tar" -> a-08.tar, a-09.tar, a-10.tar; "{x,y}.tar" likewise.

    >>> braces("train", "a{8..10}-{x,y}.tar")[:3]
    ['a8-x.tar', 'a8-y.tar', 'a9-x.tar']
    """
    parts: list[list[str]] = []
    count = 1
    for text in re.split(r"(\{[^{}]*\})", pattern):
        if span := re.fullmatch(r"\{(\d+)\.\.(\d+)\}", text):
            first, last = int(span[1]), int(span[2])
            if not first <= last < first + MOST_SHARDS:
                raise ValueError(f"dataset.{name}: {text} must ascend, and name at most {MOST_SHARDS} shards")
            parts.append([str(number).zfill(len(span[1])) for number in range(first, last + 1)])
        elif text.startswith("{") and "," in text:
            parts.append(text[1:-1].split(","))
        elif "{" in text or "}" in text:
            raise ValueError(f"dataset.{name}: {text!r} is not a pattern; write {{000..099}} or {{a,b}}")
        else:
            parts.append([text])
        count *= len(parts[-1])
        if count > MOST_SHARDS:
            raise ValueError(f"dataset.{name} names {count} shards; at most {MOST_SHARDS} can be")
    return ["".join(each) for each in itertools.product(*parts)]


def _mixed(*numbers: int) -> int:
    """A seed that is a function of its arguments alone."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest(), "big") >> 1


def is_url(shard: str) -> bool:
    return "://" in shard


def check_urls(name: str, shards: list[str]) -> None:
    """Raise ValueError for an invalid URL, or one with a password, since configs are stored and shown in reports."""
    for shard in filter(is_url, shards):
        parts = urlsplit(shard)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"dataset.{name}: a URL must begin with http:// or https://; it begins with {parts.scheme}:"
            )
        if parts.username or parts.password:
            raise ValueError(
                f"dataset.{name}: a URL must not contain a user or password: the config is stored and shown"
            )


def read_shard(shard: str, number: int, names: Sequence[str] = ()) -> Iterator[Raw]:
    """The images of an archive in its order, with their classes, by `names` where there are any. Raises
    BrokenDataError for a damaged archive.

    One by URL is read again where its connection breaks, without what has been given.
    """
    given = 0
    for attempt in range(1, TRIES + 1):
        try:
            for example in itertools.islice(_examples(shard, number, names), given, None):
                given += 1
                yield example
            return
        except (OSError, EOFError, tarfile.TarError) as error:  # `urllib.error.URLError` is an OSError
            if not is_url(shard) or attempt == TRIES:
                raise BrokenDataError(f"{shard!r} cannot be read to its end: {error}") from error


def _examples(shard: str, number: int, names: Sequence[str]) -> Iterator[Raw]:
    key, image, label, place = "", None, -1, 0
    with _opened(shard) as archive:
        for member in itertools.chain(archive, [None]):
            if member is not None and not member.isfile():
                continue
            own, suffix = ("", "") if member is None else _key(member.name)
            if (own != key or member is None) and image is not None:
                yield Raw(image, label, number * STRIDE + place, f"{key!r} in {shard!r}")
                place += 1
            if own != key:
                key, image, label = own, None, -1
            if member is not None and suffix in IMAGES:
                image = _content(archive, member, shard)
            elif member is not None and suffix == LABEL:
                label = _class(_content(archive, member, shard), f"{member.name!r} in {shard!r}", names)


@contextmanager
def _opened(shard: str) -> Iterator[tarfile.TarFile]:
    if is_url(shard):
        with (
            urllib.request.urlopen(shard, timeout=TIMEOUT) as answer,
            tarfile.open(fileobj=answer, mode="r|") as archive,
        ):
            yield archive
    else:
        with tarfile.open(Path(shard).expanduser(), "r:") as archive:
            yield archive


def _key(name: str) -> tuple[str, str]:
    """A member's folders and its last name up to the first dot; and what follows that, in small letters."""
    path = PurePosixPath(name)
    stem, _, suffix = path.name.partition(".")
    return str(path.parent / stem), suffix.lower()


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, shard: str) -> bytes:
    if member.size > LARGEST:
        raise BrokenDataError(f"{member.name!r} in {shard!r} has {member.size} bytes; at most {LARGEST} are read")
    file = archive.extractfile(member)
    content = b"" if file is None else file.read()
    if len(content) != member.size:
        raise EOFError(f"{member.name!r} is truncated")
    return content


def _class(content: bytes, name: str, names: Sequence[str]) -> int:
    if names:
        try:
            return names.index(content[:LONGEST].decode().strip())
        except ValueError as error:  # UnicodeDecodeError is one
            said = f"it contains {content[:40]!r}, and dataset.class_names are {some(names)}"
            raise BrokenDataError(f"{name} is not one of the classes: {said}") from error
    text = content[:20].strip()
    if not text.isdigit() or len(text) > 9:
        raise BrokenDataError(
            f"{name} is not a class: it must contain a number, as text; if classes are called by names, list these in "
            "dataset.class_names"
        )
    return int(text)


def _checked_names(names: list[str] | None, classes: int) -> tuple[str, ...]:
    """The names of classes, in order. Raises ValueError for some that are equal, or of another number."""
    found = tuple(names or ())
    if len(set(found)) < len(found):
        raise ValueError(f"dataset.class_names is {list(found)}; every class must have a name of its own")
    if found and classes not in (0, len(found)):
        raise ValueError(f"dataset.classes is {classes}, and dataset.class_names lists {len(found)}: set classes=0")
    return found


def _count(shard: str) -> int:
    """Images of a local archive, by its headers."""
    keys: set[str] = set()
    try:
        with tarfile.open(Path(shard).expanduser(), "r:") as archive:
            for member in archive:
                key, suffix = _key(member.name)
                if member.isfile() and suffix in IMAGES:
                    keys.add(key)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ValueError(f"{shard!r} cannot be read to its end: {error}") from error
    return len(keys)
