import pytest
import torch

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.backbones.per_frame import PerFrame
from ssl_runner.interfaces import Batch, ImageSpec, VideoSpec
from ssl_runner.objectives.odd_one_out import OddOneOut

SPEC = VideoSpec(frames=7, channels=1, height=4, width=4)
SETTINGS = {"clips": 3, "frames": 4, "frames_seen": "all", "head": 32}


def encoder(pool: str = "lstm") -> PerFrame:
    torch.manual_seed(0)
    return PerFrame(SPEC, image=ConvNet(ImageSpec(channels=1, height=4, width=4), widths=[8], norm="group"), pool=pool)


def task(**changes) -> OddOneOut:
    return OddOneOut(encoder(), SPEC, **SETTINGS | changes)


def numbered(count: int) -> Batch:
    """Clips whose frame t is of value t / 7 everywhere."""
    clips = (torch.arange(7) / 7).view(1, 7, 1, 1, 1).repeat(count, 1, 1, 4, 4)
    return Batch(clips, torch.full((count,), -1), torch.arange(count))


def test_only_the_odd_one_is_out_of_order():
    x, y = task().split(numbered(3000))
    assert x.shape == (3, 3000, 4, 1, 4, 4)
    places = (x[..., 0, 0, 0] * 7).round().long()
    step = places.diff(dim=2)
    forwards, backwards = (step > 0).all(2), (step < 0).all(2)
    assert torch.equal((~forwards).long().argmax(0), y)
    assert torch.equal(forwards.sum(0), torch.full((3000,), 2))
    assert not backwards.any()
    assert all(len(set(each)) == 4 for each in places.flatten(0, 1).tolist())
    torch.testing.assert_close(y.bincount() / 3000, torch.full((3,), 1 / 3), atol=0.03, rtol=0)


def test_every_wrong_order_and_every_choice_of_frames_comes():
    x, y = task().split(numbered(5000))
    places = (x[..., 0, 0, 0] * 7).round().long()
    odd = places[y, torch.arange(5000)]
    assert len({tuple(row) for row in odd.argsort(dim=1).argsort(dim=1).tolist()}) == 24 - 2
    assert len({tuple(row) for row in places.sort(dim=2).values.flatten(0, 1).tolist()}) == 35  # 4 of 7


@pytest.mark.parametrize(("frames", "count"), [(3, 4), (4, 22), (5, 118)])
def test_wrong_orders_are_all_but_two(frames, count):
    assert task(frames=frames).orders.shape == (count, frames)


def accuracy(objective: OddOneOut) -> float:
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-2)
    found = []
    for _ in range(150):
        result = objective.loss(*objective.split(numbered(64)))
        optimizer.zero_grad()
        result.value.backward()
        optimizer.step()
        found.append(result.logs["accuracy"].item())
    return sum(found[-40:]) / 40


def test_it_is_learned_from_all_frames():
    assert accuracy(task()) > 0.8


def test_it_stays_at_chance_where_one_frame_of_each_is_seen():
    objective = task(frames_seen="one")
    x, _ = objective.split(numbered(50))
    assert torch.equal(x, x[:, :, :1].expand_as(x))
    assert x.flatten(0, 1)[:, 0, 0, 0, 0].unique().numel() == 7  # each short clip draws its own
    assert 0.25 < accuracy(objective) < 0.42


def test_an_encoder_blind_to_order_is_refused():
    with pytest.raises(ValueError, match=r"backbone\.pool is mean"):
        OddOneOut(encoder("mean"), SPEC, **SETTINGS)


@pytest.mark.parametrize(("key", "value"), [("clips", 1), ("frames", 2), ("frames", 8), ("head", 0)])
def test_bad_values_are_refused_by_name(key, value):
    with pytest.raises(ValueError, match=rf"^objective\.{key} is {value};"):
        task(**{key: value})


def test_short_clips_longer_than_the_clip_are_refused():
    short = VideoSpec(frames=3, channels=1, height=4, width=4)
    with pytest.raises(ValueError, match=r"objective\.frames is 4, and dataset\.frames 3"):
        OddOneOut(encoder(), short, **SETTINGS)
