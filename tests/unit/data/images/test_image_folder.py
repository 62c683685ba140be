import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_runner.data.images import decode
from ssl_runner.data.images.image_folder import ImageFolder


def source(root: Path, **changes: object) -> ImageFolder:
    settings = {
        "path": str(root),
        "labels": "folders",
        "splits": "folders",
        "size": 4,
        "channels": 3,
        "depth": None,
        "bits": 8,
        "range": None,
        "on_broken": "refuse",
        "cache": str(root.parent / "cache"),
        "workers": 2,
        "test_fraction": 0.2,
        "val_fraction": 0.25,
        "split_seed": 0,
    }
    return ImageFolder(**{**settings, **changes})


def fill(folder: Path, n: int, red: int, suffix: str = "png") -> None:
    """n images of one color each: red is the class, green the number."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        Image.fromarray(np.full((5, 6, 3), (red, number, 0), np.uint8)).save(folder / f"{number:03}.{suffix}")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes: 10 cats of red 0, 20 dogs of red 100."""
    root = tmp_path / "images"
    fill(root / "dogs", 15, 100)
    fill(root / "dogs" / "deeper", 5, 100, "BMP")
    fill(root / "cats", 10, 0)
    (root / "cats" / "notes.txt").write_text("no image")
    (root / "cats" / "._000.png").write_text("hidden")
    (root / ".trash").mkdir()
    return root


def decodings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are decoded from now on."""
    seen: list[Path] = []
    real = decode.decode

    def spy(file: Path, *settings: object) -> decode.Picture:
        seen.append(file)
        return real(file, *settings)

    monkeypatch.setattr(decode, "decode", spy)
    return seen


def test_folders_are_classes_and_splits_are_stratified(root) -> None:
    folder = source(root)
    folder.check()
    spec, splits = folder.spec, folder.load()
    assert (spec.channels, spec.height, spec.width, spec.classes) == (3, 4, 4, 2)
    assert spec.class_names == ("cats", "dogs")
    assert spec.size == len(splits["pretrain"].label) == 18
    counts = {name: torch.bincount(part.label).tolist() for name, part in splits.items()}
    assert counts == {"pretrain": [6, 12], "train": [6, 12], "val": [2, 4], "test": [2, 4]}
    for data, label in splits.values():
        assert torch.equal(data[:, 0], (label * 100).to(torch.uint8)[:, None, None].expand(-1, 4, 4))
    cats = torch.cat([splits[name].data[splits[name].label == 0, 1, 0, 0] for name in ("train", "val", "test")])
    assert sorted(cats.tolist()) == list(range(10))


def test_gray_is_one_channel(root) -> None:
    assert source(root, channels=1).load()["test"].data.shape == (6, 1, 4, 4)


def test_without_labels_all_images_count(root) -> None:
    folder = source(root, labels="none")
    splits = folder.load()
    assert folder.spec.classes == 0
    assert {name: len(part.label) for name, part in splits.items()} == {
        "pretrain": 18,
        "train": 18,
        "val": 6,
        "test": 6,
    }
    assert set(splits["train"].label.tolist()) == {-1}


def test_a_flat_folder_needs_no_labels(tmp_path) -> None:
    fill(tmp_path / "flat", 10, 7, "jpg")
    assert len(source(tmp_path / "flat", labels="none").load()["test"].label) == 2
    with pytest.raises(ValueError, match=r"no class folders in .*flat .*set dataset\.labels=none"):
        source(tmp_path / "flat").check()


def test_splits_given_as_folders_are_kept(tmp_path) -> None:
    root = tmp_path / "images"
    for part, sizes in (("train", (8, 12)), ("test", (3, 2))):
        fill(root / part / "a", sizes[0], 0)
        fill(root / part / "b", sizes[1], 100)
    splits = source(root).load()
    counts = {name: torch.bincount(part.label).tolist() for name, part in splits.items()}
    assert counts == {"pretrain": [6, 9], "train": [6, 9], "val": [2, 3], "test": [3, 2]}
    fill(root / "val" / "b", 4, 100)
    splits = source(root).load()
    assert (len(splits["train"].label), splits["val"].label.tolist()) == (20, [1, 1, 1, 1])


def test_a_class_called_train_is_a_class_where_folders_are_no_splits(tmp_path) -> None:
    fill(tmp_path / "images" / "train", 10, 0)
    fill(tmp_path / "images" / "bus", 10, 100)
    assert source(tmp_path / "images", splits="none").spec.class_names == ("bus", "train")
    with pytest.raises(ValueError, match="has train beside bus"):
        source(tmp_path / "images").check()


def test_a_class_that_train_lacks_is_refused(tmp_path) -> None:
    fill(tmp_path / "images" / "train" / "a", 10, 0)
    fill(tmp_path / "images" / "test" / "b", 10, 0)
    with pytest.raises(ValueError, match="class folders that train does not have: b"):
        source(tmp_path / "images").check()


def test_what_is_decoded_is_used_again(root, monkeypatch) -> None:
    seen = decodings(monkeypatch)
    first = source(root).load()
    assert len(seen) == 30
    second = source(root, workers=1).load()
    assert len(seen) == 30
    assert all(torch.equal(first[name].data, second[name].data) for name in first)
    assert [path.name for path in (root.parent / "cache").iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("change", ["pixels", "time", "new file", "size", "channels"])
def test_what_has_changed_is_decoded_again(root, monkeypatch, change: str) -> None:
    source(root).load()
    seen = decodings(monkeypatch)
    path = root / "cats" / "003.png"
    changes: dict[str, object] = {}
    match change:
        case "pixels":
            Image.fromarray(np.full((9, 9, 3), (0, 33, 0), np.uint8)).save(path)
        case "time":
            os.utime(path, ns=(1, 1))
        case "new file":
            fill(root / "cats", 11, 0)
        case "size":
            changes = {"size": 3}
        case "channels":
            changes = {"channels": 1}
    splits = source(root, **changes).load()
    assert len(seen) == (31 if change == "new file" else 30)
    if change == "pixels":
        greens = torch.cat([splits[name].data[:, 1, 0, 0] for name in ("train", "val", "test")]).tolist()
        assert greens.count(33) == 1


def test_a_change_to_the_data_stays_in_memory(root) -> None:
    source(root).load()["train"].data.fill_(9)
    assert (source(root).load()["train"].data != 9).any()


def test_broken_images_are_refused_by_name_or_skipped(root, monkeypatch, caplog) -> None:
    (root / "cats" / "004.png").write_bytes((root / "cats" / "004.png").read_bytes()[:50])
    (root / "dogs" / "000.png").write_text("no image")
    for _ in range(2):  # decoded, and from the cache
        with pytest.raises(ValueError, match=r"2 of 30 images .*cats/004\.png: .*dataset\.on_broken=skip") as caught:
            source(root).load()
        assert "dogs/000.png: cannot identify image file" in str(caught.value)
    seen = decodings(monkeypatch)
    with caplog.at_level(logging.WARNING):
        splits = source(root, on_broken="skip").load()
    assert "cats/004.png" in caplog.text
    assert not seen
    assert sum(len(splits[name].label) for name in ("train", "val", "test")) == 28
    for data, label in splits.values():
        assert torch.equal(data[:, 0, 0, 0], (label * 100).to(torch.uint8))
    cats = torch.cat([splits[name].data[splits[name].label == 0, 1, 0, 0] for name in ("train", "val", "test")])
    assert sorted(cats.tolist()) == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def fill_deep(root: Path, most: int, dtype: type = np.uint16) -> None:
    """Ten images of each of two classes, told apart by where they are bright."""
    for kind, columns in (("left", slice(0, 2)), ("right", slice(2, 4))):
        (root / kind).mkdir(parents=True)
        for number in range(10):
            image: np.ndarray = np.full((4, 4), number, dtype)
            image[:, columns] = most
            Image.fromarray(image).save(root / kind / f"{number}.{'tif' if dtype is np.int32 else 'png'}")


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
@pytest.mark.parametrize(("most", "bits"), [(255, 8), (1023, 10), (4095, 12), (16383, 14)])
def test_images_that_leave_the_upper_bits_free_are_refused_or_read_by_a_stated_depth(
    tmp_path, most: int, bits: int, dtype: type
) -> None:
    root = tmp_path / "images"
    fill_deep(root, most, dtype)
    said = rf"the 20 images of more than 8 bits in .* go up to {most} of 65535.* set dataset\.depth={bits}; "
    for _ in range(2):  # decoded, and from the cache
        with pytest.raises(ValueError, match=said):
            source(root, channels=1).load()
    data, label = source(root, channels=1, depth=bits).load()["train"]
    bright = torch.stack([(data[:, 0, :, :2] == 255).all(1).all(1), (data[:, 0, :, 2:] == 255).all(1).all(1)], dim=1)
    assert torch.equal(bright.int().argmax(1), label)
    assert bright.sum() == len(label)
    if most > 255:
        assert int(source(root, channels=1, depth=16).load()["train"].data.max()) == round(most / 65535 * 255)


def test_one_bright_image_shows_that_all_bits_are_used(tmp_path) -> None:
    root = tmp_path / "images"
    fill_deep(root, 255)
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(root / "left" / "bright.png")
    assert source(root, channels=1).load()["train"].data.max() in (1, 156)


@pytest.mark.parametrize("most", [0, 1])
def test_black_images_are_refused(tmp_path, most: int) -> None:
    (tmp_path / "images" / "a").mkdir(parents=True)
    for number in range(10):
        Image.fromarray(np.full((4, 4), most, np.uint8)).save(tmp_path / "images" / "a" / f"{number}.png")
    with pytest.raises(ValueError, match=rf"are black: no value exceeds {most} of 255"):
        source(tmp_path / "images").load()


def test_nothing_but_broken_images_is_refused(tmp_path) -> None:
    fill(tmp_path / "images" / "a", 10, 0)
    for path in (tmp_path / "images" / "a").iterdir():
        path.write_text("no image")
    with pytest.raises(ValueError, match=r"all images of train .* are damaged"):
        source(tmp_path / "images", on_broken="skip").load()


def test_a_killed_decoding_leaves_no_cache(root, monkeypatch) -> None:
    def killed(*_: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(decode, "_try", killed)
        with pytest.raises(KeyboardInterrupt):
            source(root).load()
    assert list((root.parent / "cache").iterdir()) == []


def test_a_damaged_cache_is_refused(root) -> None:
    source(root).load()
    (made,) = (root.parent / "cache").iterdir()
    (made / "images.uint8").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"the cache .* is damaged .*delete it"):
        source(root).load()


def test_a_cache_that_cannot_be_written_is_named(root) -> None:
    (root.parent / "cache").write_text("a file")
    with pytest.raises(ValueError, match=r"decoding into dataset\.cache .*/cache failed"):
        source(root).load()


def test_missing_and_empty_folders_are_named(tmp_path, root) -> None:
    with pytest.raises(ValueError, match=rf"dataset\.path {tmp_path}/none is not an existing folder"):
        source(tmp_path / "none").check()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no class folders in .*/empty \(dataset\.path\)"):
        source(tmp_path / "empty").check()
    with pytest.raises(ValueError, match=r"no image in .*/empty \(dataset\.path\)"):
        source(tmp_path / "empty", labels="none").check()
    (root / "birds").mkdir()
    with pytest.raises(ValueError, match=r"no image in .*/birds \(dataset\.path\)"):
        source(root).load()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", 0),
        ("workers", 0),
        ("channels", 2),
        ("depth", 17),
        ("labels", "names"),
        ("splits", "files"),
        ("on_broken", "keep"),
        ("test_fraction", 0.0),
        ("val_fraction", 1.0),
    ],
)
def test_values_out_of_range_name_their_key(tmp_path, key: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"dataset\.{key} is {value}"):
        source(tmp_path, **{key: value})


def test_16_bits_are_kept_in_the_cache(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / "images" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((5, 6), 40_000 + number, np.uint16)).save(folder / f"{number:02}.png")
    own = source(tmp_path / "images", channels=1, bits=16)
    spec, splits = own.spec, own.load()
    assert (spec.stored, spec.range) == ("uint16", (0, 65_535))
    assert splits["train"].data.dtype == torch.uint16
    found = torch.cat([splits[part].data[:, 0, 0, 0].int() for part in ("train", "val", "test")])
    assert sorted(found.tolist()) == list(range(40_000, 40_020))
    assert source(tmp_path / "images", channels=1).load()["train"].data.unique().tolist() == [156]  # of 8 bits


def test_images_of_floats_have_a_range(tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / "images" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((5, 6), number / 19, np.float32)).save(folder / f"{number:02}.tif")
    with pytest.raises(ValueError, match=r"20 of 20 images .*whose value range is unknown: set dataset\.range"):
        source(tmp_path / "images", channels=1).load()
    own = source(tmp_path / "images", channels=1, bits=16, range=[0, 1])
    data = torch.cat([own.load()[part].data for part in ("train", "val", "test")])
    torch.testing.assert_close(
        own.spec.to_input(data)[:, 0, 0, 0].sort().values, torch.arange(20) / 19, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(("changes", "message"), [
    ({"bits": 12}, r"dataset\.bits is 12; it must be 8 or 16"),
    ({"range": [1, 0]}, r"dataset\.range is \[1, 0\]; it must be \[black, white\]"),
])  # fmt: skip
def test_values_of_pixels_are_checked(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        source(tmp_path, **changes)
