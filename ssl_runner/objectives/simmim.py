"""SimMIM: the encoder sees an image with masked patches, and a linear layer predicts their pixels."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, ImageSpec, Loss, Objective, PatchEncoder, another
from ssl_runner.losses.features import absolute_error
from ssl_runner.nn.mask_patch import MaskPatch
from ssl_runner.nn.masks import keep_random, places_of
from ssl_runner.nn.patches import gather_places, gray_patches, patchify, unpatchify


class Masked(NamedTuple):
    image: Tensor  # (B, C, H, W), masked patches gray
    masked: Tensor  # (B, N) bool


class Hidden(NamedTuple):
    image: Tensor  # (B, C, H, W) the whole image
    masked: Tensor  # (B, N) bool: the patches that are asked for


class SimMIM(Objective[Masked, Hidden]):
    """Predict the pixels of masked patches by one linear layer on an encoder that sees all places.

        x = t with one learned patch at masked places,   y = t[masked],   loss = |y - W f(x)|      mean per masked value

    Masked are squares of `unit` x `unit` patches (None: 2 where that fills an even grid, else 1), `ratio` of them,
    rounded up. Unlike in `mae` the encoder has masked
    places too, and there is no decoder but the linear layer.
    Xie, Zhang, Cao, Lin, Bao, Yao, Dai, Hu 2022, "SimMIM: A Simple Framework for Masked Image Modeling",
    https://arxiv.org/abs/2111.09886, section 3.
    Differs from the paper: what is learned for masked places is a patch of pixels, which the encoder embeds as any
    other (`nn.mask_patch`), so that every encoder of patches fits; pixels in [0, 1] are predicted, not normalized ones;
    no random crops; a plain Vision Transformer with fixed positions, mean features in place of a class token.
    """

    def __init__(self, encoder: PatchEncoder, spec: ImageSpec, *, ratio: float, unit: int | None) -> None:
        super().__init__()
        down, across = encoder.grid
        if unit is None:
            unit = 2 if down % 2 == across % 2 == 0 and min(down, across) > 2 else 1
        if unit < 1 or down % unit or across % unit:
            raise ValueError(
                f"objective.unit is {unit}; squares of unit x unit patches must fill the backbone's grid of {down} x "
                f"{across} patches: set objective.unit=1 or null, or another divisor of both"
            )
        units = (down // unit) * (across // unit)
        masked = math.ceil(ratio * units)
        if not 0 < ratio < 1 or not 0 < masked < units:
            raise ValueError(
                f"objective.ratio is {ratio}; it must lie in (0, 1) and leave at least one of {units} squares masked "
                "and one visible (paper: 0.6)"
            )
        self.encoder = encoder
        self.fill = MaskPatch(encoder.patch, spec.channels)
        self.decoder = nn.Linear(encoder.dim, encoder.patch**2 * spec.channels)
        nn.init.trunc_normal_(self.decoder.weight, std=0.02, a=-0.04, b=0.04)  # first predictions near zero
        nn.init.zeros_(self.decoder.bias)
        self.ratio = ratio
        self.unit = unit
        self.units = (down // unit, across // unit)
        self.visible = units - masked
        self.count = masked * unit * unit
        self.patch = encoder.patch
        self.grid = encoder.grid

    def split(self, batch: Batch) -> tuple[Masked, Hidden]:
        image = batch.data
        masked = self._masked(len(image), image.device)
        return Masked(gray_patches(image, self.patch, self.grid, masked), masked), Hidden(image, masked)

    def shuffle(self, x: Masked, y: Hidden) -> tuple[Masked, Hidden]:
        """The masked places stay; their content comes from another image."""
        return x, y._replace(image=y.image[another(len(y.image), y.image.device)])

    def loss(self, x: Masked, y: Hidden) -> Loss:
        asked = places_of(y.masked, self.count)
        target = gather_places(patchify(y.image, self.patch), asked)
        found = self.decoder(gather_places(self._tokens(x), asked))
        logs = {"mean_error": absolute_error(target.mean().expand_as(target), target)}  # what is to be beaten
        return Loss(absolute_error(found, target), logs)

    def predict(self, x: Masked) -> Hidden:
        seen = patchify(x.image, self.patch)
        guess = self.decoder(self._tokens(x)).to(seen.dtype).clamp(0, 1)
        filled = torch.where(x.masked[:, :, None], guess, seen)
        return Hidden(unpatchify(filled, self.patch, self.grid), x.masked)

    def reconstruct(self, x: Masked) -> Tensor:
        return self.predict(x).image

    def compared(self, image: Tensor) -> Tensor:
        return image

    def hidden(self, x: Masked) -> Tensor:
        patches = x.masked[:, :, None].expand(-1, -1, self.patch**2 * x.image.shape[1])
        return unpatchify(patches, self.patch, self.grid)

    def hides(self) -> Mapping[str, str | int | float]:
        return {"pixels": "masked patches", "ratio": self.ratio, "unit": self.unit, "patch": self.patch}

    def _tokens(self, x: Masked) -> Tensor:
        """(B, N, D)."""
        return self.encoder(self.fill(x.image, x.masked)).tokens

    def _masked(self, count: int, device: torch.device) -> Tensor:
        """(count, N) bool."""
        masked = torch.ones(count, self.units[0] * self.units[1], dtype=torch.bool, device=device)
        masked = masked.scatter(1, keep_random(count, self.units, self.visible, device), False)
        squares = masked.unflatten(1, self.units)
        return squares.repeat_interleave(self.unit, dim=1).repeat_interleave(self.unit, dim=2).flatten(1)
