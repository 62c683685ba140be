import pytest
import torch
from torch import nn

from ssl_runner.interfaces import Batch, Features, FrameEncoder, VideoSpec
from ssl_runner.nn.color import rgb_to_lab
from ssl_runner.objectives.tracking_by_colorization import TrackingByColorization

SETTINGS = {"references": 2, "step": 1, "cell": 2, "colors": 4, "width": 8}


class Cells(FrameEncoder):
    """Sines and cosines of the lightness of each cell of 2 x 2 pixels."""

    dim = 12

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def map(self, x):
        angle = 6 * x[:, :, 0, ::2, ::2, None] * torch.arange(1, 7)  # (B, T, h, w, 6)
        return torch.cat([angle.sin(), angle.cos()], dim=-1).movedim(-1, 1) * self.scale

    def forward(self, x, *, layers=False):
        tokens = self.map(x).flatten(2).mT
        return Features(tokens, tokens.mean(1))


def task(frames: int = 3, side: int = 8, **changes) -> TrackingByColorization:
    torch.manual_seed(0)
    spec = VideoSpec(frames=frames, channels=3, height=side, width=side)
    return TrackingByColorization(Cells(), spec, **SETTINGS | changes)


def batch(clips: torch.Tensor) -> Batch:
    return Batch(clips, torch.full((len(clips),), -1), torch.arange(len(clips)))


def patchwork(count: int, frames: int = 3, shift: int = 2) -> torch.Tensor:
    """Cells of four colors of different lightness that move `shift` pixels to the right each frame, and round."""
    palette = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.7, 0.1], [0.1, 0.1, 0.5], [0.9, 0.9, 0.2]])
    cells = palette[torch.randint(4, (count, 4, 4))].permute(0, 3, 1, 2)
    picture = cells.repeat_interleave(2, 2).repeat_interleave(2, 3)
    return torch.stack([picture.roll(shift * t, dims=3) for t in range(frames)], dim=1)


def test_x_is_gray_and_knows_colors_of_earlier_frames_alone():
    clips = patchwork(5, frames=4)
    x, y = task(frames=4).split(batch(clips))
    assert x.gray.shape == (5, 3, 3, 8, 8)
    assert torch.equal(x.gray, x.gray[:, :, :1].expand_as(x.gray))
    assert x.reference.shape == (5, 2, 3, 8, 8)
    assert x.color.shape == (5, 2, 4, 4)
    assert y.color.shape == (5, 4, 4)
    for i in range(5):
        start = next(s for s in range(2) if torch.equal(clips[i, s : s + 2], x.reference[i]))
        assert torch.equal(y.image[i], clips[i, start + 2])
        lightness = rgb_to_lab(clips[i, start : start + 3])[:, :1] / 100
        torch.testing.assert_close(x.gray[i], lightness.repeat(1, 3, 1, 1))


def test_frames_are_a_step_apart_and_every_start_comes():
    clips = (torch.arange(6) / 6).view(1, 6, 1, 1, 1).repeat(200, 1, 3, 8, 8)
    x, y = task(frames=6, step=2).split(batch(clips))
    shown = torch.cat([x.reference, y.image[:, None]], dim=1)[..., 0, 0, 0]
    assert {tuple(each) for each in (shown * 6).round().int().tolist()} == {(0, 2, 4), (1, 3, 5)}


def test_equal_colors_have_one_number_in_all_frames_of_a_clip():
    clips = patchwork(6)
    x, y = task().split(batch(clips))
    ab = rgb_to_lab(clips.flatten(0, 1))[:, 1:, ::2, ::2].unflatten(0, (6, 3))  # (6, 3, 2, 4, 4)
    for i in range(6):
        numbers = torch.cat([x.color[i], y.color[i][None]]).flatten()
        colors = ab[i].permute(0, 2, 3, 1).flatten(0, 2)
        same = torch.cdist(colors, colors) < 1
        assert torch.equal(numbers[:, None] == numbers, same)
        torch.testing.assert_close(x.centers[i][numbers], colors, atol=0.1, rtol=0)


def test_the_loss_is_that_of_pointing_by_loops():
    objective = task()
    x, y = objective.split(batch(patchwork(2)))
    found = objective.loss(x, y)
    total = right = 0.0
    for i in range(2):
        vectors = objective.embed(objective.encoder.map(x.gray[i : i + 1])[0].transpose(0, 1))  # (3, E, 4, 4)
        for row in range(4):
            for column in range(4):
                asked = vectors[2, :, row, column]
                places = [(t, r, c) for t in range(2) for r in range(4) for c in range(4)]
                weight = torch.stack([asked @ vectors[t, :, r, c] / 8**0.5 for t, r, c in places]).softmax(0)
                p = torch.zeros(4)
                for w, (t, r, c) in zip(weight, places, strict=True):
                    p[x.color[i, t, r, c]] += w.detach()
                total -= torch.log(p[y.color[i, row, column]] + 1e-6).item()
                right += float(p.argmax() == y.color[i, row, column])
    assert found.value.item() == pytest.approx(total / 32, rel=1e-4)
    assert found.logs["accuracy"].item() == pytest.approx(right / 32)


def test_unmoved_is_copying_from_the_same_place():
    still, moving = patchwork(8, shift=0), patchwork(64)
    objective = task()
    assert objective.loss(*objective.split(batch(still))).logs["unmoved"].item() == 1
    # a neighbor's color is its own by chance in one of four
    assert abs(objective.loss(*objective.split(batch(moving))).logs["unmoved"].item() - 0.25) < 0.06


def test_it_learns_to_point():
    objective = task()
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-2)
    for _ in range(150):
        found = objective.loss(*objective.split(batch(patchwork(16))))
        optimizer.zero_grad()
        found.value.backward()
        optimizer.step()
    assert found.logs["accuracy"].item() > 0.95
    assert found.logs["unmoved"].item() < 0.4
    x, y = objective.split(batch(patchwork(4)))
    predicted = objective.predict(x)
    assert (predicted.color == y.color).float().mean() > 0.95
    gray = (x.gray[:, -1] - y.image).abs().mean()
    assert (predicted.image - y.image).abs().mean() < 0.5 * gray  # colors bleed into neighboring cells


def test_another_grid_is_resized_to_cells():
    x, y = (objective := task(cell=4)).split(batch(patchwork(2)))
    assert y.color.shape == (2, 2, 2)
    assert objective.loss(x, y).value.isfinite()


def test_gray_clips_are_refused():
    spec = VideoSpec(frames=3, channels=1, height=8, width=8)
    with pytest.raises(ValueError, match=r"clips have 1 channel; .* dataset\.color=true"):
        TrackingByColorization(Cells(), spec, **SETTINGS)


@pytest.mark.parametrize(
    ("key", "value"), [("references", 0), ("step", 0), ("cell", 0), ("cell", 9), ("colors", 1), ("width", 0)]
)
def test_bad_values_are_refused_by_name(key, value):
    with pytest.raises(ValueError, match=rf"^objective\.{key} is {value};"):
        task(**{key: value})


def test_clips_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match=r"objective\.references is 2 and objective\.step 2; .* at least 5 frames"):
        task(frames=4, step=2)
