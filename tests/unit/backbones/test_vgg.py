from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import vgg11_bn, vgg19_bn

from ssl_runner.backbones.vgg import VGG
from ssl_runner.interfaces import ImageSpec


def spec(side: int, channels: int = 3) -> ImageSpec:
    return ImageSpec(channels=channels, height=side, width=side)


def test_its_blocks_are_torchvisions(tmp_path: Path) -> None:
    with torch.device("meta"):
        ours, theirs = VGG(spec(32), depth=19, widening=8, connected=0), vgg19_bn().features
    parts = [part for stage in ours.stages for part in stage.children()]
    assert [type(part) for part in parts] == [type(part) for part in theirs]
    for mine, other in zip(parts, theirs, strict=True):
        if isinstance(mine, nn.Conv2d | nn.BatchNorm2d):
            assert mine.weight.shape == other.weight.shape


def test_without_connected_layers_it_computes_what_torchvisions_does(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    torch.manual_seed(0)
    ours, theirs = VGG(spec(64), depth=11, widening=8, connected=0), vgg11_bn().features
    with torch.no_grad():
        ours(torch.rand(2, 3, 64, 64))  # statistics of a batch
    ours.eval().save_for_library(tmp_path)
    theirs.load_state_dict(load_file(tmp_path / "model.safetensors"))
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(ours.map(x), theirs.eval()(x))


@pytest.mark.parametrize(("widening", "connected", "dim"), [(8, 2, 4096), (1, 2, 512), (2, 1, 1024), (2, 0, 128)])
def test_widths_are_those_of_the_paper(widening: int, connected: int, dim: int) -> None:
    with torch.device("meta"):
        net = VGG(spec(32), depth=19, widening=widening, connected=connected)
    assert net.dim == dim
    layers = [part for part in net.modules() if isinstance(part, nn.Conv2d)]
    assert len(layers) == 16 + connected


@pytest.mark.parametrize("side", [8, 11, 28, 32])
def test_small_images_leave_one_cell(side: int) -> None:
    net = VGG(spec(side), depth=11, widening=1, connected=2).eval()
    with torch.inference_mode():
        features = net(torch.rand(2, 3, side, side), layers=True)
    assert features.tokens.shape == (2, 1, 512)
    assert [layer.shape[1] for layer in features.layers] == [8, 16, 32, 64, 64, 512, 512]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"depth": 18}, r"backbone\.depth is 18; it must be 11, 13, 16 or 19"),
        ({"widening": 0}, r"backbone\.widening is 0; it must be at least 1"),
        ({"connected": -1}, r"backbone\.connected is -1; it must be 0 or more"),
    ],
)
def test_what_it_cannot_be_is_refused(changes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        VGG(spec(32), **{"depth": 11, "widening": 8, "connected": 0} | changes)


@pytest.mark.parametrize(
    ("data", "changes", "problem"),
    [
        (spec(32), {"connected": 2}, "backbone.connected=2"),
        (spec(32), {"widening": 1}, "backbone.widening=1, and torchvision's have 8"),
        (spec(32, channels=1), {}, "1 channels"),
        (spec(48), {}, "images of 48 x 48, .* multiples of 32 alone"),
    ],
)
def test_what_torchvision_does_not_have_is_not_written(data, changes, problem: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        net = VGG(data, **{"depth": 11, "widening": 8, "connected": 0} | changes)
    with pytest.raises(ValueError, match=problem):
        net.save_for_library(tmp_path)
    assert list(tmp_path.iterdir()) == []
