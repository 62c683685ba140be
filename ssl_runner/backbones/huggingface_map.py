"""Convolutional networks of transformers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

from torch import Tensor, nn

from ssl_runner.backbones.huggingface_models import HuggingFaceEncoder, configuration, create, save_image_processor
from ssl_runner.interfaces import Features, ImageSpec, MapEncoder, Origin
from ssl_runner.nn.normalize import Normalize
from ssl_runner.nn.published import Stem, WeightSettings, adapt_channels, shrink_stem, wants_small_stem

FIRST = {  # type -> its first convolution, and the pooling after it
    "resnet": ("embedder.embedder.convolution", "embedder.pooler"),
    "regnet": ("embedder.embedder.convolution", None),
    "convnext": ("embeddings.patch_embeddings", None),
    "convnextv2": ("embeddings.patch_embeddings", None),
}


class HuggingFaceMap(HuggingFaceEncoder, MapEncoder):
    """A convolutional network of transformers: ResNet, RegNet, ConvNeXt, ConvNeXt V2.

    https://huggingface.co/docs/transformers. `name`: a type (random weights, `config` on top of its defaults), an id of
    the hub, or a local folder with its config.json. `map` is the network's last hidden state; `pooled` is its mean over
    the grid; `layers` are the means of its stages, and `pooled`. `stem`: `auto` gives images of up to 64 pixels a small
    one, if it is known how: see `nn.published.shrink_stem`. `weights` are set by `assembly.weights`.

    Raises ValueError for other types, and for a configuration that cannot be had.
    """

    def __init__(
        self,
        spec: ImageSpec,
        *,
        name: str,
        config: dict[str, Any] | None,
        stem: Stem,
        **weights: Unpack[WeightSettings],
    ) -> None:
        super().__init__()
        self.origin = Origin(**weights)
        self.spec = spec
        self.name = name
        small = wants_small_stem(stem, spec)
        self.config = configuration(name, config, "huggingface")
        if self.config.model_type not in FIRST:
            raise ValueError(
                f"backbone.name is {name}, of type {self.config.model_type}; backbone=huggingface reads "
                f"{', '.join(FIRST)}: choose one of these, or backbone=huggingface_vit for a Vision Transformer"
            )
        self.config.num_channels = spec.channels
        net = create(self.config)
        first, pool = FIRST[self.config.model_type]
        said = shrink_stem(net, first, pool) if small else ""
        if stem == "small" and not said:
            raise ValueError(f"backbone.stem is small, which is not known of {name}; set backbone.stem=large")
        if hasattr(net, "layernorm"):  # of the pooled features, which belongs to the classifier
            net.layernorm = nn.Identity()
        self.small = bool(said)
        self.dim = int(self.config.hidden_sizes[-1])
        self.normalize = Normalize(spec.channels)
        self.net = net
        self.note = f"transformers' {name}, {said or 'its own stem'}"

    def map(self, x: Tensor) -> Tensor:
        last: Tensor = self.net(self.normalize(x)).last_hidden_state
        return last

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        found = self.net(self.normalize(x), output_hidden_states=layers)
        features = found.last_hidden_state
        pooled = features.mean((2, 3))
        below = [each.mean((2, 3)) for each in found.hidden_states[:-1]] if layers else []
        return Features(features.flatten(2).mT, pooled, (*below, pooled) if layers else ())

    def adapted(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return adapt_channels(state, f"{FIRST[self.config.model_type][0]}.weight", self.spec.channels)

    def _save_reader(self, folder: Path) -> None:
        save_image_processor(folder, self.spec, self.normalize)
