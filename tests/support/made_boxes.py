"""Images of colored squares on gray, with their boxes, in VOC's layout; for tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COLORS = {"red": (220, 30, 30), "blue": (30, 30, 220)}
SIZE = (24, 16)  # width, height
SETTINGS: dict[str, object] = {  # of a dataset of boxes, whatever its layout
    "classes": None,
    "outside": "refuse",
    "without_boxes": "refuse",
    "size": 8,
    "channels": 3,
    "depth": None,
    "bits": 8,
    "range": None,
    "on_broken": "refuse",
    "workers": 2,
    "test_fraction": 0.25,
    "val_fraction": 0.25,
    "split_seed": 0,
}

Object = tuple[str, int, int, int, int]  # class; first column and row, last column and row, from 1


def objects(number: int) -> list[Object]:
    """Of the image of that number: a red square, and in every second image a blue one."""
    left, top = 1 + number * 3 % 12, 1 + number * 5 % 8
    red = ("red", left, top, left + 7, top + 7)
    return [red, ("blue", 21, 1, 24, 4)] if number % 2 else [red]


def picture(things: Sequence[Object], number: int) -> Image.Image:
    pixels = np.full((SIZE[1], SIZE[0], 3), 100 + number, np.uint8)
    for name, left, top, right, bottom in things:
        pixels[top - 1 : bottom, left - 1 : right] = COLORS[name]
    return Image.fromarray(pixels)


def annotation(things: Sequence[Object], *, size: tuple[int, int] = SIZE, difficult: Sequence[int] = ()) -> str:
    """XML; `difficult`: places of the things that are."""
    rows = "".join(
        f"<object><name>{name}</name><difficult>{int(place in difficult)}</difficult><bndbox><xmin>{left}</xmin>"
        f"<ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for place, (name, left, top, right, bottom) in enumerate(things)
    )
    width, height = size
    return f"<annotation><size><width>{width}</width><height>{height}</height></size>{rows}</annotation>"


def write_voc(folder: Path, parts: Mapping[str, Sequence[int]]) -> Path:
    """A dataset of images by number."""
    for name in ("ImageSets/Main", "Annotations", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    for part, numbers in parts.items():
        (folder / "ImageSets" / "Main" / f"{part}.txt").write_text("".join(f"{n:03}\n" for n in numbers))
        for number in numbers:
            things = objects(number)
            (folder / "Annotations" / f"{number:03}.xml").write_text(annotation(things))
            picture(things, number).save(folder / "JPEGImages" / f"{number:03}.png")
    return folder


PARTS = {"train": range(12), "val": range(12, 18), "test": range(18, 24)}
