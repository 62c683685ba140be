"""Vision Transformers of transformers, which encode any subset of their patches."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_runner.backbones.huggingface_models import HuggingFaceEncoder, configuration, create, save_image_processor
from ssl_runner.backbones.vit import suitable_patch
from ssl_runner.interfaces import Features, ImageSpec, Origin, PatchEncoder
from ssl_runner.nn.normalize import Normalize
from ssl_runner.nn.patches import gather_places
from ssl_runner.nn.positions import resized
from ssl_runner.nn.published import WeightSettings, adapt_channels

TYPES = ("vit", "deit", "vit_msn", "ijepa", "dinov2", "dinov2_with_registers")  # positions are added before the blocks
POSITIONS = "embeddings.position_embeddings"
PATCHES = "embeddings.patch_embeddings.projection"


class HuggingFaceViT(HuggingFaceEncoder, PatchEncoder):
    """A Vision Transformer of transformers: ViT, DeiT, MSN, I-JEPA, DINOv2, with and without registers.

    https://huggingface.co/docs/transformers. `name`: a type (random weights, `config` on top of its defaults), an id of
    the hub, or a local folder with its config.json. Blocks see the kept patches alone, with the class and register
    tokens, which always stay. Without `keep` the tokens are those of the network's last hidden state but for class and
    register tokens. `pooled` is the mean of the patches. `patch: null` is the network's own where it divides the image
    and gives 4 patches a side or more, else about 8 patches a side. `weights` are set by `assembly.weights`; positions
    of another grid are interpolated as the library does, patches of another size as images are.

    Raises ValueError for other types, for images that are not square, and for a configuration that cannot be had.
    """

    def __init__(
        self,
        spec: ImageSpec,
        *,
        name: str,
        config: dict[str, Any] | None,
        patch: int | None,
        **weights: Unpack[WeightSettings],
    ) -> None:
        super().__init__()
        self.origin = Origin(**weights)
        self.spec = spec
        self.name = name
        self.config = configuration(name, config, "huggingface_vit")
        if self.config.model_type not in TYPES:
            raise ValueError(
                f"backbone.name is {name}, of type {self.config.model_type}; backbone=huggingface_vit reads "
                f"{', '.join(TYPES)}: choose one of these, backbone=timm_vit, or backbone=huggingface for a "
                "convolutional network"
            )
        if spec.height != spec.width:
            raise ValueError(
                f"the images are of {spec.height} x {spec.width} pixels; Vision Transformers of transformers read "
                "square ones: choose backbone=timm_vit"
            )
        own = int(self.config.patch_size)
        self.patch = suitable_patch(patch, own, (spec.height, spec.width))
        self.config.num_channels = spec.channels
        self.config.image_size, self.config.patch_size = spec.height, self.patch
        self.grid = (spec.height // self.patch, spec.width // self.patch)
        self.dim = int(self.config.hidden_size)
        self.normalize = Normalize(spec.channels)
        self.net = create(self.config)
        self.net.pooler = None
        self.net.embeddings.mask_token = None
        self.keep: Tensor | None = None
        self.net.embeddings.register_forward_hook(self._select)
        self.prefix = _prefix(self.net, self.grid[0] * self.grid[1])
        self.note = (
            f"transformers' {name}, {self.grid[0]}x{self.grid[1]} patches of {self.patch} pixels"
            f"{'' if self.patch == own else f' (its own are of {own})'}, {self.prefix} tokens beside them"
        )

    def forward(self, x: Tensor, keep: Tensor | None = None, *, layers: bool = False) -> Features:
        if x.shape[2:] != (self.spec.height, self.spec.width):
            raise ValueError(
                f"the images are of {x.shape[2]} x {x.shape[3]} pixels; the encoder was built for "
                f"{self.spec.height} x {self.spec.width}"
            )
        self.keep = keep
        try:
            found = self.net(self.normalize(x), output_hidden_states=layers)
        finally:
            self.keep = None
        tokens = found.last_hidden_state[:, self.prefix :]
        pooled = tokens.mean(1)
        below = [each[:, self.prefix :].mean(1) for each in found.hidden_states[1:-1]] if layers else []
        return Features(tokens, pooled, (*below, pooled) if layers else ())

    def _select(self, _: Any, given: Any, tokens: Tensor) -> Tensor:
        """Of the embeddings, positions included, those that the blocks read: called by the network between the two."""
        if self.keep is None:
            return tokens
        kept = gather_places(tokens[:, self.prefix :], self.keep)
        return torch.cat((tokens[:, : self.prefix], kept), dim=1)

    def adapted(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        state = adapt_channels(state, f"{PATCHES}.weight", self.spec.channels)
        weight = state.get(f"{PATCHES}.weight")
        if weight is not None and weight.shape[2] != self.patch:
            size = (self.patch, self.patch)
            state[f"{PATCHES}.weight"] = F.interpolate(weight, size, mode="bicubic", antialias=True)
        places = state.get(POSITIONS)
        if places is not None:
            state[POSITIONS] = _interpolated(places, self.grid[0])
        return state

    def _save_reader(self, folder: Path) -> None:
        save_image_processor(folder, self.spec, self.normalize)


def _prefix(net: Any, patches: int) -> int:
    """The number of class and register tokens."""
    registers = getattr(net.embeddings, "register_tokens", None)
    return int(net.embeddings.position_embeddings.shape[1]) - patches + (0 if registers is None else registers.shape[1])


def _interpolated(places: Tensor, side: int) -> Tensor:
    """(1, P + N, D): positions for a grid of side x side, as transformers does it; those of P class tokens stay."""
    before = int((places.shape[1]) ** 0.5)
    first, grid = places[:, : places.shape[1] - before**2], places[:, places.shape[1] - before**2 :]
    return torch.cat((first, resized(grid[0], (before, before), (side, side))[None]), dim=1)
