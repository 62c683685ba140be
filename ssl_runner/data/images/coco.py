"""Images with boxes in COCO's form: one json file of boxes for each split."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from ssl_runner.data.images.boxed import Annotated, Box, BoxedImages, BoxSettings
from ssl_runner.interfaces import SplitName

EXPECTED = "a file with the lists images, annotations and categories, as COCO's instances_train2017.json"


class COCO(BoxedImages):
    """Images with boxes in COCO's form: a json file for each split, and the folder of its images, under `root`.

    A split without a file is held out of train; COCO's own val is the test here, since the boxes of its test are not
    published. Boxes of crowds are ignored (`Boxes.ignored`). Segmentations are not read; nothing is downloaded.

    Lin, Maire, Belongie, Hays, Perona, Ramanan, Dollar, Zitnick 2014, https://arxiv.org/abs/1405.0312.
    Differs from the benchmark: images are scaled to a square; its val tests.
    """

    def __init__(
        self,
        *,
        root: str,
        train: str,
        val: str | None,
        test: str | None,
        train_folder: str,
        val_folder: str,
        test_folder: str,
        **settings: Unpack[BoxSettings],
    ) -> None:
        super().__init__(**settings)
        self.root = Path(root).expanduser().absolute()
        files = {"train": train, "val": val, "test": test}
        folders = {"train": train_folder, "val": val_folder, "test": test_folder}
        self.files = {part: self.root / name for part, name in files.items() if name is not None}
        self.folders = {part: self.root / name for part, name in folders.items()}

    @property
    def base(self) -> Path:
        return self.root

    def annotated(self) -> Mapping[SplitName, Sequence[Annotated]]:
        parts: tuple[SplitName, ...] = ("train", "val", "test")
        return {part: read(self.files[part], self.folders[part], part) for part in parts if part in self.files}

    def lists(self) -> Sequence[Path]:
        return list(self.files.values())


def read(file: Path, folder: Path, part: str) -> list[Annotated]:
    """The images of a file, in its order. Raises ValueError, with the key to set, for one that is not as COCO's."""
    try:
        whole = json.loads(file.read_bytes())
        return images_of(whole, file, folder)
    except OSError as error:
        raise ValueError(f"{file} (dataset.{part}) cannot be read ({error.strerror}); it must be {EXPECTED}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{file} (dataset.{part}) is not {EXPECTED}: {what}") from error


def images_of(whole: Mapping[str, Any], file: Path, folder: Path) -> list[Annotated]:
    """Raises ValueError, KeyError, TypeError or AttributeError for what is not as COCO's."""
    names = {each["id"]: str(each["name"]) for each in whole["categories"]}
    boxes: dict[Any, list[Box]] = {each["id"]: [] for each in whole["images"]}
    if len(boxes) < len(whole["images"]):
        raise ValueError("two of its images have the same id")
    if not boxes:
        raise ValueError("it lists no image")
    for number, each in enumerate(whole["annotations"]):
        name = f"annotation {each.get('id', number)}"
        if each["image_id"] not in boxes:
            raise ValueError(f"{name} is of image {each['image_id']}, which it does not list")
        if each["category_id"] not in names:
            raise ValueError(f"{name} is of category {each['category_id']}, which it does not list")
        left, top, width, height = map(float, each["bbox"])
        sides = (left, top, left + width, top + height)
        boxes[each["image_id"]].append(
            Box(names[each["category_id"]], sides, bool(each.get("iscrowd", 0)), f"{file}, {name}")
        )
    image = partial(_image, file=file, folder=folder)
    return [image(each, boxes=boxes[each["id"]]) for each in whole["images"]]


def _image(each: Mapping[str, Any], *, boxes: Sequence[Box], file: Path, folder: Path) -> Annotated:
    size = (int(each["width"]), int(each["height"]))
    if min(size) < 1:
        raise ValueError(f"image {each['id']} is of {size[0]} x {size[1]} pixels")
    name = Path(str(each["file_name"]))
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"the file of image {each['id']}, {name}, lies outside of its folder")
    return Annotated(folder / name, size, boxes, f"image {each['id']} of {file}")
