"""Relative position: patches are where they are said to be, shortcuts close, all eight neighbors are drawn."""

import pytest
import torch
from torch import Tensor

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.interfaces import Batch, ImageSpec
from ssl_runner.objectives.relative_position import NEIGHBORS, RelativePosition


def objective(channels: int = 3, height: int = 32, width: int = 40, **settings: object) -> RelativePosition:
    torch.manual_seed(0)
    spec = ImageSpec(channels=channels, height=height, width=width)
    given = {"patch": 0.25, "gap": 0.5, "jitter": 0.25, "color": "keep", "head": 16} | settings
    return RelativePosition(ConvNet(spec, widths=[8], norm="batch"), spec, **given)


def batch(data: Tensor) -> Batch:
    return Batch(data, torch.zeros(len(data)), torch.arange(len(data)))


def where() -> Tensor:
    """500 images in whose channels a pixel says its row, its column and its image's number."""
    row, column = torch.meshgrid(torch.arange(32.0), torch.arange(40.0), indexing="ij")
    one = torch.stack([row, column, torch.zeros_like(row)]).expand(500, -1, -1, -1).clone()
    one[:, 2] = torch.arange(500.0)[:, None, None]
    return one


def test_patches_lie_where_the_answer_says() -> None:
    task = objective()  # patches of 8 pixels, a gap of 4, a jitter of 2
    torch.manual_seed(1)
    x, y = task.split(batch(where()))
    assert x.shape == (2, 500, 3, 8, 8)
    assert torch.equal(x[:, :, 2], torch.arange(500.0)[None, :, None, None].expand(2, 500, 8, 8))
    first, second = x[:, :, :2, 0, 0]  # of the corner: row, column
    for part, corner in zip(x, (first, second), strict=True):  # whole squares were cut
        assert torch.equal(part[:, 0], (corner[:, 0, None, None] + torch.arange(8.0)[:, None]).expand(500, 8, 8))
        assert torch.equal(part[:, 1], (corner[:, 1, None, None] + torch.arange(8.0)).expand(500, 8, 8))
    moved = second - first
    jitter = moved - 12 * torch.tensor(NEIGHBORS)[y]
    assert jitter.abs().max() == 2
    assert set(jitter.flatten().tolist()) == {-2, -1, 0, 1, 2}
    assert set(y.tolist()) == set(range(8))
    corners = torch.cat([first, second])
    assert corners.min(dim=0).values.tolist() == [0, 0]  # the whole image is used
    assert corners.max(dim=0).values.tolist() == [24, 32]


def test_without_gap_and_jitter_patches_touch() -> None:
    x, y = objective(gap=0.0, jitter=0.0).split(batch(where()))
    moved = x[1, :, :2, 0, 0] - x[0, :, :2, 0, 0]
    assert torch.equal(moved, 8.0 * torch.tensor(NEIGHBORS)[y])


def test_neighbors_are_drawn_alike() -> None:
    torch.manual_seed(0)
    _, y = objective().split(batch(torch.zeros(8000, 3, 32, 40)))
    assert (torch.bincount(y, minlength=8) - 1000).abs().max() < 5 * 30  # deviation: sqrt(8000 x 1/8 x 7/8) = 29.6


def test_projected_colors_have_no_green_against_magenta() -> None:
    torch.manual_seed(0)
    data = 0.3 + 0.4 * torch.rand(20, 3, 32, 40)  # far enough from 0 and 1 for nothing to be clamped
    task, plain = objective(color="project"), objective()
    torch.manual_seed(5)
    x, _ = task.split(batch(data))
    torch.manual_seed(5)
    unchanged, _ = plain.split(batch(data))
    red, green, blue = x.unbind(2)
    torch.testing.assert_close(red + blue, 2 * green)
    was, is_ = unchanged.unbind(2), x.unbind(2)  # what is orthogonal to the axis stays: gray, and red against blue
    torch.testing.assert_close(is_[0] - is_[2], was[0] - was[2])
    torch.testing.assert_close(sum(is_), sum(was))


def test_dropped_channels_are_noise_and_one_is_kept() -> None:
    torch.manual_seed(0)
    data = torch.rand(300, 3, 32, 40)
    task, plain = objective(color="drop"), objective()
    torch.manual_seed(5)
    x, _ = task.split(batch(data))
    torch.manual_seed(5)
    unchanged, _ = plain.split(batch(data))
    same = (x == unchanged).all(dim=(3, 4))  # (2, B, 3)
    assert (same.sum(dim=2) == 1).all()
    assert (same.float().mean(dim=(0, 1)) - 1 / 3).abs().max() < 0.1
    assert (same[0] != same[1]).any()  # each patch by itself
    noise = x - 0.5
    deviation = unchanged.std(dim=(3, 4), correction=0)[same].mean()
    assert noise[~same].std().item() == pytest.approx(0.01 * deviation.item(), rel=0.05)


@pytest.mark.parametrize("color", ["drop", "project"])
def test_gray_images_have_no_color_to_drop(color: str) -> None:
    data = torch.rand(5, 1, 32, 40)
    torch.manual_seed(2)
    expected = objective(channels=1).split(batch(data))[0]
    torch.manual_seed(2)
    assert torch.equal(objective(channels=1, color=color).split(batch(data))[0], expected)


def test_which_patch_is_which_matters_to_the_head() -> None:
    task = objective().eval()
    x, _ = task.split(batch(torch.rand(4, 3, 32, 40)))
    assert not torch.allclose(task._logits(x), task._logits(x.flip(0)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"patch": 0.5},
            r"patches of 16 pixels, 8 apart and moved by 4 need 44 pixels, and the images are of 32 x 40",
        ),
        ({"patch": 0.0}, r"objective\.patch is 0\.0; it must be above 0"),
        ({"gap": -0.5}, r"objective\.gap is -0\.5; it must be 0 or more"),
        ({"jitter": float("nan")}, r"objective\.jitter is nan; it must be 0 or more"),
        ({"head": 0}, r"objective\.head is 0; it must be at least 1"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        objective(**settings)


def test_the_largest_patches_that_fit_are_taken() -> None:
    x, _ = objective(patch=0.5, gap=0.0, jitter=0.0).split(batch(torch.rand(9, 3, 32, 40)))
    assert x.shape[-1] == 16
