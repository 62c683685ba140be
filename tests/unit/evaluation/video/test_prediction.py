"""Prediction: figures worked by hand, SSIM by its definition."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from findings import check, metric, value
from torch import Tensor, nn

from ssl_runner.evaluation.any.subject import FrozenSubject
from ssl_runner.evaluation.video.prediction import Prediction, compare
from ssl_runner.interfaces import Batch, Examples, Loss, Objective, VideoSpec


class Clips:
    """Gray that gets brighter by 0.1 a frame."""

    def __init__(self) -> None:
        self.spec = VideoSpec(frames=5, channels=1, height=12, width=12)
        level = torch.tensor([51.0, 76.5, 102.0, 127.5, 153.0]).to(torch.uint8)
        self.data = level[None, :, None, None, None].expand(7, 5, 1, 12, 12).contiguous()

    def examples(self, split: str) -> Examples:
        assert split in ("val", "test")
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
    check("prediction", found)
    level = [102 / 255, 127 / 255, 153 / 255]
    copied = [(level[k] - level[0]) ** 2 for k in (1, 2)]
    made = [(level[k] - level[0] - 0.05 * k) ** 2 for k in (1, 2)]
    assert [each for each in found.metrics if each.headline] == [metric(found, "psnr"), metric(found, "psnr", "val")]
    for split, (name, errors) in product(("test", "val"), (("", made), ("_copy", copied))):
        assert value(found, f"mse{name}", split) == pytest.approx(sum(errors) / 2, rel=1e-4)
        by_frame = [-10 * math.log10(error) for error in errors]
        assert value(found, f"psnr{name}", split) == pytest.approx(sum(by_frame) / 2, rel=1e-4)
        pooled = -10 * math.log10(sum(errors) / 2)
        assert value(found, f"psnr_pooled{name}", split) == pytest.approx(pooled, rel=1e-4)
        for step, error in enumerate(errors, start=1):
            assert value(found, f"mse{name}", split, frame=step) == pytest.approx(error, rel=1e-4)
            assert value(found, f"psnr{name}", split, frame=step) == pytest.approx(-10 * math.log10(error), rel=1e-4)
    a, b = level[0], level[1]  # SSIM of flat pictures: only their means differ
    assert value(found, "ssim_copy", frame=1) == pytest.approx((2 * a * b + 1e-4) / (a * a + b * b + 1e-4), rel=1e-3)
    assert value(found, "psnr") > value(found, "psnr_copy")
    assert {"frames seen": 3, "frames predicted": 2}.items() <= found.protocol.terms.items()
    strips = found.figures["prediction"]
    assert list(strips.rows) == ["truth", "predicted"]
    seen = strips.gap
    for row in strips.rows.values():
        assert row.shape == (2, seen + 2, 12, 12)
    assert np.array_equal(strips.rows["truth"][:, :seen], strips.rows["predicted"][:, :seen])
    assert not np.array_equal(strips.rows["truth"][:, seen:], strips.rows["predicted"][:, seen:])
    assert list(found.figures["psnr by step"].x) == [1, 2]


def test_similarity_by_its_definition() -> None:
    """Wang et al. 2004, equations 13 to 16, window by window, in double precision."""
    generator = torch.Generator().manual_seed(0)
    made, truth = torch.rand(2, 1, 1, 2, 14, 12, generator=generator)
    place = np.arange(11) - 5
    bell = np.exp(-(place**2) / (2 * 1.5**2))
    weight = np.outer(bell, bell) / np.outer(bell, bell).sum()
    found = []
    for channel in range(2):
        for row in range(4):
            for column in range(2):
                x, y = (
                    frame[0, 0, channel, row : row + 11, column : column + 11].double().numpy()
                    for frame in (made, truth)
                )
                mx, my = (weight * x).sum(), (weight * y).sum()
                vx, vy = (weight * (x - mx) ** 2).sum(), (weight * (y - my) ** 2).sum()
                together = (weight * (x - mx) * (y - my)).sum()
                above = (2 * mx * my + 0.01**2) * (2 * together + 0.03**2)
                found.append(above / ((mx**2 + my**2 + 0.01**2) * (vx + vy + 0.03**2)))
    assert compare(made, truth)[2].item() == pytest.approx(np.mean(found), abs=1e-5)


def test_what_is_right_is_similar() -> None:
    frames = torch.rand(2, 3, 3, 16, 16)
    error, psnr, similar = compare(frames, frames)
    assert error.max() == 0
    assert psnr.min() == 100
    assert torch.allclose(similar, torch.ones(2, 3))
    assert compare(frames, torch.rand_like(frames))[2].max() < 0.5


class Mixed(Clips):
    """Clips that hardly change, and clips that do."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        shape = (6, 5, 1, 12, 12)
        size = torch.tensor([2, 4, 8, 60, 100, 120])[:, None, None, None, None]
        noise = torch.rand(shape, generator=generator) * size
        self.data = (100 + noise).to(torch.uint8)

    def examples(self, split: str) -> Examples:
        return Examples(self.data, torch.full((6,), -1))


def test_psnr_is_the_mean_of_that_of_each_frame() -> None:
    """As torchmetrics says it of one frame; the one of the mean error is another number."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    data = Mixed()
    subject = FrozenSubject(nn.Identity(), data, seed=0, device=torch.device("cpu"), batch_size=4)
    found = Prediction(batch_size=4, pictures=2)(Brighter(0.0), subject)
    frames = data.spec.to_input(data.data)
    by_step = [
        [peak_signal_noise_ratio(clip[2], clip[3 + step], data_range=1.0).item() for clip in frames] for step in (0, 1)
    ]
    assert value(found, "psnr_copy") == pytest.approx(np.mean(by_step), rel=1e-4)
    assert value(found, "psnr_copy", frame=2) == pytest.approx(np.mean(by_step[1]), rel=1e-4)
    pooled = value(found, "psnr_pooled_copy")
    assert pooled == pytest.approx(-10 * math.log10(value(found, "mse_copy")), rel=1e-4)
    assert value(found, "psnr_copy") > pooled + 1


@pytest.mark.parametrize(("height", "width", "fits"), [(11, 11, True), (10, 11, False), (12, 8, False)])
def test_frames_that_no_window_fits_in_are_refused(height: int, width: int, fits: bool) -> None:
    spec = VideoSpec(frames=5, channels=1, height=height, width=width)
    if fits:
        frames = torch.rand(2, 2, 1, height, width)
        assert compare(frames, frames)[2].min() == pytest.approx(1)
        Prediction(batch_size=1, pictures=1).check(spec)
    else:
        with pytest.raises(ValueError, match=f"windows of 11 x 11 .* are of {height} x {width}: set dataset.side to"):
            Prediction(batch_size=1, pictures=1).check(spec)


@pytest.mark.parametrize("wrong", ["batch_size", "pictures"])
def test_refusals(wrong: str) -> None:
    with pytest.raises(ValueError, match=rf"evaluation\.prediction\.{wrong} is 0"):
        Prediction(**{"batch_size": 1, "pictures": 1} | {wrong: 0})
