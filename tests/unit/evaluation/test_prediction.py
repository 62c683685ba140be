"""Prediction: figures worked by hand, SSIM by its definition."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl_runner.evaluation.prediction import Prediction, compare
from ssl_runner.evaluation.subject import FrozenSubject
from ssl_runner.interfaces import Batch, Examples, Loss, Objective, VideoSpec


class Clips:
    """Grey that gets brighter by 0.1 a frame."""

    def __init__(self) -> None:
        self.spec = VideoSpec(frames=5, channels=1, height=12, width=12)
        level = torch.tensor([51.0, 76.5, 102.0, 127.5, 153.0]).to(torch.uint8)
        self.data = level[None, :, None, None, None].expand(7, 5, 1, 12, 12).contiguous()

    def examples(self, split: str) -> Examples:
        assert split == "test"
        return Examples(self.data, torch.full((7,), -1))


class Brighter(Objective[Tensor, Tensor]):
    def __init__(self, step: float) -> None:
        super().__init__()
        self.step = step
        self.drop = nn.Dropout(0.5)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.data[:, :3], batch.data[:, 3:]

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        return Loss(x.sum())

    def foresee(self, x: Tensor) -> Tensor:
        steps = torch.tensor([1.0, 2.0])[:, None, None, None] * self.step
        return self.drop(x[:, -1:] + steps)


def ask(objective: Objective, batch_size: int = 3):
    subject = FrozenSubject(nn.Identity(), Clips(), seed=0, device=torch.device("cpu"), batch_size=4)
    return Prediction(batch_size=batch_size, pictures=2)(objective, subject)


@pytest.mark.parametrize("batch_size", [3, 100])
def test_by_hand(batch_size: int) -> None:
    objective = Brighter(0.05).train()
    found = ask(objective, batch_size)
    assert objective.drop.training
    level = [102 / 255, 127 / 255, 153 / 255]
    copied = [(level[k] - level[0]) ** 2 for k in (1, 2)]
    made = [(level[k] - level[0] - 0.05 * k) ** 2 for k in (1, 2)]
    metrics = found.metrics
    assert next(iter(metrics)) == "psnr"
    for name, errors in (("", made), ("_copy", copied)):
        assert metrics[f"mse{name}"] == pytest.approx(sum(errors) / 2, rel=1e-4)
        assert metrics[f"psnr{name}"] == pytest.approx(-10 * math.log10(sum(errors) / 2), rel=1e-4)
        for step in (1, 2):
            assert metrics[f"mse{name}_{step}"] == pytest.approx(errors[step - 1], rel=1e-4)
            assert metrics[f"psnr{name}_{step}"] == pytest.approx(-10 * math.log10(errors[step - 1]), rel=1e-4)
    a, b = level[0], level[1]  # SSIM of flat pictures: only their means differ
    assert metrics["ssim_copy_1"] == pytest.approx((2 * a * b + 1e-4) / (a * a + b * b + 1e-4), rel=1e-3)
    assert metrics["psnr"] > metrics["psnr_copy"]
    assert found.protocol["control"] == "last frame copied"
    strips = found.figures["prediction"]
    assert list(strips.rows) == ["truth", "predicted"]
    seen = strips.gap
    for row in strips.rows.values():
        assert row.shape == (2, seen + 2, 12, 12)
    assert np.array_equal(strips.rows["truth"][:, :seen], strips.rows["predicted"][:, :seen])
    assert not np.array_equal(strips.rows["truth"][:, seen:], strips.rows["predicted"][:, seen:])
    assert list(found.figures["psnr by step"].x) == [1, 2]


def test_what_is_right_is_similar() -> None:
    frames = torch.rand(2, 3, 3, 16, 16)
    error, similar = compare(frames, frames)
    assert error.max() == 0
    assert torch.allclose(similar, torch.ones(2, 3))
    assert compare(frames, torch.rand_like(frames))[1].max() < 0.5


@pytest.mark.parametrize("wrong", ["batch_size", "pictures"])
def test_refusals(wrong: str) -> None:
    with pytest.raises(ValueError, match=rf"evaluation\.prediction\.{wrong} is 0"):
        Prediction(**{"batch_size": 1, "pictures": 1} | {wrong: 0})
