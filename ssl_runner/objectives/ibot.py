"""iBOT: predict a momentum teacher's output for a view, and for each masked patch, from masked views."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective, PatchEncoder, Views
from ssl_runner.losses.assignment import perplexity
from ssl_runner.losses.distillation import cross_view_entropy, entropy, masked_entropy, warmed
from ssl_runner.nn.ema import EMA, MomentumSchedule, check_momentum, momentum_at
from ssl_runner.nn.gather import mean_over_ranks
from ssl_runner.nn.mask_patch import MaskPatch
from ssl_runner.nn.masks import hide_blocks
from ssl_runner.nn.mlp import MLP, check_widths
from ssl_runner.nn.patches import gray_patches
from ssl_runner.nn.prototypes import Prototypes, check_share
from ssl_runner.views.mismatch import misplaced


class MaskedViews(NamedTuple):
    views: Tensor  # (V, B, C, H, W), masked patches gray
    masked: Tensor  # (V, B, N) bool


class Centers(NamedTuple):
    image: Tensor  # (K,) mean score of images
    patch: Tensor  # (K,) of patches


class IBOT(Objective[MaskedViews, Tensor]):
    """Predict, from masked views, what a teacher says of the other view and of the masked patches of the same view.

        x = two views of t, patches masked,   y = the same views, whole
        loss = mean over v, w != v of sum_k -p'(y_v)_k log p(x_w)_k
               + patch_weight mean over v of mean over masked patches n of sum_k -p'(y_v)_nk log p(x_v)_nk     nats
        p = softmax(s / student_temperature),   p' = softmax((s' - center) / teacher temperature)

    s = h(f(.)) are cosines with K prototypes, by one head for images (the mean of tokens) and patches; s' those of the
    teacher, the moving average of both, with a center and a temperature each for images and patches. An image is masked
    with probability `mask_probability`, in rectangles that cover a share of it from `mask_ratio`.
    Zhou, Wei, Wang, Shen, Xie, Yuille, Kong 2022, "iBOT: Image BERT Pre-Training with Online Tokenizer",
    https://arxiv.org/abs/2111.07832, section 3.
    Differs from the paper: mean features in place of a class token; what is learned for masked places is a patch of
    pixels (`nn.mask_patch`); no small crops; a small head; the last layer learns from the first step on; the weight
    decay is constant.
    """

    image_center: Tensor  # (K,)
    patch_center: Tensor  # (K,)
    temperatures: Tensor  # (2,) of the teacher, for images and patches

    def __init__(
        self,
        encoder: PatchEncoder,
        spec: ImageSpec,
        *,
        views: Views,
        mask_probability: float,
        mask_ratio: tuple[float, float],
        patch_weight: float,
        projector: list[int],
        prototypes: int,
        student_temperature: float,
        teacher_temperature: tuple[float, float],
        patch_temperature: tuple[float, float],
        temperature_warmup: float,
        momentum: float,
        momentum_schedule: MomentumSchedule,
        center_momentum: float,
        exported: Literal["teacher", "student"],
    ) -> None:
        super().__init__()
        check_widths("projector", projector)
        check_momentum("momentum", momentum, momentum_schedule)
        check_momentum("center_momentum", center_momentum)
        _check_mask(mask_probability, mask_ratio, patch_weight)
        if not student_temperature > 0:
            raise ValueError(f"objective.student_temperature is {student_temperature}; it must be above 0 (paper: 0.1)")
        for key, value in (("teacher", teacher_temperature), ("patch", patch_temperature)):
            if not min(value) > 0:
                raise ValueError(
                    f"objective.{key}_temperature is {list(value)}; both, the first and the last, must be above 0"
                )
        check_share("temperature_warmup", temperature_warmup)
        self.encoder = encoder
        self.views = views
        self.fill = MaskPatch(encoder.patch, spec.channels)
        self.head = nn.Sequential(MLP([encoder.dim, *projector], norm="none"), Prototypes(projector[-1], prototypes))
        self.teacher_encoder = EMA(self.encoder)
        self.teacher_head = EMA(self.head)
        for name in ("image_center", "patch_center"):
            self.register_buffer(name, torch.zeros(prototypes))
        self.register_buffer("temperatures", torch.zeros(2))
        self.mask_probability = mask_probability
        self.mask_ratio = mask_ratio
        self.patch_weight = patch_weight
        self.student_temperature = student_temperature
        self.first_and_last = (teacher_temperature, patch_temperature)
        self.temperature_warmup = temperature_warmup
        self.momentum = momentum
        self.momentum_schedule = momentum_schedule
        self.center_momentum = center_momentum
        self.kept = exported
        self.patch = encoder.patch
        self.grid = encoder.grid
        self._warm(0.0)

    @property
    def exported(self) -> Encoder:
        return self.teacher_encoder.module if self.kept == "teacher" else self.encoder

    def split(self, batch: Batch) -> tuple[MaskedViews, Tensor]:
        """y (V, B, C, H, W)."""
        views = self.views(batch.data)
        if len(views) < 2:
            raise ValueError(f"objective.views.views is {len(views)}; views predict each other: set it to 2 or more")
        if views.shape[-2:] != batch.data.shape[-2:]:
            raise ValueError(
                f"objective.views.size is {views.shape[-1]}; masks are drawn for images of {batch.data.shape[-1]} "
                "pixels: set objective.views.size=null"
            )
        shape = views.shape[:2]
        masked = hide_blocks(shape.numel(), self.grid, self.mask_ratio, views.device)
        masked &= torch.rand(shape.numel(), 1, device=views.device) < self.mask_probability
        shown = gray_patches(views.flatten(0, 1), self.patch, self.grid, masked)
        return MaskedViews(shown.unflatten(0, shape), masked.unflatten(0, shape)), views

    def shuffle(self, x: MaskedViews, y: Tensor) -> tuple[MaskedViews, Tensor]:
        """Every whole view is another image's, for both terms."""
        return x, misplaced(y)

    def loss(self, x: MaskedViews, y: Tensor) -> Loss:
        shape = y.shape[:2]
        seen = self.encoder(self.fill(x.views.flatten(0, 1), x.masked.flatten(0, 1)))
        whole = self.teacher_encoder(y.flatten(0, 1))
        log_p = self._log_p(seen.pooled).unflatten(0, shape)
        taught, taught_patches = (self.teacher_head(each) for each in (whole.pooled, whole.tokens))
        target = ((taught - self.image_center) / self.temperatures[0]).softmax(dim=-1)
        patch_target = ((taught_patches - self.patch_center) / self.temperatures[1]).softmax(dim=-1)

        of_images = cross_view_entropy(target.unflatten(0, shape), log_p)
        of_patches = masked_entropy(patch_target, self._log_p(seen.tokens), x.masked.flatten(0, 1))
        logs = {
            "image_loss": of_images.detach(),
            "patch_loss": of_patches.detach(),
            "teacher_entropy": entropy(target),  # 0: one-hot; log K: uniform
            "outputs_in_use": perplexity(target),  # 1 or K with an entropy of 0 or log K: collapse
            "patch_outputs_in_use": perplexity(patch_target.flatten(0, 1)),
        }
        value = of_images + self.patch_weight * of_patches
        return Loss(value, logs, Centers(taught.mean(dim=0), taught_patches.mean(dim=(0, 1))))

    def after_step(self, carries: Sequence[Centers], progress: float) -> None:
        """`carries`: the mean scores of the teacher over this rank's batches."""
        momentum = momentum_at(self.momentum_schedule, self.momentum, progress)
        self.teacher_encoder.update(self.encoder, momentum)
        self.teacher_head.update(self.head, momentum)
        for place, center in enumerate((self.image_center, self.patch_center)):
            mean = torch.stack([each[place] for each in carries]).mean(dim=0)
            center.lerp_(mean_over_ranks(mean), 1 - self.center_momentum)
        self._warm(progress)

    def _log_p(self, features: Tensor) -> Tensor:
        """(..., D) -> (..., K)."""
        scores: Tensor = self.head(features) / self.student_temperature
        return scores.log_softmax(dim=-1)

    def _warm(self, progress: float) -> None:
        """Set the teacher's temperatures: linear from the first to the last over the warm-up."""
        for place, ends in enumerate(self.first_and_last):
            self.temperatures[place].fill_(warmed(ends, progress, self.temperature_warmup))


def _check_mask(probability: float, ratio: tuple[float, float], weight: float) -> None:
    """Raises ValueError for what is no probability, no range of shares, or no weight."""
    if not 0 < probability <= 1:
        raise ValueError(f"objective.mask_probability is {probability}; it must lie in (0, 1] (paper: 0.5)")
    low, high = ratio
    if not 0 < low <= high < 1:
        raise ValueError(
            f"objective.mask_ratio is {list(ratio)}; it must be two ascending shares in (0, 1) (paper: 0.1, 0.5)"
        )
    if weight < 0:
        raise ValueError(f"objective.patch_weight is {weight}; it is a weight, 0 or more (paper: 1)")
