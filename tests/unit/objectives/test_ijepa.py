"""I-JEPA: the loss block by block, what predictions may depend on, and a teacher that only `after_step` moves."""

import copy

import pytest
import torch
from torch import Tensor

from ssl_runner.backbones.vit import ViT
from ssl_runner.interfaces import Batch, ImageSpec
from ssl_runner.nn.patches import patchify
from ssl_runner.objectives.ijepa import IJEPA, Context, Targets

SPEC = ImageSpec(channels=3, height=24, width=24)
BATCH = Batch(torch.rand(5, 3, 24, 24, generator=torch.Generator().manual_seed(0)), torch.zeros(5), torch.arange(5))


def objective(**changed: object) -> IJEPA:
    torch.manual_seed(0)
    settings = {
        "targets": 3, "target_scale": (0.15, 0.2), "target_ratio": (0.75, 1.5), "context_scale": (0.85, 1.0),
        "predictor_dim": 16, "predictor_depth": 2, "predictor_heads": 2, "momentum": 0.9,
        "momentum_schedule": "linear", "exported": "teacher",
    }  # fmt: skip
    encoder = ViT(SPEC, dim=20, depth=1, heads=2, patch=4, mlp_ratio=2.0, pool="mean", drop_path=0.0)
    return IJEPA(encoder, SPEC, **settings | changed)


def move(model: IJEPA) -> None:
    """What an optimizer would do: change every weight that learns."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)


def drawn(model: IJEPA) -> tuple[Context, Targets]:
    torch.manual_seed(1)
    return model.split(BATCH)


def smooth(d: Tensor) -> float:
    return sum(v * v / 2 if abs(v) < 1 else abs(v) - 0.5 for v in d.tolist()) / len(d)


def test_the_loss_is_that_of_each_block_by_itself() -> None:
    model = objective().eval()
    move(model)  # so that the teacher differs from the network
    x, y = drawn(model)
    errors = []
    with torch.no_grad():
        for i in range(5):
            known = model.encoder(x.image[i : i + 1], x.keep[i : i + 1]).tokens
            seen = model.teacher.module(BATCH.data[i : i + 1]).tokens[0]
            for block in y.asked[i]:
                found = model.predictor(known, x.keep[i : i + 1], block[None, None])[0, 0]
                for place, guess in zip(block.tolist(), found, strict=True):
                    token = seen[place]
                    target = (token - token.mean()) / (token.var(correction=0) + 1e-5).sqrt()
                    errors.append(smooth(guess - target))
        assert model.loss(x, y).value.item() == pytest.approx(sum(errors) / len(errors), rel=1e-4)


def test_the_context_shows_nothing_of_the_targets() -> None:
    model = objective()
    for seed in range(5):
        torch.manual_seed(seed)
        x, y = model.split(BATCH)
        patches = patchify(x.image, 4)
        for i in range(5):
            assert not set(x.keep[i].tolist()) & set(y.asked[i].flatten().tolist())
            shown = set((patches[i] != 0.5).any(dim=1).nonzero().flatten().tolist())
            assert shown == set(x.keep[i].tolist())
        assert x.keep.shape[1] >= 2


def test_the_encoder_reads_only_the_context() -> None:
    model = objective().eval()
    x, y = drawn(model)
    other = torch.where(x.image == 0.5, torch.rand_like(x.image), x.image)
    with torch.no_grad():
        assert torch.equal(model.loss(x, y).value, model.loss(x._replace(image=other), y).value)


@pytest.mark.parametrize("kept", ["teacher", "student"])
def test_the_teacher_gets_no_gradient_and_follows_by_a_line(kept: str) -> None:
    model = objective(exported=kept)
    assert model.exported is (model.teacher.module if kept == "teacher" else model.encoder)
    model.loss(*drawn(model)).value.backward()
    assert all(p.grad is None for p in model.teacher.parameters())
    before = copy.deepcopy([*model.teacher.parameters()])
    move(model)
    model.after_step([None], 0.5)  # halfway from 0.9 to 1
    for held, then, learned in zip(model.teacher.parameters(), before, model.encoder.parameters(), strict=True):
        torch.testing.assert_close(held, 0.95 * then + 0.05 * learned)


def test_a_collapse_shows_in_the_logs() -> None:
    model = objective().eval()
    with torch.no_grad():
        for parameter in model.teacher.parameters():
            parameter.zero_()
    assert model.loss(*drawn(model)).logs["mean_error"] < 1e-6


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"targets": 0}, r"objective\.targets is 0"),
        ({"target_scale": (0.2, 0.1)}, r"objective\.target_scale is \[0\.2, 0\.1\]"),
        ({"context_scale": (0.5, 1.2)}, r"objective\.context_scale is \[0\.5, 1\.2\]"),
        ({"momentum": 1.0}, r"objective\.momentum is 1\.0"),
    ],
)
def test_bad_values_are_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        objective(**changed)
