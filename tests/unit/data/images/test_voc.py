"""PASCAL VOC's layout, as a small folder of squares."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from made_boxes import PARTS, SETTINGS, SIZE, annotation, objects, write_voc

from ssl_runner.data.any.download import Remote
from ssl_runner.data.any.module import DataModule
from ssl_runner.data.images import voc
from ssl_runner.data.images.voc import VOC
from ssl_runner.interfaces import UNKNOWN, Boxed, Tagged
from ssl_runner.testing.datasets import *  # noqa: F403


def make(root: Path, **changes: object) -> VOC:
    own = {"root": str(root), "cache": str(root.parent / "cache"), "year": 2007, "download": False, "origin": 1}
    return VOC(**{**SETTINGS, **own, **changes})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "VOC", PARTS)


@pytest.fixture
def source(root: Path) -> VOC:
    return make(root)


@pytest.fixture
def examples(source: VOC):
    return source.load()


def annotate(root: Path, number: int, text: str) -> None:
    (root / "Annotations" / f"{number:03}.xml").write_text(text)


def test_boxes_are_shares_of_the_whole_image(root: Path) -> None:
    found = make(root)
    assert isinstance(found, Boxed)
    assert isinstance(found, Tagged)
    assert found.spec.box_names == found.spec.tag_names == ("blue", "red")
    assert found.spec.classes == 0
    assert found.spec.size == 12
    splits = found.load()
    for part, numbers in PARTS.items():
        image, corners, label, ignored = found.boxes(part)
        assert len(splits[part].label) == len(numbers)
        expected = [(place, each) for place, number in enumerate(numbers) for each in objects(number)]
        assert image.tolist() == [place for place, _ in expected]
        assert label.tolist() == [["blue", "red"].index(name) for _, (name, *_) in expected]
        assert not ignored.any()
        for ours, (_, (_, left, top, right, bottom)) in zip(corners.tolist(), expected, strict=True):
            sides = [(left - 1) / SIZE[0], (top - 1) / SIZE[1], right / SIZE[0], bottom / SIZE[1]]
            assert ours == pytest.approx(sides)
    assert found.boxes("pretrain").image.tolist() == found.boxes("train").image.tolist()
    assert found.boxes("test").of(1).label.tolist() == [1, 0]


def test_boxes_lie_where_their_things_are_in_the_scaled_images(root: Path) -> None:
    """The image is not cropped: in it the inside of each red box is red, and what is farther away is not."""
    found = make(root, size=48)
    images = found.load()["test"].data
    for place in range(len(images)):
        boxes = found.boxes("test").of(place)
        red = boxes.label == 1
        left, top, right, bottom = (48 * boxes.corners[red][0]).round().int().tolist()
        inside = images[place][:, top + 3 : bottom - 3, left + 3 : right - 3]
        assert (inside[0] > 150).all()
        assert (inside[1] < 90).all()
        outside = torch.ones(48, 48, dtype=torch.bool)
        for one in (48 * boxes.corners).round().int().tolist():
            outside[max(0, one[1] - 3) : one[3] + 3, max(0, one[0] - 3) : one[2] + 3] = False
        assert (images[place][1][outside] > 90).all()


def test_tags_say_which_classes_are_shown(root: Path) -> None:
    annotate(root, 19, annotation(objects(19), difficult=[1]))
    found = make(root)
    found.load()
    assert found.tags("test").tolist() == [[int(n % 2), 1] for n in range(18, 19)] + [[UNKNOWN, 1]] + [
        [int(n % 2), 1] for n in range(20, 24)
    ]
    assert found.boxes("test").of(1).ignored.tolist() == [False, True]


def test_splits_without_a_list_are_held_out(root: Path) -> None:
    for part in ("val", "test"):
        (root / "ImageSets" / "Main" / f"{part}.txt").unlink()
    found = make(root)
    sizes = {part: len(examples.label) for part, examples in found.load().items()}
    assert sizes == {"pretrain": 7, "train": 7, "val": 2, "test": 3}
    assert found.spec.size == 7
    images = found.load()["test"].data
    for place in range(3):  # boxes stay with their images: the corner is blue where they say so
        assert bool(images[place, 2, 0, -1] > images[place, 0, 0, -1] + 50) == (
            0 in found.boxes("test").of(place).label
        )


def test_coordinates_from_zero(root: Path) -> None:
    annotate(root, 0, annotation([("red", 0, 0, 12, 8)]))
    with pytest.raises(
        ValueError,
        match=r"object 1: the box from \(-1, -1\) to \(12, 8\) reaches outside of its image of"
        r" 24 x 16 pixels; if coordinates count from 0, set dataset.origin=0",
    ):
        make(root).check()
    found = make(root, origin=0)
    found.load()
    assert found.boxes("train").of(0).corners.tolist() == [[0, 0, 0.5, 0.5]]


def test_damaged_images_are_left_out_with_their_boxes(root: Path) -> None:
    (root / "JPEGImages" / "018.png").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"1 of 24 images in .* cannot be read"):
        make(root).load()
    found = make(root, on_broken="skip")
    assert len(found.load()["test"].label) == len(found.tags("test")) == 5
    assert found.boxes("test").of(0).label.tolist() == [1, 0]  # those of the next


def test_a_fingerprint_holds_the_boxes(root: Path) -> None:
    def fingerprint() -> str:
        return DataModule(make(root), batch_size=2, seed=0).fingerprint(["test"])

    first = fingerprint()
    assert fingerprint() == first
    annotate(root, 20, annotation([("red", 2, 1, 9, 9)]))
    assert fingerprint() != first


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (annotation([("red", 20, 1, 25, 4)]), r"\(19, 0\) to \(25, 4\) reaches outside .* or set dataset.outside=clip"),
        (annotation([("red", 9, 1, 4, 4)]), "has no area within its image .* correct or remove it"),
        (annotation([("green", 1, 1, 4, 4)]), "the class 'green' of val is not in train, which has blue, red"),
        (annotation([]), r"012.xml has no box \(1 of 6 images have none\): set dataset.without_boxes=keep .* or skip"),
        (annotation([("red", 1, 1, 4, 4)], size=(0, 0)), "is not an annotation of VOC: its size is 0 x 0"),
        ("<annotation><size>", "is not an annotation of VOC: no element found"),
        ("<!DOCTYPE a><annotation/>", "declares a document type"),
        ("<annotation/>", "it has no size/width"),
        (annotation([("red", 1, 1, 4, 4)]).replace("<xmax>4</xmax>", ""), "it has no bndbox/xmax"),
    ],
)  # fmt: skip
def test_wrong_annotations_are_refused(root: Path, text: str, said: str) -> None:
    annotate(root, 12, text)
    with pytest.raises(ValueError, match=said):
        make(root).check()


def test_what_can_be_done_about_them(root: Path) -> None:
    annotate(root, 12, annotation([("red", 20, 1, 25, 4)]))
    clipped = make(root, outside="clip")
    clipped.load()
    assert clipped.boxes("val").of(0).corners[0, 2] == 1
    annotate(root, 12, annotation([]))
    kept, skipped = make(root, without_boxes="keep"), make(root, without_boxes="skip")
    assert [len(each.load()["val"].label) for each in (kept, skipped)] == [6, 5]
    assert kept.tags("val")[0].tolist() == [0, 0]
    assert kept.boxes("val").of(0).label.tolist() == []
    with pytest.raises(ValueError, match=r"the class 'blue' of train is not in dataset.classes, which has red; add it"):
        make(root, classes=["red"], without_boxes="keep").check()
    assert make(root, classes=["red", "blue"], without_boxes="keep").spec.box_names == ("red", "blue")


def test_wrong_folders_are_refused(root: Path) -> None:
    lists = root / "ImageSets" / "Main"
    (lists / "val.txt").write_text("012\n012\n")
    with pytest.raises(ValueError, match=r"012.png is listed twice in val"):
        make(root).check()
    (lists / "val.txt").write_text("012\n000\n")
    with pytest.raises(ValueError, match=r"000.png is in train and in val"):
        make(root).check()
    (lists / "val.txt").write_text("\n")
    with pytest.raises(ValueError, match="lists no image"):
        make(root).check()
    (lists / "val.txt").unlink()
    (root / "JPEGImages" / "003.png").unlink()
    with pytest.raises(ValueError, match=r"003.jpg, which .*003.xml is about, is not an existing file \(1 are"):
        make(root).check()
    shutil.rmtree(root / "ImageSets")
    with pytest.raises(ValueError, match=r"there is no .*/train.txt \(dataset.root\), which lists the images"):
        make(root).check()


def test_an_image_of_another_size_than_its_boxes_refer_to_is_refused(root: Path) -> None:
    annotate(root, 12, annotation([("red", 1, 1, 4, 4)], size=(48, 32)))
    with pytest.raises(ValueError, match=r"an image of 48 x 32 pixels, and 012.png has 24 x 16: its boxes belong"):
        make(root).load()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classes": []}, "must name each class once"),
        ({"classes": ["a", "a"]}, "must name each class once"),
        ({"outside": "keep"}, "dataset.outside is 'keep'; it must be refuse or clip"),
        ({"without_boxes": "no"}, "it must be refuse, keep or skip"),
        ({"origin": 2}, "dataset.origin is 2"),
        ({"year": 2006}, "dataset.year is 2006; it must be one of 2007, 2012"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make(tmp_path, **changes)


def test_it_is_downloaded_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From archives that lie beside it; their addresses are torchvision's."""
    root = tmp_path / "data"
    with pytest.raises(ValueError, match=r"there is no .*VOC2007 \(dataset.root\): set dataset.root to a folder with"):
        make(root).check()
    found = make(root, download=True)
    found.check()
    assert len(found.spec.box_names) == 20
    assert found.contents() == {}
    assert [each.path for each in voc.archives(2007)] == ["VOCtrainval_06-Nov-2007.tar", "VOCtest_06-Nov-2007.tar"]
    assert all(each.urls[0].endswith(each.path) for each in voc.archives(2012))
    write_voc(tmp_path / "made" / "VOCdevkit" / "VOC2007", PARTS)
    root.mkdir()
    archive = Path(shutil.make_archive(str(root / "VOC"), "tar", tmp_path / "made"))
    remote = Remote(archive.name, (), f"md5:{hashlib.md5(archive.read_bytes()).hexdigest()}")
    monkeypatch.setattr(voc, "archives", lambda year: [remote])
    assert {part: len(each.label) for part, each in found.load().items()} == {
        "pretrain": 12, "train": 12, "val": 6, "test": 6,
    }  # fmt: skip
    assert found.spec.box_names == ("blue", "red")
    assert len(found.contents()["root"]) == 3 + 2 * 24
