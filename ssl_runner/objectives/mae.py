"""MAE (masked autoencoder): reconstruct masked patches from the visible ones."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ssl_runner.interfaces import Batch, ImageSpec, Loss, Objective, PatchEncoder, another
from ssl_runner.losses.reconstruction import squared_error
from ssl_runner.nn.decoders import PatchDecoder
from ssl_runner.nn.masks import keep_grid, keep_outside_blocks, keep_random, places_of
from ssl_runner.nn.patches import deviation, gather_places, gray_patches, patchify, unpatchify
from ssl_runner.views.image import ImageViews
from ssl_runner.views.pair import NOTHING

GRID_RATIO = 0.75  # what `mask: grid` hides, where both sides of the grid are even


class Visible(NamedTuple):
    image: Tensor  # (B, C, H, W), hidden patches gray: the encoder reads only the kept ones
    keep: Tensor  # (B, K) int64 places of the kept patches, row-major


class Hidden(NamedTuple):
    image: Tensor  # (B, C, H, W) the whole image
    hidden: Tensor  # (B, N) bool: the patches that are asked for


class MAE(Objective[Visible, Hidden]):
    """Reconstruct the masked patches of an image; only visible patches are encoded.

        x = t[keep],   y = t[hidden],   loss = |y - d(f(x))|^2                          mean per value of hidden patches

    `target`: y as it is, in [0, 1] (pixels), or less its patch's mean and over its deviation (normalized). `mask`: what
    is hidden is drawn place by place (random), in rectangles (block), or all but every second patch of every second row
    (grid). He, Chen, Xie, Li, Dollar, Girshick 2022, "Masked Autoencoders Are Scalable Vision Learners",
    https://arxiv.org/abs/2111.06377, section 4.1 and figure 6.
    `crop_scale` and `flip` change images in training, as in the paper; by default they are as they come. A class token
    (backbone.pool=class) is encoded beside the visible patches, and not decoded.
    Differs from the paper: by default the features are the mean of the patch tokens, without a class token. With
    normalized targets nothing says the mean and deviation of a hidden patch: `predict` draws it with those of all
    visible pixels of the image.
    """

    def __init__(
        self,
        encoder: PatchEncoder,
        spec: ImageSpec,
        *,
        ratio: float,
        mask: Literal["random", "block", "grid"],
        target: Literal["pixels", "normalized"],
        crop_scale: tuple[float, float],
        flip: float,
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
        if mask == "grid":
            if ratio != GRID_RATIO:
                raise ValueError(
                    f"objective.ratio is {ratio}; objective.mask=grid keeps one of every four patches: "
                    f"set objective.ratio={GRID_RATIO}"
                )
            self.kept = ((encoder.grid[0] + 1) // 2) * ((encoder.grid[1] + 1) // 2)
        if target == "normalized" and encoder.patch**2 * spec.channels < 2:
            raise ValueError(
                "objective.target is normalized, and a patch of a single value has no standard deviation: set "
                "objective.target=pixels, or backbone.patch to 2 or more"
            )
        shown = NOTHING | {"crop_scale": crop_scale, "crop_ratio": (3 / 4, 4 / 3), "flip": flip}
        self.views = ImageViews(**shown) if flip or crop_scale != (1, 1) else None
        self.encoder = encoder
        self.ratio = ratio
        self.mask = mask
        self.target = target
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
        image = batch.data if self.views is None or not self.training else self.views(batch.data)[0]
        keep = self._keep(len(image), image.device)
        hidden = self._hidden(keep)
        return Visible(gray_patches(image, self.patch, self.grid, hidden), keep), Hidden(image, hidden)

    def shuffle(self, x: Visible, y: Hidden) -> tuple[Visible, Hidden]:
        """The positions of masked patches stay; their content comes from another image."""
        return x, y._replace(image=y.image[another(len(y.image), y.image.device)])

    def loss(self, x: Visible, y: Hidden) -> Loss:
        asked = places_of(y.hidden, self.places - self.kept)
        target = gather_places(patchify(y.image, self.patch), asked)
        if self.target == "normalized":
            target = (target - target.mean(dim=2, keepdim=True)) / deviation(target)
        return Loss(squared_error(self._decode(x, asked), target).mean())

    def predict(self, x: Visible) -> Hidden:
        seen = patchify(x.image, self.patch)
        guess = self._decode(x).to(seen.dtype)
        if self.target == "normalized":
            visible = gather_places(seen, x.keep).flatten(1)[:, None]
            guess = guess * deviation(visible) + visible.mean(dim=2, keepdim=True)
        hidden = self._hidden(x.keep)
        filled = torch.where(hidden[:, :, None], guess.clamp(0, 1), seen)
        return Hidden(unpatchify(filled, self.patch, self.grid), hidden)

    def reconstruct(self, x: Visible) -> Tensor:
        return self.predict(x).image

    def compared(self, image: Tensor) -> Tensor:
        return image

    def hidden(self, x: Visible) -> Tensor:
        patches = self._hidden(x.keep)[:, :, None].expand(-1, -1, self.patch**2 * x.image.shape[1])
        return unpatchify(patches, self.patch, self.grid)

    def hides(self) -> Mapping[str, str | int | float]:
        return {"pixels": "hidden patches", "mask": self.mask, "ratio": self.ratio, "patch": self.patch}

    def _keep(self, count: int, device: torch.device) -> Tensor:
        """(count, K) positions of visible patches."""
        match self.mask:
            case "random":
                return keep_random(count, self.grid, self.kept, device)
            case "block":
                return keep_outside_blocks(count, self.grid, self.kept, device)
            case "grid":
                return keep_grid(count, self.grid, device)
        raise ValueError(f"objective.mask is {self.mask!r}; it must be random, block or grid")

    def _hidden(self, keep: Tensor) -> Tensor:
        """(B, N) bool: the masked positions."""
        everywhere = torch.ones(len(keep), self.places, dtype=torch.bool, device=keep.device)
        return everywhere.scatter(1, keep, False)

    def _decode(self, x: Visible, asked: Tensor | None = None) -> Tensor:
        """(B, N, patch values): predictions for all patches, or (B, M, patch values) for the places `asked` (B, M)."""
        return self.decoder(self.encoder(x.image, x.keep).tokens, x.keep, asked)
