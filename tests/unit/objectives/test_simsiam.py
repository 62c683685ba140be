"""SimSiam: the loss in loops, and the gradient that is stopped."""

import pytest
import torch
from torch import Tensor

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.interfaces import Batch, ImageSpec, Views
from ssl_runner.objectives.simsiam import SimSiam

SPEC = ImageSpec(channels=1, height=8, width=8)


class Pair(Views):
    """The image and its mirror image."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((x, x.flip(3)))


@pytest.fixture
def objective() -> SimSiam:
    torch.manual_seed(0)
    encoder = ConvNet(SPEC, widths=[4, 8], norm="batch")
    return SimSiam(
        encoder, SPEC, views=Pair(), projector=[6, 5], predictor=[3], projector_last_norm="batch",
        predictor_rate="scheduled",
    )  # fmt: skip


@pytest.fixture
def drawn(objective: SimSiam) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return objective.split(Batch(torch.rand(5, 1, 8, 8), torch.arange(5), torch.arange(5)))


def embed(objective: SimSiam, image: Tensor) -> Tensor:
    return objective.projector(objective.encoder(image).pooled)


def test_the_loss_and_its_gradient_are_the_papers_one_pair_at_a_time(
    objective: SimSiam, drawn: tuple[Tensor, Tensor]
) -> None:
    objective.eval()  # BatchNorm's statistics are then the same for one view as for two
    x, y = drawn
    total = torch.zeros(())
    for seen, other in ((x, y), (y, x)):
        p, z = objective.predictor(embed(objective, seen)), embed(objective, other).detach()
        for i in range(5):
            total = total - (p[i] @ z[i]) / (p[i].norm() * z[i].norm()) / 2 / 5
    parameters = list(objective.parameters())
    expected = torch.autograd.grad(total, parameters)
    ours = objective.loss(x, y)
    assert ours.value.item() == pytest.approx(total.item(), rel=1e-5)
    for gradient, theirs in zip(torch.autograd.grad(ours.value, parameters), expected, strict=True):
        torch.testing.assert_close(gradient, theirs, rtol=1e-4, atol=1e-6)


def test_the_projectors_output_is_normalized_over_the_batch(objective: SimSiam, drawn: tuple[Tensor, Tensor]) -> None:
    z = embed(objective, torch.cat(drawn))
    torch.testing.assert_close(z.mean(0), torch.zeros(5), atol=1e-5, rtol=0)


def test_against_lightly(objective: SimSiam, drawn: tuple[Tensor, Tensor]) -> None:
    theirs = pytest.importorskip("lightly.loss").NegativeCosineSimilarity()
    objective.eval()
    z_x, z_y = (embed(objective, view) for view in drawn)
    p_x, p_y = objective.predictor(z_x), objective.predictor(z_y)
    expected = (theirs(p_x, z_y.detach()) + theirs(p_y, z_x.detach())) / 2
    assert objective.loss(*drawn).value.item() == pytest.approx(expected.item(), rel=1e-5)
