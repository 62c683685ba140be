import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_runner.backbones.resnet_v2 import ResNetV2
from ssl_runner.interfaces import ImageSpec


def spec(side: int, channels: int = 3) -> ImageSpec:
    return ImageSpec(channels=channels, height=side, width=side)


def network(**changes) -> ResNetV2:
    torch.manual_seed(0)
    net = ResNetV2(spec(32), **{"depth": 26, "widening": 1, "stem": "auto", "last_relu": True} | changes)
    with torch.no_grad():
        net(torch.rand(4, 3, 32, 32))  # statistics of a batch
    return net.eval()


def normalized(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    mean, var, weight, bias = (
        each.view(-1, 1, 1) for each in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (x - mean) / (var + norm.eps).sqrt() * weight + bias


def by_the_paper(net: ResNetV2, x: Tensor) -> Tensor:
    """Each block as the paper draws it: BN, ReLU, convolution, three times; the sum is not activated."""
    norms = [part for part in net.stages.modules() if isinstance(part, nn.BatchNorm2d)]
    x = F.conv2d(x, net.stem[0].weight, padding=1)
    for place, (stage, count) in enumerate(zip(net.stages, (2, 2, 2, 2), strict=True)):
        for number in range(count):
            block, (one, two, three) = stage[number], (norms.pop(0) for _ in range(3))
            stride = 2 if place and not number else 1
            first, second, third = (part for part in block.branch if isinstance(part, nn.Conv2d))
            active = normalized(one, x).relu()
            inner = F.conv2d(active, first.weight)
            inner = F.conv2d(normalized(two, inner).relu(), second.weight, padding=1, stride=stride)
            inner = F.conv2d(normalized(three, inner).relu(), third.weight)
            x = inner + (F.conv2d(active, block.shortcut.weight, stride=stride) if number == 0 else x)
    return normalized(norms.pop(0), x).relu()


def test_it_is_the_network_of_the_paper() -> None:
    net = network()
    x = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(net.map(x), by_the_paper(net, x), atol=1e-5, rtol=1e-4)


def test_without_the_last_relu_features_are_signed() -> None:
    x = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        signed, plain = network(last_relu=False).map(x), network().map(x)
    assert (signed < 0).any()
    torch.testing.assert_close(signed.relu(), plain)


@pytest.mark.parametrize(
    ("depth", "widening", "dim", "millions"), [(50, 4, 2048, 23.5), (50, 1, 512, 1.48), (14, 2, 1024, 2.0)]
)
def test_sizes(depth: int, widening: int, dim: int, millions: float) -> None:
    with torch.device("meta"):
        net = ResNetV2(spec(224), depth=depth, widening=widening, stem="auto", last_relu=True)
    assert net.dim == dim
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize(("side", "grid"), [(32, 4), (96, 3), (8, 1)])
def test_the_grid_is_that_of_a_resnet(side: int, grid: int) -> None:
    net = ResNetV2(spec(side), depth=14, widening=1, stem="auto", last_relu=True).eval()
    with torch.inference_mode():
        features = net(torch.rand(2, 3, side, side), layers=True)
    assert features.tokens.shape == (2, grid**2, 512)
    assert [layer.shape[1] for layer in features.layers] == [64, 128, 256, 512]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"depth": 18}, r"backbone\.depth is 18; it must be 14, 26, 50, 101 or 152"),
        ({"widening": 0}, r"backbone\.widening is 0; it must be at least 1"),
        ({"stem": "tiny"}, r"backbone\.stem is 'tiny'; it must be auto, small or large"),
    ],
)
def test_what_it_cannot_be_is_refused(changes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        network(**changes)
