"""The layers of networks, by which learning rates decay."""

import pytest
from torch import nn

from ssl_runner.backbones.resnet import ResNet
from ssl_runner.backbones.vit import ViT
from ssl_runner.interfaces import ImageSpec
from ssl_runner.nn.depth import depths, rate_scales

SPEC = ImageSpec(channels=3, height=16, width=16)


def test_the_layers_of_a_vision_transformer() -> None:
    encoder = ViT(SPEC, dim=8, depth=3, heads=2, patch=4, mlp_ratio=2.0, pool="class", drop_path=0.0)
    layers, last = depths(encoder)
    named = {name: layers[p] for name, p in encoder.named_parameters()}
    assert last == 4
    assert named["class_token"] == named["embed.weight"] == 0
    assert [named[f"transformer.blocks.{place}.norm1.weight"] for place in range(3)] == [1, 2, 3]
    assert named["transformer.norm.weight"] == 4
    assert rate_scales(encoder, 0.5)[encoder.embed.weight] == 0.5**4
    assert len(layers) == len(list(encoder.parameters()))


def test_the_stages_of_a_resnet_and_a_network_without_blocks() -> None:
    layers, last = depths(ResNet(SPEC, depth=18, stem="small", widening=1, last_relu=True))
    assert (min(layers.values()), max(layers.values()), last) == (0, 4, 5)
    with pytest.raises(ValueError, match="a Linear shows no list of its blocks"):
        depths(nn.Linear(2, 2))
