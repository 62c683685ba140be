"""A learned patch of pixels in place of what is masked."""

import torch
from torch import Tensor, nn

from ssl_runner.nn.patches import patchify, unpatchify


class MaskPatch(nn.Module):
    """Replace masked patches of images by one learned patch, before any encoder: (B, C, H, W), (B, N) bool ->
    (B, C, H, W).

    It stands for a learned token: a Vision Transformer embeds patches linearly and adds positions afterwards, so what
    it makes of this patch is a vector of its own at every masked place. Only vectors that no patch is mapped to are out
    of reach, where tokens are wider than patches have values. Gray at first.
    """

    def __init__(self, patch: int, channels: int) -> None:
        super().__init__()
        self.patch = patch
        self.values = nn.Parameter(torch.full((patch * patch * channels,), 0.5))

    def forward(self, image: Tensor, masked: Tensor) -> Tensor:
        grid = image.shape[2] // self.patch, image.shape[3] // self.patch
        patches = torch.where(masked[:, :, None], self.values.to(image.dtype), patchify(image, self.patch))
        return unpatchify(patches, self.patch, grid)
