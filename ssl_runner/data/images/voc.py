"""PASCAL VOC, and other images in its layout: a file of boxes for each image."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Unpack
from xml.etree import ElementTree

from ssl_runner.data.any.download import Remote, fetch_files
from ssl_runner.data.any.folders import PARTS
from ssl_runner.data.images.boxed import Annotated, Box, BoxedImages, BoxSettings
from ssl_runner.data.images.names import VOC_OBJECTS
from ssl_runner.interfaces import Contents, Examples, ImageSpec, SplitName

LAYOUT = "ImageSets/Main/train.txt (perhaps val.txt, test.txt), Annotations/*.xml and JPEGImages/*.jpg"
SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
SIDES = ("xmin", "ymin", "xmax", "ymax")
LISTS = Path("ImageSets", "Main")
EDITIONS = {2007: ("2007", "2007-test"), 2012: ("2012",)}  # as torchvision calls their archives


class VOC(BoxedImages):
    """Images in VOC's layout, under `root`, or under `root`/VOCdevkit/VOC<year>, into which it is downloaded:

        ImageSets/Main/{train,val,test}.txt   names of images, one a line
        Annotations/<name>.xml                size of the image, classes and corners of its boxes
        JPEGImages/<name>.jpg

    A split without a list is held out of train; that of 2012's test is not published. `origin`: the coordinate of the
    first pixel; with 1, VOC's own, a box holds its last pixel too. Boxes of objects marked as difficult are ignored
    (`Boxes.ignored`).

    Everingham, Van Gool, Williams, Winn, Zisserman 2010, https://doi.org/10.1007/s11263-009-0275-4.
    Differs from VOC: images are scaled to a square; settings are chosen on its val, and its train alone is trained on,
    where most papers train on both.
    """

    def __init__(
        self,
        *,
        root: str,
        year: Literal[2007, 2012],
        download: bool,
        origin: Literal[0, 1],
        **settings: Unpack[BoxSettings],
    ) -> None:
        super().__init__(**settings)
        if year not in EDITIONS:
            raise ValueError(f"dataset.year is {year}; it must be one of {', '.join(map(str, EDITIONS))}")
        if origin not in (0, 1):
            raise ValueError(f"dataset.origin is {origin}; it must be 0 or 1")
        self.root = Path(root).expanduser().absolute()
        self.year = year
        self.download = download
        self.origin = origin

    @property
    def base(self) -> Path:
        own = any((self.root / name).is_dir() for name in ("ImageSets", "Annotations", "JPEGImages"))
        return self.root if own else self.root / "VOCdevkit" / f"VOC{self.year}"

    @property
    def spec(self) -> ImageSpec:
        if not self._wanted():
            return super().spec
        return replace(self.images.spec({"train": 0}, (), box_names=self.classes or VOC_OBJECTS), size=0)

    def check(self) -> None:
        if not self._wanted():
            return super().check()
        if not self.download:
            raise ValueError(
                f"there is no {self.base} (dataset.root): set dataset.root to a folder with {LAYOUT}, or "
                "dataset.download=true with a network"
            )
        existing = next(folder for folder in (self.root, *self.root.parents) if folder.exists())
        if not os.access(existing, os.W_OK):
            raise ValueError(f"dataset=voc cannot be downloaded to {self.root} (dataset.root): not writable")
        return None

    def contents(self) -> Contents:
        return {} if self._wanted() else super().contents()

    def load(self) -> Mapping[SplitName, Examples]:
        self.check()
        if self._wanted():
            try:
                fetch_files(archives(self.year), self.root)
            except ValueError as error:
                raise ValueError(
                    f"dataset=voc could not be downloaded: {error}; set dataset.root to a folder with {LAYOUT}, or try "
                    "again with a network"
                ) from error
        return super().load()

    def annotated(self) -> Mapping[SplitName, Sequence[Annotated]]:
        found = {part: self._list(part) for part in PARTS}
        return {part: [self._image(name) for name in names] for part, names in found.items() if names is not None}

    def lists(self) -> Sequence[Path]:
        names = [name for part in PARTS for name in self._list(part) or ()]
        files = [self.base / LISTS / f"{part}.txt" for part in PARTS]
        return [*(file for file in files if file.is_file()), *(self._annotation(name) for name in names)]

    def remedy(self) -> str:
        return "if coordinates count from 0, set dataset.origin=0; else " if self.origin == 1 else ""

    def _wanted(self) -> bool:
        """Whether its files are still to be downloaded."""
        return not self.base.exists()

    def _list(self, part: SplitName) -> list[str] | None:
        """Names of the images of a split; None where it has no list."""
        file = self.base / LISTS / f"{part}.txt"
        try:
            names = [line.split()[0] for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        except FileNotFoundError as error:
            if part != "train":
                return None
            raise ValueError(
                f"there is no {file} (dataset.root), which lists the images; {LAYOUT} are expected"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{file} (dataset.root) cannot be read: {error}") from error
        if not names:
            raise ValueError(f"{file} (dataset.root) lists no image")
        return names

    def _annotation(self, name: str) -> Path:
        return self.base / "Annotations" / f"{name}.xml"

    def _image(self, name: str) -> Annotated:
        file = self._annotation(name)
        images = [self.base / "JPEGImages" / f"{name}{suffix}" for suffix in SUFFIXES]
        image = next((each for each in images if each.is_file()), images[0])
        try:
            tree = parse(file)
            size = (int(text(tree, "size/width")), int(text(tree, "size/height")))
            if min(size) < 1:
                raise ValueError(f"its size is {size[0]} x {size[1]}")
            return Annotated(image, size, list(self._boxes_of(tree, file)), str(file))
        except (OSError, ElementTree.ParseError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ValueError(f"{file} (dataset.root) is not an annotation of VOC: {reason}") from error

    def _boxes_of(self, tree: ElementTree.Element, file: Path) -> Iterator[Box]:
        for number, thing in enumerate(tree.iter("object"), start=1):
            left, top, right, bottom = (
                float(text(thing, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")
            )
            difficult = thing.findtext("difficult") or "0"
            yield Box(
                text(thing, "name"),
                (left - self.origin, top - self.origin, right, bottom),
                difficult.strip() == "1",
                f"{file}, object {number}",
            )


def text(tree: ElementTree.Element, path: str) -> str:
    """What an element holds. Raises ValueError where there is none."""
    found = (tree.findtext(path) or "").strip()
    if not found:
        raise ValueError(f"it has no {path}")
    return found


def parse(file: Path) -> ElementTree.Element:
    """Raises ValueError for a file that declares entities, which VOC's do not, and which can grow without limit."""
    content = file.read_bytes()
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("it declares a document type")
    return ElementTree.fromstring(content)


def archives(year: int) -> list[Remote]:
    """The published files of an edition, as torchvision knows them."""
    from torchvision.datasets.voc import DATASET_YEAR_DICT as KNOWN

    parts = [KNOWN[name] for name in EDITIONS[year]]
    return [Remote(part["filename"], (part["url"],), f"md5:{part['md5']}") for part in parts]
