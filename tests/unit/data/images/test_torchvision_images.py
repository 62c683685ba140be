import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchvision.datasets import FakeData

from ssl_runner.data.images import torchvision_images
from ssl_runner.data.images.torchvision_images import TorchvisionImages, kinds

FAKE = {"size": 40, "image_size": [3, 9, 12], "num_classes": 4}


def source(root: Path, name: str, **changes: object) -> TorchvisionImages:
    settings = {
        "name": name,
        "root": str(root),
        "download": False,
        "options": {},
        "size": 6,
        "channels": 3,
        "on_broken": "refuse",
        "cache": str(root.parent / "cache"),
        "workers": 2,
        "test_fraction": 0.2,
        "val_fraction": 0.25,
        "split_seed": 0,
    }
    return TorchvisionImages(**{**settings, **changes})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def shade(path: Path, red: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), (red, 0, 0), np.uint8)).save(path, quality=100)


def food101(root: Path) -> None:
    """Two of its classes, as torchvision unpacks it: 12 images to train on and 4 to test on."""
    splits: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for k, name in enumerate(("apple_pie", "waffles")):
        for number in range(8):
            shade(root / "food-101" / "images" / name / f"{number}.jpg", 100 * k + 10 * number)
        splits["train"][name] = [f"{name}/{number}" for number in range(6)]
        splits["test"][name] = [f"{name}/{number}" for number in (6, 7)]
    (root / "food-101" / "meta").mkdir()
    for part, named in splits.items():
        (root / "food-101" / "meta" / f"{part}.json").write_text(json.dumps(named))


def reds(examples) -> list[int]:
    return [round(each / 10) * 10 for each in examples.data[:, 0, 3, 3].tolist()]


def test_published_splits_are_kept_and_val_is_held_out(root) -> None:
    food101(root)
    own = source(root, "Food101")
    own.check()
    spec, splits = own.spec, own.load()
    assert (spec.classes, spec.class_names, spec.size, spec.height) == (2, ("apple_pie", "waffles"), 9, 6)
    assert own.spec == spec
    assert splits["train"].data.shape == (9, 3, 6, 6)
    assert splits["train"].data.dtype == torch.uint8
    assert reds(splits["test"]) == [60, 70, 160, 170]
    assert splits["test"].label.tolist() == [0, 0, 1, 1]
    assert sorted(reds(splits["train"]) + reds(splits["val"])) == [*range(0, 60, 10), *range(100, 160, 10)]
    for part in splits.values():
        assert [red // 100 for red in reds(part)] == part.label.tolist()


def test_a_set_of_train_and_val_is_tested_on_val(root) -> None:
    """Imagenette: its val is the test, and val is held out of train."""
    for part, count in (("train", 8), ("val", 3)):
        for k, wnid in enumerate(torchvision.datasets.Imagenette._WNID_TO_CLASS):
            for number in range(count):
                shade(root / "imagenette2" / part / wnid / f"{number}.JPEG", 20 * k)
    own = source(root, "Imagenette")
    assert {part: len(each.label) for part, each in own.load().items()} == {
        "pretrain": 60, "train": 60, "val": 20, "test": 30,
    }  # fmt: skip
    assert own.spec.class_names[0] == "tench"


def test_a_set_without_splits_is_held_out_from(root) -> None:
    for k, name in enumerate(("Forest", "River")):
        for number in range(10):
            shade(root / "eurosat" / "2750" / name / f"{number}.jpg", 100 * k + 10 * number)
    own = source(root, "EuroSAT")
    splits = own.load()
    assert {part: torch.bincount(each.label).tolist() for part, each in splits.items()} == {
        "pretrain": [6, 6], "train": [6, 6], "val": [2, 2], "test": [2, 2],
    }  # fmt: skip


def test_a_set_with_val_is_taken_as_it_is(root) -> None:
    folder = root / "dtd" / "dtd"
    for part, count in (("train", 4), ("val", 2), ("test", 3)):
        lines = []
        for k, name in enumerate(("dotted", "woven")):
            for number in range(count):
                shade(folder / "images" / name / f"{part}{number}.jpg", 100 * k)
                lines.append(f"{name}/{part}{number}.jpg")
        (folder / "labels").mkdir(exist_ok=True)
        (folder / "labels" / f"{part}1.txt").write_text("\n".join(lines) + "\n")
    splits = source(root, "DTD").load()
    assert {part: len(each.label) for part, each in splits.items()} == {"pretrain": 8, "train": 8, "val": 4, "test": 6}


def test_made_up_images_need_no_files(root) -> None:
    """By FakeData itself, resized by Pillow."""
    own = source(root / "none", "FakeData", options=FAKE)
    own.check()
    assert (own.spec.classes, own.contents()) == (4, {})
    splits = own.load()
    assert sum(len(splits[part].label) for part in ("train", "val", "test")) == 40
    whole = FakeData(**FAKE)
    wanted = {
        np.asarray(image.resize((6, 6), Image.Resampling.BICUBIC, box=(1.5, 0, 10.5, 9))).tobytes()
        for image, _ in whole
    }
    found = {
        image.permute(1, 2, 0).numpy().tobytes() for part in ("train", "val", "test") for image in splits[part].data
    }
    assert found == wanted


def test_it_is_decoded_once(root, monkeypatch) -> None:
    first = source(root, "FakeData", options=FAKE).load()
    monkeypatch.setattr(torchvision_images.DecodedImages, "_report", lambda *_: None)
    seen = []
    real = FakeData.__getitem__

    def spy(self: FakeData, place: int):
        seen.append(place)
        return real(self, place)

    monkeypatch.setattr(FakeData, "__getitem__", spy)
    again = source(root, "FakeData", options=FAKE).load()
    assert len(seen) < 25  # the sample that is compared, and no more
    assert torch.equal(again["train"].data, first["train"].data)
    source(root, "FakeData", options=FAKE | {"random_offset": 1}).load()
    assert len(seen) > 60  # other images are decoded anew


def test_labels_are_counted_where_classes_have_no_names(root) -> None:
    own = source(root, "FakeData", options=FAKE | {"num_classes": 3})
    own.load()
    assert (own.spec.classes, own.spec.class_names) == (3, ())


def test_classification_sets_are_found_by_their_signatures() -> None:
    found = set(kinds())
    assert found > {
        "SVHN", "Flowers102", "Food101", "OxfordIIITPet", "DTD", "EuroSAT", "GTSRB", "PCAM", "STL10", "MNIST", "EMNIST",
        "FakeData", "Caltech101", "ImageNet", "Places365", "FGVCAircraft", "Country211", "RenderedSST2", "CIFAR10",
    }  # fmt: skip
    assert not found & {
        "CocoDetection", "VOCSegmentation", "Cityscapes", "Kinetics", "UCF101", "MovingMNIST", "ImageFolder", "Kitti",
        "SBDataset", "DatasetFolder", "LSUN", "Flickr8k", "PhotoTour", "Sintel", "VisionDataset",
    }  # fmt: skip


def test_every_set_has_splits() -> None:
    """Probed without files: each has train, and test unless it has no splits."""
    for name, kind in kinds().items():
        options = {"split": "letters"} if name == "EMNIST" else {}
        splits = kind.splits(options)
        assert "train" in splits, name
        assert "test" in splits or kind.split == "", name


@pytest.mark.parametrize(("name", "changes", "message"), [
    ("svhn", {}, r"dataset\.name is svhn: .* did you mean SVHN\?"),
    ("oxford_iiit_pet", {}, r"did you mean OxfordIIITPet\?"),
    ("VOCDetection", {}, r"no classification set of this name"),
    ("Nothing", {}, r"it must be one of CIFAR10, CIFAR100, "),
    ("SVHN", {}, r"=SVHN is not in .*: set dataset\.root .* or dataset\.download=true"),
    ("ImageNet", {"download": True}, r"torchvision cannot download it: .*; put its files there, or set dataset\.root"),
    ("EMNIST", {}, r"dataset\.name=EMNIST needs split: add \+dataset\.options\.split=\.\.\."),
    ("FakeData", {"options": {"sise": 3}}, r"FakeData has no option sise; it has size, image_size, "),
    ("SVHN", {"options": {"split": "extra"}}, r"SVHN has no option split; it has none"),
    ("SVHN", {"options": {"transform": "x"}}, r"SVHN has no option transform"),
    ("FakeData", {"options": {"size": {"a": 1}}}, r"size is a mapping"),
])  # fmt: skip
def test_what_cannot_be_had_is_refused_before_anything_is_written(root, name, changes, message: str) -> None:
    own = source(root, name, **changes)
    for attempt in (own.check, own.load, lambda: own.spec):
        with pytest.raises(ValueError, match=message):
            attempt()
    assert list(root.iterdir()) == []


def test_a_missing_folder_is_not_made(root) -> None:
    own = source(root / "deeper", "Caltech101")
    with pytest.raises(ValueError, match=r"is not in .*deeper \(there is no such folder\)"):
        own.check()
    assert not (root / "deeper").exists()
    source(root / "deeper", "Caltech101", download=True).check()
    assert not (root / "deeper").exists()


def test_a_failing_download_is_refused_and_goes_to_standard_error(root, monkeypatch, capsys) -> None:
    def fail(self, *args: object, **settings: object) -> None:
        if not settings["download"]:
            raise RuntimeError("Dataset not found")
        print("downloading https://example.org")
        raise OSError("no route to host\nat all")

    monkeypatch.setattr(torchvision.datasets.SVHN, "__init__", fail)
    kind = kinds()["MNIST"]
    monkeypatch.setattr(torchvision_images, "kinds", lambda: {"SVHN": kind._replace(cls=torchvision.datasets.SVHN)})
    own = source(root, "SVHN", download=True)
    own.check()
    assert own.spec.classes == 2  # so many stand for what is not known yet
    with pytest.raises(ValueError, match=r"dataset\.name=SVHN could not be downloaded: no route to host; try again"):
        own.load()
    said = capsys.readouterr()
    assert (said.out, "downloading" in said.err) == ("", True)


def test_examples_that_are_no_images_with_a_class_are_refused(root, monkeypatch) -> None:
    image = Image.new("RGB", (8, 8))
    for item, message in (
        ((image, torch.zeros(40)), "the label of an image is a Tensor, not the number of a class"),
        ((image, {"box": 1}), "the label of an image is a dict"),
        ((image, image, 1), "are not pairs of an image and a class"),
        ((image, None), "the label of an image is a NoneType"),
    ):
        monkeypatch.setattr(FakeData, "__getitem__", lambda self, place, item=item: item)
        with pytest.raises(ValueError, match=message):
            source(root, "FakeData", options=FAKE).load()


def test_a_missing_package_is_named(root, monkeypatch) -> None:
    (root / "PCAM").mkdir()
    monkeypatch.setitem(sys.modules, "h5py", None)
    for part in ("train", "valid", "test"):
        for what in ("x", "y"):
            (root / "pcam").mkdir(exist_ok=True)
            (root / "pcam" / f"camelyonpatch_level_2_split_{part}_{what}.h5").write_bytes(b"")
    with pytest.raises(ValueError, match="PCAM"):
        source(root, "PCAM").check()


def test_broken_images_are_skipped_if_asked(root, caplog) -> None:
    food101(root)
    (root / "food-101" / "images" / "waffles" / "3.jpg").write_bytes(b"no image")
    with pytest.raises(
        ValueError, match=r"1 of 16 images in dataset\.name=Food101 .* cannot be read: image 9 of train"
    ):
        source(root, "Food101").load()
    with caplog.at_level(logging.WARNING):
        splits = source(root, "Food101", on_broken="skip").load()
    assert len(splits["train"].label) + len(splits["val"].label) == 11
    assert "skipped" in caplog.text
    for part in splits.values():
        assert [red // 100 for red in reds(part)] == part.label.tolist()


def test_no_image_starts_a_program(root, monkeypatch) -> None:
    """EPS under the name of a photograph, in a class that reads files by itself and in one that leaves it to us."""
    import subprocess

    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program was started"))
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    food101(root)
    (root / "food-101" / "images" / "waffles" / "3.jpg").write_bytes(eps)
    with pytest.raises(ValueError, match="image 9 of train"):
        source(root, "Food101").load()
    for k, name in enumerate(("BACKGROUND_Google", "crab", "owl")):
        for number in range(1, 11):
            shade(root / "caltech101" / "101_ObjectCategories" / name / f"image_{number:04}.jpg", 20 * k)
    (root / "caltech101" / "Annotations").mkdir()
    (root / "caltech101" / "101_ObjectCategories" / "owl" / "image_0003.jpg").write_bytes(eps)
    with pytest.raises(ValueError, match=r"1 of 20 images .* cannot be read: image 12 of train"):
        source(root, "Caltech101").load()
