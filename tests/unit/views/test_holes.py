"""Holes: how large, where, and drawn anew for each image."""

import pytest
import torch

from ssl_runner.views.holes import holes

IMAGES = torch.zeros(200, 3, 16, 24)


def drawn(shape: str, part: float = 0.25, blocks: int = 4) -> torch.Tensor:
    torch.manual_seed(0)
    hole = holes(shape, part, blocks, IMAGES)
    assert hole.shape == (200, 1, 16, 24)
    assert hole.dtype == torch.bool
    return hole


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [
        ("center", (4, 12), (6, 18)), ("top", (0, 4), (0, 24)), ("bottom", (12, 16), (0, 24)),
        ("left", (0, 16), (0, 6)), ("right", (0, 16), (18, 24)),
    ],
)  # fmt: skip
def test_a_quarter_by_hand(shape: str, rows: tuple[int, int], columns: tuple[int, int]) -> None:
    expected = torch.zeros(16, 24, dtype=torch.bool)
    expected[slice(*rows), slice(*columns)] = True
    assert torch.equal(drawn(shape), expected.expand(200, 1, 16, 24))


def test_one_block_is_a_rectangle_anywhere() -> None:
    corners = set()
    for hole in drawn("blocks", blocks=1)[:, 0]:
        rows, columns = hole.any(1).nonzero().flatten(), hole.any(0).nonzero().flatten()
        assert (len(rows), len(columns)) == (8, 12)
        assert hole.sum() == 96
        assert rows[-1] - rows[0] == 7
        assert columns[-1] - columns[0] == 11
        corners |= {(int(rows[0]), int(columns[0]))}
    assert {top for top, _ in corners} == set(range(9))
    assert {left for _, left in corners} == set(range(13))


def test_blocks_are_the_part_less_what_overlaps() -> None:
    area = drawn("blocks")[:, 0].sum((1, 2))  # four of 4 x 6
    assert area.max() == 96
    assert area.min() >= 24
    assert (area < 96).any()


def test_free_shapes_are_the_part_and_hang_together() -> None:
    hole = drawn("free")[:, 0]
    assert (hole.sum((1, 2)) == 96).all()
    edges = (hole[:, 1:] != hole[:, :-1]).sum((1, 2)) + (hole[:, :, 1:] != hole[:, :, :-1]).sum((1, 2))
    assert edges.float().mean() < 100  # pixels drawn one by one: 0.375 x (15 x 24 + 16 x 23) = 273


@pytest.mark.parametrize("shape", ["blocks", "free"])
def test_each_image_has_its_own(shape: str) -> None:
    assert len(torch.unique(drawn(shape).flatten(1), dim=0)) > 190


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"objective\.hole is 'round'; it must be one of center, blocks, free, top"):
        holes("round", 0.5, 1, IMAGES)
