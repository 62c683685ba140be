"""The discriminator of an adversarial loss."""

import math
from collections.abc import Sequence

from torch import Tensor, nn


class Judge(nn.Module):
    """Score whether images in [0, 1] are real: (B, C, H, W) -> (B,) logits, above 0 for real.

    Strided 4 x 4 convolutions with leaky ReLUs, as in DCGAN (Radford et al. 2015, https://arxiv.org/abs/1511.06434),
    one per width, each halving the image; then the mean of a score per position. Normalized by groups of channels, not
    over the batch, so that each image is scored by itself.
    """

    def __init__(self, channels: int, *, widths: Sequence[int]) -> None:
        super().__init__()
        if not widths or min(widths) < 1:
            raise ValueError(f"the discriminator's widths are {list(widths)}; at least one is needed, each at least 1")
        layers: list[nn.Module] = []
        for n_in, n_out in zip([channels, *widths], widths, strict=False):
            conv = nn.Conv2d(n_in, n_out, 4, stride=2, padding=1)
            nn.init.kaiming_normal_(conv.weight, a=0.2)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            layers += [conv, nn.GroupNorm(math.gcd(n_out, 8), n_out), nn.LeakyReLU(0.2, inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(2 * x - 1).mean((1, 2, 3))
