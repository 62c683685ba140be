import pytest
import torch
from torch import Tensor

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.backbones.vit import ViT
from ssl_runner.interfaces import Encoder, ImageSpec, Views
from ssl_runner.views.crops import multi_crop

SPEC = ImageSpec(channels=1, height=8, width=8)


class Corner(Views):
    """The upper left corner, `count` times."""

    def __init__(self, count: int, side: int) -> None:
        super().__init__()
        self.count = count
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        return x[None, :, :, : self.side, : self.side].expand(self.count, -1, -1, -1, -1)


def convnet() -> Encoder:
    return ConvNet(SPEC, widths=[4], norm="batch")


def vit() -> Encoder:
    return ViT(SPEC, dim=8, depth=1, heads=1, patch=4, mlp_ratio=1.0, pool="mean", drop_path=0.0)


def test_crops_of_two_sizes() -> None:
    small, large = multi_crop(Corner(3, 4), Corner(2, 8), torch.rand(5, 1, 8, 8), convnet())
    assert small.shape == (3, 5, 1, 4, 4)
    assert large.shape == (2, 5, 1, 8, 8)


def test_an_encoder_of_one_size_gets_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = vit()
    small, _ = multi_crop(Corner(3, 4), Corner(2, 8), torch.rand(5, 1, 8, 8), encoder)
    assert encoder(small[0]).tokens.shape == (5, 1, 8)
    with pytest.raises(ValueError, match=r"objective\.small_views\.size is 6, and backbone\.patch 4"):
        multi_crop(Corner(3, 6), Corner(2, 8), torch.rand(5, 1, 8, 8), encoder)
    monkeypatch.setattr(ViT, "any_size", False)
    with pytest.raises(ValueError, match=r"objective\.small_views\.size is 4 .* set objective\.small_views\.size=null"):
        multi_crop(Corner(3, 4), Corner(2, 8), torch.rand(5, 1, 8, 8), encoder)
    multi_crop(Corner(3, 8), Corner(2, 8), torch.rand(5, 1, 8, 8), encoder)


def test_one_large_crop_is_refused() -> None:
    with pytest.raises(ValueError, match=r"objective\.views\.views is 1"):
        multi_crop(Corner(3, 4), Corner(1, 8), torch.rand(5, 1, 8, 8), convnet())


def test_one_image_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size is 1"):
        multi_crop(Corner(3, 4), Corner(2, 8), torch.rand(1, 1, 8, 8), convnet())
