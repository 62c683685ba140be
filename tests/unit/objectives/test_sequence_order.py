import pytest
import torch
from torch import nn

from ssl_runner.interfaces import Batch, ClipEncoder, Features, VideoSpec
from ssl_runner.objectives.sequence_order import SequenceOrder

SETTINGS = {"span": 4, "gap": 2, "positive": 0.5, "frames_seen": "all", "head": 16}


class Means(ClipEncoder):
    """A clip is its mean value; counts the frames of the clips it was given."""

    dim = 1

    def __init__(self) -> None:
        super().__init__()
        self.lengths: set[int] = set()
        self.scale = nn.Parameter(torch.ones(()))

    def map(self, x):
        raise NotImplementedError

    def forward(self, x, *, layers=False):
        self.lengths.add(x.shape[1])
        pooled = x.mean((1, 2, 3, 4))[:, None] * self.scale
        return Features(pooled[:, None], pooled)


def task(frames: int = 9, **changes) -> SequenceOrder:
    torch.manual_seed(0)
    return SequenceOrder(Means(), VideoSpec(frames=frames, channels=1, height=2, width=2), **SETTINGS | changes)


def batch(count: int, frames: int = 9, values: torch.Tensor | None = None) -> Batch:
    """Clips whose frame t is of value t, or `values[t]`, everywhere."""
    line = torch.arange(frames) * 1.0 if values is None else values
    clips = line.view(1, frames, 1, 1, 1).repeat(count, 1, 1, 2, 2)
    return Batch(clips, torch.full((count,), -1), torch.arange(count))


def drawn(objective: SequenceOrder, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = objective.split(batch(count))
    assert x.shape == (count, 3, 1, 2, 2)
    return x[..., 0, 0, 0].long(), y


def test_y_says_whether_the_middle_frame_lies_between():
    places, y = drawn(task(), 3000)
    first, middle, last = places.unbind(1)
    low, high = torch.minimum(first, last), torch.maximum(first, last)
    between = (low < middle) & (middle < high)
    outside = (middle <= low - 2) | (middle >= high + 2)
    assert torch.equal(between, y == 1)
    assert torch.equal(outside, y == 0)
    assert (high - low).unique().tolist() == [2, 3, 4]
    assert abs((first > last).float().mean().item() - 0.5) < 0.03
    assert abs(y.float().mean().item() - 0.5) < 0.03


def test_every_triple_that_may_come_comes():
    places, y = drawn(task(frames=9), 20_000)
    low, high = places[:, [0, 2]].aminmax(dim=1)
    found = set(zip(low.tolist(), places[:, 1].tolist(), high.tolist(), y.tolist(), strict=True))
    pairs = [(b, d) for b in range(9) for d in range(b + 2, min(b + 5, 9)) if b >= 2 or d + 2 <= 8]
    inside = {(b, m, d, 1) for b, d in pairs for m in range(b + 1, d)}
    outside = {(b, m, d, 0) for b, d in pairs for m in range(9) if m <= b - 2 or m >= d + 2}
    assert found == inside | outside


def test_the_ends_say_nothing_of_the_answer():
    places, y = drawn(task(positive=0.3), 20_000)
    low, high = places[:, [0, 2]].aminmax(dim=1)
    code = low * 9 + high
    for pair in code.unique():
        share = y[code == pair].float().mean().item()
        assert abs(share - 0.3) < 0.06


def test_windows_are_drawn_by_their_motion():
    """Frequencies of (first, last) against rates from a double loop; the clip stands still, then moves."""
    values = torch.tensor([0.0, 0, 0, 0, 0, 0.1, 0.3, 0.6, 0.6])
    objective = task()
    first, last = objective._ends(batch(30_000, values=values).data)
    rates = {}
    for b in range(9):
        for d in range(b + 2, min(b + 5, 9)):
            if b >= 2 or d + 2 <= 8:
                rates[b, d] = sum(abs(values[t + 1] - values[t]).item() for t in range(b, d)) / (d - b)
    total = sum(rates.values())
    code = (first * 9 + last).bincount(minlength=81) / 30_000
    for (b, d), rate in rates.items():
        assert abs(code[b * 9 + d].item() - rate / total) < 0.012, (b, d)


def test_a_clip_without_motion_is_drawn_from_evenly():
    objective = task()
    first, last = objective._ends(torch.full((20_000, 9, 1, 2, 2), 0.5))
    frequency = (first * 9 + last).bincount() / 20_000
    count = len(objective.pairs)
    torch.testing.assert_close(frequency[frequency > 0], torch.full((count,), 1 / count), atol=0.01, rtol=0)


def test_frames_are_encoded_one_by_one():
    objective = task()
    objective.loss(*objective.split(batch(4)))
    assert objective.encoder.lengths == {1}


def test_one_frame_is_shown_three_times_and_its_order_cannot_be_told():
    objective = task(frames_seen="one")
    places, _ = drawn(objective, 3000)
    assert torch.equal(places, places[:, :1].expand_as(places))
    assert set(places.unique().tolist()) == set(range(9))


@pytest.mark.parametrize(("seen", "least", "most"), [("all", 0.95, 1.0), ("one", 0.4, 0.65)])
def test_it_is_learned_from_three_frames_and_not_from_one(seen, least, most):
    """A point that moves evenly on a circle: no single place says when it was there."""
    objective = task(frames=9, frames_seen=seen, span=3, head=64)
    objective.encoder = Places()
    objective.head = type(objective.head)([6, 64, 2], norm="batch")
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    accuracies = []
    for _ in range(400):
        turn = torch.rand(256, 1) * 2 * torch.pi + 0.3 * torch.arange(9)
        clips = torch.stack([turn.cos(), turn.sin()], dim=2)[..., None, None]
        found = objective.loss(*objective.split(Batch(clips, torch.zeros(256), torch.arange(256))))
        optimizer.zero_grad()
        found.value.backward()
        optimizer.step()
        accuracies.append(found.logs["accuracy"].item())
    assert least <= sum(accuracies[-50:]) / 50 <= most


class Places(Means):
    dim = 2

    def forward(self, x, *, layers=False):
        pooled = x.mean((1, 3, 4)) * self.scale
        return Features(pooled[:, None], pooled)


def test_chance_is_the_more_frequent_answer():
    objective = task(positive=0.25)
    assert objective.loss(*objective.split(batch(4))).logs["chance"].item() == 0.75


@pytest.mark.parametrize(("key", "value"), [("span", 1), ("gap", 0), ("positive", 0.0), ("positive", 1.0), ("head", 0)])
def test_bad_values_are_refused_by_name(key, value):
    with pytest.raises(ValueError, match=rf"^objective\.{key} is {value};"):
        task(**{key: value})


def test_clips_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match=r"dataset\.frames is 4; with objective\.gap 2, .* needs at least 5"):
        task(frames=4)
    assert len(task(frames=5).pairs) == 2
