"""Convert tensors of images and clips for figures."""

import numpy as np
from torch import Tensor


def pictures(images: Tensor) -> np.ndarray:
    """(..., C, H, W) in [0, 1] -> (..., H, W, 3) of three channels, else (..., H, W), the mean over channels; float32,
    what lies outside of [0, 1] cut off.

    >>> import torch
    >>> pictures(torch.ones(4, 3, 8, 9)).shape, pictures(torch.ones(4, 5, 1, 8, 9)).shape
    ((4, 8, 9, 3), (4, 5, 8, 9))
    """
    shown = images.detach().float().clamp(0, 1).cpu()
    return (shown.movedim(-3, -1) if shown.shape[-3] == 3 else shown.mean(dim=-3)).numpy()


def drawn_as(channels: int) -> str:
    """A sentence on how `pictures` draws images of other than one or three channels, to be added to a note.

    >>> drawn_as(3), drawn_as(13)
    ('', ' Images of 13 channels are drawn as the mean of their channels.')
    """
    return "" if channels in (1, 3) else f" Images of {channels} channels are drawn as the mean of their channels."
