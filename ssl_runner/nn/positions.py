"""Fixed position embeddings."""

import torch
from torch import Tensor
from torch.nn import functional as F


def sincos(places: Tensor, dim: int) -> Tensor:
    """Embed places (N,) by sines, then cosines, of place / 10000^(k / n), k = 0 ... n - 1, n = dim / 2: (N, dim).

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762. In float32, on the places' device. Raises ValueError for an
    odd `dim`.
    """
    if dim < 2 or dim % 2:
        raise ValueError(f"the width of position embeddings is {dim}; it must be a multiple of 2")
    frequency = 10_000 ** (-torch.arange(dim // 2, dtype=torch.float64, device=places.device) / (dim // 2))
    angle = places.double()[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1).float()


def sincos_2d(dim: int, grid: tuple[int, int]) -> Tensor:
    """Embed the places of a grid (down, across): (down * across, dim), row-major.

    Half of `dim` embeds the row, the other half the column, each by `sincos`, as in He et al. 2021 (MAE),
    https://arxiv.org/abs/2111.06377. Raises ValueError where 4 does not divide `dim`.
    """
    if dim < 4 or dim % 4:
        raise ValueError(f"the width of 2-D position embeddings is {dim}; it must be a multiple of 4")
    return _of_grid(dim, grid)


def sincos_3d(dim: int, grid: tuple[int, int, int]) -> Tensor:
    """Embed the places of a grid (in time, down, across): (times * down * across, dim), row-major, time first.

    A third of `dim` each embeds time, row and column, each by `sincos`. Raises ValueError where 6 does not divide
    `dim`.
    """
    if dim < 6 or dim % 6:
        raise ValueError(f"the width of 3-D position embeddings is {dim}; it must be a multiple of 6")
    return _of_grid(dim, grid)


def sincos_grid(dim: int, grid: tuple[int, ...]) -> Tensor:
    """`sincos_2d` or `sincos_3d`, as the grid has axes."""
    match grid:
        case (down, across):
            return sincos_2d(dim, (down, across))
        case (times, down, across):
            return sincos_3d(dim, (times, down, across))
    raise ValueError(f"a grid of {len(grid)} axes has no position embeddings; it must have 2 or 3")


def resized(positions: Tensor, grid: tuple[int, int], to: tuple[int, int]) -> Tensor:
    """Position embeddings of a grid, row-major, for another grid: (N, D) -> (N', D), by bicubic interpolation.

    As Dosovitskiy et al. 2020 (ViT), https://arxiv.org/abs/2010.11929, section 3.2, for images of another size, and
    Caron et al. 2021 (DINO) for small crops. The same tensor where the grids are equal.
    """
    if grid == to:
        return positions
    cells = positions.T.reshape(1, -1, *grid).float()
    return F.interpolate(cells, size=to, mode="bicubic", align_corners=False)[0].flatten(1).T.to(positions.dtype)


def _of_grid(dim: int, grid: tuple[int, ...]) -> Tensor:
    """Every axis of the grid gets the same part of `dim`."""
    axes = torch.meshgrid(*map(torch.arange, grid), indexing="ij")
    return torch.cat([sincos(places.flatten(), dim // len(grid)) for places in axes], dim=1)
