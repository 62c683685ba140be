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


def test_group_norm_makes_the_examples_of_a_training_batch_independent():
    x = torch.rand(4, 3, 16, 16)
    grouped, batched = (ConvNet(SPEC, widths=[8, 12], norm=norm).train() for norm in ("group", "batch"))
    torch.testing.assert_close(grouped(x[:2]).pooled, grouped(x).pooled[:2], atol=1e-5, rtol=1e-4)
    assert (batched(x[:2]).pooled - batched(x).pooled[:2]).abs().max() > 1e-3


def test_the_statistics_of_the_data_change_nothing_once_the_data_are_scaled_back():
    net = ConvNet(SPEC, widths=[4], norm="batch").eval()
    x = torch.rand(2, 3, 8, 8)
    before = net(x).pooled
    net.normalise.fit(torch.full((3,), 0.5), torch.full((3,), 0.25))
    torch.testing.assert_close(net(x * 0.25 + 0.5).pooled, before)


@pytest.mark.parametrize("widths", [[], [8, 0], [-1]])
def test_impossible_widths_are_refused(widths):
    with pytest.raises(ValueError, match=r"backbone\.widths is"):
        ConvNet(SPEC, widths=widths, norm="batch")


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match=r"backbone\.norm is 'layer'; it must be batch or group"):
        ConvNet(SPEC, widths=[8], norm="layer")
