"""VICReg: three weighted terms of two views; the terms themselves are tested with the losses."""

import pytest
import torch
from torch import Tensor

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.interfaces import Batch, ImageSpec, Views
from ssl_runner.losses.redundancy import vicreg_terms
from ssl_runner.objectives.vicreg import VICReg

SPEC = ImageSpec(channels=1, height=8, width=8)
WEIGHTS = {"invariance": 3.0, "variance": 5.0, "covariance": 7.0}


class Pair(Views):
    """The image and its mirror image."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((x, x.flip(3)))


def objective(**weights: float) -> VICReg:
    torch.manual_seed(0)
    encoder = ConvNet(SPEC, widths=[4, 8], norm="batch")
    return VICReg(encoder, SPEC, views=Pair(), projector=[6, 5], projector_norm="batch", **(WEIGHTS | weights))


def test_the_terms_are_of_the_two_views_and_weighted() -> None:
    model = objective().eval()
    x, y = model.split(Batch(torch.rand(6, 1, 8, 8), torch.arange(6), torch.arange(6)))
    with torch.no_grad():
        terms = vicreg_terms(*(model.projector(model.encoder(view).pooled) for view in (x, y)))
        found = model.loss(x, y)
    expected = 3 * terms.invariance + 5 * terms.variance + 7 * terms.covariance
    torch.testing.assert_close(found.value, expected)
    for name, term in terms._asdict().items():
        torch.testing.assert_close(found.logs[name], term)


@pytest.mark.parametrize("name", list(WEIGHTS))
def test_a_weight_must_not_be_negative(name: str) -> None:
    with pytest.raises(ValueError, match=rf"objective\.{name} is -1\.0"):
        objective(**{name: -1.0})
    objective(**{name: 0.0})
