"""SwAV: the loss in loops over pairs of crops, with an assignment of its own."""

import math

import pytest
import torch
from torch import Tensor

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.interfaces import Batch, ImageSpec, Views
from ssl_runner.objectives.swav import SwAV

SPEC = ImageSpec(channels=1, height=8, width=8)


class Mirrored(Views):
    """The image and its mirror image."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((x, x.flip(3)))


class Corners(Views):
    """Three corners."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((x[:, :, :4, :4], x[:, :, 4:, :4], x[:, :, 4:, 4:]))


def objective(**changed: object) -> SwAV:
    torch.manual_seed(0)
    settings = {
        "views": Mirrored(), "small_views": Corners(), "projector": [6, 5], "prototypes": 3, "temperature": 0.2,
        "epsilon": 0.1, "iterations": 2, "scale_prototypes": "read", "freeze_prototypes": 0.0, "queue": 0,
        "queue_start": 0.0,
    }  # fmt: skip
    return SwAV(ConvNet(SPEC, widths=[4, 8], norm="batch"), SPEC, **settings | changed)


def drawn(model: SwAV) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return model.split(Batch(torch.rand(6, 1, 8, 8), torch.arange(6), torch.arange(6)))


def cosines(model: SwAV, crop: Tensor) -> list[list[float]]:
    """(B, K) of one crop."""
    z = model.projector(model.encoder(crop).pooled)
    rows = model.prototypes.weight
    return [[(u @ c / u.norm() / c.norm()).item() for c in rows] for u in z]


def assign(scores: list[list[float]]) -> list[list[float]]:
    q = [[math.exp(each / 0.1) for each in row] for row in scores]
    for _ in range(2):
        used = [sum(row[k] for row in q) for k in range(3)]
        q = [[row[k] / used[k] for k in range(3)] for row in q]
        q = [[each / sum(row) for each in row] for row in q]
    return q


def test_the_loss_is_the_papers_one_pair_at_a_time() -> None:
    model = objective().eval()
    with torch.no_grad():
        model.prototypes.weight.mul_(3)  # lengths do not count
        x, y = drawn(model)
        large, small = ([cosines(model, crop) for crop in crops] for crops in (y, x))
        found = model.loss(x, y)
    terms = []
    for v, scores in enumerate(large):
        code = assign(scores)
        for w, other in enumerate(large + small):
            if v == w:
                continue
            for i in range(6):
                normalizer = math.log(sum(math.exp(each / 0.2) for each in other[i]))
                terms.append(-sum(code[i][k] * (other[i][k] / 0.2 - normalizer) for k in range(3)))
    assert len(terms) == 2 * 4 * 6
    assert found.value.item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_against_lightly() -> None:
    theirs = pytest.importorskip("lightly.loss").SwaVLoss(temperature=0.2, sinkhorn_iterations=2, sinkhorn_epsilon=0.1)
    model = objective().eval()
    with torch.no_grad():
        x, y = drawn(model)
        large, small = ([torch.tensor(cosines(model, crop)) for crop in crops] for crops in (y, x))
        assert model.loss(x, y).value.item() == pytest.approx(theirs(large, small).item(), rel=1e-5)


def test_no_gradient_goes_through_the_assignment() -> None:
    """The gradient is that of the cross-entropy with the code held constant: p - q at each score."""
    model = objective().eval()
    x, y = drawn(model)
    model.loss(x, y).value.backward()
    found = model.prototypes.weight.grad.clone()
    model.zero_grad()
    z = model.projector(torch.cat([model.encoder(crops.flatten(0, 1)).pooled for crops in (y, x)]))
    scores = model.prototypes(z).unflatten(0, (5, 6))
    code = torch.tensor([assign(each) for each in scores[:2].tolist()])
    p = (scores.detach() / 0.2).softmax(-1)
    slope = torch.zeros_like(scores)
    for v in range(2):
        for w in range(5):
            if v != w:
                slope[w] += (p[w] - code[v]) / 0.2 / (2 * 4 * 6)
    scores.backward(slope)
    torch.testing.assert_close(model.prototypes.weight.grad, found, rtol=1e-4, atol=1e-6)


def test_one_prototype_for_all_shows_in_the_logs() -> None:
    model = objective(temperature=0.01).eval()
    x, y = drawn(model)
    with torch.no_grad():
        z = model.projector(model.encoder(y[0]).pooled)
        model.prototypes.weight.copy_(torch.stack((z.mean(0), -z.mean(0), -z.mean(0))))
        model.projector.layers[-1].weight.zero_()
        model.projector.layers[-1].bias.copy_(z.mean(0))
        logs = model.loss(x, y).logs
    assert logs["prototypes_in_use"].item() == pytest.approx(1)
    assert logs["output_std"].item() == pytest.approx(0, abs=1e-6)


def test_the_queue_joins_the_assignment_once_it_starts() -> None:
    """With a queue of as many as the batch, which hold the batch itself, the assignment is what it is without."""
    plain, model = objective().eval(), objective(queue=6, queue_start=0.5).eval()
    x, y = drawn(model)
    found = model.loss(x, y)
    assert found.value.item() == pytest.approx(plain.loss(x, y).value.item(), rel=1e-5)
    other = torch.randn(2, 6, 5)
    model.after_step([other], 0.4)
    assert model.loss(x, y).value.item() == found.value.item()  # it is filled, and does not take part yet
    model.after_step([other], 0.6)
    with torch.no_grad():
        scores = torch.stack([torch.tensor(cosines(model, crop)) for crop in y])
        held = torch.nn.functional.normalize(other, dim=2) @ model.prototypes.weight.T
        both = torch.cat((scores, held), dim=1)
        code = torch.tensor([assign(each) for each in both.tolist()])[:, :6]
    torch.testing.assert_close(model._assign(scores, torch.zeros(2, 6, 5)), code, rtol=1e-4, atol=1e-5)


def test_prototypes_scaled_after_a_step_and_frozen_at_first() -> None:
    model = objective(scale_prototypes="step", freeze_prototypes=0.1)
    x, y = drawn(model)
    same = model.loss(x, y).value
    with torch.no_grad():
        model.prototypes.weight.mul_(3)
        assert model.loss(x, y).value != same  # lengths count
    model.after_step([None], 0.0)
    torch.testing.assert_close(model.loss(x, y).value, same)
    assert model.frozen(0.05) == [model.prototypes.weight]
    assert model.frozen(0.1) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"prototypes": 1}, r"objective\.prototypes is 1"),
        ({"temperature": 0.0}, r"objective\.temperature is 0"),
        ({"epsilon": -0.1}, r"objective\.epsilon is -0\.1"),
        ({"iterations": 0}, r"objective\.iterations is 0"),
        ({"projector": []}, r"objective\.projector is \[\]"),
    ],
)
def test_bad_values_are_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        objective(**changed)
