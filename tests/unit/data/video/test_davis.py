"""DAVIS as a small folder in its layout."""

from pathlib import Path

import numpy as np
import pytest
import torch
from findings import by_name
from PIL import Image

from ssl_runner.commands.run import run
from ssl_runner.config.compose import compose
from ssl_runner.config.request import RunRequest
from ssl_runner.data.video.davis import Davis
from ssl_runner.interfaces import VOID, Masked
from ssl_runner.results.result import read_result

FILMS = {"train": ("bear", "bus", "cat"), "val": ("dog", "owl")}


def source(root: Path, **changes: object) -> Davis:
    settings = {
        "root": str(root),
        "year": 2017,
        "side": 8,
        "frames": 3,
        "stride": 2,
        "cache": str(root.parent / "cache"),
        "workers": 2,
        "val_fraction": 0.3,
        "split_seed": 0,
    }
    return Davis(**{**settings, **changes})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Films of 6 frames of 16 x 8 pixels: frame t is of gray 40 t; thing 1 is its left half, thing 2 four columns."""
    place = tmp_path / "DAVIS"
    for year in (2016, 2017):
        lists = place / "ImageSets" / str(year)
        lists.mkdir(parents=True)
        for part, films in FILMS.items():
            (lists / f"{part}.txt").write_text("\n".join(films) + "\n")
    for film in (film for films in FILMS.values() for film in films):
        folders = [place / kind / "480p" / film for kind in ("JPEGImages", "Annotations")]
        for t in range(6):
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 8), (40 * t,) * 3).save(folders[0] / f"{t:05}.jpg")
            mask = np.zeros((8, 16), np.uint8)
            mask[:, :8] = 1
            mask[:, 8:12] = 2
            picture = Image.fromarray(mask, mode="P")
            picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
            picture.save(folders[1] / f"{t:05}.png")
    return place


def test_clips_and_masks(root: Path) -> None:
    davis = source(root)
    assert isinstance(davis, Masked)
    splits = davis.load()
    assert {part: len(examples.label) for part, examples in splits.items()} == {
        "pretrain": 4, "train": 4, "val": 2, "test": 4,
    }  # fmt: skip
    assert (splits["test"].label == -1).all()
    shown = splits["test"].data[:, :, :, 0, 0].float()
    assert shown[:2, :, 0].tolist() == [[0, 40, 80], [80, 120, 160]]
    masks = davis.masks("test")
    assert masks.shape == (4, 3, 8, 8)
    assert masks.dtype == torch.uint8
    row = torch.tensor([1, 1, 1, 1, 2, 2, 2, 2])  # the center of 16 columns: 4 to 11
    assert (masks == row).all()


def test_films_of_2016_have_one_thing(root: Path) -> None:
    assert source(root, year=2016).masks("test").unique().tolist() == [1]


def repaint(root: Path, change: dict[int, int]) -> None:
    for file in sorted(root.rglob("*.png")):
        with Image.open(file) as opened:
            mask = np.array(opened)
        for old, new in change.items():
            mask = np.where(mask == old, new, mask).astype(np.uint8)
        picture = Image.fromarray(mask, mode="P")
        picture.putpalette(list(range(256)) * 3)  # a whole one, as theirs: with fewer colors fewer bits are saved
        picture.save(file)


def test_what_255_is_depends_on_the_year(root: Path) -> None:
    """Void in 2017, the object in 2016."""
    repaint(root, {2: 255})
    assert (source(root).masks("test") == torch.tensor([1, 1, 1, 1, VOID, VOID, VOID, VOID])).all()
    assert source(root, year=2016).masks("test").unique().tolist() == [1]
    repaint(root, {1: 255})
    with pytest.raises(ValueError, match=r"no object but 255, .* set dataset\.year=2016"):
        source(root).masks("test")
    assert source(root, year=2016).masks("test").unique().tolist() == [1]


def test_films_are_held_out_whole(root: Path) -> None:
    davis = source(root)
    parts = {part: {clip.images[0].parent.name for clip in clips} for part, clips in davis._clips().items()}
    assert parts["test"] == set(FILMS["val"])
    assert parts["train"] | parts["val"] == set(FILMS["train"])
    assert not parts["train"] & parts["val"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"year": 2019}, "dataset.year is 2019; it must be 2016 or 2017"),
        ({"frames": 0}, "dataset.frames is 0; it must be at least 1"),
        ({"val_fraction": 1.0}, "dataset.val_fraction is 1.0; it must lie in"),
        ({"frames": 7}, "no film of train in .* has 7 frames: set dataset.frames to less"),
    ],
)
def test_bad_settings(changes: dict[str, object], said: str, root: Path) -> None:
    with pytest.raises(ValueError, match=said):
        source(root, **changes).check()


def test_what_is_missing_is_said(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ImageSets/2017/train.txt \(dataset.root\) cannot be read"):
        source(tmp_path / "nothing").check()
    (root / "Annotations" / "480p" / "dog" / "00003.png").unlink()
    with pytest.raises(ValueError, match=r"there is no .*dog/00003.png \(dataset.root\)"):
        source(root).check()


def test_a_file_that_is_no_mask(root: Path) -> None:
    davis = source(root)
    (root / "Annotations" / "480p" / "dog" / "00003.png").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"dog/00003.png \(dataset.root\) is not a mask"):
        davis.masks("test")


def test_masks_are_carried_along_from_its_folder(root: Path, tmp_path: Path) -> None:
    words = (
        f"dataset=davis dataset.root={root} dataset.cache={tmp_path / 'cache'} dataset.side=16 dataset.frames=3 "
        "dataset.stride=2 dataset.val_fraction=0.3 objective=simclr backbone=per_frame backbone.image.widths=[8] "
        "batch_size=4 budget.unit=steps budget.amount=1 trainer.validations=1 trainer.precision=float32 "
        f"trainer.accelerator=cpu evaluation=[label_propagation] logger=none output={tmp_path / 'outputs'}"
    )
    plain = compose(words.split())
    found = {each.subject: by_name(each.metrics) for each in read_result(run(RunRequest.of(plain))).results}
    for subject in ("pretrained", "random_start"):
        assert 0 < found[subject]["j"] <= 1
        assert found[subject]["j_first_mask_kept"] == 1  # things stand still
