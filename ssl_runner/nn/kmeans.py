"""k-means for several sets of points at once."""

import torch
from torch import Tensor
from torch.nn import functional as F

STEPS = 10  # of Lloyd's algorithm
SAME = 1e-3  # of a set's reach: points nearer to each other are one, for they differ by rounding


def kmeans(points: Tensor, count: int) -> Tensor:
    """The centers of `count` clusters of each set of points: (B, N, D) -> (B, count, D). Deterministic.

    The first center is the point farthest from the mean, each further one that farthest from all before (Gonzalez 1985,
    https://doi.org/10.1016/0304-3975(85)90224-5), so that few points far from all others have a center too; then
    Lloyd's algorithm (Lloyd 1982, https://doi.org/10.1109/TIT.1982.1056489) takes 10 steps. A center without points
    stays. Where a set has fewer different points than `count`, the centers to spare lie beyond all points.
    """
    rows = torch.arange(len(points), device=points.device)
    mean = points.mean(dim=1)
    distance = (points - mean[:, None]).norm(dim=2)  # (B, N)
    reach = distance.amax(dim=1, keepdim=True)
    beyond = mean + 10 * reach + 1
    chosen = [points[rows, distance.argmax(dim=1)]]
    distance = torch.full_like(distance, torch.inf)
    for _ in range(count - 1):
        distance = torch.minimum(distance, (points - chosen[-1][:, None]).norm(dim=2))
        farthest, place = distance.max(dim=1, keepdim=True)
        chosen.append(torch.where(farthest > SAME * reach, points[rows, place[:, 0]], beyond))
    centers = torch.stack(chosen, dim=1)
    for _ in range(STEPS):
        member = F.one_hot(nearest(points, centers), count).to(points.dtype)  # (B, N, count)
        size = member.sum(dim=1)[..., None]
        centers = torch.where(size > 0, member.mT @ points / size.clamp_min(1), centers)
    return centers


def nearest(points: Tensor, centers: Tensor) -> Tensor:
    """Which center of its set each point is nearest to, of equally near ones the first: (B, N, D), (B, K, D) -> (B, N)
    int64."""
    return torch.cdist(points, centers, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=2)
