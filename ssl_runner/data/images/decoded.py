"""What datasets of a user's image files share: settings, held-out splits, and a cache of decoded images."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict

import torch
from torch import Tensor

from ssl_runner.data.any.folders import PARTS
from ssl_runner.data.any.splits import hold_out, rest_of, stratified
from ssl_runner.data.images.decode import DEPTH, Decoded, Decoding, check_depth, check_ends, check_range
from ssl_runner.interfaces import Examples, ImageSpec, SplitName

log = logging.getLogger(__name__)


class DecodeSettings(TypedDict):
    """How image files are read; documented in conf/dataset/image_folder.yaml."""

    size: int
    channels: Literal[1, 3]
    depth: int | None
    bits: Literal[8, 16]
    range: tuple[float, float] | None
    on_broken: Literal["refuse", "skip"]
    workers: int


class ImageSettings(DecodeSettings):
    """The same, of images that are decoded once and held out from."""

    cache: str
    test_fraction: float
    val_fraction: float
    split_seed: int


def checked(settings: DecodeSettings) -> Decoding:
    """Raises ValueError for settings that no image suits."""
    for name, number in (("size", settings["size"]), ("workers", settings["workers"])):
        if number < 1:
            raise ValueError(f"dataset.{name} is {number}; it must be at least 1")
    if settings["channels"] not in (1, 3):
        raise ValueError(f"dataset.channels is {settings['channels']}; it must be 1 (gray) or 3 (color)")
    check_depth(settings["depth"])
    if settings["bits"] not in (8, DEPTH):
        raise ValueError(f"dataset.bits is {settings['bits']}; it must be 8 or {DEPTH}")
    check_ends(settings["range"])
    if settings["on_broken"] not in ("refuse", "skip"):
        raise ValueError(f"dataset.on_broken is {settings['on_broken']}; it must be refuse or skip")
    ends = None if settings["range"] is None else (float(settings["range"][0]), float(settings["range"][1]))
    return Decoding(settings["size"], settings["channels"], settings["depth"], settings["bits"], ends)


class Listed(NamedTuple):
    """Places of the images of a split, in the order in which they are decoded, with their labels."""

    place: Tensor  # (n,) int64
    label: Tensor  # (n,) int64; -1 where unlabeled

    def at(self, index: Tensor) -> "Listed":
        return Listed(self.place[index], self.label[index])


Hold = Callable[[Listed, float], tuple[Tensor, Tensor]]  # examples, fraction -> rest and held


class DecodedImages:
    """Images that are decoded once, into a cache; splits that are missing are held out of train."""

    def __init__(self, settings: ImageSettings) -> None:
        self.how = checked(settings)
        for name in ("test_fraction", "val_fraction"):
            if not 0 < settings[name] < 1:  # type: ignore[literal-required]
                raise ValueError(f"dataset.{name} is {settings[name]}; it must lie in (0, 1)")  # type: ignore[literal-required]
        self.fractions: dict[SplitName, float] = {"test": settings["test_fraction"], "val": settings["val_fraction"]}
        self.on_broken = settings["on_broken"]
        self.cache = Path(settings["cache"]).expanduser().absolute()
        self.workers = settings["workers"]
        self.split_seed = settings["split_seed"]

    def spec(
        self,
        counts: Mapping[SplitName, int],
        names: tuple[str, ...],
        classes: int | None = None,
        box_names: tuple[str, ...] = (),
        one_box: bool = False,
    ) -> ImageSpec:
        """`counts`: images of the splits that are not held out; `classes`: their number where they have no names;
        `box_names`: the classes of boxes, which are tags too; `one_box`: whether no image has several."""
        size = counts["train"]
        for part, fraction in self.fractions.items():
            if part not in counts:
                size = rest_of(size, fraction)
        return ImageSpec(
            channels=self.how.channels,
            height=self.how.size,
            width=self.how.size,
            stored=self.how.stored,
            range=(0, self.how.white),
            classes=len(names) if classes is None else classes,
            class_names=names,
            box_names=box_names,
            one_box=one_box,
            tag_names=box_names,
            size=size,  # less what is broken, if that is skipped
        )

    def hold_out(self, listed: dict[SplitName, Listed], hold: Hold | None = None) -> dict[SplitName, Listed]:
        """All splits. `hold`: how examples are held out; None: stratified. Raises ValueError where a part is empty."""
        hold = hold or (lambda examples, fraction: stratified(examples.label, fraction, self.split_seed))
        for part, fraction in self.fractions.items():
            if part not in listed:
                rest, held = hold(listed["train"], fraction)
                listed[part], listed["train"] = listed["train"].at(held), listed["train"].at(rest)
        return listed

    def examples(
        self, what: str, splits: Mapping[SplitName, Listed], decode: Callable[[], Decoded]
    ) -> dict[SplitName, Examples]:
        """The examples of `splits`; their data are slices of what is decoded if their places ascend without gaps.

        `what`: the origin of the images, for messages. `decode`: decodes all of them. Raises ValueError for damaged
        images, unless they are skipped, for images that are nearly black, and for a cache that cannot be written.
        """
        try:
            decoded = decode()
        except OSError as error:
            raise ValueError(f"decoding into dataset.cache {self.cache} failed: {error}") from error
        count = sum(len(split.place) for split in splits.values())
        self._report(what, decoded.broken, count)
        row = torch.full((int(decoded.kept.max()) + 1 if len(decoded.kept) else 1,), -1)
        row[decoded.kept] = torch.arange(len(decoded.kept))
        found: dict[SplitName, Examples] = {}
        for part in PARTS:
            place, label = splits[part]
            rows = torch.where(place < len(row), row[place.clamp(max=len(row) - 1)], -1)
            whole = rows >= 0
            if not whole.any():
                raise ValueError(f"all images of {part} in {what} are damaged")
            found[part] = Examples(_taken(decoded.data, rows[whole]), label[whole])
        check_range(what, self.how.depth, deep=decoded.deep, highest=decoded.highest, brightest=decoded.brightest)
        return {"pretrain": found["train"], **found}

    def of_parts(
        self, what: str, parts: Mapping[SplitName, Decoded], label: Callable[[int | str], int]
    ) -> dict[SplitName, Examples]:
        """The examples of splits that were decoded each by itself, and of those that are held out of train.

        `label`: the number of a label that came with an image. Raises ValueError as `examples` does.
        """
        broken = tuple(why for part in parts.values() for why in part.broken)
        self._report(what, broken, len(broken) + sum(len(part.kept) for part in parts.values()))
        found: dict[SplitName, Examples] = {}
        for name, part in parts.items():
            if not len(part.kept):
                raise ValueError(f"there is no image in {name} of {what}")
            labels = torch.tensor([label(each) for each in part.labels] or [-1] * len(part.kept))
            found[name] = Examples(part.data, labels)
        whole = parts.values()
        check_range(
            what,
            self.how.depth,
            deep=sum(part.deep for part in whole),
            highest=max(part.highest for part in whole),
            brightest=max(part.brightest for part in whole),
        )
        for name, fraction in self.fractions.items():
            if name not in found:
                found["train"], found[name] = hold_out(found["train"], fraction, self.split_seed)
        return {"pretrain": found["train"], **found}

    def _report(self, what: str, broken: tuple[str, ...], n: int) -> None:
        if not broken:
            return
        some = "; ".join(broken[:5]) + ("; ..." if len(broken) > 5 else "")
        said = f"{len(broken)} of {n} images in {what} cannot be read: {some}"
        if self.on_broken == "refuse":
            raise ValueError(f"{said}; repair or remove them, or set dataset.on_broken=skip")
        log.warning("skipped: %s", said)


def in_order_of_splits(
    files: list[Path], splits: Mapping[SplitName, Listed]
) -> tuple[list[Path], dict[SplitName, Listed]]:
    """The files of train, val and test, so that a split is a slice of what is decoded; and the splits with places
    among them."""
    ordered = torch.cat([splits[part].place for part in PARTS]).tolist()
    found, first = {}, 0
    for part in PARTS:
        n = len(splits[part].place)
        found[part] = Listed(torch.arange(first, first + n), splits[part].label)
        first += n
    return [files[place] for place in ordered], found


def _taken(data: Tensor, rows: Tensor) -> Tensor:
    """Rows of `data`: a view if they are consecutive, else a copy."""
    first, n = int(rows[0]), len(rows)
    if torch.equal(rows, torch.arange(first, first + n)):
        return data[first : first + n]
    return data[rows]
