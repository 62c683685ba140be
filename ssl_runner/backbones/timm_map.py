"""Convolutional networks of timm, and others that give a map of features for images of any size."""

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from ssl_runner.backbones.timm_models import TimmEncoder, create, positional
from ssl_runner.interfaces import Features, ImageSpec, MapEncoder, Origin
from ssl_runner.nn.normalize import Normalize
from ssl_runner.nn.published import Stem, WeightSettings, called, shrink_stem, wants_small_stem, without_idle


class TimmMap(TimmEncoder, MapEncoder):
    """A network of timm that gives a map of features, without its classifier.

    Wightman 2019, https://github.com/huggingface/pytorch-image-models. `map` is timm's `forward_features`; `pooled` is
    its mean over the grid; `layers` are the means of timm's stages, and `pooled`. What timm computes after pooling (the
    last norm of ConvNeXt, the last layer of MobileNetV3) belongs to the classifier and is left out. `stem`: `auto`
    gives images of up to 64 pixels a small one, if it is known how: see `nn.published.shrink_stem`. `settings`: of
    `timm.create_model`. `weights` are set by `assembly.weights`.

    Raises ValueError for a network that timm does not have, or that reads images of one size alone.
    """

    def __init__(
        self,
        spec: ImageSpec,
        *,
        name: str,
        settings: dict[str, Any] | None,
        stem: Stem,
        **weights: Unpack[WeightSettings],
    ) -> None:
        super().__init__()
        self.origin = Origin(**weights)
        self.spec = spec
        small = wants_small_stem(stem, spec)
        net = create(name, "timm", settings, in_chans=spec.channels)
        if net.pretrained_cfg.get("fixed_input_size") or not hasattr(net, "forward_intermediates"):
            raise ValueError(
                f"backbone.name is {name}, which gives no map of features for images of any size; choose a "
                "convolutional network, or backbone=timm_vit for a Vision Transformer"
            )
        self.spellings = ({"net.": ""}, positional(net))
        said = _shrunk(net) if small else ""
        if stem == "small" and not said:
            raise ValueError(f"backbone.stem is small, which is not known of {name}; set backbone.stem=large")
        self.name = name
        self.arguments = {**(settings or {}), "in_chans": spec.channels}
        self.small = bool(said)
        self.dim = int(net.num_features)
        self.normalize = Normalize(spec.channels)
        self.net = net
        self.note = f"timm's {name}, {said or 'its own stem'}"
        if not next(net.parameters()).is_meta:
            self._without_head(name)

    def map(self, x: Tensor) -> Tensor:
        features: Tensor = self.net.forward_features(self.normalize(x))
        return features

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        if not layers:
            features = self.map(x)
            return Features(features.flatten(2).mT, features.mean((2, 3)))
        features, stages = self.net.forward_intermediates(self.normalize(x))
        return Features(features.flatten(2).mT, features.mean((2, 3)), _means(features, stages))

    def _without_head(self, name: str) -> None:
        """Remove what `forward_features` does not use, found by an image; which shows the form of the features, too."""
        shapes: list[tuple[int, ...]] = []
        image = torch.zeros(1, self.spec.channels, self.spec.height, self.spec.width)
        used = called(self.net, lambda: shapes.append(tuple(self.net.forward_features(image).shape)))
        if len(shapes[0]) != 4 or shapes[0][1] != self.dim:
            raise ValueError(
                f"backbone.name is {name}, whose features have the shape {shapes[0]}; backbone=timm reads maps of "
                f"(B, {self.dim}, h, w): choose a convolutional network"
            )
        without_idle(self.net, used)
        self.note += f", a grid of {shapes[0][2]}x{shapes[0][3]} for images of {self.spec.height}x{self.spec.width}"


def _shrunk(net: Any) -> str:
    first = net.pretrained_cfg.get("first_conv")
    pool = "maxpool" if isinstance(getattr(net, "maxpool", None), nn.MaxPool2d) else None
    return shrink_stem(net, first, pool) if isinstance(first, str) else ""


def _means(features: Tensor, stages: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The mean of each stage; the last one is of the features, where these are what timm makes of the last stage."""
    below = [stage for stage in stages if stage is not features]
    if below and below[-1].shape == features.shape:
        below.pop()
    return (*(stage.mean((2, 3)) for stage in below), features.mean((2, 3)))
