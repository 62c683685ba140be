"""NNCLR: the loss in loops, and a queue that only `after_step` fills."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.interfaces import Batch, ImageSpec, Views
from ssl_runner.objectives.nnclr import NNCLR

SPEC = ImageSpec(channels=1, height=8, width=8)
TEMPERATURE = 0.3


class Pair(Views):
    """The image and its mirror image."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((x, x.flip(3)))


def objective(**changed: object) -> NNCLR:
    torch.manual_seed(0)
    settings = {"views": Pair(), "projector": [6, 5], "predictor": [7], "temperature": TEMPERATURE, "queue": 8}
    return NNCLR(ConvNet(SPEC, widths=[4, 8], norm="batch"), SPEC, **settings | changed)


def batch(seed: int = 0) -> Batch:
    torch.manual_seed(seed)
    return Batch(torch.rand(5, 1, 8, 8), torch.arange(5), torch.arange(5))


def test_the_loss_is_the_papers_one_view_at_a_time() -> None:
    model = objective().eval()
    x, y = model.split(batch())
    total = 0.0
    with torch.no_grad():
        for seen, other in ((x, y), (y, x)):
            z = model.projector(model.encoder(seen).pooled)
            guess = F.normalize(model.predictor(model.projector(model.encoder(other).pooled)), dim=1)
            for i in range(5):
                likeness = [(z[i] @ key / z[i].norm()).item() for key in model.queue.keys]
                neighbor = model.queue.keys[likeness.index(max(likeness))]
                scores = [math.exp((neighbor @ each).item() / TEMPERATURE) for each in guess]
                total -= math.log(scores[i] / sum(scores))
        found = model.loss(x, y)
    assert found.value.item() == pytest.approx(total / 10, rel=1e-5)


def test_the_queue_holds_the_first_views_of_a_batch_after_the_step() -> None:
    model = objective().eval()
    x, y = model.split(batch())
    before = model.queue.keys.clone()
    with torch.no_grad():
        found = model.loss(x, y)
        assert torch.equal(model.queue.keys, before)
        model.after_step([found.carry], 0.5)
        z = F.normalize(model.projector(model.encoder(x).pooled), dim=1)
    torch.testing.assert_close(model.queue.keys[:5], z)
    assert torch.equal(model.queue.keys[5:], before[5:])


def test_with_its_own_embeddings_in_the_queue_a_view_is_its_own_neighbor() -> None:
    model = objective(queue=5).eval()
    x, y = model.split(batch())
    with torch.no_grad():
        model.after_step([model.loss(x, y).carry], 0.5)
        assert model.loss(x, x).logs["neighbor_similarity"].item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"temperature": 0.0}, r"objective\.temperature is 0\.0"),
        ({"queue": 0}, r"objective\.queue is 0"),
        ({"projector": [4, 0]}, r"objective\.projector is \[4, 0\]"),
    ],
)
def test_bad_values_are_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        objective(**changed)
