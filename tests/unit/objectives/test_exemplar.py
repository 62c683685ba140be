"""Exemplar: each example its own class."""

import pytest
import torch
import torch.nn.functional as F

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.interfaces import Batch, ImageSpec, Views
from ssl_runner.objectives.exemplar import Exemplar


class Shades(Views):
    """Darker and darker views."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x, 0.5 * x, 0.25 * x])


def exemplar(size: int = 50, most: int = 100) -> Exemplar:
    torch.manual_seed(0)
    spec = ImageSpec(channels=1, height=8, width=8, size=size)
    return Exemplar(ConvNet(spec, widths=[8], norm="batch"), spec, views=Shades(), most=most).eval()


IMAGES = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
BATCH = Batch(IMAGES, -torch.ones(4), torch.tensor([7, 0, 49, 7]))


def test_the_loss_is_the_cross_entropy_of_each_view() -> None:
    task = exemplar()
    x, y = task.split(BATCH)
    assert torch.equal(y, BATCH.index)
    value = task.loss(x, y)
    terms = [
        F.cross_entropy(task.head(task.encoder(x[v, b][None]).pooled)[0], y[b]) for v in range(3) for b in range(4)
    ]
    torch.testing.assert_close(value.value, torch.stack(terms).mean())
    assert value.logs["chance"].item() == pytest.approx(1 / 50)


def test_views_vote() -> None:
    task = exemplar()
    x, _ = task.split(BATCH)
    with torch.no_grad():
        votes = sum(task.head(task.encoder(view).pooled).log_softmax(dim=1) for view in x)
        assert torch.equal(task.predict(x), votes.argmax(dim=1))


def test_held_out_places_beyond_the_classes_are_wrapped() -> None:
    task = exemplar(size=5)
    x, y = task.split(BATCH)
    assert task.loss(x, y).value == task.loss(x, torch.tensor([2, 0, 4, 2])).value


def test_before_data_are_read_there_is_something_to_rehearse_with() -> None:
    task = exemplar(size=0)
    assert torch.isfinite(task.loss(*task.split(BATCH)).value)


def test_too_many_examples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"objective\.most is 100; objective=exemplar has a class for each of 101 ex"):
        exemplar(size=101)
    with pytest.raises(ValueError, match=r"objective\.most is 1; it must be at least 2"):
        exemplar(most=1)
