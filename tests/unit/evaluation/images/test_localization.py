"""Boxes by regression: against scikit-learn, against loops, and where the answer is known."""

from typing import Any

import pytest
import torch
from findings import value
from sklearn.linear_model import Ridge
from torch import Tensor

from ssl_runner.evaluation.any.controls import Pixels
from ssl_runner.evaluation.any.subject import FrozenSubject
from ssl_runner.evaluation.images.localization import Localization, overlap, ridge
from ssl_runner.interfaces import Boxes, Encoder, Examples, Features, ImageSpec, MapEncoder

SPEC = ImageSpec(channels=1, height=12, width=12, box_names=("thing",), one_box=True)


class Bright:
    """Black images of 12 x 12 with a bright rectangle; the last image of each split has an ignored box."""

    def __init__(self) -> None:
        self.spec = SPEC
        self.known = {}
        g = torch.Generator().manual_seed(0)
        for split, n in {"train": 60, "val": 20, "test": 30}.items():
            first = torch.randint(0, 7, (n, 2), generator=g)
            last = first + torch.randint(3, 6, (n, 2), generator=g)
            data = torch.zeros(n, 1, 12, 12, dtype=torch.uint8)
            for image, (left, top), (right, bottom) in zip(data, first.tolist(), last.tolist(), strict=True):
                image[:, top:bottom, left:right] = 255
            ignored = torch.arange(n) == n - 1
            corners = torch.cat([first, last], dim=1) / 12
            self.known[split] = (data, Boxes(torch.arange(n), corners, torch.zeros(n, dtype=torch.int64), ignored))

    def examples(self, split: str) -> Examples:
        data = self.known[split][0]
        return Examples(data, torch.full((len(data),), -1))

    def boxes(self, split: str) -> Boxes:
        return self.known[split][1]


class Edges(Encoder):
    """The sides themselves."""

    dim = 4

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        across, down = x[:, 0].amax(1), x[:, 0].amax(2)
        first = [each.argmax(1) for each in (across, down)]
        sides = torch.stack(
            [*first, *(begin + each.sum(1) for begin, each in zip(first, (across, down), strict=True))], 1
        )
        return Features(sides[:, None].float(), sides.float())


class Nothing(Edges):
    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        return Features(torch.ones(len(x), 1, 4), torch.ones(len(x), 4))


class Same(MapEncoder):
    """The map is the image; what is pooled knows nothing of places."""

    dim = 1

    def map(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        return Features(x.flatten(2).mT, x.mean((2, 3)))


def ask(encoder: Encoder, **changes: Any):
    settings = {"read": "grid", "cells": 12, "penalties": [0.001, 0.1, 10.0], "pictures": 3}
    subject = FrozenSubject(encoder, Bright(), seed=0, device=torch.device("cpu"), batch_size=16)
    return Localization(**settings | changes)(subject)


def test_sides_that_are_known_are_found_and_nothing_gives_the_mean_box():
    known, nothing = ask(Edges()), ask(Nothing())
    assert value(known, "overlap") > 0.98
    assert value(known, "right") == 1
    for name in ("overlap", "right"):
        assert value(nothing, name) == pytest.approx(value(nothing, f"{name}_mean_box"))
        assert value(known, f"{name}_mean_box") == value(nothing, f"{name}_mean_box") < 0.6
    assert known.protocol.measured["test examples"] == 29
    assert known.protocol.measured["test left out"] == 1
    assert known.protocol.chosen == {"penalty": 0.001}
    assert known.protocol.measured["at the grid's edge"] == "penalty"
    assert known.figures["boxes"].rows["boxes"].shape == (3, 324, 324, 3)


def test_the_grid_knows_places_that_pooled_features_do_not():
    grid, pooled = ask(Same()), ask(Same(), read="pooled")
    assert value(grid, "overlap") > value(pooled, "overlap") + 0.1
    assert value(ask(Pixels(SPEC)), "overlap") == pytest.approx(value(grid, "overlap"), abs=1e-3)
    assert ask(Same(), cells=3).protocol.measured["width"] == 9


@pytest.mark.parametrize("dim", [5, 80])
def test_ridge_is_that_of_scikit_learn(dim):
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, dim, generator=g) * 3 + 1, torch.rand(40, 4, generator=g)
    x[:, 0] = 2.0  # constant
    fits = ridge(x, y, [0.01, 1.0])
    z = ((x - x.mean(0)) / x.std(0, correction=0)).nan_to_num(0, 0, 0)
    for fit, penalty in zip(fits, (0.01, 1.0), strict=True):
        theirs = Ridge(alpha=40 * penalty).fit(z.double().numpy(), y.double().numpy())
        expected = torch.from_numpy(theirs.predict(z.double().numpy())).float()
        assert torch.allclose((x - fit.mean) / fit.std @ fit.weight + fit.bias, expected, atol=1e-4)


def test_boxes_are_within_the_image_and_begin_before_they_end():
    g = torch.Generator().manual_seed(0)
    (fit,) = ridge(torch.randn(20, 3, generator=g), torch.rand(20, 4, generator=g), [1e-9])
    boxes = fit.boxes(5 * torch.randn(50, 3, generator=g))
    assert (boxes >= 0).all()
    assert (boxes <= 1).all()
    assert (boxes[:, :2] <= boxes[:, 2:]).all()


def test_overlap_by_counting_pixels():
    g = torch.Generator().manual_seed(1)
    corners = torch.randint(0, 12, (40, 2, 2, 2), generator=g).sort(dim=2).values.flatten(2)  # left, top, right, bottom
    found = overlap(corners[:, 0] / 12, corners[:, 1] / 12)
    for pair, ours in zip(corners.tolist(), found.tolist(), strict=True):
        cells = [{(x, y) for x in range(a, c) for y in range(b, d)} for a, b, c, d in pair]
        either = len(cells[0] | cells[1])
        assert ours == pytest.approx(len(cells[0] & cells[1]) / either if either else 0, abs=1e-5)


def test_images_with_several_boxes_are_refused():
    evaluator = Localization(read="grid", cells=2, penalties=[1.0], pictures=1)
    evaluator.check(SPEC)
    with pytest.raises(ValueError, match="some of this dataset have several: choose evaluation=detection"):
        evaluator.check(ImageSpec(channels=1, height=4, width=4, box_names=("a",)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"read": "map"}, r"evaluation.localization.read is 'map'; it must be grid or pooled"),
        ({"cells": 0}, r"evaluation.localization.cells is 0"),
        ({"penalties": []}, r"evaluation.localization.penalties is \[\]"),
        ({"penalties": [0.0]}, "it must list numbers above 0"),
        ({"pictures": 0}, r"evaluation.localization.pictures is 0"),
    ],
)
def test_wrong_settings_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        ask(Edges(), **changes)
