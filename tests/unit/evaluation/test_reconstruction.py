import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl_runner.evaluation.reconstruction import Reconstruction
from ssl_runner.interfaces import Batch, Loss, Objective


class Shown(NamedTuple):
    image: Tensor
    keep: Tensor


class Noisy(Objective[Shown, Tensor]):
    """Adds noise of size 0.1 and answers with what was shown, by `factor`."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.drop = nn.Dropout(0.5)

    def split(self, batch: Batch) -> tuple[Shown, Tensor]:
        noise = 0.1 * torch.randn_like(batch.data).sign()
        return Shown(batch.data + noise, batch.index), batch.data

    def loss(self, x: Shown, y: Tensor) -> Loss:
        return Loss(x.image.sum())

    def reconstruct(self, x: Shown) -> Tensor:
        return self.drop(x.image) * self.factor


@pytest.mark.parametrize("batch_size", [7, 100])
def test_error_by_hand(subject, table, batch_size):
    found = Reconstruction(batch_size=batch_size, pictures=3)(Noisy(1.0), subject("label"))
    assert found.metrics["mse"] == pytest.approx(0.01, rel=1e-4)  # each value is off by 0.1; no dropout in eval mode
    assert found.metrics["psnr"] == pytest.approx(20, abs=1e-3)
    train, test = (table.examples(split).data.numpy() / 255 for split in ("train", "test"))
    assert found.metrics["mse_mean_image"] == pytest.approx(np.mean((test - train.mean(0)) ** 2), rel=1e-4)
    assert next(iter(found.metrics)) == "mse"
    assert not Reconstruction.higher_is_better


def test_a_perfect_answer_is_finite(subject):
    class Perfect(Noisy):
        def split(self, batch):
            return Shown(batch.data, batch.index), batch.data

    found = Reconstruction(batch_size=50, pictures=3)(Perfect(1.0), subject("label"))
    assert found.metrics["mse"] == 0
    assert found.metrics["psnr"] == 100
    assert list(found.figures["reconstruction"].rows) == ["truth", "reconstruction"]  # what is seen is the truth


def test_pictures(subject, table):
    rows = Reconstruction(batch_size=50, pictures=3)(Noisy(0.5), subject("label")).figures["reconstruction"].rows
    assert list(rows) == ["truth", "seen: image", "reconstruction"]
    truth = table.examples("test").data[:3, 0].numpy() / 255
    assert np.allclose(rows["truth"], truth, atol=1e-6)
    off = np.abs(rows["seen: image"] - truth)
    inside = (truth > 0.1) & (truth < 0.9)
    assert np.allclose(off[inside], 0.1, atol=1e-6)
    assert all(row.shape == (3, 3, 4) and row.min() >= 0 and row.max() <= 1 for row in rows.values())


def test_it_repeats_and_changes_nothing(subject):
    objective = Noisy(0.7).train()
    torch.manual_seed(0)
    following = torch.rand(2)
    torch.manual_seed(0)
    first = Reconstruction(batch_size=50, pictures=3)(objective, subject("label"))
    assert torch.equal(torch.rand(2), following)
    assert objective.training
    assert objective.drop.training
    second = Reconstruction(batch_size=50, pictures=3)(objective, subject("label"))
    assert first.metrics == second.metrics
    assert math.isfinite(first.metrics["psnr"])


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"pictures": 0}], ids=str)
def test_refusals(wrong):
    with pytest.raises(ValueError, match=rf"evaluation\.reconstruction\.{next(iter(wrong))} is 0"):
        Reconstruction(**{"batch_size": 10, "pictures": 3} | wrong)
