import csv
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_runner.data.images.image_table import ImageTable


def source(path: Path, **changes: object) -> ImageTable:
    settings = {
        "path": str(path),
        "folder": None,
        "file_column": "file",
        "label_column": "label",
        "split_column": None,
        "group_column": None,
        "size": 4,
        "channels": 3,
        "depth": None,
        "bits": 8,
        "range": None,
        "on_broken": "refuse",
        "cache": str(path.parent / "cache"),
        "workers": 2,
        "test_fraction": 0.2,
        "val_fraction": 0.25,
        "split_seed": 0,
    }
    return ImageTable(**{**settings, **changes})


def write(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out, delimiter="\t" if path.suffix == ".tsv" else ",").writerows(rows)
    return path


def images(folder: Path, n: int) -> list[str]:
    """n images of one color each, red by number, so that each can be told from the data."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        Image.fromarray(np.full((5, 6, 3), (number, 200, 0), np.uint8)).save(folder / f"{number:02}.png")
    return [f"{number:02}.png" for number in range(n)]


def numbers(examples) -> list[int]:
    return examples.data[:, 0, 0, 0].tolist()


@pytest.fixture
def rows(tmp_path: Path) -> list[list[str]]:
    """20 images of owls and cats, by turns, in 10 sites of two images."""
    files = images(tmp_path, 20)
    kinds = ["owl", "cat"]
    parts = ["Train"] * 12 + ["dev"] * 4 + ["test"] * 4
    table = [[file, kinds[i % 2], parts[i], f"site {i // 2}"] for i, file in enumerate(files)]
    return [["file", "label", "split", "group"], *table]


def test_labels_are_names_and_splits_are_stratified(tmp_path, rows) -> None:
    own = source(write(tmp_path / "t.csv", rows))
    own.check()
    spec, splits = own.spec, own.load()
    assert (spec.classes, spec.class_names, spec.size, spec.channels, spec.height) == (2, ("cat", "owl"), 12, 3, 4)
    counts = {name: torch.bincount(part.label).tolist() for name, part in splits.items()}
    assert counts == {"pretrain": [6, 6], "train": [6, 6], "val": [2, 2], "test": [2, 2]}
    for part in splits.values():
        assert [("owl", "cat")[number % 2] for number in numbers(part)] == [
            spec.class_names[label] for label in part.label.tolist()
        ]
    assert sorted(number for name in ("train", "val", "test") for number in numbers(splits[name])) == list(range(20))


def test_stated_splits_are_kept(tmp_path, rows) -> None:
    own = source(write(tmp_path / "t.tsv", rows), split_column="split", group_column="group")
    splits = own.load()
    assert [numbers(splits[part]) for part in ("train", "val", "test")] == [
        list(range(12)), list(range(12, 16)), list(range(16, 20)),
    ]  # fmt: skip
    assert own.spec.size == 12
    assert splits["val"].data.data_ptr() - splits["train"].data.data_ptr() == 12 * 3 * 16  # slices of one cache


@pytest.mark.parametrize("seed", range(5))
def test_a_group_is_never_in_two_splits(tmp_path, rows, seed: int) -> None:
    own = source(write(tmp_path / "t.csv", rows), group_column="group", split_seed=seed)
    splits = own.load()
    sites = {name: {number // 2 for number in numbers(splits[name])} for name in ("train", "val", "test")}
    assert not sites["train"] & sites["val"] | sites["train"] & sites["test"] | sites["val"] & sites["test"]
    assert [len(each) for each in sites.values()] == [6, 2, 2]
    assert own.spec.size == len(splits["train"].label) == 12


def test_columns_may_be_numbers_and_labels_too(tmp_path, rows) -> None:
    path = write(tmp_path / "t.csv", [[file, {"owl": "10", "cat": "9"}[label]] for file, label, *_ in rows[1:]])
    assert source(path, file_column=0, label_column=1).spec.class_names == ("9", "10")
    assert source(path, file_column=0, label_column=None).spec.classes == 0
    assert source(path, file_column=0, label_column=None).load()["train"].label.unique().tolist() == [-1]


def test_files_start_from_the_folder(tmp_path, rows) -> None:
    images(tmp_path / "elsewhere", 20)
    (tmp_path / "tables").mkdir()
    path = write(tmp_path / "tables" / "t.csv", rows)
    own = source(path, folder=str(tmp_path / "elsewhere"))
    assert len(own.load()["train"].label) == 12
    contents = own.contents()
    assert contents["path"] == {"": path}
    assert len(contents["folder"]) == 20
    absolute = [[str(tmp_path / file), label] for file, label, *_ in rows[1:]]
    whole = source(write(tmp_path / "tables" / "a.csv", [["file", "label"], *absolute]))
    assert len(whole.load()["test"].label) == 4


def test_a_table_is_decoded_once(tmp_path, rows) -> None:
    path = write(tmp_path / "t.csv", rows)
    source(path).load()
    before = sorted((tmp_path / "cache").iterdir())
    source(path).load()
    assert sorted((tmp_path / "cache").iterdir()) == before
    source(path, size=5).load()
    assert len(list((tmp_path / "cache").iterdir())) == len(before) + 1


def test_broken_images_are_refused_or_skipped(tmp_path, rows, caplog) -> None:
    (tmp_path / "03.png").write_bytes(b"no image")
    path = write(tmp_path / "t.csv", rows)
    with pytest.raises(ValueError, match=r"1 of 20 images in .*t\.csv \(dataset\.path\) cannot be read: 03\.png"):
        source(path).load()
    with caplog.at_level(logging.WARNING):
        splits = source(path, on_broken="skip").load()
    assert sum(len(splits[part].label) for part in ("train", "val", "test")) == 19
    assert "skipped: 1 of 20 images" in caplog.text
    for part in splits.values():
        assert [number % 2 for number in numbers(part)] == [1 - label for label in part.label.tolist()]


@pytest.mark.parametrize(("change", "settings", "message"), [
    ({1: ["none.png", "owl", "train", "s"]}, {}, r"line 2: .*none\.png is not an existing file \(1 of 20 .*; "
     r"set dataset\.folder"),
    ({2: ["00.png", "owl", "train", "s"]}, {}, r"lines 2 and 3 name the same file"),
    ({3: ["02.png", " ", "train", "s"]}, {}, r"line 4: the cell of dataset\.label_column is empty; fill it in, or set "
     r"dataset\.label_column=null: the images are unlabeled"),
    ({3: ["", "owl", "train", "s"]}, {}, r"line 4: the cell of dataset\.file_column is empty; fill it in$"),
    ({3: ["02.png", "owl", "holdout", "s"]}, {"split_column": "split"}, "line 4: the split is 'holdout'"),
    ({20: ["19.png", "emu", "test", "s"]}, {"split_column": "split"}, "line 21: the label 'emu' of test is not in"),
    ({20: ["19.png", "owl", "test", "site 0"]}, {"split_column": "split", "group_column": "group"},
     r"the group 'site 0' \(dataset\.group_column\) is in train \(line 2\) and in test \(line 21\)"),
    ({}, {"group_column": "label"}, r"none of 2 groups can be held out for 0\.2 of 20 examples"),
    ({}, {"label_column": "kind"}, r"dataset\.label_column is kind, and .* no such column; its header has file, label"),
    ({}, {"label_column": "file"}, r"every image has a label of its own \(dataset\.label_column\)"),
    ({3: ["02.png", "owl"]}, {}, r"line 4: 2 cells, and the first row has 4"),
])  # fmt: skip
def test_what_cannot_be_used_is_refused(tmp_path, rows, change, settings, message: str) -> None:
    table = [change.get(place, row) for place, row in enumerate(rows)]
    own = source(write(tmp_path / "t.csv", table), **settings)
    for attempt in (own.check, own.load, own.contents, lambda: own.spec):
        with pytest.raises(ValueError, match=message):
            attempt()
    assert not (tmp_path / "cache").exists()


def test_settings_are_refused_with_their_key(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"dataset\.path .*t\.xlsx must be a \.csv or a \.tsv file"):
        source(tmp_path / "t.xlsx")
    with pytest.raises(ValueError, match=r"dataset\.path .*t\.csv does not exist"):
        source(tmp_path / "t.csv").check()
    with pytest.raises(ValueError, match=r"dataset\.label_column is label and dataset\.file_column is 0; all columns"):
        source(tmp_path / "t.csv", file_column=0)
    (tmp_path / "empty.csv").write_text("file,label\n")
    with pytest.raises(ValueError, match="has no rows"):
        source(tmp_path / "empty.csv").check()
    with pytest.raises(ValueError, match=r"dataset\.channels is 2; it must be 1 \(gray\) or 3 \(color\)"):
        source(tmp_path / "t.csv", channels=2)


def test_a_single_class_is_said(tmp_path, rows, caplog) -> None:
    own = source(write(tmp_path / "t.csv", [row if row[0] == "file" else [row[0], "owl", *row[2:]] for row in rows]))
    with caplog.at_level(logging.WARNING):
        own.check()
    assert "all examples are of one class, owl" in caplog.text
