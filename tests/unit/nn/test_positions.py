import math

import pytest
import torch

from ssl_runner.nn.positions import resized, sincos, sincos_2d, sincos_3d


def test_values_by_hand():
    e = sincos_2d(8, (2, 3))
    assert e.shape == (6, 8)
    assert e.dtype == torch.float32
    row, column = 1, 2  # place 5; frequencies 1 and 1/100
    expected = [f(p * w) for p in (row, column) for f in (math.sin, math.cos) for w in (1, 0.01)]
    torch.testing.assert_close(e[5], torch.tensor(expected))
    assert e[0].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]


def test_places_are_row_major_and_differ():
    e = sincos_2d(16, (4, 5)).view(4, 5, 16)
    assert (e[2, :, :8] == e[2, :1, :8]).all()  # one row: the first half is the same
    assert (e[:, 3, 8:] == e[:1, 3, 8:]).all()  # one column: the second half is the same
    distance = torch.cdist(e.view(20, 16), e.view(20, 16)) + torch.eye(20)
    assert distance.min() > 0.1


@pytest.mark.parametrize("dim", [0, 2, 6])
def test_widths_that_four_does_not_divide_are_refused(dim):
    with pytest.raises(ValueError, match="multiple of 4"):
        sincos_2d(dim, (2, 2))


def test_places_in_a_row_by_hand():
    e = sincos(torch.tensor([0, 3]), 4)  # frequencies 1 and 1/100
    expected = [[0, 0, 1, 1], [math.sin(3), math.sin(0.03), math.cos(3), math.cos(0.03)]]
    torch.testing.assert_close(e, torch.tensor(expected))


def test_three_axes_are_thirds_time_first():
    e = sincos_3d(12, (2, 3, 4))
    assert e.shape == (24, 12)
    places = [(t, r, c) for t in range(2) for r in range(3) for c in range(4)]
    for i, place in enumerate(places):
        torch.testing.assert_close(e[i], torch.cat([sincos(torch.tensor([p]), 4)[0] for p in place]))


@pytest.mark.parametrize("dim", [0, 3, 8, 10])
def test_widths_that_six_does_not_divide_are_refused(dim):
    with pytest.raises(ValueError, match="multiple of 6"):
        sincos_3d(dim, (2, 2, 2))


def test_an_odd_width_is_refused():
    with pytest.raises(ValueError, match="width of position embeddings is 5; it must be a multiple of 2"):
        sincos(torch.arange(3), 5)


def test_resizing_keeps_a_grid_of_the_same_size_and_means_of_a_plane():
    plane = torch.stack([torch.arange(4.0).repeat_interleave(6), torch.arange(6.0).repeat(4)], dim=1)  # row, column
    assert resized(plane, (4, 6), (4, 6)) is plane
    smaller = resized(plane, (4, 6), (2, 3)).view(2, 3, 2)
    torch.testing.assert_close(smaller[:, :, 0].mean(1), torch.tensor([0.5, 2.5]), atol=0.1, rtol=0)
    torch.testing.assert_close(smaller[:, 1, 1], torch.tensor([2.5, 2.5]))
