"""Similarities of vectors; higher is more similar."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_runner.losses.precision import float32

SimilarityName = Literal["cosine", "dot", "euclidean", "squared_euclidean", "bilinear"]
LEAST: dict[SimilarityName, float] = {"cosine": -1.0}  # the least that there can be; of the others there is none


@float32
def cosine_similarity(a: Tensor, b: Tensor) -> Tensor:
    """(N, D), (M, D) -> (N, M) cosines."""
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T


@float32
def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """(N, D), (M, D) -> (N, M) squared Euclidean distances, at least 1e-12, without gradient below."""
    squares = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1)
    return torch.addmm(squares, a, b.T, alpha=-2).clamp_min(1e-12)


class Similarity(nn.Module):
    """Compare vectors of width D: (N, D), (M, D) -> (N, M).

    cosine   a'b / (|a| |b|)          euclidean           -|a - b|
    dot      a'b                      squared_euclidean   -|a - b|^2          bilinear   a'Wb, W learned, from 1
    """

    weight: nn.Parameter | None  # (D, D)

    def __init__(self, name: SimilarityName, dim: int) -> None:
        super().__init__()
        self.name = name
        self.register_parameter("weight", nn.Parameter(torch.eye(dim)) if name == "bilinear" else None)

    @float32
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        match self.name:
            case "cosine":
                return cosine_similarity(a, b)
            case "euclidean":
                return -squared_distance(a, b).sqrt()
            case "squared_euclidean":
                return -squared_distance(a, b)
        return a @ b.T if self.weight is None else a @ self.weight @ b.T
