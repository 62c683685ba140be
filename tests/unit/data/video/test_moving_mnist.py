"""Moving MNIST: made clips, and the official file in place of the test."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssl_runner.data.images.mnist_5k import MNIST5k
from ssl_runner.data.video.moving_mnist import SHAPE, MovingMNIST

MADE_SO: dict[str, Any] = {"dim": 1.0, "overlap": "brightest", "speeds": [3.6]}


def source(**changes: Any) -> MovingMNIST:
    settings: dict[str, Any] = {
        "official": None, "images": MNIST5k(test_fraction=0.2, val_fraction=0.1, split_seed=0), "clips": 8,
        "val_clips": 4, "test_clips": 6, "frames": 5, "side": 64, "digit_side": 28, "digits": 2, "dim": 0.5,
        "overlap": "cover",
        "label": "digit", "motion": "straight", "speeds": [2.0], "gravity": 0.2, "bounce": 0.7, "friction": 0.9,
        "color": False, "seed": 0,
    }  # fmt: skip
    return MovingMNIST(**{**settings, **changes})


def official(path: Path) -> Path:
    clips = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=SHAPE)  # a hole in the file: no disk
    clips[2, 3] = 7  # the third frame of the fourth clip
    clips.flush()
    return path


def test_clips_are_made_as_the_published_ones() -> None:
    """Full digits, and of each pixel the brighter one: by loops over what was drawn."""
    made = source(**MADE_SO, clips=30)
    data = made.load()["train"].data
    ink, motion = made._drawn["train"]
    crossed = 0
    for clip in range(30):
        for frame in range(5):
            canvas = np.zeros((64, 64), np.float32)
            for thing in range(2):
                column, row = motion.place[clip, frame, thing].tolist()
                digit = ink[motion.digit[clip, thing]].numpy()
                window = canvas[row : row + 28, column : column + 28]
                crossed += int(((window > 0.1) & (digit > 0.1)).sum())
                canvas[row : row + 28, column : column + 28] = np.maximum(window, digit)
            assert np.abs(data[clip, frame, 0].numpy() - canvas * 255).max() <= 0.51
    assert crossed > 100


def test_clips_are_made_where_there_is_no_file() -> None:
    splits = source().load()
    assert splits["test"].data.shape == (6, 5, 1, 64, 64)
    assert source().spec.classes == 10


def test_the_official_clips_are_the_test(tmp_path: Path) -> None:
    found = source(official=str(official(tmp_path / "mnist_test_seq.npy")), **MADE_SO)
    found.check()
    splits = found.load()
    assert found.spec.classes == 0
    assert splits["test"].data.shape == (6, 5, 1, 64, 64)
    assert (splits["test"].data[3, 2] == 7).all()
    assert splits["test"].data.count_nonzero() == 64 * 64
    for part in splits.values():
        assert (part.label == -1).all()
    with pytest.raises(ValueError, match="have no masks"):
        found.masks("test")
    assert found.masks("val").shape == (4, 5, 64, 64)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"side": 48}, "dataset.side=64"),
        ({"dim": 0.5}, "to train on the distribution of the test clips set dataset.dim=1$"),
        (
            {"overlap": "cover", "dim": 0.5, "speeds": [2.0]},
            r"distribution of the test clips set dataset.dim=1 dataset.overlap=brightest dataset.speeds=\[3.6\]$",
        ),
        ({"motion": "gravity"}, "dataset.motion=straight$"),
        ({"digits": 1, "digit_side": 20}, "dataset.digit_side=28 dataset.digits=2$"),
        ({"color": True}, "dataset.color=false$"),
        ({"frames": 21}, "dataset.frames is 21"),
        ({"test_clips": 10_001}, "10000 clips"),
    ],
)
def test_settings_that_the_file_does_not_allow(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        source(official="mnist_test_seq.npy", **MADE_SO | changes)


def test_another_file_is_refused(tmp_path: Path) -> None:
    wrong, text = tmp_path / "wrong.npy", tmp_path / "text.npy"
    np.save(wrong, np.zeros((2, 3), np.uint8))
    text.write_text("no array")
    for file, said in (
        (wrong, r"uint8 of shape \(2, 3\)"),
        (text, "cannot be read"),
        (tmp_path / "none", "cannot be read"),
    ):
        with pytest.raises(ValueError, match=said):
            source(official=str(file), **MADE_SO).check()
