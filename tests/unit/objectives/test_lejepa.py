"""LeJEPA: the loss in loops over crops; the test of normality itself is tested with the losses."""

import pytest
import torch
from torch import Tensor

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.interfaces import Batch, ImageSpec, Views
from ssl_runner.losses.normality import sigreg
from ssl_runner.objectives.lejepa import Large, LeJEPA

SPEC = ImageSpec(channels=1, height=8, width=8)


class Mirrored(Views):
    """The image and its mirror image."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((x, x.flip(3)))


class Corners(Views):
    """Three corners."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((x[:, :, :4, :4], x[:, :, 4:, :4], x[:, :, 4:, 4:]))


def objective(**changed: object) -> LeJEPA:
    torch.manual_seed(0)
    settings = {"views": Mirrored(), "small_views": Corners(), "projector": [6, 5], "trade_off": 0.3, "slices": 7}
    return LeJEPA(ConvNet(SPEC, widths=[4, 8], norm="batch"), SPEC, **settings | changed)


def drawn(model: LeJEPA) -> tuple[Tensor, Large]:
    torch.manual_seed(1)
    return model.split(Batch(torch.rand(6, 1, 8, 8), torch.arange(6), torch.arange(6)))


def test_the_loss_is_the_papers_one_crop_at_a_time() -> None:
    model = objective().eval()
    x, y = drawn(model)
    assert y.directions.shape == (5, 7)
    with torch.no_grad():
        z = [model.projector(model.encoder(crop).pooled) for crop in (*y.crops, *x)]
        found = model.loss(x, y)
    distances = [((z[v][i] - (z[0][i] + z[1][i]) / 2) ** 2).mean().item() for v in range(5) for i in range(6)]
    prediction = sum(distances) / len(distances)
    normality = sum(sigreg(each, y.directions).item() for each in z) / 5
    assert found.logs["prediction"].item() == pytest.approx(prediction, rel=1e-4)
    assert found.logs["sigreg"].item() == pytest.approx(normality, rel=1e-4)
    assert found.value.item() == pytest.approx(0.7 * prediction + 0.3 * normality, rel=1e-4)


def test_the_gradient_reaches_the_mean_of_the_large_crops() -> None:
    """Nothing is held constant: with the prediction alone, equal and opposite steps of the two large crops."""
    model = objective(trade_off=0.0).eval()
    x, y = drawn(model)
    crops = y.crops.clone().requires_grad_()
    model.loss(x[:0], Large(crops, y.directions)).value.backward()
    assert (crops.grad.flatten(1).norm(dim=1) > 0).all()


def test_each_step_has_directions_of_its_own() -> None:
    model = objective()
    images = Batch(torch.rand(4, 1, 8, 8), torch.arange(4), torch.arange(4))
    assert not torch.equal(model.split(images)[1].directions, model.split(images)[1].directions)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"trade_off": 1.5}, r"objective\.trade_off is 1\.5"),
        ({"slices": 0}, r"objective\.slices is 0"),
        ({"projector": []}, r"objective\.projector is \[\]"),
    ],
)
def test_bad_values_are_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        objective(**changed)
