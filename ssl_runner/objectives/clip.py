"""CLIP: identify the second view of each example among those of others, with an encoder for each view."""

from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ssl_runner.interfaces import Batch, DataSpec, Encoder, Loss, Objective, another
from ssl_runner.losses.contrastive import watched
from ssl_runner.losses.rules import Rule, check_similarity
from ssl_runner.losses.similarity import Similarity, SimilarityName
from ssl_runner.nn.gather import gather, rank
from ssl_runner.nn.mlp import MLP, check_widths


class Pair(NamedTuple):
    first: Tensor  # (B, ...) as input, which `encoder` reads
    other: Tensor  # (B, ...) likewise, the second view, which `second` reads


class CLIP(Objective[Pair, Tensor]):
    """Identify, by a contrastive loss, which two views of different kinds belong to one example.

        x = both views of each example,   y = the example that each pair came from
        loss = (rule(similarity(g f(x_i), g' f'(x'_j))) + rule(similarity(g' f'(x'_i), g f(x_j)))) / 2

                                                                            nats per pair and direction (InfoNCE)

    Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision",
    https://arxiv.org/abs/2103.00020 (symmetric InfoNCE, learned temperature); Becker, Hinton 1992, "Self-organizing
    neural network that discovers surfaces in random-dot stereograms", https://doi.org/10.1038/355161a0, for two
    networks that see two parts of one scene. Candidates of an anchor are all views of the other kind, of all processes;
    views of its own kind are none. f is `encoder`, which is exported and evaluated; to evaluate the encoder of the
    other view, exchange the two in the dataset.
    Differs from the paper: the head may have hidden layers; small encoders and batches of hundreds; nothing is
    augmented.
    """

    reads_pairs: ClassVar[bool] = True
    collapse: ClassVar[str] = (
        "the repulsion of negatives is too weak: lower objective.loss.temperature, or raise batch_size"
    )

    def __init__(
        self,
        encoder: Encoder,
        spec: DataSpec,
        *,
        other: Encoder,
        projector: list[int],
        similarity: SimilarityName,
        loss: Rule,
    ) -> None:
        super().__init__()
        check_widths("projector", projector)
        check_similarity(loss, similarity)
        self.encoder = encoder
        self.other = other
        self.projector = MLP([encoder.dim, *projector], norm="batch")
        self.other_projector = MLP([other.dim, *projector], norm="batch")
        self.similarity = Similarity(similarity, projector[-1])
        self.rule = loss

    @property
    def second(self) -> Encoder:
        return self.other

    def split(self, batch: Batch) -> tuple[Pair, Tensor]:
        """y (B,) int64: equal where two views belong together."""
        if len(batch.data) < 2:
            raise ValueError(
                "batch_size is 1; a contrastive loss needs other examples as negatives: set batch_size=2 or more"
            )
        if batch.other is None:
            raise ValueError("these examples have one view; this objective needs data with a second view of each")
        count = len(batch.data)
        return Pair(batch.data, batch.other), torch.arange(count, device=batch.data.device) + rank() * count

    def shuffle(self, x: Pair, y: Tensor) -> tuple[Pair, Tensor]:
        """Every second view is another example's."""
        return x._replace(other=x.other[another(len(y), y.device)]), y

    def loss(self, x: Pair, y: Tensor) -> Loss:
        z = torch.cat(self._embed(x))
        example, side = y.repeat(2), torch.arange(2, device=y.device).repeat_interleave(len(y))
        others, other_example, other_side = gather(z), gather(example), gather(side)
        if self.rule.mutual:  # every process scores the anchors of all
            z, example, side = others, other_example, other_side
        across = side[:, None] != other_side
        same = example[:, None] == other_example
        sim = self.similarity(z, others)
        pos, neg = across & same, across & ~same
        logs = watched(sim.detach(), self.rule.critic(sim.detach()), pos, neg) | self.rule.watched()
        return Loss(self.rule(sim, pos, neg), logs)

    def critic(self, x: Any) -> Tensor:
        """(B, B): the score of the first view of each example with the second view of each, in nats."""
        return self.rule.critic(self.similarity(*self._embed(x)))

    def _embed(self, x: Pair) -> tuple[Tensor, Tensor]:
        """(B, d) each."""
        return self.projector(self.encoder(x.first).pooled), self.other_projector(self.other(x.other).pooled)
