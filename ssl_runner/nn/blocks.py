"""Random rectangles of a grid of patches, as targets and contexts. B images, M blocks, N places, row-major.

Sizes are drawn on the CPU, one for a batch, so that shapes of tensors are known without waiting for the device; what
follows is drawn there too, and is little.
"""

import math

import torch
from torch import Tensor

Range = tuple[float, float]


def block_size(grid: tuple[int, int], scale: Range, ratio: Range) -> tuple[int, int]:
    """Draw rows and columns of a block: its share of the grid from `scale`, rows / columns from `ratio`, uniformly.

    At least 1, and at most what the grid has. Assran et al. 2023 (I-JEPA), https://arxiv.org/abs/2301.08243,
    section 3. Differs from the authors' code: the two are drawn independently of each other.
    """
    down, across = grid
    share, aspect = (low + (high - low) * torch.rand(()).item() for low, high in (scale, ratio))
    area = share * down * across
    rows, columns = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    return min(max(rows, 1), down), min(max(columns, 1), across)


def place_blocks(count: int, number: int, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Blocks of one size anywhere in the grid, with equal probability: (count, number, rows * columns) int64 places,
    ascending, on the CPU."""
    (down, across), (rows, columns) = grid, size
    top = torch.randint(down - rows + 1, (count, number, 1, 1))
    left = torch.randint(across - columns + 1, (count, number, 1, 1))
    place = (top + torch.arange(rows)[:, None]) * across + left + torch.arange(columns)
    return place.flatten(2)


def covered(places: Tensor, count: int) -> Tensor:
    """(B, M, T) places -> (B, N) bool: those of any block, N = `count`."""
    return torch.zeros(len(places), count, dtype=torch.bool).scatter_(1, places.flatten(1), True)


def as_many(*wanted: Tensor, least: int = 1) -> Tensor:
    """As many places of each image, drawn from its first mask (B, N) bool: (B, K) int64, ascending.

    K is the least number that the mask has for any image, and `least` at least: an image without enough gets what is
    missing from the next mask, and then from anywhere.
    """
    first = wanted[0]
    kept = min(max(int(first.sum(dim=1).min()), least), first.shape[1])
    rank = torch.rand(first.shape)
    for number, mask in enumerate(reversed(wanted), start=1):
        rank = torch.where(mask, number + torch.rand(first.shape), rank)
    return rank.argsort(dim=1, descending=True)[:, :kept].sort(dim=1).values


def check_range(key: str, value: Range, highest: float) -> None:
    """Raises ValueError, naming the key, unless 0 < first <= last <= highest."""
    low, high = value
    if not 0 < low <= high <= highest:
        limit = "" if math.isinf(highest) else f" and at most {highest:g}"
        raise ValueError(f"objective.{key} is {list(value)}; it must be two ascending numbers, above 0{limit}")
