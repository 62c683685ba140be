from itertools import product

import pytest
import torch

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.interfaces import ImageSpec

SPEC = ImageSpec(channels=3, height=32, width=32)


@pytest.mark.parametrize(("side", "grid"), [(32, 4), (28, 4), (33, 5), (8, 1), (1, 1)])
def test_each_stage_halves_the_resolution_rounded_up(side, grid):
    net = ConvNet(SPEC, widths=[4, 6, 8], norm="batch").eval()
    assert net.map(torch.rand(2, 3, side, side)).shape == (2, 8, grid, grid)


def test_there_is_one_layer_a_stage():
    features = ConvNet(SPEC, widths=[4, 6, 8], norm="batch").eval()(torch.rand(2, 3, 32, 32), layers=True)
    assert [tuple(layer.shape) for layer in features.layers] == [(2, 4), (2, 6), (2, 8)]


def test_a_stage_is_convolution_pooling_normalization_relu():
    torch.manual_seed(0)
    net = ConvNet(ImageSpec(channels=1, height=6, width=6), widths=[2], norm="batch").train()
    conv, _, norm, _ = net.stages[0]
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, 0.5]))
        norm.bias.copy_(torch.tensor([0.1, -0.1]))
    x = torch.rand(3, 1, 6, 6)
    cells = torch.zeros(3, 2, 3, 3)
    for b, c, i, j in product(range(3), range(2), range(3), range(3)):
        padded = torch.nn.functional.pad(x[b, 0], (1, 1, 1, 1))
        sums = [
            (padded[r : r + 3, s : s + 3] * conv.weight[c, 0]).sum()
            for r in (2 * i, 2 * i + 1)
            for s in (2 * j, 2 * j + 1)
        ]
        cells[b, c, i, j] = torch.stack(sums).max()
    centered = (cells - cells.mean((0, 2, 3), keepdim=True)) / (
        cells.var((0, 2, 3), correction=0, keepdim=True) + 1e-5
    ).sqrt()
    expected = (centered * norm.weight.view(2, 1, 1) + norm.bias.view(2, 1, 1)).clamp(min=0)
    torch.testing.assert_close(net.map(x), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(net(x).pooled, expected.mean((2, 3)), atol=1e-5, rtol=1e-4)


def test_group_norm_makes_the_examples_of_a_training_batch_independent():
    x = torch.rand(4, 3, 16, 16)
    grouped, batched = (ConvNet(SPEC, widths=[8, 12], norm=norm).train() for norm in ("group", "batch"))
    torch.testing.assert_close(grouped(x[:2]).pooled, grouped(x).pooled[:2], atol=1e-5, rtol=1e-4)
    assert (batched(x[:2]).pooled - batched(x).pooled[:2]).abs().max() > 1e-3


def test_the_statistics_of_the_data_change_nothing_once_the_data_are_scaled_back():
    net = ConvNet(SPEC, widths=[4], norm="batch").eval()
    x = torch.rand(2, 3, 8, 8)
    before = net(x).pooled
    net.normalize.fit(torch.full((3,), 0.5), torch.full((3,), 0.25))
    torch.testing.assert_close(net(x * 0.25 + 0.5).pooled, before)


@pytest.mark.parametrize("widths", [[], [8, 0], [-1]])
def test_impossible_widths_are_refused(widths):
    with pytest.raises(ValueError, match=r"backbone\.widths is"):
        ConvNet(SPEC, widths=widths, norm="batch")


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match=r"backbone\.norm is 'layer'; it must be batch, group or none"):
        ConvNet(SPEC, widths=[8], norm="layer")
