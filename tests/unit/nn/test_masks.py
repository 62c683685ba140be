"""Masks: as many places in each row, none twice; rectangles against a loop that draws them one after the other."""

import pytest
import torch

from ssl_runner.nn import masks
from ssl_runner.nn.masks import keep_grid, keep_outside_blocks, keep_random, places_of

CPU = torch.device("cpu")


@pytest.mark.parametrize("keep", [keep_random, keep_outside_blocks])
@pytest.mark.parametrize(("grid", "kept"), [((8, 8), 16), ((7, 7), 12), ((3, 5), 14), ((2, 6), 1)])
def test_as_many_different_places_in_each_row(keep, grid, kept):
    places = keep(50, grid, kept, CPU)
    assert places.shape == (50, kept)
    assert places.dtype == torch.int64
    assert all(len(set(row)) == kept and set(row) <= set(range(grid[0] * grid[1])) for row in places.tolist())


def test_each_place_is_kept_as_often():
    torch.manual_seed(0)
    counts = torch.bincount(keep_random(4000, (3, 4), 3, CPU).flatten(), minlength=12)
    assert (counts - 1000).abs().max() < 5 * 28  # deviation of a count: sqrt(4000 x 1/4 x 3/4) = 27.4


def test_images_hide_different_places():
    torch.manual_seed(0)
    for keep in (keep_random, keep_outside_blocks):
        rows = {tuple(sorted(row)) for row in keep(20, (8, 8), 16, CPU).tolist()}
        assert len(rows) > 15


def test_one_rectangle_loses_its_lowest_rows(monkeypatch):
    """A rectangle of half of an 8 x 8 grid, of which fewer than its 32 places are to be hidden."""
    monkeypatch.setattr(masks, "RECTANGLES", 1)
    monkeypatch.setattr(masks, "LEAST", 0.5)
    monkeypatch.setattr(masks, "ASPECT", 1 - 1e-9)  # square: sqrt(32) = 5.66 rounds to 6
    torch.manual_seed(1)
    for row in keep_outside_blocks(30, (8, 8), 64 - 15, CPU).tolist():  # two rows of 6 and 3 more are hidden
        hidden = sorted(set(range(64)) - set(row))
        down, left = divmod(hidden[0], 8)
        assert hidden == [8 * (down + i // 6) + left + i % 6 for i in range(15)]


def test_rectangles_cover_in_their_order(monkeypatch):
    """The k-th rectangle is touched only when those before it are hidden whole: a loop over a replay of the draws."""
    torch.manual_seed(2)
    grid, kept, count = (6, 7), 12, 40
    drawn = [torch.rand(count, masks.RECTANGLES) for _ in range(4)]
    replay = iter(drawn)
    monkeypatch.setattr(torch, "rand", lambda *size, device: next(replay))
    monkeypatch.setattr(torch, "rand_like", lambda like: next(replay))
    places = keep_outside_blocks(count, grid, kept, CPU)
    for b in range(count):
        hidden: list[int] = []
        for r in range(masks.RECTANGLES):
            area = (1 / 12 + (1 / 2 - 1 / 12) * drawn[0][b, r].item()) * 42
            aspect = 0.3 ** (1 - 2 * drawn[1][b, r].item())
            height = min(max(round((area * aspect) ** 0.5), 1), 6)
            width = min(max(round((area / aspect) ** 0.5), 1), 7)
            top = int(drawn[2][b, r].item() * (6 - height + 1))
            left = int(drawn[3][b, r].item() * (7 - width + 1))
            block = [7 * i + j for i in range(top, top + height) for j in range(left, left + width)]
            hidden += [place for place in block if place not in hidden]
        hidden += [place for place in range(42) if place not in hidden]
        assert set(places[b].tolist()) == set(hidden[42 - kept :])


def test_the_grid_keeps_one_of_every_four():
    assert keep_grid(2, (4, 4), CPU).tolist() == [[0, 2, 8, 10]] * 2
    assert keep_grid(1, (3, 5), CPU).tolist() == [[0, 2, 4, 10, 12, 14]]


def test_places_of_a_mask_are_those_a_loop_finds():
    mask = torch.tensor([[True, False, True, False], [False, False, True, True]])
    assert places_of(mask, 2).tolist() == [[n for n in range(4) if row[n]] for row in mask.tolist()]
