"""Boxes in COCO's form, as a small folder of squares; held against the same squares in VOC's layout."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from made_boxes import PARTS, SETTINGS, SIZE, objects, write_voc

from ssl_runner.data.images.coco import COCO
from ssl_runner.data.images.voc import VOC


def make(root: Path, **changes: object) -> COCO:
    files = {part: f"{part}.json" for part in PARTS}
    folders = {f"{part}_folder": "JPEGImages" for part in PARTS}
    own = {"root": str(root), "cache": str(root.parent / "cache"), **files, **folders}
    return COCO(**{**SETTINGS, **own, **changes})


def stated(part: str) -> dict[str, Any]:
    """The json of a split; ids are neither places nor in order."""
    numbers = list(PARTS[part])
    images = [
        {"id": 900 - n, "file_name": f"{n:03}.png", "width": SIZE[0], "height": SIZE[1], "license": 1} for n in numbers
    ]
    categories = [{"id": 7, "name": "red", "supercategory": "color"}, {"id": 3, "name": "blue"}]
    ids = {each["name"]: each["id"] for each in categories}
    annotations = [
        {
            "id": 10 * n + place,
            "image_id": 900 - n,
            "category_id": ids[name],
            "bbox": [left - 1, top - 1, right - left + 1, bottom - top + 1],
            "iscrowd": 0,
            "area": 1,
        }
        for n in numbers
        for place, (name, left, top, right, bottom) in enumerate(objects(n))
    ]
    return {"images": images, "annotations": annotations[::-1], "categories": categories}


def write(root: Path, part: str, whole: Any) -> None:
    (root / f"{part}.json").write_text(json.dumps(whole))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = write_voc(tmp_path / "squares", PARTS)
    for part in PARTS:
        write(folder, part, stated(part))
    return folder


def test_it_is_what_vocs_layout_gives(root: Path) -> None:
    voc = VOC(**SETTINGS, root=str(root), cache=str(root.parent / "cache"), year=2007, download=False, origin=1)
    coco = make(root)
    theirs, ours = voc.load(), coco.load()
    assert coco.spec == voc.spec
    for part in PARTS:
        assert torch.equal(ours[part].data, theirs[part].data)
        assert torch.equal(coco.tags(part), voc.tags(part))
        for place in range(len(PARTS[part])):
            one, other = (
                sorted(zip(each.label.tolist(), each.corners.tolist(), strict=True))
                for each in (coco.boxes(part).of(place), voc.boxes(part).of(place))
            )
            assert one == other
    assert {name for name in coco.contents()["root"] if name.endswith(".json")} == {f"{part}.json" for part in PARTS}


def test_crowds_are_ignored_and_missing_splits_held_out(root: Path) -> None:
    whole = stated("train")
    whole["annotations"][-1]["iscrowd"] = 1
    write(root, "train", whole)
    found = make(root, val=None, test=None)
    splits = found.load()
    assert {part: len(each.label) for part, each in splits.items()} == {"pretrain": 7, "train": 7, "val": 2, "test": 3}
    assert torch.cat([found.boxes(part).ignored for part in ("train", "val", "test")]).sum() == 1


def without(whole: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in whole.items() if name != key}


def first(whole: dict[str, Any], kind: str, **changes: Any) -> dict[str, Any]:
    return whole | {kind: [whole[kind][0] | changes, *whole[kind][1:]]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda whole: without(whole, "images"), r"val.json \(dataset.val\) is not a file with .*: it has no 'images'"),
        (lambda whole: [], "list indices must be integers"),
        (lambda whole: whole | {"images": []}, "it lists no image"),
        (lambda whole: whole | {"images": whole["images"][:1] * 2}, "two of its images have the same id"),
        (lambda whole: first(whole, "annotations", image_id=1), "annotation 171 is of image 1, which it does not list"),
        (
            lambda whole: first(whole, "annotations", category_id=1),
            "annotation 171 is of category 1, which it",
        ),
        (lambda whole: first(whole, "annotations", bbox=[1, 2]), "not enough values to unpack"),
        (
            lambda whole: first(whole, "annotations", bbox=[20, 0, 9, 4]),
            r"171: the box from \(20, 0\) to \(29,",
        ),
        (
            lambda whole: first(whole, "annotations", bbox=[2, 0, 0, 4]),
            "has no area within its image of 24 x 16",
        ),
        (lambda whole: first(whole, "images", width=0), "image 888 is of 0 x 16 pixels"),
        (lambda whole: first(whole, "images", file_name="../x.png"), "lies outside of its folder"),
        (
            lambda whole: first(whole, "images", file_name="x.png"),
            r"x.png, which image 888 of .* is not an existing",
        ),
        (lambda whole: whole | {"annotations": []}, "image 888 of .*val.json has no box"),
    ],
)
def test_wrong_files_are_refused(root: Path, change: Callable[[dict[str, Any]], Any], said: str) -> None:
    write(root, "val", change(stated("val")))
    with pytest.raises(ValueError, match=said):
        make(root).check()


def test_missing_files_are_refused(root: Path) -> None:
    (root / "test.json").write_text("{")
    with pytest.raises(ValueError, match=r"test.json \(dataset.test\) is not a file with the lists images"):
        make(root).check()
    (root / "test.json").unlink()
    with pytest.raises(ValueError, match=r"test.json \(dataset.test\) cannot be read \(No such file or directory\)"):
        make(root).check()
