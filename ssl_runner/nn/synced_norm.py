"""Batch normalization over the batch of all processes."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_runner.nn.gather import gather, ranks


def synced(module: nn.Module, device: torch.device) -> nn.Module:
    """`module`, its batch normalizations by the examples of all processes; parameters and buffers are the same objects.

    On a GPU these are torch's own; they take no other tensors, for which there are those below. One process: as it is.
    """
    if ranks() == 1:
        return module
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    if isinstance(module, _BatchNorm):
        return SyncedBatchNorm(module)
    for name, child in module.named_children():
        setattr(module, name, synced(child, device))
    return module


class SyncedBatchNorm(_BatchNorm):
    """BatchNorm1d, 2d or 3d whose mean and variance, in training, are those of all ranks' examples, as many of each."""

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, affine=False, track_running_stats=False)
        self.affine, self.track_running_stats, self.training = norm.affine, norm.track_running_stats, norm.training
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"a batch normalization reads (B, C, ...); it got {input.dim()} dimensions")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or ranks() == 1:
            return super().forward(input)
        self._check_input_dim(input)
        over = [0, *range(2, input.dim())]
        channels = [1, -1, *[1] * (input.dim() - 2)]
        mean = gather(input.mean(over)[None]).mean(0)
        centered = input - mean.view(channels)
        variance = gather(centered.square().mean(over)[None]).mean(0)
        self._track(mean, variance, ranks() * input.numel() // len(mean))
        normal = centered * (variance + self.eps).rsqrt().view(channels)
        if not self.affine:
            return normal
        return normal * self.weight.view(channels) + self.bias.view(channels)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Update the running statistics, with the unbiased variance."""
        if (
            not self.track_running_stats
            or self.running_mean is None
            or self.running_var is None
            or self.num_batches_tracked is None
        ):
            return
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_((variance * count / max(count - 1, 1)).to(self.running_var), share)
