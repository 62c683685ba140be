"""Barlow Twins: from views to a correlation; the equation itself is tested with the losses."""

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.interfaces import Batch, ImageSpec, Views
from ssl_runner.objectives.barlow_twins import BarlowTwins

SPEC = ImageSpec(channels=1, height=8, width=8)


class Pair(Views):
    """The image and its mirror image."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((x, x.flip(3)))


def objective(off_diagonal: float = 0.02) -> BarlowTwins:
    torch.manual_seed(0)
    encoder = ConvNet(SPEC, widths=[4, 8], norm="batch")
    return BarlowTwins(encoder, SPEC, views=Pair(), projector=[6, 5], projector_norm="batch", off_diagonal=off_diagonal)


def test_the_loss_is_that_of_the_two_views_correlation() -> None:
    model = objective().eval()
    x, y = model.split(Batch(torch.rand(40, 1, 8, 8), torch.arange(40), torch.arange(40)))
    with torch.no_grad():
        model.projector.layers[-1].weight.mul_(1000)  # beside such variances the loss's epsilon is nothing
        z_x, z_y = (model.projector(model.encoder(view).pooled).numpy() for view in (x, y))
        found = model.loss(x, y)
    c = np.corrcoef(z_x, z_y, rowvar=False)[:5, 5:]
    rest = c[~np.eye(5, dtype=bool)]
    assert found.value.item() == pytest.approx(((1 - c.diagonal()) ** 2).sum() + 0.02 * (rest**2).sum(), rel=1e-4)
    assert found.logs["diagonal"].item() == pytest.approx(c.diagonal().mean(), rel=1e-4)
    assert found.logs["off_diagonal"].item() == pytest.approx(np.sqrt((rest**2).mean()), rel=1e-4)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_a_weight_must_be_positive(weight: float) -> None:
    with pytest.raises(ValueError, match=r"objective\.off_diagonal"):
        objective(weight)
