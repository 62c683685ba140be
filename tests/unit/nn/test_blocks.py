"""Random blocks of a grid: their sizes, where they lie, and as many places of each image."""

import pytest
import torch

from ssl_runner.nn.blocks import as_many, block_size, check_range, covered, place_blocks


def test_sizes_lie_in_their_ranges_and_in_the_grid() -> None:
    torch.manual_seed(0)
    sizes = [block_size((14, 14), (0.15, 0.2), (0.75, 1.5)) for _ in range(200)]
    for rows, columns in sizes:
        assert 0.1 < rows * columns / 196 < 0.25
        assert 0.6 < rows / columns < 1.8
    assert len(set(sizes)) > 5
    assert block_size((2, 9), (1.0, 1.0), (1.0, 1.0)) == (2, 4)  # a square of the same area is higher than the grid
    assert block_size((3, 3), (0.01, 0.01), (1.0, 1.0)) == (1, 1)


def test_blocks_are_rectangles_anywhere() -> None:
    torch.manual_seed(0)
    places = place_blocks(300, 2, (4, 5), (2, 3))
    assert places.shape == (300, 2, 6)
    corners = set()
    for block in places.flatten(0, 1).tolist():
        top, left = divmod(block[0], 5)
        assert block == [(top + r) * 5 + left + c for r in range(2) for c in range(3)]
        corners.add((top, left))
    assert corners == {(top, left) for top in range(3) for left in range(3)}
    mask = covered(places, 20)
    assert [sorted(set(row.flatten().tolist())) for row in places] == [row.nonzero().flatten().tolist() for row in mask]


def test_every_image_gets_as_many_places_of_its_first_mask() -> None:
    torch.manual_seed(0)
    first = torch.tensor([[1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 1, 0]]).bool()
    kept = as_many(first)
    assert kept.shape == (2, 3)
    assert kept[0].tolist() == [0, 1, 2]
    assert set(kept[1].tolist()) < {1, 2, 3, 4}
    drawn = {tuple(as_many(first)[1].tolist()) for _ in range(50)}
    assert len(drawn) == 4  # all ways to leave out one


def test_what_is_missing_comes_from_the_next_mask() -> None:
    first, second = torch.tensor([[1, 0, 0, 0, 0]]).bool(), torch.tensor([[1, 0, 1, 0, 0]]).bool()
    kept = as_many(first, second, least=3)
    assert kept.shape == (1, 3)
    assert {0, 2} < set(kept[0].tolist())


@pytest.mark.parametrize("value", [(0.0, 0.5), (0.5, 0.4), (0.5, 1.1)])
def test_bad_ranges_are_refused(value: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"objective\.scale is \["):
        check_range("scale", value, 1)
