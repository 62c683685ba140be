import pytest
import torch

from ssl_runner.views.vectors import EachVector


def test_each_vector_is_a_view() -> None:
    x = torch.randn(5, 3, 4)
    views = EachVector()(x)
    assert views.shape == (3, 5, 1, 4)
    for v in range(3):
        for b in range(5):
            assert torch.equal(views[v, b, 0], x[b, v])


def test_images_are_refused() -> None:
    with pytest.raises(ValueError, match="these views are for vectors, and the data are not vectors"):
        EachVector()(torch.randn(5, 3, 4, 4))
