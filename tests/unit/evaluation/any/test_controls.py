import torch

from ssl_runner.evaluation.any.controls import Pixels
from ssl_runner.interfaces import ImageSpec


def test_small_images_are_flattened():
    x = torch.rand(2, 3, 5, 4)
    pixels = Pixels(ImageSpec(channels=3, height=5, width=4))
    assert pixels.dim == 60
    assert torch.equal(pixels(x).pooled, x.flatten(1))
    assert torch.equal(pixels(x).tokens[1, 6], x[1, :, 1, 2])


def test_large_images_are_averaged():
    x = torch.rand(2, 1, 64, 40)
    pixels = Pixels(ImageSpec(channels=1, height=64, width=40))
    assert pixels.dim == 32 * 32
    pooled = pixels(x).pooled.view(2, 32, 32)
    assert torch.allclose(pooled[:, 3, 0], x[:, 0, 6:8, 0:2].mean((1, 2)))
