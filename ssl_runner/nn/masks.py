"""Random choices of visible patches: (B, K) int64 places, row-major, as many in each row.

`grid` is (patches down, patches across), N their product; each function draws from torch's global generator.
"""

import math

import torch
from torch import Tensor

RECTANGLES = 16  # drawn an image for `keep_outside_blocks`; what they leave uncovered is hidden last
LEAST, MOST = 1 / 12, 1 / 2  # area of a rectangle, as a part of the grid; BEiT: from 16 of 196 patches to all left
ASPECT = 0.3  # height / width of a rectangle lies in 0.3 ... 1 / 0.3, as in BEiT


def keep_random(count: int, grid: tuple[int, int], kept: int, device: torch.device) -> Tensor:
    """Keep `kept` positions of each of `count` images, uniformly without replacement: (count, kept)."""
    return torch.rand(count, grid[0] * grid[1], device=device).argsort(dim=1)[:, :kept]


def places_of(mask: Tensor, count: int) -> Tensor:
    """The places where a mask (B, N) holds, `count` in each row: (B, count) int64, ascending."""
    return mask.byte().argsort(dim=1, descending=True, stable=True)[:, :count]


def keep_outside_blocks(count: int, grid: tuple[int, int], kept: int, device: torch.device) -> Tensor:
    """Hide rectangles one by one until only `kept` positions are visible: (count, kept).

    Bao, Dong, Piao, Wei 2021, "BEiT: BERT Pre-Training of Image Transformers", https://arxiv.org/abs/2106.08254,
    algorithm 1, with all rectangles drawn at once: a place is hidden with the first rectangle that covers it, and the
    last rectangle loses its lowest rows, so that exactly `kept` places are left.
    """
    down, across = grid
    area = (LEAST + (MOST - LEAST) * torch.rand(count, RECTANGLES, device=device)) * (down * across)
    aspect = torch.exp((2 * torch.rand_like(area) - 1) * math.log(1 / ASPECT))
    height = (area * aspect).sqrt().round().clamp(1, down)
    width = (area / aspect).sqrt().round().clamp(1, across)
    top = (torch.rand_like(area) * (down - height + 1)).floor()
    left = (torch.rand_like(area) * (across - width + 1)).floor()

    place = torch.arange(down * across, device=device)
    row, column = place // across, place % across
    rows = (row >= top[..., None]) & (row < (top + height)[..., None])  # (count, RECTANGLES, N)
    columns = (column >= left[..., None]) & (column < (left + width)[..., None])
    covered = rows & columns
    first = torch.where(covered.any(dim=1), covered.int().argmax(dim=1), RECTANGLES)
    return (first * len(place) + place).argsort(dim=1)[:, len(place) - kept :]  # by rectangle, then from the top


def hide_blocks(count: int, grid: tuple[int, int], ratio: tuple[float, float], device: torch.device) -> Tensor:
    """Hide rectangles, of each image a share drawn uniformly from `ratio`, one place at least: (count, N) bool.

    Zhou et al. 2022 (iBOT), https://arxiv.org/abs/2111.07832, with the rectangles of `keep_outside_blocks`.
    """
    places = grid[0] * grid[1]
    low, high = ratio
    share = low + (high - low) * torch.rand(count, 1, device=device)
    order = keep_outside_blocks(count, grid, places, device)  # all, in the order in which they are hidden
    return order.argsort(dim=1) < (share * places).round().clamp_min(1)


def keep_grid(count: int, grid: tuple[int, int], device: torch.device) -> Tensor:
    """Keep every second place of every second row, from the first on: (count, K), K = ceil(down / 2) ceil(across / 2).

    Draws nothing: all images keep the same places.
    """
    down, across = grid
    row, column = torch.arange(0, down, 2, device=device), torch.arange(0, across, 2, device=device)
    return (row[:, None] * across + column).flatten().expand(count, -1)


def repeat_in_time(keep: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """The same places of a frame (count, K) at all times of a grid (in time, down, across): (count, times * K)."""
    times, down, across = grid
    start = torch.arange(times, device=keep.device) * (down * across)
    return (start[:, None] + keep[:, None]).flatten(1)
