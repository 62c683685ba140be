import io
import logging
import pickle
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_runner.data.images.huggingface_images import HuggingFaceImages

datasets = pytest.importorskip("datasets")
KINDS = ("owl", "cat")  # in the order of ClassLabel, which is not that of the alphabet


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def source(path: Path | str, cache: Path, **changes: object) -> HuggingFaceImages:
    settings = {
        "path": str(path),
        "config": None,
        "revision": None,
        "train": None,
        "val": None,
        "test": None,
        "image_column": "image",
        "label_column": "label",
        "streaming": False,
        "limit": None,
        "size": 4,
        "channels": 3,
        "depth": None,
        "bits": 8,
        "range": None,
        "on_broken": "refuse",
        "cache": str(cache),
        "workers": 2,
        "test_fraction": 0.2,
        "val_fraction": 0.25,
        "split_seed": 0,
    }
    return HuggingFaceImages(**{**settings, **changes})


def encoded(red: int) -> dict[str, object]:
    out = io.BytesIO()
    Image.fromarray(np.full((5, 6, 3), (red, 0, 0), np.uint8)).save(out, "PNG")
    return {"bytes": out.getvalue(), "path": None}


def rows(first: int, n: int, labels: str = "named"):
    """Images of one color each, red by number; by turns an owl and a cat."""
    numbers = range(first, first + n)
    values = {
        "named": ([i % 2 for i in numbers], datasets.ClassLabel(names=list(KINDS))),
        "text": ([KINDS[i % 2] for i in numbers], datasets.Value("string")),
        "numbers": ([10 - i % 2 for i in numbers], datasets.Value("int64")),
        "scores": ([i / 2 for i in numbers], datasets.Value("float32")),
    }
    label, feature = values[labels]
    features = datasets.Features({"image": datasets.Image(), "label": feature, "more": datasets.Value("int64")})
    table = {"image": [encoded(i) for i in numbers], "label": label, "more": [0] * n}
    return datasets.Dataset.from_dict(table, features=features)


def saved(folder: Path, form: str, labels: str = "named", **splits: tuple[int, int]) -> Path:
    parts = {name: rows(first, n, labels) for name, (first, n) in splits.items()}
    root = folder / "data"
    if form == "saved":
        datasets.DatasetDict(parts).save_to_disk(str(root))
        return root
    (root / "data").mkdir(parents=True)
    for name, part in parts.items():
        if form == "parquet":
            part.to_parquet(str(root / "data" / f"{name}-00000-of-00001.parquet"))
            continue
        part.save_to_disk(str(folder / name))
        (folder / name / "data-00000-of-00001.arrow").rename(root / "data" / f"{name}-00000-of-00001.arrow")
    return root


def numbers(examples) -> list[int]:
    return examples.data[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("form", ["parquet", "arrow", "saved"])
def test_published_splits_are_kept_in_every_format(tmp_path, form: str) -> None:
    root = saved(tmp_path, form, train=(0, 12), validation=(12, 4), test=(16, 6), extra=(30, 2))
    own = source(root, tmp_path / "cache")
    own.check()
    spec, splits = own.spec, own.load()
    assert (spec.classes, spec.class_names, spec.channels, spec.height) == (2, KINDS, 3, 4)
    assert [numbers(splits[part]) for part in ("pretrain", "train", "val", "test")] == [
        list(range(12)), list(range(12)), list(range(12, 16)), list(range(16, 22)),
    ]  # fmt: skip
    assert splits["test"].label.tolist() == [0, 1, 0, 1, 0, 1]
    assert splits["train"].data.dtype == torch.uint8
    names = own.contents()["path"]
    assert all(path.is_file() and str(root) not in name for name, path in names.items())
    assert len(names) >= 3


@pytest.mark.parametrize("form", ["parquet", "saved"])
@pytest.mark.parametrize(("labels", "names"), [("text", ("cat", "owl")), ("numbers", ("9", "10"))])
def test_labels_without_names_are_numbered(tmp_path, form: str, labels: str, names: tuple[str, ...]) -> None:
    own = source(saved(tmp_path, form, labels, train=(0, 20)), tmp_path / "cache")
    own.check()
    assert (own.spec.classes, own.spec.class_names) == (2, names)
    splits = own.load()
    wanted = {0: "owl", 1: "cat"} if labels == "text" else {0: "10", 1: "9"}
    for part in splits.values():
        assert [wanted[number % 2] for number in numbers(part)] == [names[label] for label in part.label.tolist()]
    assert {part: len(each.label) for part, each in splits.items()} == {
        "pretrain": 12, "train": 12, "val": 4, "test": 4,
    }  # fmt: skip


def test_one_file_and_one_saved_split_are_train(tmp_path) -> None:
    rows(0, 20).to_parquet(str(tmp_path / "own.parquet"))
    assert len(source(tmp_path / "own.parquet", tmp_path / "cache").load()["train"].label) == 12
    assert source(tmp_path / "own.parquet", tmp_path / "c").contents() == {"path": {"": tmp_path / "own.parquet"}}
    rows(0, 20).save_to_disk(str(tmp_path / "one"))
    assert len(source(tmp_path / "one", tmp_path / "cache").load()["train"].label) == 12


def test_limit_reads_the_first_rows(tmp_path) -> None:
    root = saved(tmp_path, "parquet", train=(0, 12), val=(12, 4), test=(16, 6))
    splits = source(root, tmp_path / "cache", limit=5).load()
    assert [numbers(splits[part]) for part in ("train", "val", "test")] == [
        list(range(5)), list(range(12, 16)), list(range(16, 21)),
    ]  # fmt: skip


def test_splits_may_be_stated(tmp_path) -> None:
    root = saved(tmp_path, "parquet", unlabeled=(0, 12), validation=(12, 4), dev=(16, 6))
    own = source(root, tmp_path / "cache", train="unlabeled", val="dev", test="validation", label_column=None)
    splits = own.load()
    assert [len(splits[part].label) for part in ("train", "val", "test")] == [12, 6, 4]
    assert own.spec.classes == 0
    assert splits["train"].label.unique().tolist() == [-1]
    for changes, message in (
        ({"val": "dev", "test": "validation"}, r"has the splits .*: set dataset\.train to one of them"),
        ({"train": "trian"}, r"dataset\.train is trian, and .* has the splits"),
        ({"train": "unlabeled"}, r"has .*validation.*: set dataset\.val to one of them"),
        ({"train": "dev", "val": "dev"}, "must be different"),
    ):
        with pytest.raises(ValueError, match=message):
            source(root, tmp_path / "cache", **changes).check()


def test_it_is_decoded_once(tmp_path, monkeypatch) -> None:
    root = saved(tmp_path, "parquet", train=(0, 12), test=(16, 6))
    first = source(root, tmp_path / "cache").load()
    again = source(root, tmp_path / "cache")
    monkeypatch.setattr(again, "_row", lambda row: pytest.fail("it was read again"))
    assert torch.equal(again.load()["train"].data, first["train"].data)
    rows(100, 12).to_parquet(str(root / "data" / "train-00000-of-00001.parquet"))
    assert min(numbers(source(root, tmp_path / "cache").load()["train"])) >= 100


def test_16_bits_are_kept(tmp_path) -> None:
    out = io.BytesIO()
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(out, "PNG")
    features = datasets.Features({"image": datasets.Image()})
    table = {"image": [{"bytes": out.getvalue(), "path": None}] * 20}
    datasets.Dataset.from_dict(table, features=features).to_parquet(str(tmp_path / "own.parquet"))
    own = source(tmp_path / "own.parquet", tmp_path / "cache", label_column=None, channels=1, bits=16)
    data = own.load()["train"].data
    assert (data.dtype, own.spec.stored) == (torch.uint16, "uint16")
    assert own.spec.to_input(data).unique().item() == pytest.approx(40_000 / 65_535)


def test_bytes_without_a_feature_are_images_too(tmp_path) -> None:
    table = {"image": [encoded(i)["bytes"] for i in range(20)], "label": ["a", "b"] * 10}
    datasets.Dataset.from_dict(table).to_parquet(str(tmp_path / "own.parquet"))
    assert len(source(tmp_path / "own.parquet", tmp_path / "cache").load()["train"].label) == 12


def test_broken_images_are_refused_or_skipped(tmp_path, caplog) -> None:
    whole = rows(0, 20, "text").cast_column("image", datasets.Image(decode=False))

    def spoil(row: dict[str, object], place: int) -> dict[str, object]:
        eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n"
        return row | {
            "image": {"bytes": {3: b"no image", 4: b"", 5: eps}.get(place, row["image"]["bytes"]), "path": None}
        }

    table = [spoil(row, place) for place, row in enumerate(whole)]
    spoiled = datasets.Dataset.from_list(table, features=rows(0, 1, "text").features)
    spoiled.to_parquet(str(tmp_path / "own.parquet"))
    with pytest.raises(
        ValueError, match=r"3 of 20 images in .* cannot be read: row 3 of train: .*; row 4 of train: .*; row 5"
    ):
        source(tmp_path / "own.parquet", tmp_path / "cache").load()
    with caplog.at_level(logging.WARNING):
        splits = source(tmp_path / "own.parquet", tmp_path / "cache", on_broken="skip").load()
    found = sorted(number for part in ("train", "val", "test") for number in numbers(splits[part]))
    assert found == [0, 1, 2, *range(6, 20)]
    for part in splits.values():
        assert [1 - number % 2 for number in numbers(part)] == part.label.tolist()


@pytest.mark.parametrize(("changes", "message"), [
    ({"image_column": "img"}, r"dataset\.image_column is img, and .* has the columns image, label, more"),
    ({"label_column": "kind"}, r"dataset\.label_column is kind, and .* has the columns"),
    ({"image_column": "more"}, r"dataset\.image_column is more, which holds Value .*; it must hold images"),
    ({"limit": 0}, r"dataset\.limit is 0; it must be at least 1, or null"),
    ({"test": "tset"}, r"dataset\.test is tset, and .* has the splits train"),
])  # fmt: skip
def test_what_cannot_be_used_is_refused_before_anything_is_read(tmp_path, changes, message: str) -> None:
    root = saved(tmp_path, "parquet", train=(0, 12))
    with pytest.raises(ValueError, match=message):
        source(root, tmp_path / "cache", **changes).check()
    assert not (tmp_path / "cache").exists()


def test_labels_that_are_no_classes_are_refused(tmp_path) -> None:
    root = saved(tmp_path, "parquet", "scores", train=(0, 12))
    with pytest.raises(ValueError, match=r"dataset\.label_column is label, which holds float32; it must hold classes"):
        source(root, tmp_path / "cache").check()


def test_hidden_labels_are_refused(tmp_path) -> None:
    (tmp_path / "data").mkdir()
    rows(0, 12).to_parquet(str(tmp_path / "data" / "train-0.parquet"))
    features = rows(0, 1).features
    hidden = datasets.Dataset.from_dict({"image": [encoded(1)], "label": [-1], "more": [0]}, features=features)
    hidden.to_parquet(str(tmp_path / "data" / "test-0.parquet"))
    with pytest.raises(ValueError, match=r"an example of test has no label \(-1\): set dataset\.test to another split"):
        source(tmp_path / "data", tmp_path / "cache").load()


@pytest.mark.parametrize(("path", "message"), [
    ("nothing/there/at/all", r"dataset\.path nothing/there/at/all does not exist; it must be a dataset of the hub"),
    ("none.parquet", r"dataset\.path none\.parquet does not exist"),
    ("./none", r"dataset\.path \./none does not exist"),
])  # fmt: skip
def test_a_missing_path_is_not_looked_for_on_the_hub(tmp_path, monkeypatch, path: str, message: str) -> None:
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: pytest.fail("it was looked for"))
    with pytest.raises(ValueError, match=message):
        source(path, tmp_path / "cache").check()


def test_folders_of_something_else_are_refused(tmp_path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"has no \.parquet or \.arrow files, .* dataset=image_folder"):
        source(tmp_path / "photos", tmp_path / "cache").check()
    for name in ("train.parquet", "test.arrow"):
        (tmp_path / "photos" / name).write_bytes(b"damaged")
    with pytest.raises(ValueError, match="keep one kind"):
        source(tmp_path / "photos", tmp_path / "cache").check()
    (tmp_path / "photos" / "test.arrow").unlink()
    with pytest.raises(ValueError, match=r"dataset\.path .*photos cannot be read: "):
        source(tmp_path / "photos", tmp_path / "cache").check()


def test_nothing_of_a_dataset_is_run(tmp_path) -> None:
    """A script and a pickle beside the data are not read."""
    root = saved(tmp_path, "parquet", train=(0, 20))
    proof = tmp_path / "proof"
    (root / "data.py").write_text(f"open({str(proof)!r}, 'w')")

    class Boom:
        def __reduce__(self):
            return (proof.touch, ())

    (root / "train.pkl").write_bytes(pickle.dumps(Boom()))
    assert len(source(root, tmp_path / "cache").load()["train"].label) == 12
    assert not proof.exists()


def test_a_missing_package_is_named(tmp_path, monkeypatch) -> None:
    root = saved(tmp_path, "parquet", train=(0, 12))
    monkeypatch.setitem(sys.modules, "datasets", None)
    for path in (root, "user/name"):
        with pytest.raises(ValueError, match=r'the package datasets: pip install "ssl-runner\[hf\]"'):
            source(path, tmp_path / "cache").check()


# -------------------------------------------------------------------------------------------------------------- the hub


@pytest.fixture
def hub(tmp_path, monkeypatch) -> list[dict[str, object]]:
    """A hub on which user/name has Parquet files of two splits; what it is asked."""
    root = saved(tmp_path, "parquet", "text", train=(0, 12), test=(16, 6))
    asked = []
    real = datasets.load_dataset_builder

    def answer(path: str, *, cache_dir: str, **settings: object):
        asked.append({"path": path, **settings})
        return real("parquet", data_dir=str(root), cache_dir=cache_dir)

    monkeypatch.setattr(datasets, "load_dataset_builder", answer)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    return asked


@pytest.mark.parametrize("streaming", [False, True])
def test_a_dataset_of_the_hub_is_read_like_local_files(tmp_path, hub, streaming: bool) -> None:
    own = source("user/name", tmp_path / "cache", streaming=streaming, limit=8, revision="abc", config="small")
    own.check()
    assert hub == [{"path": "user/name", "name": "small", "revision": "abc"}]
    assert own.contents() == {}
    assert own.spec.classes == 2  # so many stand for what is not known yet
    assert not list((tmp_path / "cache").rglob("*.arrow"))
    splits = own.load()
    assert numbers(splits["test"]) == list(range(16, 22))
    assert sorted(numbers(splits["train"]) + numbers(splits["val"])) == list(range(8))
    assert (own.spec.classes, own.spec.class_names) == (2, ("cat", "owl"))
    assert bool(list((tmp_path / "cache" / "huggingface").rglob("*.arrow"))) != streaming
    assert len(hub) == 1


def test_without_a_network_it_is_refused_at_once(tmp_path, monkeypatch) -> None:
    def no_address(*_: object) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it was tried"))
    with pytest.raises(ValueError, match=r"dataset\.path=user/name is no existing file .*; try again with a network"):
        source("user/name", tmp_path / "cache").check()
    assert not datasets.config.HF_HUB_OFFLINE


def test_other_formats_of_the_hub_are_refused(tmp_path, hub, monkeypatch) -> None:
    builder = type("Pandas", (), {"__module__": "datasets.packaged_modules.pandas.pandas"})
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: builder())
    with pytest.raises(ValueError, match=r"is in the format pandas; it must be in one of arrow, csv"):
        source("user/name", tmp_path / "cache").check()
