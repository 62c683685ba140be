"""The Vision Transformer."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Features, ImageSpec, PatchEncoder
from ssl_runner.nn.normalize import Normalize
from ssl_runner.nn.patches import gather_places, patchify
from ssl_runner.nn.positions import resized, sincos_2d
from ssl_runner.nn.transformer import Transformer

Pool = Literal["mean", "class"]

SIDE = 8  # patches along the shorter side that `patch: null` aims at
LARGEST = 16  # pixels; the largest patch that `patch: null` chooses
FEWEST = 4  # patches along the shorter side below which a network's own patch is not taken
MOST = 16  # patches along the shorter side above which `patch: null` refuses to choose


class ViT(PatchEncoder):
    """A Transformer over patches of an image, with fixed 2-D sine-cosine positions.

    Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929; positions and initialization as in He et al. 2021 (MAE),
    https://arxiv.org/abs/2111.06377: all weights Xavier, uniform, all biases 0.
    `pool: class` puts a learned token before the patches, whose output is `pooled`, as in the papers; `pool: mean` has
    no such token, and `pooled` is the mean of the tokens that are encoded. Positions of images of another size than
    that which the encoder was built for are interpolated (`nn.positions.resized`).

    `patch: null` takes, among the sizes up to 16 pixels that divide height and width, the one that gives nearest to 8
    patches along the shorter side: 28 -> 4, 32 -> 4, 64 -> 8, 96 -> 12, 224 -> 16.
    """

    any_size = True
    positions: Tensor  # (N, D)

    def __init__(
        self,
        spec: ImageSpec,
        *,
        dim: int,
        depth: int,
        heads: int,
        patch: int | None,
        mlp_ratio: float,
        pool: Pool,
        drop_path: float,
    ) -> None:
        super().__init__()
        if dim < 4 or dim % 4:
            raise ValueError(f"backbone.dim is {dim}; it must be a multiple of 4 (sines and cosines of row and column)")
        if heads < 1 or dim % heads:
            raise ValueError(f"backbone.heads is {heads}; it must divide backbone.dim, which is {dim}")
        if depth < 1:
            raise ValueError(f"backbone.depth is {depth}; it must be at least 1")
        if round(dim * mlp_ratio) < 1:
            raise ValueError(f"backbone.mlp_ratio is {mlp_ratio}; it must be above 0")
        if pool not in ("mean", "class"):
            raise ValueError(f"backbone.pool is {pool!r}; it must be mean or class")
        if not 0 <= drop_path < 1:
            raise ValueError(f"backbone.drop_path is {drop_path}; it must lie in [0, 1) (DINO: 0.1)")
        self.dim = dim
        self.patch = choose_patch(spec.height, spec.width) if patch is None else patch
        fits = divisors(math.gcd(spec.height, spec.width))
        if self.patch not in fits:
            raise ValueError(
                f"backbone.patch is {patch}; it must divide the images, which are of {spec.height} x {spec.width} "
                f"pixels: set backbone.patch to one of {', '.join(map(str, fits))}, or null"
            )
        self.grid = (spec.height // self.patch, spec.width // self.patch)
        self.normalize = Normalize(spec.channels)
        self.embed = nn.Linear(self.patch * self.patch * spec.channels, dim)
        nn.init.xavier_uniform_(self.embed.weight)
        nn.init.zeros_(self.embed.bias)
        self.register_buffer("positions", sincos_2d(dim, self.grid), persistent=False)
        self.transformer = Transformer(dim, depth, heads, mlp_ratio=mlp_ratio, drop_path=drop_path)
        self.register_parameter("class_token", None)
        if pool == "class":
            self.prefix = 1
            self.class_token = nn.Parameter(torch.empty(dim))
            nn.init.normal_(self.class_token, std=0.02)

    def forward(self, x: Tensor, keep: Tensor | None = None, *, layers: bool = False) -> Features:
        tokens = self._embed(x, keep)
        if layers:
            outputs = self.transformer.layers(tokens)
            pooled = tuple(self._pooled(output) for output in outputs)
            return Features(outputs[-1][:, self.prefix :], pooled[-1], pooled)
        tokens = self.transformer(tokens)
        return Features(tokens[:, self.prefix :], self._pooled(tokens))

    def _embed(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """What the blocks read: the class token, if there is one, and the patches, or those of `keep`."""
        if x.shape[2] % self.patch or x.shape[3] % self.patch:
            raise ValueError(
                f"the images are of {x.shape[2]} x {x.shape[3]} pixels; the encoder reads sides that are multiples of "
                f"{self.patch} pixels (backbone.patch)"
            )
        patches = patchify(self.normalize(x), self.patch)
        positions = resized(self.positions, self.grid, (x.shape[2] // self.patch, x.shape[3] // self.patch))
        if keep is not None:
            patches, positions = gather_places(patches, keep), positions[keep]
        tokens = self.embed(patches) + positions
        if self.class_token is None:
            return tokens
        return torch.cat((self.class_token.to(tokens.dtype).expand(len(x), 1, -1), tokens), dim=1)

    def _pooled(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1) if self.class_token is None else tokens[:, 0]


def divisors(n: int) -> list[int]:
    """The divisors of `n`, ascending.

    >>> divisors(28)
    [1, 2, 4, 7, 14, 28]
    """
    return [d for d in range(1, n + 1) if n % d == 0]


def choose_patch(height: int, width: int) -> int:
    """The side of a patch, pixels, for `patch: null`. Raises ValueError where no size gives a sensible number of them.

    >>> [choose_patch(n, n) for n in (28, 32, 64, 96, 224)]
    [4, 4, 8, 12, 16]
    """
    shorter, fits = min(height, width), divisors(math.gcd(height, width))
    # Nearest as a ratio; of two equally near the larger patch, which is cheaper.
    patch = min((p for p in fits if p <= LARGEST), key=lambda p: (abs(math.log(shorter / p / SIDE)), -p))
    if shorter // patch > MOST and patch < LARGEST:
        raise ValueError(
            f"backbone.patch is null and the images are of {height} x {width} pixels, which no patch size "
            f"of 2 to {LARGEST} pixels divides into {MOST} or fewer patches a side; set backbone.patch to "
            f"one of {', '.join(map(str, fits))}, or give the dataset another size"
        )
    return patch


def suitable_patch(patch: int | None, own: int, size: tuple[int, int]) -> int:
    """The side of a patch for images of `size`, where a network of a library has patches of `own` pixels.

    It is `patch`; or for None `own`, where that divides the image and gives 4 patches a side or more, else that of
    `choose_patch`. Raises ValueError for a patch that does not divide the image.

    >>> [suitable_patch(None, 16, (side, side)) for side in (28, 32, 64, 96, 224)]
    [4, 4, 16, 16, 16]
    """
    fits = divisors(math.gcd(*size))
    if patch is None:
        return own if own in fits and min(size) // own >= FEWEST else choose_patch(*size)
    if patch not in fits:
        raise ValueError(
            f"backbone.patch is {patch}; it must divide the images, which are of {size[0]} x {size[1]} pixels: set "
            f"backbone.patch to one of {', '.join(map(str, fits))}, or null"
        )
    return patch
