"""DINO: predict a momentum teacher's output for one crop of an image from another crop."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective, Views
from ssl_runner.losses.assignment import perplexity
from ssl_runner.losses.distillation import cross_view_entropy, entropy, warmed
from ssl_runner.nn.ema import EMA, MomentumSchedule, check_momentum, momentum_at
from ssl_runner.nn.gather import mean_over_ranks
from ssl_runner.nn.mlp import MLP, Activation, Norm, check_widths
from ssl_runner.nn.prototypes import Prototypes, check_share
from ssl_runner.views.crops import multi_crop
from ssl_runner.views.mismatch import mismatch, misplaced


class DINO(Objective[Tensor, Tensor]):
    """Predict the teacher's distribution for a large crop from each other crop of the image.

        x = small crops of t,   y = large crops of t,   p = softmax(s / student_temperature)
        loss = -mean over v in y, w in x or y, w != v, of sum_k p'_vk log p_wk                            nats per pair
        p' = softmax((s' - center) / teacher temperature),   center <- moving average of s' over batches

    s = h(f(.)), encoder and head, are cosines with K prototypes; s' those of the teacher, its moving average.
    `exported` says whose encoder is kept: the paper evaluates the teacher's, which is better than the student's all
    along (section 5.2 there).
    Caron, Touvron, Misra, Jegou, Mairal, Bojanowski, Joulin 2021, "Emerging Properties in Self-Supervised Vision
    Transformers", https://arxiv.org/abs/2104.14294.
    The paper's recipe is in settings: backbone=vit_small with `pool: class` and drop paths, `projector_norm: none`,
    `activation: gelu`, `freeze_last`, objective/views=dino, and `trainer.weight_decay_end`.
    Differs from the paper: a convolutional network by default; a small head. As in the paper the teacher's BatchNorm
    uses the statistics of the batch.
    """

    center: Tensor  # (K,)
    teacher_temperature: Tensor  # ()

    def __init__(
        self,
        encoder: Encoder,
        spec: ImageSpec,
        *,
        views: Views,
        small_views: Views | None,
        projector: list[int],
        projector_norm: Norm,
        activation: Activation,
        prototypes: int,
        freeze_last: float,
        student_temperature: float,
        teacher_temperature: tuple[float, float],
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
        if not student_temperature > 0:
            raise ValueError(f"objective.student_temperature is {student_temperature}; it must be above 0 (paper: 0.1)")
        if not min(teacher_temperature) > 0:
            raise ValueError(
                f"objective.teacher_temperature is {list(teacher_temperature)}; both, the first and the last, must be "
                "above 0 (paper: 0.04, 0.07)"
            )
        check_share("temperature_warmup", temperature_warmup)
        check_share("freeze_last", freeze_last)
        self.encoder = encoder
        self.views = views
        self.small_views = small_views
        mlp = MLP([encoder.dim, *projector], norm=projector_norm, activation=activation)
        self.head = nn.Sequential(mlp, Prototypes(projector[-1], prototypes))
        self.teacher_encoder = EMA(self.encoder)
        self.teacher_head = EMA(self.head)
        self.register_buffer("center", torch.zeros(prototypes))
        self.register_buffer("teacher_temperature", torch.zeros(()))
        self.student_temperature = student_temperature
        self.temperatures = teacher_temperature
        self.temperature_warmup = temperature_warmup
        self.freeze_last = freeze_last
        self.momentum = momentum
        self.momentum_schedule = momentum_schedule
        self.center_momentum = center_momentum
        self.kept = exported
        self._warm(0.0)

    @property
    def exported(self) -> Encoder:
        return self.teacher_encoder.module if self.kept == "teacher" else self.encoder

    def frozen(self, progress: float) -> Sequence[nn.Parameter]:
        """The prototypes, at first."""
        return list(self.head[1].parameters()) if progress < self.freeze_last else []

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x (V, B, C, h, w), y (V', B, C, H, W)."""
        return multi_crop(self.small_views, self.views, batch.data, self.encoder)

    def shuffle(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return misplaced(x), mismatch(y)

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        count = y.shape[1]
        features = [self.encoder(crops.flatten(0, 1)).pooled for crops in (y, x) if len(crops)]  # one per size
        scores = self.head(torch.cat(features)).unflatten(0, (-1, count))  # (V' + V, B, K)
        taught = self.teacher_head(self.teacher_encoder(y.flatten(0, 1)).pooled).unflatten(0, (-1, count))
        target = ((taught - self.center) / self.teacher_temperature).softmax(dim=-1)
        value = cross_view_entropy(target, (scores / self.student_temperature).log_softmax(dim=-1))
        teacher_entropy = entropy(target)
        logs = {
            "teacher_entropy": teacher_entropy,  # 0: one-hot; log K: uniform
            "kl": value.detach() - teacher_entropy,
            "outputs_in_use": perplexity(target.flatten(0, 1)),  # 1 or K with an entropy of 0 or log K: collapse
        }
        return Loss(value, logs, taught.mean(dim=(0, 1)))

    def after_step(self, carries: Sequence[Tensor], progress: float) -> None:
        """`carries` (K,) each: the mean of the teacher's scores over this rank's batch."""
        momentum = momentum_at(self.momentum_schedule, self.momentum, progress)
        self.teacher_encoder.update(self.encoder, momentum)
        self.teacher_head.update(self.head, momentum)
        self.center.lerp_(mean_over_ranks(torch.stack(list(carries)).mean(dim=0)), 1 - self.center_momentum)
        self._warm(progress)

    def _warm(self, progress: float) -> None:
        """Set the teacher's temperature: linear from the first to the last over the warm-up."""
        self.teacher_temperature.fill_(warmed(self.temperatures, progress, self.temperature_warmup))
