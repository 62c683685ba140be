"""Masks carried along: J and F against loops over pixels, tracking against worked examples."""

import math

import numpy as np
import pytest
import torch
from findings import check, value
from torch import Tensor, nn

from ssl_runner.assembly.check import validate
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.schema import typed
from ssl_runner.evaluation.any.subject import FrozenSubject
from ssl_runner.evaluation.video.label_propagation import (
    LabelPropagation,
    carry,
    lightness,
    measure,
    neighborhood,
    of_frames,
    painted,
)
from ssl_runner.evaluation.video.overlap import contour, contour_accuracy, region_overlap, widened
from ssl_runner.figures import Clips
from ssl_runner.interfaces import ClipEncoder, Examples, Features, VideoSpec

SETTINGS = {
    "shown": "color",
    "cell": 1,
    "before": 2,
    "radius": 2.0,
    "top_k": 1,
    "temperature": 0.1,
    "clips": 10,
    "batch_size": 3,
    "pictures": 1,
}


def slow_contour(mask: np.ndarray) -> set[tuple[int, int]]:
    height, width = mask.shape
    found = set()
    for row in range(height):
        for column in range(width):
            for down, right in ((0, 1), (1, 0), (1, 1)):
                r, c = row + down, column + right
                if r < height and c < width and mask[r, c] != mask[row, column]:
                    found.add((row, column))
    return found


def slow_f(found: np.ndarray, truth: np.ndarray) -> float:
    radius = math.ceil(0.008 * math.hypot(*found.shape))
    ours, theirs = slow_contour(found), slow_contour(truth)
    if not ours or not theirs:
        return float(not ours and not theirs)
    near = [[any(math.dist(p, q) <= radius for q in b) for p in a] for a, b in ((ours, theirs), (theirs, ours))]
    precision, recall = (sum(each) / len(each) for each in near)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("size", [(9, 11), (100, 150)])  # tolerances of 1 and 2 pixels
def test_contours_against_loops(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(2, 6, *size, dtype=torch.bool)
    for mask in masks.flatten(0, 1):
        top, left = (int(torch.randint(most // 2, (), generator=generator)) for most in size)
        mask[top : top + size[0] // 3, left : left + size[1] // 3] = True
        mask ^= torch.rand(size, generator=generator) < 0.005
    masks[0, 0], masks[1, 1] = False, False
    masks[:, 2] = False
    score = contour_accuracy(*masks)
    for near, found, truth in zip(score.tolist(), *masks.numpy(), strict=True):
        assert near == pytest.approx(slow_f(found, truth), abs=1e-6)
    assert score[:3].tolist() == [0, 0, 1]
    edges = {(int(r), int(c)) for r, c in contour(masks[0, 3]).nonzero()}
    assert edges == slow_contour(masks[0, 3].numpy())


def test_regions_by_hand() -> None:
    found = torch.tensor([[[1, 1, 0]], [[0, 0, 0]], [[1, 0, 0]], [[0, 0, 0]]]).bool()
    truth = torch.tensor([[[0, 1, 1]], [[0, 0, 0]], [[1, 0, 0]], [[1, 0, 0]]]).bool()
    assert region_overlap(found, truth).tolist() == pytest.approx([1 / 3, 1, 1, 0])


def test_widened_is_a_disk() -> None:
    dot = torch.zeros(7, 7, dtype=torch.bool)
    dot[3, 3] = True
    reached = {(int(r), int(c)) for r, c in widened(dot, 2).nonzero()}
    assert reached == {(r, c) for r in range(7) for c in range(7) if math.dist((r, c), (3, 3)) <= 2}


def test_measure_leaves_out_what_is_not_in_the_first_frame() -> None:
    truth = torch.zeros(1, 3, 4, 4, dtype=torch.long)
    truth[0, :, :2, :2] = 1
    truth[0, 1:, 3, 3] = 2
    found = truth.clone()
    found[0, 1] = 0  # lost in one of the two frames that count
    j, f = measure(found, truth, 2)
    assert j[0] == 0.5
    assert f[0] == 0.5
    assert j[1].isnan()
    assert f[1].isnan()


def slow_carry(f: Tensor, first: Tensor, near: Tensor, context: int, top_k: int, temperature: float) -> Tensor:
    labels = [first]
    for t in range(1, f.shape[1]):
        rows = []
        for b in range(len(f)):
            for i in range(f.shape[2]):
                seen = []
                for s in [0, *range(max(1, t - context), t)]:
                    for j in range(f.shape[2]):
                        if s == 0 or near[i, j]:
                            seen.append((float(f[b, t, i] @ f[b, s, j]) / temperature, labels[s][b, j]))
                best = sorted(seen, key=lambda each: -each[0])[:top_k]
                weight = torch.softmax(torch.tensor([score for score, _ in best]), 0)
                rows.append(sum(w * label for w, (_, label) in zip(weight, best, strict=True)))
        labels.append(torch.stack(rows).view_as(first))
    return torch.stack(labels, 1)


@pytest.mark.parametrize(("context", "top_k"), [(0, 3), (2, 4), (9, 100)])
def test_carrying_against_loops(context: int, top_k: int) -> None:
    torch.manual_seed(0)
    features = nn.functional.normalize(torch.randn(2, 4, 6, 5), dim=3)
    first = torch.rand(2, 6, 3).softmax(2)
    near = neighborhood((2, 3), 1.0)
    made = carry(features, first, near, before=context, top_k=top_k, temperature=0.3)
    assert torch.allclose(made, slow_carry(features, first, near, context, top_k, 0.3), atol=1e-5)
    assert torch.allclose(made.sum(3), first.sum(2)[:, None].expand(-1, 4, -1), atol=1e-5)


def test_a_neighborhood_is_a_square() -> None:
    near = neighborhood((3, 4), 1.0)
    for i in range(12):
        for j in range(12):
            assert near[i, j] == (abs(i // 4 - j // 4) <= 1 and abs(i % 4 - j % 4) <= 1)


def test_a_map_coarse_in_time_is_repeated() -> None:
    maps = torch.randn(1, 3, 2, 2, 2)
    made = of_frames(maps, 5, (2, 2))
    assert made.shape == (1, 5, 4, 3)
    unit = nn.functional.normalize(maps[0].permute(1, 2, 3, 0).flatten(1, 2), dim=2)
    for frame, cell in enumerate((0, 0, 0, 1, 1)):
        assert torch.allclose(made[0, frame], unit[cell], atol=1e-6)
    assert of_frames(maps, 2, (4, 6)).shape == (1, 2, 24, 3)


class Brightness(ClipEncoder):
    """What each pixel shows, as a direction in the plane; or nothing at all."""

    dim = 2

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.drop = nn.Dropout(0.5)

    def map(self, x: Tensor) -> Tensor:
        angle = self.drop(x[:, :, 0]) * self.scale
        return torch.stack((angle.cos(), angle.sin()), dim=1)

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        tokens = self.map(x).flatten(2).mT
        return Features(tokens, tokens.mean(1))


class Squares:
    """Two squares of different brightness that move in a 9 x 9 frame, a pixel a frame."""

    def __init__(self, empty: bool = False) -> None:
        self.spec = VideoSpec(frames=4, channels=1, height=9, width=9)
        self.id = torch.zeros(5, 4, 9, 9, dtype=torch.uint8)
        if not empty:
            for frame in range(4):
                self.id[:, frame, 1:4, 1 + frame : 4 + frame] = 1
                self.id[:, frame, 6:8, 5 - frame : 7 - frame] = 2

    def examples(self, split: str) -> Examples:
        assert split in ("val", "test")
        return Examples((self.id * 120)[:, :, None], torch.full((5,), -1))

    def masks(self, split: str) -> Tensor:
        return self.id


def subject(encoder: nn.Module, data: Squares) -> FrozenSubject:
    return FrozenSubject(encoder, data, seed=0, device=torch.device("cpu"), batch_size=16)


def test_what_can_be_told_apart_is_tracked() -> None:
    encoder = Brightness(1.0).train()
    found = LabelPropagation(**SETTINGS)(subject(encoder, Squares()))
    assert encoder.drop.training
    check("label_propagation", found)
    for split in ("test", "val"):
        assert [value(found, name, split) for name in ("j_and_f", "j", "f")] == [1, 1, 1]
    # kept in place: squares of 3 and 2 pixels moved by 1, 2, 3 overlap by 1/2, 1/5, 0 and 1/3, 0, 0
    assert value(found, "j_first_mask_kept") == pytest.approx(((1 / 2 + 1 / 5) / 3 + (1 / 3) / 3) / 2)
    figure = found.figures["tracked masks"]
    assert isinstance(figure, Clips)
    rows = figure.rows
    assert list(rows) == ["truth", "tracked"]
    assert rows["truth"].shape[0] == 1
    assert np.array_equal(*rows.values())


def test_what_looks_alike_is_not() -> None:
    found = LabelPropagation(**SETTINGS)(subject(Brightness(0.0), Squares()))
    assert value(found, "j") < 0.5
    coarse = LabelPropagation(**SETTINGS | {"cell": 3})(subject(Brightness(1.0), Squares()))
    assert value(coarse, "j") < 1


def test_gray_is_lightness_in_all_channels() -> None:
    clips = torch.rand(2, 3, 3, 4, 4)
    clips[0, 0] = 1
    made = lightness(clips)
    assert made.shape == clips.shape
    assert all(made[:, :, channel].equal(made[:, :, 0]) for channel in (1, 2))
    torch.testing.assert_close(made[0, 0], torch.ones(3, 4, 4))
    with pytest.raises(ValueError, match="shown is 'red'; it must be gray or color"):
        LabelPropagation(**SETTINGS | {"shown": "red"})


def test_pictures() -> None:
    image = torch.full((1, 1, 1, 2), 0.5)
    made = painted(image, torch.tensor([[[0, 1]]]))
    assert made.shape == (1, 1, 2, 3)
    assert made[0, 0, 0].tolist() == [0.5] * 3
    assert made[0, 0, 1].tolist() == pytest.approx([0.82, 0.26, 0.18])


def test_clips_that_show_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="its masks in test are empty"):
        LabelPropagation(**SETTINGS)(subject(Brightness(1.0), Squares(empty=True)))
    with pytest.raises(ValueError, match=r"label_propagation\.cell is 10"):
        LabelPropagation(**SETTINGS | {"cell": 10})(subject(Brightness(1.0), Squares()))


def test_cells_larger_than_a_frame_are_refused_before_anything_is_trained() -> None:
    words = ["dataset=moving_digits", "objective=next_frame", "backbone=per_frame", "evaluation=[label_propagation]"]
    with pytest.raises(ConfigError, match=r"label_propagation\.cell is 40; it must be at most the side of a frame, 32"):
        validate(typed(compose([*words, "evaluation.label_propagation.cell=40"])))


@pytest.mark.parametrize(
    ("key", "value"),
    [("cell", 0), ("before", -1), ("radius", -0.5), ("top_k", 0), ("temperature", 0.0), ("clips", 0), ("pictures", 0)],
)
def test_refusals(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"evaluation\.label_propagation\.{key} is {value}"):
        LabelPropagation(**SETTINGS | {key: value})
