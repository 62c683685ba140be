"""What datasets of images with boxes share. n images of a split, m boxes of all of them, K classes."""

import os
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, Unpack

import torch
from torch import Tensor

from ssl_runner.data.any.folders import PARTS
from ssl_runner.data.any.labels import some
from ssl_runner.data.images.decode import FORMATS, decode_all
from ssl_runner.data.images.decoded import DecodedImages, ImageSettings, Listed, in_order_of_splits
from ssl_runner.interfaces import UNKNOWN, Boxes, Contents, DataSource, Examples, ImageSpec, SplitName

ORIENTATION = 0x0112  # of an image file's EXIF data
SIDEWAYS = (5, 6, 7, 8)  # orientations whose upright image has the two sides exchanged
TOLERANCE = 0.01  # pixels by which rounded coordinates may lie outside


class BoxSettings(ImageSettings):
    """How annotated images are read; documented in conf/dataset/voc.yaml."""

    classes: list[str] | None
    outside: Literal["refuse", "clip"]
    without_boxes: Literal["refuse", "keep", "skip"]


class Box(NamedTuple):
    """As a file states it."""

    name: str  # of its class
    sides: tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the image file
    ignored: bool
    where: str  # for messages: the file, and which of its boxes


class Annotated(NamedTuple):
    """An image file with its boxes."""

    file: Path
    size: tuple[int, int]  # width, height, as stated with the boxes
    boxes: Sequence[Box]
    where: str  # for messages: what states its boxes


class BoxedImages(DataSource):
    """Images with boxes, decoded once: the whole image is scaled to a square of `size` pixels.

    Its sides are scaled apart, so that no box is cut; overlap of boxes (intersection over union) does not depend on it.
    The images have no class (`label` is -1): what they show is said by `boxes`, and for each class by `tags`.
    """

    def __init__(self, **settings: Unpack[BoxSettings]) -> None:
        classes, outside, without_boxes = settings["classes"], settings["outside"], settings["without_boxes"]
        if classes is not None and (not classes or len(set(classes)) < len(classes)):
            raise ValueError(f"dataset.classes is {list(classes)}; it must name each class once, or be null for all")
        if outside not in ("refuse", "clip"):
            raise ValueError(f"dataset.outside is {outside!r}; it must be refuse or clip")
        if without_boxes not in ("refuse", "keep", "skip"):
            raise ValueError(f"dataset.without_boxes is {without_boxes!r}; it must be refuse, keep or skip")
        self.classes = None if classes is None else tuple(classes)
        self.outside = outside
        self.without_boxes = without_boxes
        self.images = DecodedImages(settings)
        self.images.how = self.images.how._replace(whole=True)
        self._boxes: dict[SplitName, Boxes] = {}
        self._sizes: dict[SplitName, int] = {}  # images of each split

    @property
    @abstractmethod
    def base(self) -> Path:
        """The folder under which all files lie."""

    @abstractmethod
    def annotated(self) -> Mapping[SplitName, Sequence[Annotated]]:
        """The images of the splits that files state, "train" at least. Raises ValueError, with the key to set."""

    @abstractmethod
    def lists(self) -> Sequence[Path]:
        """The files other than images that say which images there are, and where their boxes lie."""

    @property
    def spec(self) -> ImageSpec:
        found, names = self._found
        counts: dict[SplitName, int] = {part: len(each) for part, each in found.items()}
        several = any(sum(not box.ignored for box in each.boxes) > 1 for images in found.values() for each in images)
        return self.images.spec(counts, (), box_names=names, one_box=not several)

    def check(self) -> None:
        """Raise ValueError for everything that `load` could not use, but for damaged image files."""
        missing = [each for images in self._found[0].values() for each in images if not each.file.is_file()]
        if missing:
            raise ValueError(
                f"{missing[0].file}, which {missing[0].where} is about, is not an existing file "
                f"({len(missing)} are missing); complete the dataset, or leave these images out of its lists"
            )

    def contents(self) -> Contents:
        self.check()
        images = [each.file for part in self._found[0].values() for each in part]
        return {"root": {os.path.relpath(file, self.base): file for file in (*self.lists(), *images)}}

    def load(self) -> Mapping[SplitName, Examples]:
        self.check()
        found, names = self._found
        for images in found.values():
            check_sizes(images)
        listed: dict[SplitName, Listed] = {}
        every: list[Annotated] = []
        for part, images in found.items():
            places = torch.arange(len(every), len(every) + len(images))
            listed[part] = Listed(places, torch.full((len(images),), -1))
            every += images
        splits = self.images.hold_out(listed)
        order = torch.cat([splits[part].place for part in PARTS]).tolist()
        files, splits = in_order_of_splits([each.file for each in every], splits)
        # Labels pass through what decodes and leaves out damaged files: so they say which images are left.
        marked = {part: Listed(split.place, split.place) for part, split in splits.items()}
        decoded = self.images.examples(
            f"{self.base} (dataset.root)",
            marked,
            lambda: decode_all(self.base, files, self.images.how, cache=self.images.cache, workers=self.images.workers),
        )
        for part, examples in decoded.items():
            kept = [every[order[place]] for place in examples.label.tolist()]
            self._boxes[part], self._sizes[part] = as_tensors(kept, names), len(kept)
        return {part: Examples(each.data, torch.full_like(each.label, -1)) for part, each in decoded.items()}

    def boxes(self, split: SplitName) -> Boxes:
        return self._boxes[split]

    def tags(self, split: SplitName) -> Tensor:
        """(n, K) int8: 1 for a class with a box, `UNKNOWN` for one with ignored boxes alone, as VOC has it, else 0."""
        image, _, label, ignored = self._boxes[split]
        found = torch.zeros(self._sizes[split], len(self._found[1]), dtype=torch.int8)
        found[image[ignored], label[ignored]] = UNKNOWN
        found[image[~ignored], label[~ignored]] = 1
        return found

    @cached_property
    def _found(self) -> tuple[dict[SplitName, list[Annotated]], tuple[str, ...]]:
        """The images of the splits that are stated, with boxes inside of them, and the names of the classes."""
        parts = {part: [self._inside(each) for each in images] for part, images in self.annotated().items()}
        found = {part: self._with_boxes(images) for part, images in parts.items()}
        for part, images in found.items():
            if not images:
                raise ValueError(f"no image of {part} in {self.base} (dataset.root) has a box")
        check_apart(found)
        return found, self._names(found)

    def _inside(self, image: Annotated) -> Annotated:
        """Raises ValueError for boxes without an area, and, unless they are clipped, for those outside of the image."""
        width, height = image.size
        boxes = []
        for box in image.boxes:
            left, top, right, bottom = box.sides
            over = min(left, top) < -TOLERANCE or right > width + TOLERANCE or bottom > height + TOLERANCE
            if over and self.outside == "refuse":
                raise ValueError(
                    f"{box.where}: the box from ({left:g}, {top:g}) to ({right:g}, {bottom:g}) reaches outside of its "
                    f"image of {width} x {height} pixels; {self.remedy()}correct it, or set dataset.outside=clip"
                )
            sides = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
            if not (sides[0] < sides[2] and sides[1] < sides[3]):
                raise ValueError(
                    f"{box.where}: the box from ({left:g}, {top:g}) to ({right:g}, {bottom:g}) has no area within its "
                    f"image of {width} x {height} pixels; {self.remedy()}correct or remove it"
                )
            boxes.append(box._replace(sides=sides))
        return image._replace(boxes=boxes)

    def remedy(self) -> str:
        """A setting that may be the reason why boxes lie outside, for messages: "set ..., "."""
        return ""

    def _with_boxes(self, images: list[Annotated]) -> list[Annotated]:
        empty = [each for each in images if not each.boxes]
        if not empty or self.without_boxes == "keep":
            return images
        if self.without_boxes == "refuse":
            raise ValueError(
                f"{empty[0].where} has no box ({len(empty)} of {len(images)} images have none): set "
                "dataset.without_boxes=keep if these images show nothing that is looked for, or skip to leave them out"
            )
        return [each for each in images if each.boxes]

    def _names(self, found: Mapping[SplitName, Sequence[Annotated]]) -> tuple[str, ...]:
        """Raises ValueError for a class that is not in the list, or, without one, not in train."""
        known = self.classes
        names = known or tuple(sorted({box.name for image in found["train"] for box in image.boxes}))
        for part, images in found.items():
            for box in (box for image in images for box in image.boxes):
                if box.name not in names:
                    listed = "in dataset.classes" if known else "in train"
                    add = "add it there, or set dataset.classes=null" if known else "list all in dataset.classes"
                    raise ValueError(
                        f"{box.where}: the class {box.name!r} of {part} is not {listed}, which has {some(names, 20)}; "
                        f"{add}"
                    )
        return names


def as_tensors(images: Sequence[Annotated], names: Sequence[str]) -> Boxes:
    """The boxes of a split."""
    number = {name: place for place, name in enumerate(names)}
    rows = [(place, image, box) for place, image in enumerate(images) for box in image.boxes]
    shares = [[side / length for side, length in zip(box.sides, image.size * 2, strict=True)] for _, image, box in rows]
    return Boxes(
        torch.tensor([place for place, *_ in rows], dtype=torch.int64),
        torch.tensor(shares, dtype=torch.float32).view(-1, 4),
        torch.tensor([number[box.name] for *_, box in rows], dtype=torch.int64),
        torch.tensor([box.ignored for *_, box in rows], dtype=torch.bool),
    )


def check_apart(found: Mapping[SplitName, Iterable[Annotated]]) -> None:
    """Raise ValueError for an image that is in two splits, or twice in one."""
    seen: dict[Path, SplitName] = {}
    for part, images in found.items():
        for image in images:
            if image.file in seen:
                raise ValueError(
                    f"{image.file} is in {seen[image.file]} and in {part}: list each image once, in one split"
                    if seen[image.file] != part
                    else f"{image.file} is listed twice in {part}: list each image once"
                )
            seen[image.file] = part


def check_sizes(images: Iterable[Annotated]) -> None:
    """Raise ValueError if an image file is not of the size to which its boxes refer; damaged files are left to those
    who decode."""
    from PIL import Image

    for each in images:
        try:
            with Image.open(each.file, formats=FORMATS) as image:
                width, height = image.size
                turned = (height, width) if image.getexif().get(ORIENTATION, 1) in SIDEWAYS else (width, height)
        except (OSError, SyntaxError, ValueError):
            continue
        if turned != each.size:
            upright = f", upright {turned[0]} x {turned[1]}" if turned != (width, height) else ""
            raise ValueError(
                f"{each.where} states an image of {each.size[0]} x {each.size[1]} pixels, and {each.file.name} has "
                f"{width} x {height}{upright}: its boxes belong to another image, or to it before it was resized or "
                "turned"
            )
