"""CPC: the patches that are cut, what a context sees, and the loss by explicit loops."""

import math

import pytest
import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, Features, ImageSpec, MapEncoder
from ssl_runner.objectives.cpc import CPC, RowContext


class Mean(MapEncoder):
    """A linear map of each patch's mean color."""

    dim = 5

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 5)

    def map(self, x: Tensor) -> Tensor:
        return self.layer(x.mean((2, 3)))[:, :, None, None]

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        pooled = self.map(x).flatten(1)
        return Features(pooled[:, None], pooled)


SETTINGS = {
    "patch": 6,
    "stride": 3,
    "jitter": 0,
    "context_dim": 7,
    "context_depth": 2,
    "nearest": 1,
    "farthest": 2,
    "negatives": 9,
}


def task(**changes: float) -> CPC:
    torch.manual_seed(0)
    return CPC(Mean(), ImageSpec(channels=2, height=16, width=13), **SETTINGS | changes)


def batch(n: int = 3) -> Batch:
    return Batch(torch.rand(n, 2, 16, 13), torch.zeros(n, dtype=torch.long), torch.arange(n))


def test_patches_are_cut_from_a_centered_grid() -> None:
    """16 pixels down: 4 rows at 0, 3, 6, 9, one pixel left over; 13 across: 3 columns at 0, 3, 6, one left over."""
    data = batch()
    x, y = task().split(data)
    assert x.shape == (3, 2, 4 * 6, 3 * 6)
    for i in range(4):
        for j in range(3):
            here = x[:, :, 6 * i : 6 * i + 6, 6 * j : 6 * j + 6]
            assert torch.equal(here, data.data[:, :, 3 * i : 3 * i + 6, 3 * j : 3 * j + 6])
    assert len(y) == len(y.unique()) == 9
    assert y.max() < 3 * 12


def test_jitter_moves_each_patch_by_itself_and_stays_in_the_image() -> None:
    down, across = torch.meshgrid(torch.arange(16.0), torch.arange(13.0), indexing="ij")
    data = batch(40)._replace(data=torch.stack((down, across)).expand(40, 2, 16, 13))
    x, _ = task(jitter=2).split(data)
    corner = x[:, :, ::6, ::6]  # where each patch begins
    start = torch.stack(torch.meshgrid(3 * torch.arange(4.0), 3 * torch.arange(3.0), indexing="ij"))
    moved = corner - start
    assert moved.abs().max() == 2
    assert set(moved[:, :, 1, 1].unique().tolist()) == {-2, -1, 0, 1, 2}
    assert corner.min() == 0
    assert corner[:, 0].max() <= 10
    assert corner[:, 1].max() <= 7
    assert torch.equal(x[:, :, 5::6, 5::6], corner + 5)
    assert not torch.equal(moved[:, :, 1, 1], moved[:, :, 2, 1])


def test_a_context_sees_no_row_below_its_own() -> None:
    context = RowContext(4, 6, depth=3)
    z = torch.randn(2, 4, 5, 5)
    other = z.clone()
    other[:, :, 3:] += 1
    with torch.no_grad():
        before, after = context(z), context(other)
        assert torch.equal(before[:, :, :3], after[:, :, :3])
        assert (before[:, :, 3] - after[:, :, 3]).abs().max() > 1e-3
        other = z.clone()
        other[:, :, 0, 2] += 1
        assert (before[:, :, 3, 2] - context(other)[:, :, 3, 2]).abs().max() > 1e-5


def test_the_loss_by_explicit_loops() -> None:
    objective = task()
    x, y = objective.split(batch())
    with torch.no_grad():
        loss = objective.loss(x, y)
        patches = [x[:, :, 6 * i : 6 * i + 6, 6 * j : 6 * j + 6] for i in range(4) for j in range(3)]
        z = torch.stack([objective.encoder(each).pooled for each in patches], dim=1)  # (B, P, D)
        context = objective.context(z.mT.unflatten(2, (4, 3)))
        terms, right = [], []
        for b in range(3):
            for k in (1, 2):
                for i in range(4 - k):
                    for j in range(3):
                        guess = objective.predict_ahead[k - 1].weight @ context[b, :, i, j]
                        own = [math.exp(each @ guess) for each in z[b]]
                        others = [math.exp(z[p // 12, p % 12] @ guess) for p in y.tolist() if p // 12 != b]
                        hit = own[(i + k) * 3 + j]
                        terms.append(-math.log(hit / (sum(own) + sum(others))))
                        right.append(hit >= max(own + others))
    assert loss.value.item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)
    assert loss.logs["accuracy"].item() == pytest.approx(sum(right) / len(right))


def test_without_negatives_of_other_images_those_of_its_own_are_left() -> None:
    objective = task(negatives=0)
    loss = objective.loss(*objective.split(batch()))
    assert loss.logs["log_candidates"].item() == pytest.approx(math.log(12))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"patch": 14}, r"objective\.patch is 14 and objective\.stride 3"),
        ({"stride": 7}, r"objective\.patch is 6 and objective\.stride 7"),
        ({"stride": 0}, r"objective\.stride 0"),
        ({"jitter": -1}, r"objective\.jitter is -1"),
        ({"context_depth": 0}, r"objective\.context_depth 0"),
        ({"nearest": 3}, r"objective\.nearest is 3 and objective\.farthest 2"),
        ({"farthest": 4}, r"objective\.farthest 4; .* the 4 rows"),
        ({"negatives": -1}, r"objective\.negatives is -1"),
    ],
)
def test_what_is_refused(change: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        task(**change)


def test_sizes_as_parts_of_the_image_and_of_the_patch() -> None:
    given = task(patch=0.5, stride=0.5, jitter=0.4)  # of 13 pixels: 6; of these 3, and 2
    assert (given.patch, given.grid, given.jitter) == (6, task().grid, 2)
    with pytest.raises(ValueError, match=r"objective\.patch is 6\.5; it must be a whole number of pixels"):
        task(patch=6.5)
