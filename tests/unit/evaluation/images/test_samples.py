from collections.abc import Mapping

import numpy as np
import pytest
import torch
from findings import keys, value
from torch import Tensor

from ssl_runner.evaluation.images.samples import Samples, energy_distance
from ssl_runner.figures import Pictures
from ssl_runner.interfaces import Batch, Finding, Loss, Objective


def cloud(n: int, shift: float = 0.0, seed: int = 0) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)) + shift


class Prior(Objective[Tensor, Tensor]):
    """A code is the first pixels, an image as bright as the code's mean."""

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.latent = latent

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.data, batch.data

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        return Loss(x.sum())

    def encode(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, : self.latent]

    def decode(self, z: Tensor) -> Tensor:
        return z.mean(dim=1)[:, None, None, None].expand(-1, 1, 3, 4).clamp(0, 1)

    def sample(self, n: int) -> Tensor:
        return self.decode(torch.randn(n, self.latent))


def test_energy_distance_is_the_double_loop() -> None:
    x, y = cloud(7), cloud(5, seed=1)

    def mean(a: Tensor, b: Tensor, same: bool) -> float:
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not (same and i == j)]
        return sum((a[i] - b[j]).norm().item() for i, j in pairs) / len(pairs)

    expected = 2 * mean(x, y, False) - mean(x, x, True) - mean(y, y, True)
    assert energy_distance(x, y) == pytest.approx(expected, rel=1e-5)
    assert energy_distance(x[:, :, None], y[:, :, None]) == pytest.approx(expected, rel=1e-5)


def test_energy_distance_tells_clouds_apart() -> None:
    assert abs(energy_distance(cloud(2000), cloud(2000, seed=1))) < 0.01
    assert energy_distance(cloud(2000), cloud(2000, shift=1.0, seed=1)) > 0.3
    assert energy_distance(torch.zeros(3, 1), torch.ones(3, 1)) == 2


def test_the_metrics(subject) -> None:
    found = Samples(examples=40, rows=2, columns=3)(Prior(5), subject("label"))
    names = ("energy_distance", "energy_distance_train")
    assert keys(found) == [(name, split, ()) for split in ("test", "val") for name in names]
    for split in ("test", "val"):
        assert value(found, "energy_distance", split) > 5 * abs(value(found, "energy_distance_train", split))
    assert {"test examples": 40, "val examples": 30, "samples": 40}.items() <= found.protocol.measured.items()
    assert set(found.figures) == {"samples from the prior", "between two images"}
    assert Samples(examples=7, rows=1, columns=2)(Prior(5), subject("label")).protocol.measured["test examples"] == 7


def pictures(found: Finding, title: str) -> Mapping[str, np.ndarray]:
    figure = found.figures[title]
    assert isinstance(figure, Pictures)
    return figure.rows


def test_the_way_between_two_images(subject, table) -> None:
    rows = pictures(Samples(examples=40, rows=2, columns=3)(Prior(12), subject("label")), "between two images")
    assert list(rows) == ["pair 1", "pair 2"]
    pair = rows["pair 2"]
    assert pair.shape == (5, 3, 4)
    everything = table.examples("test").data[:, 0].numpy() / 255
    first, last = (np.abs(everything - end).max(axis=(1, 2)).min() for end in (pair[0], pair[-1]))
    assert max(first, last) < 1e-6  # two images of test
    brightness = pair.mean(axis=(1, 2))
    assert brightness[1:4] == pytest.approx([brightness[0], brightness[[0, 4]].mean(), brightness[4]], abs=1e-6)


def test_the_manifold_of_two_numbers(subject) -> None:
    rows = pictures(Samples(examples=10, rows=1, columns=3)(Prior(2), subject("label")), "manifold")
    assert list(rows) == ["second number 2.05", "second number 0.00", "second number -2.05"]
    below = [picture[0, 0] for picture in rows["second number -2.05"]]
    assert below == pytest.approx([0, 0, 0], abs=1e-4)  # the mean of (a, -2.05), at most 0
    middle = [picture[0, 0] for picture in rows["second number 0.00"]]
    assert middle == pytest.approx([0, 0, 1], abs=1e-4)  # that of (a, 0), cut at 0 and 1: a is 2.05 in the end


def test_fewer_images_than_pictures(subject) -> None:
    figures = Samples(examples=3, rows=4, columns=5)(Prior(2), subject("label")).figures
    assert [len(row) for row in figures["samples from the prior"].rows.values()] == [3]
    assert list(figures["between two images"].rows) == ["pair 1"]


@pytest.mark.parametrize("wrong", [{"examples": 1}, {"rows": 0}, {"columns": 1}], ids=str)
def test_refusals(wrong) -> None:
    with pytest.raises(ValueError, match=rf"evaluation\.samples\.{next(iter(wrong))} is"):
        Samples(**{"examples": 10, "rows": 2, "columns": 3} | wrong)
