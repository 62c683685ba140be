"""Masks of holes in images, (n, 1, H, W) bool. Random ones are drawn from torch's global generator."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Shape = Literal["center", "blocks", "free", "top", "bottom", "left", "right"]
BLOBS = 4  # places a side of the noise from which free shapes are made: fewer, larger shapes


def holes(shape: Shape, part: float, blocks: int, like: Tensor) -> Tensor:
    """Hide `part` of each image of `like` (n, C, H, W): (n, 1, H, W) bool, on its device.

    center                    a rectangle in the middle, of the image's proportions
    blocks                    `blocks` such rectangles, `part` together less where they overlap, each anywhere
    free                      blobs: the lowest `part` of smooth noise
    top, bottom, left, right  that side's rows or columns
    """
    n, _, height, width = like.shape
    row = torch.arange(height, device=like.device)[:, None]
    column = torch.arange(width, device=like.device)
    match shape:
        case "center":
            high, wide = _rectangle(part, height, width)
            top, left = (height - high) // 2, (width - wide) // 2
            hole = (row >= top) & (row < top + high) & (column >= left) & (column < left + wide)
        case "blocks":
            high, wide = _rectangle(part / blocks, height, width)
            down = row - torch.randint(height - high + 1, (n, blocks, 1, 1), device=like.device)  # from a block's top
            right = column - torch.randint(width - wide + 1, (n, blocks, 1, 1), device=like.device)
            return ((down >= 0) & (down < high) & (right >= 0) & (right < wide)).any(dim=1, keepdim=True)
        case "free":
            noise = F.interpolate(torch.randn(n, 1, BLOBS, BLOBS, device=like.device), (height, width), mode="bicubic")
            rank = noise.flatten(1).argsort(dim=1).argsort(dim=1)
            return (rank < round(part * height * width)).view(n, 1, height, width)
        case "top":
            hole = (row < round(part * height)).expand(height, width)
        case "bottom":
            hole = (row >= height - round(part * height)).expand(height, width)
        case "left":
            hole = (column < round(part * width)).expand(height, width)
        case "right":
            hole = (column >= width - round(part * width)).expand(height, width)
        case _:
            raise ValueError(f"objective.hole is {shape!r}; it must be one of {', '.join(get_args(Shape))}")
    return hole.expand(n, 1, height, width)


def _rectangle(part: float, height: int, width: int) -> tuple[int, int]:
    """Height and width, pixels, of a rectangle of `part` of the image's area and of its proportions."""
    return round(part**0.5 * height), round(part**0.5 * width)
