import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from findings import metric, value
from torch import Tensor, nn

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.backbones.vit import ViT
from ssl_runner.evaluation.any.subject import FrozenSubject, evaluating, seeded
from ssl_runner.evaluation.images.reconstruction import Reconstruction
from ssl_runner.interfaces import Batch, Examples, Finding, ImageSpec, Loss, Objective
from ssl_runner.nn.color import rgb_to_lab
from ssl_runner.objectives.colorization import Colorization
from ssl_runner.objectives.inpainting import Inpainting
from ssl_runner.objectives.mae import MAE
from ssl_runner.results.metrics import Better

SPEC = ImageSpec(channels=3, height=8, width=8)


class Sparse:
    """Black images with one pixel of ten in a random color."""

    spec = SPEC

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.splits = {}
        for split, n in (("train", 50), ("test", 40), ("val", 10)):
            lit = torch.rand(n, 1, 8, 8, generator=generator) < 0.1
            data = torch.randint(128, 256, (n, 3, 8, 8), generator=generator) * lit
            self.splits[split] = Examples(data.to(torch.uint8), torch.full((n,), -1))

    def examples(self, split: str) -> Examples:
        return self.splits[split]


def masked_autoencoder(ratio: float = 0.75) -> MAE:
    torch.manual_seed(0)
    encoder = ViT(SPEC, dim=16, depth=1, heads=2, patch=2, mlp_ratio=2.0, pool="mean", drop_path=0.0)
    decoder = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
    return MAE(encoder, SPEC, ratio=ratio, mask="random", target="pixels", crop_scale=(1, 1), flip=0.0, **decoder)


def context_encoder() -> Inpainting:
    torch.manual_seed(0)
    encoder = ConvNet(SPEC, widths=[8, 8], norm="batch")
    hole = {"hole": "blocks", "part": 0.3, "blocks": 3}
    judge = {"adversary": 0.0, "fooling": "minimax", "clamp": False, "judge_widths": [8], "judge_lr_scale": 0.1}
    return Inpainting(encoder, SPEC, decoder_widths=[8, 8], **hole, **judge)


def colorization() -> Colorization:
    torch.manual_seed(0)
    encoder = ConvNet(SPEC, widths=[8, 8], norm="batch")
    colors = {"step": 10.0, "uniform": 0.5, "smoothing": 5.0, "temperature": 0.38}
    return Colorization(encoder, SPEC, cell=2, head=8, **colors)


def reconstruct(objective: Objective) -> Finding:
    asked = FrozenSubject(objective.encoder, Sparse(), seed=3, device=torch.device("cpu"), batch_size=8)
    return Reconstruction(batch_size=40, pictures=1)(objective, asked)


def test_what_is_shown_counts_for_nothing() -> None:
    """An untrained masked autoencoder, which says black, is worse than the mean image: it may not copy what it sees."""
    found = reconstruct(masked_autoencoder())
    for split in ("test", "val"):
        assert value(found, "mse", split) > value(found, "mse_mean_image", split)
    expected = {"pixels": "hidden patches", "mask": "random", "ratio": 0.75, "patch": 2}
    assert expected.items() <= found.protocol.terms["hides"].items()


def test_pixels_of_another_kind_are_told_apart() -> None:
    asked = (masked_autoencoder(0.5), masked_autoencoder(), context_encoder())
    terms = [reconstruct(each).protocol.terms for each in asked]
    for place, each in enumerate(terms):
        assert each not in terms[:place]


@pytest.mark.parametrize("make", [masked_autoencoder, context_encoder, colorization])
def test_hidden_values_by_loops(make) -> None:
    """What was hidden, image by image and value by value, of the task that the evaluation drew."""
    objective, data = make(), Sparse()
    found = reconstruct(objective)
    train, truth = (SPEC.to_input(data.examples(split).data) for split in ("train", "test"))
    with evaluating(objective), seeded(3), torch.inference_mode():
        x, _ = objective.split(Batch(truth, torch.full((40,), -1), torch.arange(40)))
        made = objective.reconstruct(x)
    if isinstance(objective, Colorization):
        hidden = np.ones((40, 2, 8, 8), bool)
        train, truth, made = ((rgb_to_lab(image)[:, 1:] + 128) / 255 for image in (train, truth, made))
    elif isinstance(objective, MAE):
        hidden = np.ones((40, 3, 8, 8), bool)
        for b in range(40):
            for place in x.keep[b].tolist():
                row, column = divmod(place, 4)
                hidden[b, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = False
    else:
        hidden = x.hole.numpy().repeat(3, axis=1)
    for name, image in (("", made), ("_mean_image", train.mean(dim=0).expand_as(truth))):
        errors = [
            [(image[place] - truth[place]).item() ** 2 for place in zip(*np.nonzero(hidden[b : b + 1]), strict=True)]
            for b, (image, truth) in enumerate(zip(image.split(1), truth.split(1), strict=True))
        ]
        every = [error for each in errors for error in each]
        assert value(found, f"mse{name}") == pytest.approx(np.mean(every), rel=1e-4)
        by_image = [10 * math.log10(1 / np.mean(each)) for each in errors]
        assert value(found, f"psnr{name}") == pytest.approx(np.mean(by_image), rel=1e-4)
    assert value(found, "psnr_pooled") == pytest.approx(10 * math.log10(1 / value(found, "mse")), rel=1e-4)
    assert value(found, "psnr_pooled") < value(found, "psnr")


def test_an_objective_that_hides_nothing_is_refused(subject) -> None:
    class Shows(Noisy):
        def hidden(self, x: Shown) -> Tensor:
            return torch.zeros_like(x.image, dtype=torch.bool)

    with pytest.raises(ValueError, match="masked nothing"):
        Reconstruction(batch_size=50, pictures=3)(Shows(1.0), subject("label"))


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

    def compared(self, image: Tensor) -> Tensor:
        return image

    def hidden(self, x: Shown) -> Tensor:
        return torch.ones_like(x.image, dtype=torch.bool)

    def hides(self) -> dict[str, str]:
        return {"pixels": "all"}


@pytest.mark.parametrize("batch_size", [7, 100])
def test_error_by_hand(subject, table, batch_size):
    found = Reconstruction(batch_size=batch_size, pictures=3)(Noisy(1.0), subject("label"))
    assert value(found, "mse") == pytest.approx(0.01, rel=1e-4)  # each value is off by 0.1; no dropout in eval mode
    assert value(found, "psnr") == pytest.approx(20, abs=1e-3)
    train, test = (table.examples(split).data.numpy() / 255 for split in ("train", "test"))
    assert value(found, "mse_mean_image") == pytest.approx(np.mean((test - train.mean(0)) ** 2), rel=1e-4)
    first = metric(found, "mse")
    assert (first.headline, first.better) == (True, Better.LOWER)


def test_a_perfect_answer_is_finite(subject):
    class Perfect(Noisy):
        def split(self, batch):
            return Shown(batch.data, batch.index), batch.data

    found = Reconstruction(batch_size=50, pictures=3)(Perfect(1.0), subject("label"))
    assert value(found, "mse") == 0
    assert value(found, "psnr") == 100
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
    assert math.isfinite(value(first, "psnr"))


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"pictures": 0}], ids=str)
def test_refusals(wrong):
    with pytest.raises(ValueError, match=rf"evaluation\.reconstruction\.{next(iter(wrong))} is 0"):
        Reconstruction(**{"batch_size": 10, "pictures": 3} | wrong)
