"""Fixed position embeddings."""

import torch
from torch import Tensor


def sincos_2d(dim: int, grid: tuple[int, int]) -> Tensor:
    """Embed the places of a grid (down, across) by sines and cosines: (down * across, dim), row-major.

    Half of `dim` embeds the row, the other half the column, each half sines then cosines of position / 10000^(k / n),
    k = 0 ... n - 1, n = dim / 4. Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, in two dimensions as in He et
    al. 2021 (MAE), https://arxiv.org/abs/2111.06377. Raises ValueError where 4 does not divide `dim`.
    """
    if dim < 4 or dim % 4:
        raise ValueError(f"the width of 2-D position embeddings is {dim}; it must be a multiple of 4")
    down, across = grid
    frequency = 10_000 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    row = torch.arange(down, dtype=torch.float64).repeat_interleave(across)
    column = torch.arange(across, dtype=torch.float64).repeat(down)
    angles = [row[:, None] * frequency, column[:, None] * frequency]
    return torch.cat([part for a in angles for part in (a.sin(), a.cos())], dim=1).float()
