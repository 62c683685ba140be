"""Vision Transformers of timm, which encode any subset of their patches."""

from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn

from ssl_runner.backbones.timm_models import TimmEncoder, create
from ssl_runner.backbones.vit import suitable_patch
from ssl_runner.interfaces import Features, ImageSpec, Origin, PatchEncoder
from ssl_runner.nn.normalize import Normalize
from ssl_runner.nn.patches import gather_places
from ssl_runner.nn.published import WeightSettings

Pool = Literal["mean", "class"]


class TimmViT(TimmEncoder, PatchEncoder):
    """A Vision Transformer of timm, without its classifier: ViT, DeiT, DINOv2, DINOv3, CLIP, SigLIP, EVA.

    Wightman 2019, https://github.com/huggingface/pytorch-image-models. Blocks see the kept patches alone, with the
    class and register tokens, which always stay; positions are timm's, for the grid of these images. Without `keep`
    the tokens are those of timm's `forward_features` but for the class and register tokens. `pooled` is the mean of the
    patches, or the class token (`pool: class`). `patch: null` is the network's own where it divides the image and gives
    4 patches a side or more, else about 8 patches a side (`backbones.vit.choose_patch`). `settings`: of
    `timm.create_model`. `weights` are set by `assembly.weights`; positions and patches of another size are interpolated
    by timm.

    Raises ValueError for a network that is no Vision Transformer of timm, and for patches that do not fill the image.
    """

    def __init__(
        self,
        spec: ImageSpec,
        *,
        name: str,
        settings: dict[str, Any] | None,
        patch: int | None,
        pool: Pool,
        **weights: Unpack[WeightSettings],
    ) -> None:
        super().__init__()
        self.origin = Origin(**weights)
        self.spec = spec
        size = (spec.height, spec.width)
        net = create(name, "timm_vit", settings, in_chans=spec.channels, img_size=size)
        own = _patch_of(net, name)
        self.patch = suitable_patch(patch, own, size)
        if self.patch != own:
            net = create(name, "timm_vit", settings, in_chans=spec.channels, img_size=size, patch_size=self.patch)
        if pool not in ("mean", "class"):
            raise ValueError(f"backbone.pool is {pool!r}; it must be mean or class")
        if pool == "class" and net.cls_token is None:
            raise ValueError(f"backbone.pool is class, and {name} has no class token; set backbone.pool=mean")
        self.pool = pool
        self.name = name
        self.arguments = {**(settings or {}), "in_chans": spec.channels, "img_size": list(size), **_head(net, pool)}
        if self.patch != own:
            self.arguments["patch_size"] = self.patch
        self.spellings = ({"net.": ""},)
        self.dim = int(net.num_features)
        self.grid = (size[0] // self.patch, size[1] // self.patch)
        self.prefix = int(net.num_prefix_tokens)  # class and register tokens
        self.normalize = Normalize(spec.channels)
        self.net = net
        self.note = (
            f"timm's {name}, {self.grid[0]}x{self.grid[1]} patches of {self.patch} pixels"
            f"{'' if self.patch == own else f' (its own are of {own})'}, {self.prefix} tokens beside them"
        )

    def forward(self, x: Tensor, keep: Tensor | None = None, *, layers: bool = False) -> Features:
        if x.shape[2:] != (self.spec.height, self.spec.width):
            raise ValueError(
                f"the images are of {x.shape[2]} x {x.shape[3]} pixels; the encoder was built for "
                f"{self.spec.height} x {self.spec.width}"
            )
        tokens, rotary = self._embed(x, keep)
        pooled = []
        for place, block in enumerate(self.net.blocks):
            if rotary is None:
                tokens = block(tokens)
            else:
                tokens = block(tokens, rope=rotary[place] if self.net.rope_mixed else rotary)
            if layers and place + 1 < len(self.net.blocks):
                pooled.append(self._pooled(tokens))
        tokens = self.net.norm(tokens)
        last = self._pooled(tokens)
        return Features(tokens[:, self.prefix :], last, (*pooled, last) if layers else ())

    def _embed(self, x: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The tokens that the blocks read, class and register tokens first, and rotary positions of the patches."""
        placed = self.net._pos_embed(self.net.patch_embed(self.normalize(x)))
        tokens, rotary = placed if isinstance(placed, tuple) else (placed, None)  # timm's Eva gives both
        if keep is not None:
            tokens = torch.cat((tokens[:, : self.prefix], gather_places(tokens[:, self.prefix :], keep)), dim=1)
            if rotary is not None:
                rotary = _kept(rotary, keep, self.net.rope_mixed)
        return self.net.norm_pre(tokens), rotary

    def _pooled(self, tokens: Tensor) -> Tensor:
        return tokens[:, 0] if self.pool == "class" else tokens[:, self.prefix :].mean(1)


def _patch_of(net: Any, name: str) -> int:
    """The side of its patches, pixels. Raises ValueError for other classes than these two."""
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    sides = getattr(getattr(net, "patch_embed", None), "patch_size", (0, 1))
    if isinstance(net, Eva | VisionTransformer) and sides[0] == sides[1]:
        return int(sides[0])
    raise ValueError(
        f"backbone.name is {name}, which is not a Vision Transformer whose patches can be left out (timm's classes "
        "VisionTransformer and Eva); choose one, such as vit_small_patch16_224, or backbone=timm for a convolutional "
        "network"
    )


def _head(net: Any, pool: Pool) -> dict[str, Any]:
    """Arguments of timm.create_model: the pooling by its name there, and the place of the last norm, which timm would
    choose by the pooling."""
    from timm.models.eva import Eva

    after = not isinstance(net.fc_norm, nn.Identity)
    norm = "use_fc_norm" if isinstance(net, Eva) else "fc_norm"
    return {"global_pool": "token" if pool == "class" else "avg", norm: after}


def _kept(rotary: Tensor, keep: Tensor, mixed: bool) -> Tensor:
    """Rotary positions of the kept patches: (N, d) -> (B, 1, K, d); of each block and head, (L, H, N, d) -> (L, B, H,
    K, d)."""
    return rotary[:, :, keep].transpose(1, 2) if mixed else rotary[keep].unsqueeze(1)
