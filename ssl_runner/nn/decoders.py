"""Decoders: from features back to pixels."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ssl_runner.nn.positions import sincos_grid
from ssl_runner.nn.transformer import Transformer


class ConvDecoder(nn.Module):
    """Decode an image from one vector: (B, dim) -> (B, C, H, W), unbounded values (or logits).

    A linear layer makes the grid of widths[0] channels that `GridDecoder` draws from. Kaiming weights, normal.
    """

    def __init__(self, dim: int, shape: tuple[int, int, int], *, widths: Sequence[int]) -> None:
        super().__init__()
        height, width = coarse_grid(shape, widths)
        self.project = nn.Linear(dim, widths[0] * height * width, bias=False)  # BatchNorm follows
        nn.init.kaiming_normal_(self.project.weight, nonlinearity="relu")
        self.draw = GridDecoder(shape, widths=widths)

    def forward(self, z: Tensor) -> Tensor:
        return self.draw(self.project(z).unflatten(1, (-1, *self.draw.grid)))


class GridDecoder(nn.Module):
    """Decode an image from a grid of vectors: (B, widths[0], h, w) -> (B, C, H, W), unbounded values (or logits).

    (h, w) is `grid`: H and W halved (rounded up) len(widths) times. Each layer is a transposed convolution that doubles
    it: 4 x 4, stride 2, as in DCGAN (Radford et al. 2015, https://arxiv.org/abs/1511.06434), with BatchNorm and ReLU
    before it. Where a side is odd the last row or column is cut off. Weights: Kaiming, normal; biases zero.
    """

    def __init__(self, shape: tuple[int, int, int], *, widths: Sequence[int]) -> None:
        super().__init__()
        self.grid = coarse_grid(shape, widths)
        channels, height, width = shape
        self.sizes = [coarse_grid(shape, widths[:i]) for i in range(1, len(widths))]  # of the outputs, last to first
        self.sizes = [(height, width), *self.sizes]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(n_in), nn.ReLU(inplace=True), _upscale(n_in, n_out, last=i == len(widths)))
            for i, (n_in, n_out) in enumerate(zip(widths, [*widths[1:], channels], strict=True), start=1)
        )

    @property
    def last(self) -> nn.ConvTranspose2d:
        """The output layer."""
        return cast(nn.ConvTranspose2d, cast(nn.Sequential, self.layers[-1])[-1])

    def forward(self, x: Tensor) -> Tensor:
        for layer, (h, w) in zip(self.layers, reversed(self.sizes), strict=True):
            x = layer(x)[..., :h, :w]
        return x


def coarse_grid(shape: tuple[int, int, int], widths: Sequence[int]) -> tuple[int, int]:
    """Height and width of a (C, H, W) image halved, rounded up, once a width.

    >>> coarse_grid((3, 28, 30), [128, 64, 32])
    (4, 4)
    """
    if not widths or min(widths) < 1:
        raise ValueError(f"the decoder's widths are {list(widths)}; at least one is needed, each at least 1")
    part = 2 ** len(widths)
    return -(-shape[1] // part), -(-shape[2] // part)


def _upscale(n_in: int, n_out: int, *, last: bool) -> nn.ConvTranspose2d:
    conv = nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1, bias=last)
    # An output pixel sums 2 x 2 places of the n_in channels, each a half-normal-like output of a ReLU.
    nn.init.normal_(conv.weight, std=(2 / (4 * n_in)) ** 0.5)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


class PatchDecoder(nn.Module):
    """Predict all patches from the features of a few: the light decoder of a masked autoencoder.

    He et al. 2021 (MAE), https://arxiv.org/abs/2111.06377. One learned token stands for every hidden patch; fixed
    sine-cosine positions tell them apart: 2-D of images, 3-D of clips, whose patches are tubes. Weights are Xavier,
    uniform, but for the last layer's, and biases 0. That layer (cut at two deviations; in the paper it is Xavier too)
    and the mask token are normal of deviation 0.02.
    """

    positions: Tensor  # (N, dim)

    def __init__(
        self,
        dim_in: int,
        *,
        dim: int,
        depth: int,
        heads: int,
        grid: tuple[int, ...],
        patch_values: int,
        mlp_ratio: float = 4.0,
    ) -> None:
        """`grid`: patches (in time,) down and across, N in all. `patch_values`: numbers to predict a patch."""
        super().__init__()
        self.embed = nn.Linear(dim_in, dim)
        self.mask_token = nn.Parameter(torch.empty(dim))
        self.register_buffer("positions", sincos_grid(dim, grid), persistent=False)
        self.transformer = Transformer(dim, depth, heads, mlp_ratio=mlp_ratio)
        self.predict = nn.Linear(dim, patch_values)
        nn.init.xavier_uniform_(self.embed.weight)
        nn.init.trunc_normal_(self.predict.weight, std=0.02, a=-0.04, b=0.04)  # first predictions near zero
        for layer in (self.embed, self.predict):
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tensor, keep: Tensor, asked: Tensor | None = None) -> Tensor:
        """Tokens (B, K, dim_in) of the places `keep` (B, K) int64 -> (B, N, patch_values) for all places, row-major.

        `asked` (B, M) int64: the places to predict, (B, M, patch_values): the last block computes no others.
        """
        known = self.embed(tokens)
        n, dim = self.positions.shape
        hidden = self.mask_token.to(known.dtype).expand(len(known), n, dim)  # under autocast `known` is not float32
        x = hidden.scatter(1, keep[..., None].expand(-1, -1, dim), known)
        return self.predict(self.transformer(x + self.positions, rows=asked))
