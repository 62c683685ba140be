"""SwAV: predict the cluster assignment of one crop of an image from another crop."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective, Views
from ssl_runner.losses.assignment import perplexity, sinkhorn
from ssl_runner.losses.distillation import cross_view_entropy, entropy, output_std
from ssl_runner.nn.gather import gather, rank
from ssl_runner.nn.mlp import MLP, check_widths
from ssl_runner.nn.prototypes import Prototypes, check_share
from ssl_runner.nn.queue import Queue
from ssl_runner.views.crops import multi_crop
from ssl_runner.views.mismatch import mismatch, misplaced

CROPS = 2  # large crops of an image, where there is a queue for each


class SwAV(Objective[Tensor, Tensor]):
    """Predict the prototype assignment of a large crop from each other crop of the image.

        x = small crops of t,   y = large crops of t,   s = cosine(z, prototypes),   p = softmax(s / temperature)
        loss = -mean over v in y, w in x or y, w != v, of sum_k q_vk log p_wk,   q_v = sinkhorn(s_v)       nats per pair

    z = g(f(.)) encoder and projector; q is constant, and balanced: over a batch, prototypes are used equally.
    Caron, Misra, Mairal, Goyal, Bojanowski, Joulin 2020, "Unsupervised Learning of Visual Features by Contrasting
    Cluster Assignments", https://arxiv.org/abs/2006.09882.
    `queue`: embeddings of earlier batches, for each large crop, that join the assignment once `queue_start` of the
    budget is spent, for batches that are smaller than the number of prototypes; until it is full, the batch's own stand
    in. Differs from the paper: AdamW by default in place of LARS; few prototypes, scaled to length 1 when they are
    read, and learning from the first step on (`scale_prototypes`, `freeze_prototypes`: as in the paper).
    """

    queue_joins: Tensor  # () bool: whether the queue takes part

    def __init__(
        self,
        encoder: Encoder,
        spec: ImageSpec,
        *,
        views: Views,
        small_views: Views | None,
        projector: list[int],
        prototypes: int,
        scale_prototypes: Literal["read", "step"],
        freeze_prototypes: float,
        queue: int,
        queue_start: float,
        temperature: float,
        epsilon: float,
        iterations: int,
    ) -> None:
        super().__init__()
        check_widths("projector", projector)
        for key, value in (("temperature", temperature), ("epsilon", epsilon)):
            if not value > 0:
                raise ValueError(f"objective.{key} is {value}; it must be above 0 (paper: 0.1 and 0.05)")
        if iterations < 1:
            raise ValueError(f"objective.iterations is {iterations}; it must be at least 1 (paper: 3)")
        if queue < 0:
            raise ValueError(f"objective.queue is {queue}; it must be a number of embeddings, or 0 (paper: 3840)")
        check_share("queue_start", queue_start)
        check_share("freeze_prototypes", freeze_prototypes)
        self.encoder = encoder
        self.views = views
        self.small_views = small_views
        self.projector = MLP([encoder.dim, *projector], norm="batch")
        self.prototypes = Prototypes(projector[-1], prototypes, scaled_on_reading=scale_prototypes == "read")
        self.freeze_prototypes = freeze_prototypes
        self.queue_size, self.queue_start = queue, queue_start
        self.queues = nn.ModuleList(Queue(queue, projector[-1]) for _ in range(CROPS)) if queue else None
        self.register_buffer("queue_joins", torch.tensor(queue_start == 0), persistent=queue > 0)
        self.temperature = temperature
        self.epsilon = epsilon
        self.iterations = iterations

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x (V, B, C, h, w), y (V', B, C, H, W)."""
        small, large = multi_crop(self.small_views, self.views, batch.data, self.encoder)
        if self.queues is not None and len(large) != CROPS:
            raise ValueError(
                f"objective.views.views is {len(large)}, and objective.queue is of {CROPS} large crops: set "
                f"objective.views.views={CROPS}, or objective.queue=0"
            )
        return small, large

    def shuffle(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return misplaced(x), mismatch(y)

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        count = y.shape[1]
        features = [self.encoder(crops.flatten(0, 1)).pooled for crops in (y, x) if len(crops)]  # one per size
        z = self.projector(torch.cat(features))
        scores = self.prototypes(z).unflatten(0, (-1, count))  # (V' + V, B, K)
        log_p = (scores / self.temperature).log_softmax(dim=-1)
        large = z.detach().unflatten(0, (-1, count))[: len(y)]
        code = self._assign(scores[: len(y)], large)
        with torch.no_grad():
            p = log_p.exp()
            agree = p[0].argmax(dim=-1) == code[1].argmax(dim=-1)
            logs = {
                "accuracy": agree.float().mean(),
                "prototypes_in_use": perplexity(p.flatten(0, 1)),
                "assignment_entropy": entropy(code),
                "output_std": output_std(z),
            }
        return Loss(cross_view_entropy(code, log_p), logs, large if self.queues is not None else None)

    def after_step(self, carries: Sequence[Tensor | None], progress: float) -> None:
        """`carries` (V', B, D) each: embeddings of the large crops of a batch."""
        if not self.prototypes.scaled_on_reading:
            self.prototypes.rescale()
        if self.queues is None:
            return
        for large in carries:
            assert large is not None
            for queue, z in zip(self.queues, large, strict=True):
                assert isinstance(queue, Queue)
                queue.push(z, torch.full((len(z),), -1, device=z.device))  # no label is read
        self.queue_joins.fill_(progress >= self.queue_start)

    def frozen(self, progress: float) -> Sequence[nn.Parameter]:
        """The prototypes, at first."""
        return [self.prototypes.weight] if progress < self.freeze_prototypes else []

    @torch.no_grad()
    def _assign(self, scores: Tensor, large: Tensor) -> Tensor:
        """(V', B, K) -> (V', B, K): balanced over the examples of all ranks, and those of the queues, per crop. `large`
        (V', B, D): their embeddings."""
        count = scores.shape[1]
        every = gather(scores.transpose(0, 1)).transpose(0, 1)
        if self.queues is not None:
            own = gather(large.transpose(0, 1)).transpose(0, 1)
            earlier = torch.stack([self._earlier(queue, z) for queue, z in zip(self.queues, own, strict=True)])
            every = torch.cat((every, self.prototypes(earlier).to(every.dtype)), dim=1)
        code = sinkhorn(every, epsilon=self.epsilon, iterations=self.iterations)
        return code[:, rank() * count : (rank() + 1) * count]

    def _earlier(self, queue: nn.Module, own: Tensor) -> Tensor:
        """(queue, D): the embeddings in a queue; the batch's own (B, D) in turn where there are none, or none yet."""
        assert isinstance(queue, Queue)
        stand_in = own[torch.arange(self.queue_size, device=own.device) % len(own)]
        return torch.where((queue.filled & self.queue_joins)[:, None], queue.keys.to(own.dtype), stand_in)
