"""SwAV: predict the cluster assignment of one crop of an image from another crop."""

import torch
from torch import Tensor

from ssl_runner.interfaces import Batch, Encoder, ImageSpec, Loss, Objective, Views
from ssl_runner.losses.assignment import perplexity, sinkhorn
from ssl_runner.losses.distillation import cross_view_entropy, entropy, output_std
from ssl_runner.nn.gather import gather, rank
from ssl_runner.nn.mlp import MLP, check_widths
from ssl_runner.nn.prototypes import Prototypes
from ssl_runner.views.crops import multi_crop
from ssl_runner.views.mismatch import mismatch, misplaced


class SwAV(Objective[Tensor, Tensor]):
    """Predict the prototype assignment of a large crop from each other crop of the image.

        x = small crops of t,   y = large crops of t,   s = cosine(z, prototypes),   p = softmax(s / temperature)
        loss = -mean over v in y, w in x or y, w != v, of sum_k q_vk log p_wk,   q_v = sinkhorn(s_v)       nats per pair

    z = g(f(.)) encoder and projector; q is constant, and balanced: over a batch, prototypes are used equally.
    Caron, Misra, Mairal, Goyal, Bojanowski, Joulin 2020, "Unsupervised Learning of Visual Features by Contrasting
    Cluster Assignments", https://arxiv.org/abs/2006.09882.
    Differs from the paper: AdamW by default in place of LARS; few prototypes, and no queue of earlier features, which
    the paper needs where a batch is smaller than its 3,000 prototypes; prototypes are scaled to length 1 when they are
    read, not after each step, and learn from the first step on.
    """

    def __init__(
        self,
        encoder: Encoder,
        spec: ImageSpec,
        *,
        views: Views,
        small_views: Views,
        projector: list[int],
        prototypes: int,
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
        self.encoder = encoder
        self.views = views
        self.small_views = small_views
        self.projector = MLP([encoder.dim, *projector], norm="batch")
        self.prototypes = Prototypes(projector[-1], prototypes)
        self.temperature = temperature
        self.epsilon = epsilon
        self.iterations = iterations

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x (V, B, C, h, w), y (V', B, C, H, W)."""
        return multi_crop(self.small_views, self.views, batch.data, self.encoder)

    def shuffle(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return misplaced(x), mismatch(y)

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        count = y.shape[1]
        features = [self.encoder(crops.flatten(0, 1)).pooled for crops in (y, x)]  # a call for each size
        z = self.projector(torch.cat(features))
        scores = self.prototypes(z).unflatten(0, (-1, count))  # (V' + V, B, K)
        log_p = (scores / self.temperature).log_softmax(dim=-1)
        code = self._assign(scores[: len(y)])
        with torch.no_grad():
            p = log_p.exp()
            agree = p[0].argmax(dim=-1) == code[1].argmax(dim=-1)
            logs = {
                "accuracy": agree.float().mean(),
                "prototypes_in_use": perplexity(p.flatten(0, 1)),
                "assignment_entropy": entropy(code),
                "output_std": output_std(z),
            }
        return Loss(cross_view_entropy(code, log_p), logs)

    @torch.no_grad()
    def _assign(self, scores: Tensor) -> Tensor:
        """(V', B, K) -> (V', B, K): balanced over the examples of all ranks, per crop."""
        count = scores.shape[1]
        every = gather(scores.transpose(0, 1)).transpose(0, 1)
        code = sinkhorn(every, epsilon=self.epsilon, iterations=self.iterations)
        return code[:, rank() * count : (rank() + 1) * count]
