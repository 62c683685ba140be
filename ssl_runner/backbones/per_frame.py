"""An image backbone applied to each frame of a clip."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Features, FrameEncoder, MapEncoder, PatchEncoder, VideoSpec
from ssl_runner.nn.positions import sincos
from ssl_runner.nn.transformer import Transformer

Pool = Literal["mean", "lstm", "attention"]
HEADS = 4  # of `pool: attention`, or as many as divide the width
MLP_RATIO = 2.0  # hidden units of its block's perceptron, as a multiple of the width


class PerFrame(FrameEncoder):
    """Encode each frame independently with the image backbone `image`, and pool features over time.

        pooled = pool(f(frame 1), ..., f(frame T)),   f(.) the pooled features of a frame

    `pool`:
      mean       their mean, independent of order;
      lstm       the last state of one recurrent layer that reads them from first to last, after Ng, Hausknecht et al.
                 2015, "Beyond Short Snippets", https://arxiv.org/abs/1503.08909 (there five layers);
      attention  one block of a Transformer over them, with their places in time, and then the mean: as model 2 of
                 Arnab et al. 2021, https://arxiv.org/abs/2103.15691.
    `tokens` and `map` are of frames alone: what pools has no part in them. Clips may be of any number of frames.
    """

    def __init__(self, spec: VideoSpec, *, image: MapEncoder | PatchEncoder, pool: Pool) -> None:
        super().__init__()
        if not isinstance(image, MapEncoder | PatchEncoder):
            raise ValueError(
                f"backbone.image is a {type(image).__name__}; it must be a backbone of images: choose one of the group "
                "backbone/image"
            )
        self.image = image
        self.dim = image.dim
        self.note = image.note
        self.ordered = pool != "mean"
        self.pool = _pool(pool, image.dim)

    def rebuilt(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**node, "image": dict(self.image.rebuilt(node["image"]))}

    def map(self, x: Tensor) -> Tensor:
        frames = x.flatten(0, 1)
        if isinstance(self.image, PatchEncoder):
            grid = self.image(frames).tokens.mT.unflatten(2, self.image.grid)
        else:
            grid = self.image.map(frames)
        return grid.unflatten(0, x.shape[:2]).transpose(1, 2)

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        frames = self.image(x.flatten(0, 1), layers=layers)
        tokens = frames.tokens.unflatten(0, x.shape[:2]).flatten(1, 2)
        pooled = self.pool(frames.pooled.unflatten(0, x.shape[:2]))
        below = tuple(layer.unflatten(0, x.shape[:2]).mean(1) for layer in frames.layers)
        # the mean of the last layer is `pooled` already where frames are pooled by their mean
        return Features(tokens, pooled, (*below, pooled) if layers and self.ordered else below)


class Mean(nn.Module):
    """(B, T, D) -> (B, D)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class LastState(nn.Module):
    """The state of an LSTM after the last frame: (B, T, D) -> (B, D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0][:, -1]


class AttentionOverTime(nn.Module):
    """One block over the frames, then their mean: (B, T, D) -> (B, D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.transformer = Transformer(dim, 1, math.gcd(dim, HEADS), mlp_ratio=MLP_RATIO)

    def forward(self, x: Tensor) -> Tensor:
        time = sincos(torch.arange(x.shape[1], device=x.device), x.shape[2])
        return self.transformer(x + time).mean(1)


def _pool(pool: Pool, dim: int) -> nn.Module:
    match pool:
        case "mean":
            return Mean()
        case "lstm":
            return LastState(dim)
        case "attention":
            if dim % 2:
                raise ValueError(f"backbone.pool is attention; it needs an image backbone of even width, not {dim}")
            return AttentionOverTime(dim)
    raise ValueError(f"backbone.pool is {pool!r}; it must be mean, lstm or attention")
