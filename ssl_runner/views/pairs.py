"""Two views of each image."""

from torch import Tensor

from ssl_runner.interfaces import Views


def two_views(views: Views, images: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C, H, W) -> two views of each, (B, C, h, w). Raises ValueError for other than two, or a batch of 1."""
    if len(images) < 2:
        raise ValueError("batch_size is 1; this objective needs statistics over the batch: set batch_size=2 or more")
    drawn = views(images)
    if len(drawn) != 2:
        raise ValueError(f"objective.views.views is {len(drawn)}; this objective compares two: set it to 2")
    return drawn[0], drawn[1]
