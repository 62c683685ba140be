"""Masked autoencoder of video: masks, targets and loss against loops over tubes."""

import pytest
import torch

from ssl_runner.backbones.vivit import ViViT
from ssl_runner.interfaces import Batch, VideoSpec
from ssl_runner.nn.patches import tubify
from ssl_runner.objectives.video_mae import VideoMAE

SPEC = VideoSpec(frames=4, channels=1, height=8, width=12)
SETTINGS = {
    "ratio": 0.5,
    "mask": "tube",
    "target": "pixels",
    "decoder_dim": 12,
    "decoder_depth": 1,
    "decoder_heads": 2,
}


def make(**changes: object) -> VideoMAE:
    torch.manual_seed(0)
    encoder = ViViT(SPEC, dim=12, depth=1, heads=2, frames=2, patch=4, mlp_ratio=2.0)
    return VideoMAE(encoder, SPEC, **SETTINGS | changes)


def batch() -> Batch:
    return Batch(torch.rand(5, 4, 1, 8, 12), torch.zeros(5), torch.arange(5))


@pytest.mark.parametrize(("mask", "kept"), [("tube", 3), ("random", 6)])
def test_masks(mask: str, kept: int) -> None:
    task, given = make(mask=mask), batch()
    x, y = task.split(given)
    assert task.kept == kept
    assert x.keep.shape == (5, 6)
    assert y.hidden.shape == (5, 12)
    for b in range(5):
        places = set(x.keep[b].tolist())
        assert len(places) == 6
        assert {i for i in range(12) if not y.hidden[b, i]} == places
        if mask == "tube":
            assert {i % 6 for i in places if i < 6} == {i % 6 for i in places if i >= 6}
        for i in range(12):
            time, row, column = i // 6 * 2, i % 6 // 3 * 4, i % 3 * 4
            part = (b, slice(time, time + 2), slice(None), slice(row, row + 4), slice(column, column + 4))
            assert torch.equal(x.clip[part], given.data[part] if i in places else torch.full((2, 1, 4, 4), 0.5))


@pytest.mark.parametrize("target", ["pixels", "normalized"])
def test_loss_against_a_loop(target: str) -> None:
    task = make(target=target)
    x, y = task.split(batch())
    guess, tubes = task._decode(x), tubify(y.clip, (2, 4, 4))
    errors, wanted = [], []
    for b in range(5):
        for i in range(12):
            if y.hidden[b, i]:
                t = tubes[b, i]
                if target == "normalized":
                    t = (t - t.mean()) / (t.var(correction=1) + 1e-6).sqrt()
                errors.append((guess[b, i] - t).square().mean())
                wanted.append(t)
    found, values = task.loss(x, y), torch.stack(wanted)
    assert found.value.item() == pytest.approx(torch.stack(errors).mean().item(), rel=1e-5)
    assert found.logs["mean_error"].item() == pytest.approx(values.var(correction=0).item(), rel=1e-4)


def test_prediction_keeps_what_is_seen_and_shuffling_what_is_asked() -> None:
    task = make().eval()
    x, y = task.split(batch())
    made = task.predict(x)
    same = tubify(made.clip, (2, 4, 4)) == tubify(y.clip, (2, 4, 4))
    assert same[~y.hidden].all()
    assert torch.equal(made.hidden, y.hidden)
    assert made.clip.min() >= 0
    _, other = task.shuffle(x, y)
    assert torch.equal(other.hidden, y.hidden)
    assert all(not torch.equal(a, b) for a, b in zip(other.clip, y.clip, strict=True))


@pytest.mark.parametrize(("key", "value"), [("ratio", 1.0), ("ratio", 0.01), ("mask", "blocks"), ("target", "edges")])
def test_refusals(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"objective\.{key} is"):
        make(**{key: value})
