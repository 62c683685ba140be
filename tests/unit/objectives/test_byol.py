"""BYOL: the loss in loops, and a target that only `after_step` moves."""

import copy

import pytest
import torch
from torch import Tensor

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.interfaces import Batch, ImageSpec, Views
from ssl_runner.objectives.byol import BYOL

SPEC = ImageSpec(channels=1, height=8, width=8)


class Pair(Views):
    """The image and its mirror image."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((x, x.flip(3)))


def bootstrap(**changed: object) -> BYOL:
    torch.manual_seed(0)
    settings = {"views": Pair(), "projector": [6, 5], "predictor": [7], "momentum": 0.9, "projector_norm": "batch",
                "projector_last_norm": "none", "momentum_schedule": "cosine"} | changed  # fmt: skip
    return BYOL(ConvNet(SPEC, widths=[4, 8], norm="batch"), SPEC, **settings)


def batch() -> Batch:
    return Batch(torch.rand(5, 1, 8, 8), torch.arange(5), torch.arange(5))


def move(objective: BYOL) -> None:
    """What an optimizer would do: change every weight that learns."""
    with torch.no_grad():
        for parameter in objective.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)


def test_the_loss_is_the_papers_one_pair_at_a_time() -> None:
    objective = bootstrap().eval()
    move(objective)  # so that the target differs from the network
    x, y = objective.split(batch())
    total = 0.0
    with torch.no_grad():
        for seen, other in ((x, y), (y, x)):
            q = objective.predictor(objective.projector(objective.encoder(seen).pooled))
            t = objective.target_projector.module(objective.target_encoder.module(other).pooled)
            for i in range(5):
                total += ((q[i] / q[i].norm() - t[i] / t[i].norm()) ** 2).sum().item()
    assert objective.loss(x, y).value.item() == pytest.approx(total / 5, rel=1e-5)


def test_the_target_gets_no_gradient_and_starts_as_the_network() -> None:
    objective = bootstrap()
    objective.loss(*objective.split(batch())).value.backward()
    for target, source in (
        (objective.target_encoder, objective.encoder),
        (objective.target_projector, objective.projector),
    ):
        for held, learned in zip(target.parameters(), source.parameters(), strict=True):
            assert held.grad is None
            assert learned.grad is not None
            assert torch.equal(held, learned)


@pytest.mark.parametrize(("progress", "kept"), [(0.0, 0.9), (0.5, 0.95), (1.0, 1.0)])
def test_the_target_follows_by_the_cosine_of_progress(progress: float, kept: float) -> None:
    objective = bootstrap()
    before = copy.deepcopy([*objective.target_encoder.parameters(), *objective.target_projector.parameters()])
    move(objective)
    objective.after_step([None], progress)
    now = [*objective.target_encoder.parameters(), *objective.target_projector.parameters()]
    source = [*objective.encoder.parameters(), *objective.projector.parameters()]
    for held, then, learned in zip(now, before, source, strict=True):
        torch.testing.assert_close(held, kept * then + (1 - kept) * learned)


def test_collapse_shows_in_the_logs() -> None:
    objective = bootstrap()
    with torch.no_grad():
        objective.projector.layers[-1].weight.zero_()
        objective.projector.layers[-1].bias.fill_(1)
    assert objective.loss(*objective.split(batch())).logs["output_std"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"projector": []}, r"objective\.projector is \[\]"),
        ({"projector": [4, 0]}, r"objective\.projector is \[4, 0\]"),
        ({"momentum": 1.0}, r"objective\.momentum is 1\.0"),
    ],
)
def test_bad_values_are_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        bootstrap(**changed)
