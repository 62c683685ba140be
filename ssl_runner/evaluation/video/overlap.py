"""Agreement of object masks with the truth, as in DAVIS. B clips, K objects, T frames.

Perazzi, Pont-Tuset, McWilliams, Van Gool, Gross, Sorkine-Hornung 2016, "A Benchmark Dataset and Evaluation Methodology
for Video Object Segmentation", https://doi.org/10.1109/CVPR.2016.85, section 4.1.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

TOLERANCE = 0.008  # of the image's diagonal: how far apart contours may be (the benchmark's)


def region_overlap(found: Tensor, truth: Tensor) -> Tensor:
    """J = |found and truth| / |found or truth|, 1 where both are empty: (..., H, W) bool, twice -> (...) float.

    >>> import torch
    >>> region_overlap(torch.tensor([[True, True]]), torch.tensor([[True, False]]))
    tensor(0.5000)
    """
    both = (found & truth).flatten(-2).sum(-1)
    either = (found | truth).flatten(-2).sum(-1)
    return torch.where(either > 0, both / either.clamp_min(1), 1.0)


def contour_accuracy(found: Tensor, truth: Tensor) -> Tensor:
    """F = 2 P R / (P + R) of contours: (..., H, W) bool, twice -> (...) float in [0, 1].

    P: the part of found's contour that has truth's within the tolerance, R: the part of truth's that has found's. Where
    one contour is empty F is 0, where both are, 1. The tolerance is 0.008 of the diagonal, rounded up to whole pixels.
    """
    radius = math.ceil(TOLERANCE * math.hypot(*found.shape[-2:]))
    ours, theirs = contour(found), contour(truth)
    precision = _part(ours & widened(theirs, radius), ours)
    recall = _part(theirs & widened(ours, radius), theirs)
    one, other = ours.flatten(-2).any(-1), theirs.flatten(-2).any(-1)
    score = 2 * precision * recall / (precision + recall).clamp_min(1e-12)
    return torch.where(one & other, score, (~one & ~other).to(score.dtype))


def contour(mask: Tensor) -> Tensor:
    """Pixels that differ from the one to the right, below, or below to the right: (..., H, W) bool, as given.

    Beyond the image there is nothing to differ from.
    """
    found = torch.zeros_like(mask)
    found[..., :, :-1] |= mask[..., :, :-1] ^ mask[..., :, 1:]
    found[..., :-1, :] |= mask[..., :-1, :] ^ mask[..., 1:, :]
    found[..., :-1, :-1] |= mask[..., :-1, :-1] ^ mask[..., 1:, 1:]
    return found


def widened(mask: Tensor, radius: int) -> Tensor:
    """All pixels within `radius` of one that is set: (..., H, W) bool, as given."""
    along = torch.arange(-radius, radius + 1, device=mask.device)
    disk = (along[:, None].square() + along.square() <= radius**2).float()
    flat = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    return (F.conv2d(flat, disk[None, None], padding=radius) > 0.5).view_as(mask)


def _part(some: Tensor, of: Tensor) -> Tensor:
    """(..., H, W) bool, twice -> (...): how many of the second are in the first; 0 of none."""
    return some.flatten(-2).sum(-1) / of.flatten(-2).sum(-1).clamp_min(1)
