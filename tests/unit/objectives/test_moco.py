"""MoCo: the loss in loops, and a queue and a key network that only `after_step` moves."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.interfaces import Batch, ImageSpec, Views
from ssl_runner.losses.rules import InfoNCE
from ssl_runner.objectives.moco import MoCo

SPEC = ImageSpec(channels=1, height=8, width=8)
TEMPERATURE = 0.3


class Pair(Views):
    """The image and its mirror image."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((x, x.flip(3)))


def contrast(**changed: object) -> MoCo:
    torch.manual_seed(0)
    settings = {
        "views": Pair(),
        "loss": InfoNCE(temperature=TEMPERATURE, learn_temperature=False, prior=0.0),
        "projector": [6, 5],
        "projector_norm": "none",
        "projector_last_norm": "none",
        "predictor": [],
        "predictor_last_norm": "none",
        "symmetric": False,
        "momentum_schedule": "constant",
        "queue": 8,
        "momentum": 0.9,
    } | changed
    return MoCo(ConvNet(SPEC, widths=[4, 8], norm="batch"), SPEC, **settings)


def batch(seed: int = 0) -> Batch:
    torch.manual_seed(seed)
    return Batch(torch.rand(5, 1, 8, 8), torch.arange(5), torch.arange(5))


def move(objective: MoCo) -> None:
    """What an optimizer would do: change every weight that learns."""
    with torch.no_grad():
        for parameter in objective.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)


def test_the_loss_is_the_papers_one_query_at_a_time() -> None:
    objective = contrast().eval()
    move(objective)
    x, y = objective.split(batch())
    with torch.no_grad():
        q = objective.projector(objective.encoder(x).pooled)
        k = objective.key_projector.module(objective.key_encoder.module(y).pooled)
        found = objective.loss(x, y)
    total, bound = 0.0, math.log(1 + 8)
    for i in range(5):
        positive = (q[i] @ k[i] / q[i].norm() / k[i].norm()).item()
        negatives = [(q[i] @ held / q[i].norm()).item() for held in objective.queue.keys]  # which are of length 1
        scores = [math.exp(each / TEMPERATURE) for each in (positive, *negatives)]
        total -= math.log(scores[0] / sum(scores))
    assert found.value.item() == pytest.approx(total / 5, rel=1e-5)
    assert found.logs["information_bound"].item() == pytest.approx(bound - total / 5, rel=1e-5)


def test_against_lightly() -> None:
    theirs = pytest.importorskip("lightly.loss").NTXentLoss(temperature=TEMPERATURE, memory_bank_size=(8, 5))
    objective = contrast().eval()
    move(objective)
    x, y = objective.split(batch())
    with torch.no_grad():
        theirs.memory_bank.bank = objective.queue.keys.clone()
        theirs.memory_bank.bank_ptr = torch.zeros(1, dtype=torch.long)
        q = objective.projector(objective.encoder(x).pooled)
        k = objective.key_projector(objective.key_encoder(y).pooled)
        assert objective.loss(x, y).value.item() == pytest.approx(theirs(q, k).item(), rel=1e-5)


def test_a_step_moves_the_key_network_and_the_queue() -> None:
    objective = contrast()
    x, y = objective.split(batch())
    keys, weights = objective.queue.keys.clone(), copy.deepcopy(list(objective.key_encoder.parameters()))
    loss = objective.loss(x, y)
    assert torch.equal(objective.queue.keys, keys)
    assert not loss.carry.requires_grad
    move(objective)
    objective.after_step([loss.carry], 0.5)
    torch.testing.assert_close(objective.queue.keys[:5], loss.carry)
    torch.testing.assert_close(loss.carry.norm(dim=1), torch.ones(5))
    assert torch.equal(objective.queue.keys[5:], keys[5:])
    learned = objective.encoder.parameters()
    for now, then, source in zip(objective.key_encoder.parameters(), weights, learned, strict=True):
        torch.testing.assert_close(now, 0.9 * then + 0.1 * source)


def test_what_is_in_the_queue_is_pushed_away() -> None:
    """With the batch's own keys in the queue the loss is higher than with their opposites."""
    objective = contrast(queue=5)
    x, y = objective.split(batch())
    keys = objective.loss(x, y).carry
    found = []
    for sign in (1, -1):
        objective.queue.push(sign * keys, torch.full((5,), -1))
        found.append(objective.loss(x, y).value.item())
    assert found[0] > found[1]


def test_accuracy_is_whether_the_key_is_nearest() -> None:
    objective = contrast(queue=5).eval()
    x, _ = objective.split(batch())
    assert objective.loss(x, x).logs["accuracy"].item() == 1  # key network and query network are one at the start
    z = objective.projector(objective.encoder(x).pooled)
    objective.queue.push(F.normalize(z, dim=1), torch.full((5,), -1))
    assert objective.loss(x, x.flip(3)).logs["accuracy"].item() == 0


def test_each_view_is_a_query_and_the_keys_of_the_batch_are_the_negatives() -> None:
    """MoCo v3, up to its factor of 4 temperature, with its heads."""
    objective = contrast(
        symmetric=True, queue=0, predictor=[7], projector_norm="batch", projector_last_norm="batch",
        predictor_last_norm="batch", momentum_schedule="cosine",
    ).eval()  # fmt: skip
    move(objective)
    x, y = objective.split(batch())
    losses = []
    with torch.no_grad():
        for seen, other in ((x, y), (y, x)):
            q = objective.predictor(objective.projector(objective.encoder(seen).pooled))
            k = objective.key_projector(objective.key_encoder(other).pooled)
            scores = F.normalize(q, dim=1) @ F.normalize(k, dim=1).T / TEMPERATURE
            losses.append(F.cross_entropy(scores, torch.arange(5)))
        found = objective.loss(x, y)
    assert found.value.item() == pytest.approx(sum(losses).item() / 2, rel=1e-5)
    before = copy.deepcopy(list(objective.key_projector.parameters()))
    objective.after_step([found.carry], 1.0)  # where half a cosine ends at a momentum of 1
    assert all(torch.equal(a, b) for a, b in zip(before, objective.key_projector.parameters(), strict=True))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"queue": -1}, r"objective\.queue is -1"),
        ({"momentum": 1.5}, r"objective\.momentum is 1\.5"),
        ({"projector": []}, r"objective\.projector is \[\]"),
    ],
)
def test_bad_values_are_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        contrast(**changed)
