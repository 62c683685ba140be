"""Contrastive predictive coding of clips: which frames, and the loss against a double loop."""

import math

import pytest
import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, ClipEncoder, Features, VideoSpec, Views
from ssl_runner.objectives.cpc_video import CPCVideo

SPEC = VideoSpec(frames=9, channels=1, height=4, width=4)
SETTINGS = {"block": 2, "past": 2, "ahead": 2, "context_dim": 5}


class Shifted(Views):
    """As it is, but each example brighter by a number of its own, in order."""

    def forward(self, x: Tensor) -> Tensor:
        return (x + 100 * torch.arange(len(x))[:, None, None, None, None])[None]


class Mixed(ClipEncoder):
    dim = 3

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 3)

    def map(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(2)).mT[..., None, None]

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        tokens = self.map(x).flatten(2).mT
        return Features(tokens, tokens.mean(1))


class Bare(Views):
    """As it is."""

    def forward(self, x: Tensor) -> Tensor:
        return x[None]


class Halved(Views):
    """The first half of the frames."""

    def forward(self, x: Tensor) -> Tensor:
        return x[None, :, : x.shape[1] // 2]


class Twice(Views):
    """As it is, twice."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack((x, x))


def make(views: Views | None = None, **changes: object) -> CPCVideo:
    torch.manual_seed(0)
    return CPCVideo(Mixed(), SPEC, views=views or Bare(), **SETTINGS | changes)


def test_y_comes_right_after_x() -> None:
    clips = torch.arange(9.0)[None, :, None, None, None].expand(20, 9, 1, 4, 4)
    x, y = make().split(Batch(clips, torch.zeros(20), torch.arange(20)))
    assert x.shape == (20, 4, 1, 4, 4)
    assert y.shape == (20, 4, 1, 4, 4)
    frame = torch.cat((x, y), 1)[:, :, 0, 0, 0]
    assert (frame.diff(dim=1) == 1).all()
    assert set(frame[:, 0].tolist()) == {0, 1}


def test_each_block_is_a_view_of_its_own() -> None:
    clips = torch.arange(8.0)[None, :, None, None, None].expand(3, 8, 1, 4, 4)
    x, y = make(Shifted()).split(Batch(clips, torch.zeros(3), torch.arange(3)))
    brighter = torch.cat((x, y), 1)[:, :, 0, 0, 0] - torch.arange(8)
    assert brighter.tolist() == (100 * torch.arange(12).repeat_interleave(2)).view(3, 8).tolist()


@pytest.mark.parametrize(
    ("views", "said"),
    [(Halved(), r"views\.frames is 1; it must be 2: each block"), (Twice(), r"views\.views is 2; it must be 1")],
)
def test_views_that_are_not_one_of_each_block_are_refused(views: Views, said: str) -> None:
    clips = torch.zeros(3, 9, 1, 4, 4)
    with pytest.raises(ValueError, match=rf"objective\.{said}"):
        make(views).split(Batch(clips, torch.zeros(3), torch.arange(3)))


def test_loss_against_a_double_loop() -> None:
    task = make()
    x, y = torch.randn(3, 4, 1, 4, 4), torch.randn(3, 4, 1, 4, 4)
    found = task.loss(x, y)
    after = {(b, k): task.encoder(y[b : b + 1, 2 * k : 2 * k + 2]).pooled[0] for b in range(3) for k in range(2)}
    losses, hits = [], 0
    for b in range(3):
        before = torch.stack([task.encoder(x[b : b + 1, 2 * s : 2 * s + 2]).pooled[0] for s in range(2)])
        context = task.context(before[None])[1][0, 0]
        for k in range(2):
            scores = {key: (task.predict_ahead[k](context) @ z).item() / math.sqrt(3) for key, z in after.items()}
            losses.append(math.log(sum(map(math.exp, scores.values()))) - scores[b, k])
            hits += max(scores, key=scores.get) == (b, k)
    assert found.value.item() == pytest.approx(sum(losses) / 6, rel=1e-4)
    assert found.logs["accuracy"].item() == pytest.approx(hits / 6)
    assert found.logs["log_candidates"].item() == pytest.approx(math.log(6))


@pytest.mark.parametrize("key", ["block", "past", "ahead", "context_dim"])
def test_refusals(key: str) -> None:
    with pytest.raises(ValueError, match=rf"objective\.{key} is 0"):
        make(**{key: 0})
    with pytest.raises(ValueError, match=r"at least 10 frames, and dataset\.frames is 9"):
        make(past=3)
