"""iBOT: both terms in loops over views and patches; teacher, centers and temperatures that only `after_step` moves."""

import math

import pytest
import torch
from torch import Tensor

from ssl_runner.backbones.vit import ViT
from ssl_runner.interfaces import Batch, ImageSpec, Views
from ssl_runner.nn.masks import hide_blocks
from ssl_runner.objectives.ibot import IBOT, MaskedViews

SPEC = ImageSpec(channels=1, height=12, width=12)


class Mirrored(Views):
    """The image and its mirror image."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((x, x.flip(3)))


def objective(**changed: object) -> IBOT:
    torch.manual_seed(0)
    settings = {
        "views": Mirrored(), "mask_probability": 0.5, "mask_ratio": (0.2, 0.6), "patch_weight": 2.0,
        "projector": [6, 5], "prototypes": 4, "student_temperature": 0.3, "teacher_temperature": (0.1, 0.2),
        "patch_temperature": (0.15, 0.25), "temperature_warmup": 0.5, "momentum": 0.8, "momentum_schedule": "cosine",
        "center_momentum": 0.9, "exported": "teacher",
    }  # fmt: skip
    encoder = ViT(SPEC, dim=16, depth=1, heads=2, patch=4, mlp_ratio=2.0, pool="mean", drop_path=0.0)
    return IBOT(encoder, SPEC, **settings | changed)


def move(model: IBOT) -> None:
    """What an optimizer would do: change every weight that learns."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)


def drawn(model: IBOT) -> tuple[MaskedViews, Tensor]:
    torch.manual_seed(1)
    return model.split(Batch(torch.rand(5, 1, 12, 12), torch.arange(5), torch.arange(5)))


def softmax(scores: list[float]) -> list[float]:
    total = sum(math.exp(each) for each in scores)
    return [math.exp(each) / total for each in scores]


def cross_entropy(model: IBOT, taught: Tensor, center: Tensor, temperature: float, scores: Tensor) -> float:
    p = softmax(((taught - center) / temperature).tolist())
    q = softmax((scores / model.student_temperature).tolist())
    return -sum(a * math.log(b) for a, b in zip(p, q, strict=True))


def test_the_loss_is_the_papers_one_view_and_one_patch_at_a_time() -> None:
    model = objective().eval()
    move(model)
    model.image_center.copy_(torch.tensor([0.1, -0.2, 0.3, 0.0]))
    model.patch_center.copy_(torch.tensor([0.0, 0.2, -0.1, 0.1]))
    x, y = drawn(model)
    of_images, of_patches = [], []
    with torch.no_grad():
        seen = [model.encoder(model.fill(x.views[v], x.masked[v])) for v in range(2)]
        whole = [model.teacher_encoder.module(y[v]) for v in range(2)]
        scores = [(model.head(each.pooled), model.head(each.tokens)) for each in seen]
        taught = [(model.teacher_head.module(each.pooled), model.teacher_head.module(each.tokens)) for each in whole]
        for v in range(2):
            for i in range(5):
                of_images.append(cross_entropy(model, taught[v][0][i], model.image_center, 0.1, scores[1 - v][0][i]))
                masked = x.masked[v, i].nonzero().flatten().tolist()
                costs = [
                    cross_entropy(model, taught[v][1][i, n], model.patch_center, 0.15, scores[v][1][i, n])
                    for n in masked
                ]
                of_patches.append(sum(costs) / max(len(costs), 1))
        found = model.loss(x, y)
    assert 0 < sum(each > 0 for each in of_patches) < 10  # some views are not masked
    expected = sum(of_images) / 10 + 2 * sum(of_patches) / 10
    assert found.value.item() == pytest.approx(expected, rel=1e-4)


def test_shares_of_masks_lie_in_their_range() -> None:
    torch.manual_seed(0)
    shares = hide_blocks(200, (8, 8), (0.1, 0.5), torch.device("cpu")).float().mean(dim=1)
    assert shares.min() >= 6 / 64
    assert shares.max() <= 0.5
    assert shares.std() > 0.08


def test_teacher_centers_and_temperatures_move_after_the_step() -> None:
    model = objective()
    x, y = drawn(model)
    found = model.loss(x, y)
    found.value.backward()
    assert all(p.grad is None for p in (*model.teacher_encoder.parameters(), *model.teacher_head.parameters()))
    move(model)
    before = [p.clone() for p in model.teacher_head.parameters()]
    model.after_step([found.carry], 0.5)  # momentum 0.9, both temperatures are warm
    for held, then, learned in zip(model.teacher_head.parameters(), before, model.head.parameters(), strict=True):
        torch.testing.assert_close(held, 0.9 * then + 0.1 * learned)
    torch.testing.assert_close(model.image_center, 0.1 * found.carry.image)
    torch.testing.assert_close(model.patch_center, 0.1 * found.carry.patch)
    torch.testing.assert_close(model.temperatures, torch.tensor([0.2, 0.25]))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mask_probability": 0.0}, r"objective\.mask_probability is 0\.0"),
        ({"mask_ratio": (0.5, 0.1)}, r"objective\.mask_ratio is \[0\.5, 0\.1\]"),
        ({"patch_weight": -1.0}, r"objective\.patch_weight is -1\.0"),
        ({"patch_temperature": (0.0, 0.1)}, r"objective\.patch_temperature is \[0\.0, 0\.1\]"),
    ],
)
def test_bad_values_are_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        objective(**changed)
