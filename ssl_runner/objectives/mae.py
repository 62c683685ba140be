"""The pixels of hidden patches from the patches that are left (masked autoencoder)."""

from typing import NamedTuple

import torch
from torch import Tensor

from ssl_runner.interfaces import Batch, ImageSpec, Loss, Objective, PatchEncoder
from ssl_runner.losses.reconstruction import squared_error
from ssl_runner.nn.decoders import PatchDecoder
from ssl_runner.nn.patches import patchify, unpatchify


class Visible(NamedTuple):
    image: Tensor  # (B, C, H, W), hidden patches grey: the encoder reads only the kept ones
    keep: Tensor  # (B, K) int64 places of the kept patches, row-major


class Hidden(NamedTuple):
    image: Tensor  # (B, C, H, W) the whole image
    hidden: Tensor  # (B, N) bool: the patches that are asked for


class MAE(Objective[Visible, Hidden]):
    """Reconstruct the hidden patches of an image; only kept patches are encoded.

        x = t[keep],   y = t[hidden],   loss = |y - d(f(x))|^2                          mean per value of hidden patches

    He, Chen, Xie, Li, Dollar, Girshick 2022, "Masked Autoencoders Are Scalable Vision Learners",
    https://arxiv.org/abs/2111.06377.
    Differs from the paper: targets are pixels in [0, 1], not normalised patch by patch; the features are the mean of
    the patch tokens, without a class token; no random crops.
    """

    def __init__(
        self,
        encoder: PatchEncoder,
        spec: ImageSpec,
        *,
        ratio: float,
        decoder_dim: int,
        decoder_depth: int,
        decoder_heads: int,
    ) -> None:
        super().__init__()
        self.places = encoder.grid[0] * encoder.grid[1]
        self.kept = round(self.places * (1 - ratio))
        if not 0 < ratio < 1 or not 0 < self.kept < self.places:
            raise ValueError(
                f"objective.ratio is {ratio}; it must lie in (0, 1) and leave at least one of {self.places} patches "
                "visible and one hidden (paper: 0.75)"
            )
        self.encoder = encoder
        self.patch = encoder.patch
        self.grid = encoder.grid
        self.decoder = PatchDecoder(
            encoder.dim,
            dim=decoder_dim,
            depth=decoder_depth,
            heads=decoder_heads,
            grid=encoder.grid,
            patch_values=encoder.patch**2 * spec.channels,
        )

    def split(self, batch: Batch) -> tuple[Visible, Hidden]:
        image = batch.data
        order = torch.rand(len(image), self.places, device=image.device).argsort(dim=1)
        keep = order[:, : self.kept]
        hidden = torch.ones(len(image), self.places, dtype=torch.bool, device=image.device).scatter(1, keep, False)
        patches = patchify(image, self.patch).masked_fill(hidden[:, :, None], 0.5)
        return Visible(unpatchify(patches, self.patch, self.grid), keep), Hidden(image, hidden)

    def loss(self, x: Visible, y: Hidden) -> Loss:
        error = squared_error(self._decode(x), patchify(y.image, self.patch)).mean(dim=2)
        return Loss((error * y.hidden).sum() / y.hidden.sum())

    def predict(self, x: Visible) -> Hidden:
        hidden = torch.ones(len(x.keep), self.places, dtype=torch.bool, device=x.keep.device).scatter(1, x.keep, False)
        seen = patchify(x.image, self.patch)
        filled = torch.where(hidden[:, :, None], self._decode(x).to(seen.dtype).clamp(0, 1), seen)
        return Hidden(unpatchify(filled, self.patch, self.grid), hidden)

    def reconstruct(self, x: Visible) -> Tensor:
        return self.predict(x).image

    def _decode(self, x: Visible) -> Tensor:
        """(B, N, patch values): a guess at every patch."""
        return self.decoder(self.encoder(x.image, x.keep).tokens, x.keep)
