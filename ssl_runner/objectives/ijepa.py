"""I-JEPA: predict a momentum network's features of blocks of an image from the features of the rest."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective, PatchEncoder, another
from ssl_runner.losses.distillation import output_std
from ssl_runner.losses.features import smooth_error, standardized
from ssl_runner.nn.blocks import as_many, block_size, check_range, covered, place_blocks
from ssl_runner.nn.ema import EMA, MomentumSchedule, check_momentum, momentum_at
from ssl_runner.nn.patches import gather_places, gray_patches
from ssl_runner.nn.predictor import PlacePredictor

LEAST = 16  # a context has one patch in so many at least; where targets leave fewer, it overlaps them


class Context(NamedTuple):
    image: Tensor  # (B, C, H, W), all but the context gray: the encoder reads only the kept patches
    keep: Tensor  # (B, K) int64 places of the context, row-major


class Targets(NamedTuple):
    image: Tensor  # (B, C, H, W) the whole image
    asked: Tensor  # (B, M, T) int64 places of M blocks of T patches


class IJEPA(Objective[Context, Targets]):
    """Predict the features of target blocks, as a momentum network sees them, from a context without these blocks.

        x = t[context],   y = t and M blocks of it
        loss = mean over blocks, their patches and D features of h(p(f(x))_j - s'(t)_j),   h(d) = d^2 / 2, |d| - 1/2
               beyond 1

    f encoder, p predictor, s' the moving average's features of the whole image, each token less its mean and over its
    deviation. Blocks: `targets` of one size a batch, anywhere; the context is a square block without them. No views,
    no pixels. `mean_error` in the logs is what the mean target of the batch would cost: what is to be beaten; it falls
    to 0 with a collapse. `exported` says whose encoder is kept: the paper evaluates the moving average's (appendix A).
    Assran, Duval, Misra, Bojanowski, Vincent, Rabbat, LeCun, Ballas 2023, "Self-Supervised Learning from Images with a
    Joint-Embedding Predictive Architecture", https://arxiv.org/abs/2301.08243, section 3.
    Differs from the paper: the loss and the scaling of targets are of its published code, the equation has squared
    distances; where images of a batch have contexts of unequal size, the patches that all must leave out are drawn, not
    the last ones; small networks; constant weight decay.
    """

    def __init__(
        self,
        encoder: PatchEncoder,
        spec: ImageSpec,
        *,
        targets: int,
        target_scale: tuple[float, float],
        target_ratio: tuple[float, float],
        context_scale: tuple[float, float],
        predictor_dim: int,
        predictor_depth: int,
        predictor_heads: int,
        momentum: float,
        momentum_schedule: MomentumSchedule,
        exported: Literal["teacher", "student"],
    ) -> None:
        super().__init__()
        if targets < 1:
            raise ValueError(f"objective.targets is {targets}; it must be at least 1 block (paper: 4)")
        check_range("target_scale", target_scale, 1)
        check_range("target_ratio", target_ratio, torch.inf)
        check_range("context_scale", context_scale, 1)
        check_momentum("momentum", momentum, momentum_schedule)
        if encoder.grid[0] * encoder.grid[1] < 4:
            raise ValueError(
                f"the backbone's grid is {encoder.grid[0]} x {encoder.grid[1]} patches; a context and blocks need 4 at "
                "least: lower backbone.patch"
            )
        self.encoder = encoder
        self.teacher = EMA(self.encoder)
        self.predictor = PlacePredictor(
            encoder.dim, dim=predictor_dim, depth=predictor_depth, heads=predictor_heads, grid=encoder.grid
        )
        self.targets = targets
        self.target_scale = target_scale
        self.target_ratio = target_ratio
        self.context_scale = context_scale
        self.momentum = momentum
        self.momentum_schedule = momentum_schedule
        self.kept = exported
        self.patch = encoder.patch
        self.grid = encoder.grid
        self.places = encoder.grid[0] * encoder.grid[1]
        self.least = max(1, self.places // LEAST)

    @property
    def exported(self) -> Encoder:
        return self.teacher.module if self.kept == "teacher" else self.encoder

    def split(self, batch: Batch) -> tuple[Context, Targets]:
        image = batch.data
        size = block_size(self.grid, self.target_scale, self.target_ratio)
        asked = place_blocks(len(image), self.targets, self.grid, size)
        block = block_size(self.grid, self.context_scale, (1.0, 1.0))
        free = ~covered(asked, self.places)
        within = covered(place_blocks(len(image), 1, self.grid, block), self.places)
        keep = as_many(within & free, free, least=self.least).to(image.device, non_blocking=True)
        hidden = torch.ones(len(image), self.places, dtype=torch.bool, device=image.device).scatter_(1, keep, False)
        shown = gray_patches(image, self.patch, self.grid, hidden)
        return Context(shown, keep), Targets(image, asked.to(image.device, non_blocking=True))

    def shuffle(self, x: Context, y: Targets) -> tuple[Context, Targets]:
        """The places of the blocks stay; their content comes from another image."""
        return x, y._replace(image=y.image[another(len(y.image), y.image.device)])

    def loss(self, x: Context, y: Targets) -> Loss:
        found = self.predictor(self.encoder(x.image, x.keep).tokens, x.keep, y.asked)  # (B, M, T, D)
        seen = standardized(self.teacher(y.image).tokens)
        target = gather_places(seen, y.asked.flatten(1)).unflatten(1, y.asked.shape[1:])
        mean = smooth_error(target.mean(dim=(0, 1, 2)).expand_as(target), target)
        logs = {"mean_error": mean, "output_std": output_std(seen.mean(dim=1))}
        return Loss(smooth_error(found, target), logs)

    def after_step(self, carries: Sequence[None], progress: float) -> None:
        self.teacher.update(self.encoder, momentum_at(self.momentum_schedule, self.momentum, progress))
