"""Multi-crop: a few large crops of each image, and more small, cheap ones."""

from torch import Tensor

from ssl_runner.interfaces import Encoder, MapEncoder, PatchEncoder, Views


def multi_crop(small_views: Views | None, views: Views, images: Tensor, encoder: Encoder) -> tuple[Tensor, Tensor]:
    """(B, C, H, W) -> small crops (V, B, C, h, w), V = 0 without any, and large ones (V', B, C, H', W').

    Caron et al. 2020 (SwAV), https://arxiv.org/abs/2006.09882, section 3.3. Raises ValueError for a batch of 1, a
    single large crop, and two sizes for an encoder that reads only one.
    """
    if len(images) < 2:
        raise ValueError("batch_size is 1; this objective needs statistics over the batch: set batch_size=2 or more")
    small = None if small_views is None else small_views(images)  # drawn first
    large = views(images)
    if len(large) < 2:
        raise ValueError(f"objective.views.views is {len(large)}; large crops predict each other: set it to 2 or more")
    if small is None:
        return large[:0], large
    if isinstance(encoder, PatchEncoder) and small.shape[-1] % encoder.patch:
        raise ValueError(
            f"objective.small_views.size is {small.shape[-1]}, and backbone.patch {encoder.patch}: set the size to a "
            "multiple of the patch"
        )
    if small.shape[-2:] != large.shape[-2:] and not _reads_any_size(encoder):
        raise ValueError(
            f"objective.small_views.size is {small.shape[-1]} and large crops are of {large.shape[-1]} "
            "pixels, but this backbone reads images of one size: set objective.small_views.size=null, or "
            "choose a convolutional backbone, or vit_micro, vit_tiny or vit_small"
        )
    return small, large


def _reads_any_size(encoder: Encoder) -> bool:
    return isinstance(encoder, MapEncoder) or (isinstance(encoder, PatchEncoder) and encoder.any_size)
