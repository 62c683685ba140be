import pytest
import torch

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.backbones.per_frame import PerFrame
from ssl_runner.interfaces import Batch, ImageSpec, VideoSpec
from ssl_runner.objectives.arrow_of_time import ArrowOfTime

SPEC = VideoSpec(frames=6, channels=1, height=8, width=8)


def task(frames_seen: str = "all", pool: str = "lstm") -> ArrowOfTime:
    torch.manual_seed(0)
    image = ConvNet(ImageSpec(channels=1, height=8, width=8), widths=[8], norm="group")
    return ArrowOfTime(PerFrame(SPEC, image=image, pool=pool), SPEC, frames_seen=frames_seen)


def batch(clips: torch.Tensor) -> Batch:
    return Batch(clips, torch.full((len(clips),), -1), torch.arange(len(clips)))


def growing(count: int, symmetric: bool) -> torch.Tensor:
    """Clips in which ever more rows are lit, or and then fewer in the same way."""
    first = torch.randint(1, 3, (count, 1))
    rows = first + (torch.tensor([0, 1, 2, 2, 1, 0]) if symmetric else torch.arange(6))
    lit = torch.arange(8) < rows.unsqueeze(-1)
    return lit.float().view(count, 6, 1, 8, 1).expand(-1, -1, -1, -1, 8)


def test_half_of_the_clips_are_reversed_and_y_says_which():
    clips = torch.rand(2000, 6, 1, 2, 2)
    x, y = task().split(batch(clips))
    for i in range(50):
        assert torch.equal(x[i], clips[i].flip(0) if y[i] else clips[i])
    assert torch.equal(x[y == 0], clips[y == 0])
    assert torch.equal(x[y == 1], clips[y == 1].flip(1))
    assert abs(y.float().mean().item() - 0.5) < 0.04


def accuracy(objective: ArrowOfTime, symmetric: bool) -> float:
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    found = []
    for _ in range(120):
        result = objective.loss(*objective.split(batch(growing(64, symmetric))))
        optimizer.zero_grad()
        result.value.backward()
        optimizer.step()
        found.append(result.logs["accuracy"].item())
    return sum(found[-40:]) / 40


def test_it_is_learned_where_time_has_an_arrow():
    assert accuracy(task(), symmetric=False) > 0.95


def test_it_stays_at_chance_where_time_has_none():
    assert 0.44 < accuracy(task(), symmetric=True) < 0.56


def test_it_stays_at_chance_where_one_frame_is_seen():
    assert 0.44 < accuracy(task("one"), symmetric=False) < 0.56


def test_an_encoder_blind_to_order_is_refused():
    with pytest.raises(ValueError, match=r"backbone\.pool is mean, .* set backbone\.pool=lstm or attention"):
        task(pool="mean")


def test_clips_of_one_frame_are_refused():
    single = VideoSpec(frames=1, channels=1, height=8, width=8)
    with pytest.raises(ValueError, match=r"dataset\.frames is 1; objective=arrow_of_time needs at least 2"):
        ArrowOfTime(task().encoder, single, frames_seen="all")
