"""Trees of a user's files: what is a split, a class, a file, and what is neither or may be either."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from ssl_runner.assembly import check
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.schema import typed
from ssl_runner.data.any.folders import Tree
from ssl_runner.data.images.image_folder import SUFFIXES

KINDS = ("cat", "dog")


def fill(folder: Path, n: int = 2, name: str = "{}.png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        (folder / name.format(number)).write_bytes(b"")


def lay(root: Path, *parts: str, kinds: tuple[str, ...] = KINDS) -> Path:
    for part in parts:
        for kind in kinds:
            fill(root / part / kind)
    return root


def tree(root: Path, **changes: Any) -> Tree:
    return Tree(root, SUFFIXES, "image", **{"labels": "folders", "splits": "folders"} | changes)


def sizes(root: Path, **changes: Any) -> dict[str, int]:
    found = tree(root, **changes)
    found.check()
    return {part: len(listed.files) for part, listed in found.listed().items()}


@pytest.mark.parametrize("parts", [
    ("train", "valid", "test"), ("train", "validation", "test"), ("Train", "Val", "Test"), ("TRAIN", "dev", "test"),
    ("training", "Validation", "testing"),
])  # fmt: skip
def test_splits_are_known_by_their_usual_names(tmp_path: Path, parts: tuple[str, ...]) -> None:
    assert sizes(lay(tmp_path, *parts)) == {"train": 4, "val": 4, "test": 4}
    assert tree(tmp_path).class_names() == KINDS
    assert sizes(tmp_path, labels="none") == {"train": 4, "val": 4, "test": 4}


@pytest.mark.parametrize(("parts", "said"), [
    (("train", "test", "unlabeled"), r"has train, test beside unlabeled: .*dataset\.splits=none, with which they"),
    (("train", "bus"), "has train beside bus"),
    (("test", "bus"), "has test beside bus"),
    (("val", "test"), "has val, test, and no train"),
    (("Train", "train", "test"), "has Train, train, which are all names of the split train"),
    (("train", "val", "valid"), "has val, valid, which are all names of the split val"),
])  # fmt: skip
def test_what_may_be_splits_or_classes_is_refused(tmp_path: Path, parts: tuple[str, ...], said: str) -> None:
    lay(tmp_path, *parts)
    for changes in ({}, {"labels": "none"}):
        with pytest.raises(ValueError, match=said if not changes else said.partition(": ")[0]):
            tree(tmp_path, **changes).check()
    assert sizes(tmp_path, splits="none") == {"train": 4 * len(parts)}
    assert tree(tmp_path, splits="none").class_names() == tuple(sorted(parts))


def test_a_folder_without_files_beside_splits_is_no_matter(tmp_path: Path) -> None:
    lay(tmp_path, "train", "test")
    fill(tmp_path / "annotations", name="{}.json")
    assert sizes(tmp_path) == {"train": 4, "test": 4}


@pytest.mark.parametrize("labels", ["folders", "none"])
def test_splits_that_lie_deeper_are_refused(tmp_path: Path, labels: str) -> None:
    lay(tmp_path / "a" / "download", "train", "test")
    with pytest.raises(ValueError, match=r"download \(dataset.path\) holds test, train; .* set dataset\.path=.*"):
        tree(tmp_path / "a", labels=labels).check()
    for kind in KINDS:
        for part in ("train", "Valid"):
            fill(tmp_path / "b" / kind / part)
    with pytest.raises(ValueError, match=r"splits lie above classes, as .*/b/Valid/cat: move them so"):
        tree(tmp_path / "b", labels=labels).check()
    assert sizes(tmp_path / "b", labels=labels, splits="none") == {"train": 8}


def test_hidden_and_system_folders_are_no_data(tmp_path: Path) -> None:
    lay(tmp_path, "train", "test")
    fill(tmp_path / "__MACOSX" / "train" / "cat")
    fill(tmp_path / "train" / "__MACOSX")
    fill(tmp_path / "train" / "cat" / "@eaDir")
    fill(tmp_path / "test" / ".ipynb_checkpoints")
    fill(tmp_path / "train" / "dog", name="._{}.png")
    assert sizes(tmp_path) == {"train": 4, "test": 4}
    assert tree(tmp_path).class_names() == KINDS


def test_a_tree_that_contains_itself_is_read_once(tmp_path: Path) -> None:
    lay(tmp_path / "a", "")
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "cat" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "dog" / "self").symlink_to(tmp_path / "a" / "dog" / "self")
    assert sizes(tmp_path / "a") == {"train": 4}
    assert sizes(tmp_path / "a", labels="none") == {"train": 4}


def test_a_folder_reached_twice_is_refused(tmp_path: Path) -> None:
    lay(tmp_path / "a", "train", "val")
    (tmp_path / "a" / "test").symlink_to(tmp_path / "a" / "val")
    with pytest.raises(
        ValueError, match=r"/val/cat and .*/test/cat \(dataset\.path\) are the same folder, through a link"
    ):
        tree(tmp_path / "a").check()
    lay(tmp_path / "b", "")
    (tmp_path / "b" / "cat" / "other").symlink_to(tmp_path / "b" / "dog")
    (tmp_path / "b" / "dog" / "other").symlink_to(tmp_path / "b" / "cat")
    with pytest.raises(ValueError, match="are the same folder, through a link"):
        tree(tmp_path / "b").check()


def test_links_to_folders_and_files_elsewhere_are_followed(tmp_path: Path) -> None:
    lay(tmp_path / "store", "")
    (tmp_path / "a").mkdir()
    for kind in KINDS:
        (tmp_path / "a" / kind).symlink_to(tmp_path / "store" / kind)
    (tmp_path / "store" / "dog" / "2.png").symlink_to(tmp_path / "store" / "dog" / "0.png")
    assert sizes(tmp_path / "a") == {"train": 5}
    (tmp_path / "store" / "dog" / "3.png").symlink_to(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"dog/3\.png \(dataset\.path\) is not a file, or is a broken link"):
        tree(tmp_path / "a").check()


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(lay(tmp_path, "") / "cat" / "3.png")
    with pytest.raises(ValueError, match=r"3\.png \(dataset\.path\) is not a file"):
        tree(tmp_path).check()


def test_files_beside_folders_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lay(tmp_path, "train", "test")
    fill(tmp_path, 3)
    fill(tmp_path / "train", 1)
    with caplog.at_level(logging.WARNING):
        assert sizes(tmp_path, labels="none") == {"train": 5, "test": 4}
        assert caplog.messages == [f"3 images that lie beside the folders in {tmp_path} are not read"]
        caplog.clear()
        assert sizes(tmp_path) == {"train": 4, "test": 4}
    assert [message.partition(" that ")[0] for message in caplog.messages] == ["3 images", "1 images"]


def test_a_path_to_a_file_is_refused_as_such(tmp_path: Path) -> None:
    fill(tmp_path)
    with pytest.raises(ValueError, match=r"0\.png is a file, not a folder; it must contain"):
        tree(tmp_path / "0.png").check()


def test_a_class_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    lay(tmp_path, "")
    try:
        fill(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")))
    except OSError:
        pytest.skip("this file system wants names in UTF-8")
    with pytest.raises(ValueError, match=r"caf\\udce9, is not UTF-8: rename it"):
        tree(tmp_path).check()


def test_one_class_alone_is_said_and_refused_by_what_reads_classes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = lay(tmp_path / "data" / "dataset", "").parent
    with caplog.at_level(logging.WARNING):
        found = tree(root)
        found.check()
        found.check()
    assert len(caplog.messages) == 1
    assert "are of one class, dataset: everything that uses labels (objective/positives=label too)" in caplog.text
    assert f"its folders are cat, dog: if these are the classes, set dataset.path={root}/dataset" in caplog.text
    words = ["dataset=image_folder", f"dataset.path={root}", "batch_size=2", "logger=none"]
    with pytest.raises(ConfigError, match=r"=linear: it needs several classes, and .* has one \(dataset\)"):
        check.validate(typed(compose([*words, "evaluation=[linear,geometry]"])))
    check.validate(typed(compose([*words, "evaluation=[geometry]"])))
