import copy

import pytest
import torch
import torch.nn.functional as F
from benchmarks.memory import kept
from torch import Tensor, nn

from ssl_runner.backbones.revnet import RevNet
from ssl_runner.interfaces import ImageSpec
from ssl_runner.nn.reversible import ReversibleChain


def spec(side: int, channels: int = 3) -> ImageSpec:
    return ImageSpec(channels=channels, height=side, width=side)


def network(**changes) -> RevNet:
    torch.manual_seed(0)
    settings = {"depth": 14, "widening": 1, "stem": "auto", "last_relu": True, "recompute": True}
    return RevNet(spec(16), **settings | changes)


def by_the_paper(net: RevNet, x: Tensor) -> Tensor:
    """Kolesnikov's form: all channels in one tensor, whose halves are split, and put together in the other order."""
    x = net.stem(net.normalize(x))
    for place, stage in enumerate(net.stages):
        if place:
            x = F.avg_pool2d(x, 2)
            zeros = x.new_zeros(len(x), x.shape[1] // 2, *x.shape[2:])
            x = torch.cat([zeros, x, zeros], dim=1)
        for branch in stage.get_submodule("branches").children():
            one, two = x.chunk(2, dim=1)
            x = torch.cat([two, one + branch(two)], dim=1)
    return net.last(x)


def test_it_is_the_network_of_the_paper() -> None:
    net = network(depth=26).eval()
    x = torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(net.map(x), by_the_paper(net, x))


@pytest.mark.parametrize("last_relu", [True, False])
def test_gradients_are_those_of_the_plain_form(last_relu: bool) -> None:
    recomputed = network(depth=50, last_relu=last_relu).double()
    plain = copy.deepcopy(recomputed)
    for stage in plain.stages:
        assert isinstance(stage, ReversibleChain)
        stage.recompute = False
    x = torch.rand(4, 3, 16, 16, dtype=torch.float64)
    for net in (recomputed, plain):
        (net(x).tokens * torch.linspace(-1, 1, net.dim)).sum().backward()
    for (name, ours), theirs in zip(recomputed.named_parameters(), plain.parameters(), strict=True):
        scale = theirs.grad.abs().max()
        torch.testing.assert_close(ours.grad / scale, theirs.grad / scale, rtol=0, atol=1e-10, msg=name)
    for (name, buffer), other in zip(recomputed.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(buffer, other), name


def test_bytes_kept_do_not_grow_with_depth() -> None:
    x = torch.rand(2, 3, 16, 16)
    assert kept(network(depth=26), x) == kept(network(depth=50), x)
    assert kept(network(depth=26, recompute=False), x) > 1.5 * kept(network(recompute=False), x)


@pytest.mark.parametrize(("side", "grid"), [(32, 4), (96, 3), (8, 1), (11, 2)])
def test_the_grid_is_that_of_a_resnet(side: int, grid: int) -> None:
    net = RevNet(spec(side), depth=14, widening=1, stem="auto", last_relu=True, recompute=True).eval()
    with torch.inference_mode():
        features = net(torch.rand(2, 3, side, side), layers=True)
    assert features.tokens.shape == (2, grid**2, 512)
    assert [layer.shape[1] for layer in features.layers] == [64, 128, 256, 512]


@pytest.mark.parametrize(("depth", "widening", "dim"), [(50, 4, 2048), (50, 16, 8192), (14, 2, 1024)])
def test_sizes(depth: int, widening: int, dim: int) -> None:
    with torch.device("meta"):
        net = RevNet(spec(224), depth=depth, widening=widening, stem="auto", last_relu=True, recompute=True)
    assert net.dim == dim
    assert sum(isinstance(part, nn.Conv2d) for part in net.modules()) == depth - 1  # the last layer is a classifier


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
