"""Rotation: one turn of each image, or all four."""

import torch

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.interfaces import Batch, ImageSpec
from ssl_runner.objectives.rotation import Rotation

SPEC = ImageSpec(channels=1, height=8, width=8)


def test_all_turns_are_each_image_four_times() -> None:
    encoder = ConvNet(SPEC, widths=[4, 8], norm="batch")
    batch = Batch(torch.rand(5, 1, 8, 8), torch.arange(5), torch.arange(5))
    x, y = Rotation(encoder, SPEC, turns="all").split(batch)
    assert y.tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5
    for image, turns, shown in zip(batch.data.repeat(4, 1, 1, 1), y.tolist(), x, strict=True):
        assert torch.equal(torch.rot90(shown, -turns, dims=(1, 2)), image)
    x, y = Rotation(encoder, SPEC, turns="one").split(batch)
    assert len(x) == len(y) == 5
