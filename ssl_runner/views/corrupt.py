"""Deletion, masking and shuffling of tokens. B batch, T tokens; ids (B, T) int64 -> (B, T), special ids never touched.

Each function draws from torch's global generator, batched, on the device of the ids.
"""

import torch
from torch import Tensor

from ssl_runner.interfaces import SpecialTokens


def chosen(x: Tensor, share: float, special: SpecialTokens) -> Tensor:
    """Draw tokens, each with probability `share`: (B, T) bool; special ids are never drawn."""
    return (torch.rand(x.shape, device=x.device) < share) & ~special.among(x)


def masked(x: Tensor, which: Tensor, mask: int) -> Tensor:
    """Replace the tokens selected by `which` (B, T) bool with `mask`."""
    return x.masked_fill(which, mask)


def deleted(x: Tensor, which: Tensor, pad: int) -> Tensor:
    """Delete the tokens selected by `which` (B, T) bool: later ones move up, `pad` fills the end."""
    order = which.int().argsort(dim=1, stable=True)
    return x.masked_fill(which, pad).gather(1, order)


def reordered(x: Tensor, which: Tensor) -> Tensor:
    """Shuffle the tokens selected by `which` (B, T) bool among their positions."""
    place = torch.arange(x.shape[1], device=x.device, dtype=torch.float32)
    moved_to = torch.where(which, place, place + x.shape[1]).argsort(dim=1)  # the places that are named come first
    moved_from = torch.where(which, torch.rand(x.shape, device=x.device) - 1, place).argsort(dim=1)
    return torch.empty_like(x).scatter_(1, moved_to, x.gather(1, moved_from))
