"""V-JEPA: predict a momentum network's features of what is hidden of a clip, all the time long, from the rest."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ssl_runner.interfaces import Batch, Encoder, Loss, Objective, TubeEncoder, VideoSpec, another
from ssl_runner.losses.distillation import output_std
from ssl_runner.losses.features import absolute_error, standardized
from ssl_runner.nn.blocks import as_many, block_size, check_range, covered, place_blocks
from ssl_runner.nn.ema import EMA, MomentumSchedule, check_momentum, momentum_at
from ssl_runner.nn.masks import repeat_in_time
from ssl_runner.nn.patches import gather_places, gray_tubes
from ssl_runner.nn.predictor import PlacePredictor


class Contexts(NamedTuple):
    short: Tensor  # (B, T, C, H, W), all but the first context gray: the encoder reads only the kept tubes
    long: Tensor  # likewise, the second
    keep_short: Tensor  # (B, K) int64 places of the first context, row-major, time first
    keep_long: Tensor  # (B, K') of the second


class Hidden(NamedTuple):
    clip: Tensor  # (B, T, C, H, W) the whole clip
    short: Tensor  # (B, M) int64 places that the first mask hides
    long: Tensor  # (B, M') that the second does


class VJEPA(Objective[Contexts, Hidden]):
    """Predict the features of hidden parts of a clip, as a momentum network sees them, from the parts that are left.

        x = t[context] of a short- and a long-range mask,   y = t and the places that each hides
        loss = mean over both masks of the mean over hidden places and D features of |p(f(x))_j - s'(t)_j|

    f encoder, p predictor, s' the moving average's features of the whole clip, each token less its mean and over its
    deviation. A mask hides rectangles at all times: several small ones (short-range), or few large ones (long-range).
    No views, no pixels. `mean_error` in the logs is what the mean target of the batch would cost: what is to be beaten;
    it falls to 0 with a collapse. `exported` says whose encoder is kept; the paper's code evaluates the moving
    average's.
    Bardes, Garrido, Ponce, Chen, Rabbat, LeCun, Assran, Ballas 2024, "Revisiting Feature Prediction for Learning
    Visual Representations from Video" (V-JEPA), https://arxiv.org/abs/2404.08471, section 3.
    Differs from the paper: fewer rectangles by default, for coarse grids; where clips of a batch have contexts or
    hidden parts of unequal size, what all must leave out is drawn; no crops; small networks; constant weight decay.
    """

    def __init__(
        self,
        encoder: TubeEncoder,
        spec: VideoSpec,
        *,
        blocks: tuple[int, int],
        short_scale: tuple[float, float],
        long_scale: tuple[float, float],
        block_ratio: tuple[float, float],
        predictor_dim: int,
        predictor_depth: int,
        predictor_heads: int,
        momentum: float,
        momentum_schedule: MomentumSchedule,
        exported: Literal["teacher", "student"],
    ) -> None:
        super().__init__()
        if min(blocks) < 1:
            raise ValueError(f"objective.blocks is {list(blocks)}; both must be at least 1 (paper: 8, 2)")
        check_range("short_scale", short_scale, 1)
        check_range("long_scale", long_scale, 1)
        check_range("block_ratio", block_ratio, torch.inf)
        check_momentum("momentum", momentum, momentum_schedule)
        if encoder.grid[1] * encoder.grid[2] < 2:
            raise ValueError(
                "the backbone has one place a frame, and hides places at all times: set backbone.patch to half of the "
                "frames' side or less"
            )
        self.encoder = encoder
        self.teacher = EMA(self.encoder)
        self.predictor = PlacePredictor(
            encoder.dim, dim=predictor_dim, depth=predictor_depth, heads=predictor_heads, grid=encoder.grid
        )
        self.masks = list(zip(blocks, (short_scale, long_scale), strict=True))
        self.block_ratio = block_ratio
        self.momentum = momentum
        self.momentum_schedule = momentum_schedule
        self.kept = exported
        self.tube = encoder.tube
        self.grid = encoder.grid

    @property
    def exported(self) -> Encoder:
        return self.teacher.module if self.kept == "teacher" else self.encoder

    def split(self, batch: Batch) -> tuple[Contexts, Hidden]:
        clip = batch.data
        (keep_short, short), (keep_long, long) = (
            self._mask(len(clip), number, scale, clip.device) for number, scale in self.masks
        )
        shown = [self._shown(clip, keep) for keep in (keep_short, keep_long)]
        return Contexts(shown[0], shown[1], keep_short, keep_long), Hidden(clip, short, long)

    def shuffle(self, x: Contexts, y: Hidden) -> tuple[Contexts, Hidden]:
        """The hidden places stay; their content comes from another clip."""
        return x, y._replace(clip=y.clip[another(len(y.clip), y.clip.device)])

    def loss(self, x: Contexts, y: Hidden) -> Loss:
        seen = standardized(self.teacher(y.clip).tokens)
        errors, means = [], []
        for clip, keep, asked in ((x.short, x.keep_short, y.short), (x.long, x.keep_long, y.long)):
            found = self.predictor(self.encoder(clip, keep).tokens, keep, asked[:, None])[:, 0]
            target = gather_places(seen, asked)
            errors.append(absolute_error(found, target))
            means.append(absolute_error(target.mean(dim=(0, 1)).expand_as(target), target))
        logs = {"mean_error": torch.stack(means).mean(), "output_std": output_std(seen.mean(dim=1))}
        return Loss(torch.stack(errors).mean(), logs)

    def after_step(self, carries: Sequence[None], progress: float) -> None:
        self.teacher.update(self.encoder, momentum_at(self.momentum_schedule, self.momentum, progress))

    def _mask(self, count: int, number: int, scale: tuple[float, float], device: torch.device) -> tuple[Tensor, Tensor]:
        """Places that are kept (count, K) and hidden (count, M), by `number` rectangles of one size a batch."""
        _, down, across = self.grid
        places = place_blocks(count, number, (down, across), block_size((down, across), scale, self.block_ratio))
        hidden = covered(places, down * across)
        keep = as_many(~hidden)
        free = torch.ones_like(hidden).scatter_(1, keep, False)
        asked = as_many(hidden & free, free)
        in_time = [repeat_in_time(each, self.grid).to(device, non_blocking=True) for each in (keep, asked)]
        return in_time[0], in_time[1]

    def _shown(self, clip: Tensor, keep: Tensor) -> Tensor:
        """The clip, gray but for the kept tubes."""
        hidden = torch.ones(len(clip), math.prod(self.grid), dtype=torch.bool, device=clip.device)
        return gray_tubes(clip, self.tube, self.grid, hidden.scatter_(1, keep, False))
