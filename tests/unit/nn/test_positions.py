import math

import pytest
import torch

from ssl_runner.nn.positions import sincos_2d


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
