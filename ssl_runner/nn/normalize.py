"""Normalization of input by statistics of the training set."""

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Subtract a mean and divide by a standard deviation, per channel: (B, C, H, W) -> (B, C, H, W).

    The identity until `fit` is called. The statistics are buffers: they are saved with the encoder.
    """

    mean: Tensor  # (C,)
    std: Tensor  # (C,)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    def fit(self, mean: Tensor, std: Tensor) -> None:
        """Set the statistics, (C,) each, in the unit of the input. Raises ValueError for a wrong shape or a std that is
        not positive."""
        if mean.shape != self.mean.shape or std.shape != self.std.shape:
            raise ValueError(
                f"the statistics are of {tuple(mean.shape)} and {tuple(std.shape)} channels; "
                f"the encoder reads {self.mean.numel()}"
            )
        if not bool((std > 0).all()):
            raise ValueError(f"the standard deviations are {std.tolist()}; each must be above 0")
        self.mean.copy_(mean)
        self.std.copy_(std)

    def forward(self, x: Tensor) -> Tensor:
        """Raises ValueError for images of another number of channels, which would broadcast."""
        if x.shape[1] != self.mean.numel():
            raise ValueError(f"the images are of {x.shape[1]} channels; the encoder reads {self.mean.numel()}")
        return (x - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)
