"""VideoMAE: reconstruct masked tubes of a clip from the visible ones."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ssl_runner.interfaces import Batch, Loss, Objective, TubeEncoder, VideoSpec, another
from ssl_runner.losses.reconstruction import squared_error
from ssl_runner.nn.decoders import PatchDecoder
from ssl_runner.nn.masks import keep_random, places_of, repeat_in_time
from ssl_runner.nn.patches import deviation, gather_places, gray_tubes, tubify, untubify


class Visible(NamedTuple):
    clip: Tensor  # (B, T, C, H, W), hidden tubes gray: the encoder reads only the kept ones
    keep: Tensor  # (B, K) int64 places of the kept tubes, row-major, time first


class Hidden(NamedTuple):
    clip: Tensor  # (B, T, C, H, W) the whole clip
    hidden: Tensor  # (B, N) bool: the tubes that are asked for


class VideoMAE(Objective[Visible, Hidden]):
    """Reconstruct the masked tubes of a clip; only visible tubes are encoded.

        x = t[keep],   y = t[hidden],   loss = |y - d(f(x))|^2                            mean per value of hidden tubes

    `mask`: the same places of a frame are hidden at all times (tube), so that a hidden part cannot be copied from the
    frame before or after; or places of time and space are drawn one by one (random). `target` as in `mae`.
    `mean_error` in the logs is what the mean of the hidden values of the batch would cost: what is to be beaten.
    Tong, Song, Wang, Wang 2022, "VideoMAE", https://arxiv.org/abs/2203.12602, section 3.2; random: Feichtenhofer, Fan,
    Li, He 2022, "Masked Autoencoders As Spatiotemporal Learners", https://arxiv.org/abs/2205.09113.
    Differs from the papers: no class token, no random crops; small networks. With normalized targets `predict` draws a
    hidden tube with the mean and deviation of all visible pixels of the clip.
    """

    def __init__(
        self,
        encoder: TubeEncoder,
        spec: VideoSpec,
        *,
        ratio: float,
        mask: Literal["tube", "random"],
        target: Literal["pixels", "normalized"],
        decoder_dim: int,
        decoder_depth: int,
        decoder_heads: int,
    ) -> None:
        super().__init__()
        times, down, across = encoder.grid
        drawn = down * across * (times if mask == "random" else 1)
        kept = round(drawn * (1 - ratio))
        if not 0 < ratio < 1 or not 0 < kept < drawn:
            raise ValueError(
                f"objective.ratio is {ratio}; it must lie in (0, 1) and leave at least one of {drawn} places visible "
                "and one hidden (paper: 0.9)"
            )
        if mask not in ("tube", "random"):
            raise ValueError(f"objective.mask is {mask!r}; it must be tube or random")
        if target not in ("pixels", "normalized"):
            raise ValueError(f"objective.target is {target!r}; it must be pixels or normalized")
        if target == "normalized" and math.prod(encoder.tube) * spec.channels < 2:
            raise ValueError(
                "objective.target is normalized, and a tube of a single value has no standard deviation: set "
                "objective.target=pixels, or backbone.patch to 2 or more"
            )
        self.encoder = encoder
        self.kept = kept
        self.mask = mask
        self.target = target
        self.tube = encoder.tube
        self.grid = encoder.grid
        self.places = times * down * across
        frames, height, width = encoder.tube
        self.decoder = PatchDecoder(
            encoder.dim,
            dim=decoder_dim,
            depth=decoder_depth,
            heads=decoder_heads,
            grid=encoder.grid,
            patch_values=frames * height * width * spec.channels,
        )

    def split(self, batch: Batch) -> tuple[Visible, Hidden]:
        clip = batch.data
        keep = self._keep(len(clip), clip.device)
        hidden = self._hidden(keep)
        return Visible(gray_tubes(clip, self.tube, self.grid, hidden), keep), Hidden(clip, hidden)

    def shuffle(self, x: Visible, y: Hidden) -> tuple[Visible, Hidden]:
        """The positions of masked tubes stay; their content comes from another clip."""
        return x, y._replace(clip=y.clip[another(len(y.clip), y.clip.device)])

    def loss(self, x: Visible, y: Hidden) -> Loss:
        asked = places_of(y.hidden, self.places - x.keep.shape[1])
        target = gather_places(tubify(y.clip, self.tube), asked)
        if self.target == "normalized":
            target = (target - target.mean(dim=2, keepdim=True)) / deviation(target)
        error = squared_error(self._decode(x, asked), target).mean()
        return Loss(error, {"mean_error": squared_error(target.mean(), target).mean()})

    def predict(self, x: Visible) -> Hidden:
        seen = tubify(x.clip, self.tube)
        guess = self._decode(x).to(seen.dtype)
        if self.target == "normalized":
            visible = gather_places(seen, x.keep).flatten(1)[:, None]
            guess = guess * deviation(visible) + visible.mean(dim=2, keepdim=True)
        hidden = self._hidden(x.keep)
        filled = torch.where(hidden[:, :, None], guess.clamp(0, 1), seen)
        return Hidden(untubify(filled, self.tube, self.grid), hidden)

    def _keep(self, count: int, device: torch.device) -> Tensor:
        """(count, K) positions of visible tubes."""
        times, down, across = self.grid
        if self.mask == "tube":
            return repeat_in_time(keep_random(count, (down, across), self.kept, device), self.grid)
        return keep_random(count, (times, down * across), self.kept, device)

    def _hidden(self, keep: Tensor) -> Tensor:
        """(B, N) bool: the masked positions."""
        everywhere = torch.ones(len(keep), self.places, dtype=torch.bool, device=keep.device)
        return everywhere.scatter(1, keep, False)

    def _decode(self, x: Visible, asked: Tensor | None = None) -> Tensor:
        """(B, N, tube values): predictions for all tubes, or (B, M, tube values) for the places `asked` (B, M)."""
        return self.decoder(self.encoder(x.clip, x.keep).tokens, x.keep, asked)
