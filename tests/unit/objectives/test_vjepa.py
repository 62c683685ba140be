"""V-JEPA: the loss mask by mask, what contexts show, and a teacher that only `after_step` moves."""

import copy

import pytest
import torch

from ssl_runner.backbones.vivit import ViViT
from ssl_runner.interfaces import Batch, VideoSpec
from ssl_runner.nn.patches import tubify
from ssl_runner.objectives.vjepa import VJEPA, Contexts, Hidden

SPEC = VideoSpec(frames=4, channels=1, height=16, width=16)
CLIPS = torch.rand(5, 4, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def objective(**changed: object) -> VJEPA:
    torch.manual_seed(0)
    settings = {
        "blocks": (3, 1), "short_scale": (0.15, 0.15), "long_scale": (0.6, 0.7), "block_ratio": (0.75, 1.5),
        "predictor_dim": 12, "predictor_depth": 1, "predictor_heads": 2, "momentum": 0.9,
        "momentum_schedule": "linear", "exported": "teacher",
    }  # fmt: skip
    encoder = ViViT(SPEC, dim=12, depth=1, heads=2, frames=2, patch=4, mlp_ratio=2.0)
    return VJEPA(encoder, SPEC, **settings | changed)


def drawn(model: VJEPA, seed: int = 1) -> tuple[Contexts, Hidden]:
    torch.manual_seed(seed)
    return model.split(Batch(CLIPS, torch.zeros(5), torch.arange(5)))


def move(model: VJEPA) -> None:
    """What an optimizer would do: change every weight that learns."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)


def test_the_loss_is_that_of_each_mask_clip_by_clip() -> None:
    model = objective().eval()
    move(model)
    x, y = drawn(model)
    means = []
    with torch.no_grad():
        for clip, keep, asked in ((x.short, x.keep_short, y.short), (x.long, x.keep_long, y.long)):
            errors = []
            for i in range(5):
                known = model.encoder(clip[i : i + 1], keep[i : i + 1]).tokens
                found = model.predictor(known, keep[i : i + 1], asked[i : i + 1, None])[0, 0]
                seen = model.teacher.module(CLIPS[i : i + 1]).tokens[0]
                for place, guess in zip(asked[i].tolist(), found, strict=True):
                    token = seen[place]
                    target = (token - token.mean()) / (token.var(correction=0) + 1e-5).sqrt()
                    errors.append((guess - target).abs().mean().item())
            means.append(sum(errors) / len(errors))
        assert model.loss(x, y).value.item() == pytest.approx(sum(means) / 2, rel=1e-4)


def test_what_is_hidden_is_hidden_at_all_times_and_asked_for() -> None:
    for seed in range(5):
        x, y = drawn(objective(), seed)
        for clip, keep, asked in ((x.short, x.keep_short, y.short), (x.long, x.keep_long, y.long)):
            tubes = tubify(clip, (2, 4, 4))
            for i in range(5):
                kept, hidden = set(keep[i].tolist()), set(asked[i].tolist())
                assert not kept & hidden
                for places in (kept, hidden):
                    assert {p % 16 for p in places if p < 16} == {p % 16 for p in places if p >= 16}
                assert set((tubes[i] != 0.5).any(dim=1).nonzero().flatten().tolist()) == kept
        assert y.long.shape[1] > y.short.shape[1] > 0


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


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"blocks": (0, 1)}, r"objective\.blocks is \[0, 1\]"),
        ({"long_scale": (0.7, 1.2)}, r"objective\.long_scale is \[0\.7, 1\.2\]"),
        ({"block_ratio": (0.0, 1.0)}, r"objective\.block_ratio is \[0\.0, 1\.0\]"),
        ({"momentum": 1.0}, r"objective\.momentum is 1\.0"),
    ],
)
def test_bad_values_are_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        objective(**changed)
