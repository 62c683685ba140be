"""The variance of a gradient over the draws of a task, where it is known."""

from typing import Any

import pytest
import torch
from findings import keys, value
from torch import Tensor, nn

from ssl_runner.evaluation.any.gradient_variance import GradientVariance
from ssl_runner.interfaces import Batch, Examples, ImageSpec, Loss, Objective


class Noisy(Objective[Tensor, Tensor]):
    """The gradient by the two weights is (3 + noise, 4), noise with the deviation `scale`."""

    def __init__(self, scale: float, *, used: bool = True) -> None:
        super().__init__()
        self.scale = scale
        self.encoder: Any = nn.Linear(2, 1, bias=False).requires_grad_(used)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return torch.tensor([3.0, 4.0]) + torch.tensor([self.scale, 0.0]) * torch.randn(()), batch.label

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        return Loss(self.encoder(x).sum(), {})


class Given:
    device = torch.device("cpu")
    seed = 0

    def __init__(self) -> None:
        self.data = self
        self.spec = ImageSpec(channels=1, height=2, width=2, classes=3)

    def examples(self, split: str) -> Examples:
        return Examples(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), torch.zeros(5, dtype=torch.int64))


def test_variance_and_norm_are_the_known_ones() -> None:
    found = GradientVariance(draws=2000, batch_size=4)(Noisy(2.0), Given())
    assert keys(found) == [(name, split, ()) for split in ("test", "val") for name in ("variance", "norm")]
    assert value(found, "variance") == pytest.approx(4, rel=0.1)
    assert value(found, "norm") == pytest.approx(5, rel=0.05)
    still = GradientVariance(draws=3, batch_size=4)(Noisy(0.0), Given())
    assert value(still, "variance") == pytest.approx(0, abs=1e-10)


def test_what_follows_no_gradient_is_refused() -> None:
    with pytest.raises(ValueError, match="no weight of the encoder"):
        GradientVariance(draws=2, batch_size=2)(Noisy(1.0, used=False), Given())
    with pytest.raises(ValueError, match="draws is 1"):
        GradientVariance(draws=1, batch_size=2)
