"""SimCSE: identify a sentence under another dropout mask, or one that it entails, among other sentences."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from ssl_runner.interfaces import Batch, Loss, Objective, TextEncoder, TextSpec, TokenEncoder, Views
from ssl_runner.losses.contrastive import watched
from ssl_runner.losses.rules import Rule, check_similarity
from ssl_runner.losses.similarity import Similarity, SimilarityName
from ssl_runner.nn.gather import gather, rank
from ssl_runner.nn.mlp import MLP, check_widths
from ssl_runner.views.mismatch import mismatch


class SimCSE(Objective[Tensor, Tensor]):
    """Identify, by a contrastive loss, texts with the same meaning: a sentence encoded twice, or a labeled pair.

        x = V texts of each example, the first `alike` of one meaning,   y = the meaning of each
        loss = rule(similarity(g(f(x_i)), g(f(x_j))))                               nats per positive pair (InfoNCE)

    Gao, Yao, Chen 2021, "SimCSE: Simple Contrastive Learning of Sentence Embeddings", https://arxiv.org/abs/2104.08821.
    Unsupervised (eq. 4): `views` repeats the sentence, and the two passes differ only by the encoder's dropout; in
    eval mode there is none, and positives are equal (`views` may delete words as well). Supervised (eq. 5): `views`
    splits a row into a premise, an entailed sentence, and a contradicting one; texts after the first `alike` are
    negatives of all others. `pooler`: f is the mean over tokens, which evaluations read, or the vector of the first
    token (cls), which they read with `pooler: cls`. The loss is that of `ContrastiveViews`, which supports text too,
    with all texts of the batch, of all processes, except for the anchor as candidates.
    Differs from the paper: every text that has a positive is an anchor, not only the first of a pair; the head is
    linear by default, without a tanh; the mean rather than the first token by default.
    """

    collapse: ClassVar[str] = (
        "the repulsion between texts is too weak: lower objective.loss.temperature, raise batch_size, or "
        "give the encoder dropout (backbone.dropout)"
    )

    def __init__(
        self,
        encoder: TextEncoder,
        spec: TextSpec,
        *,
        views: Views,
        alike: int,
        pooler: Literal["mean", "cls"],
        projector: list[int],
        similarity: SimilarityName,
        loss: Rule,
    ) -> None:
        super().__init__()
        check_widths("projector", projector)
        if alike < 2:
            raise ValueError(f"objective.alike is {alike}; at least 2 texts must be positives of each other")
        if pooler == "cls" and not isinstance(encoder, TokenEncoder):
            raise ValueError(
                f"objective.pooler is cls, and the backbone is {encoder.kind}: its first token does not "
                "see later ones; set objective.pooler=mean"
            )
        self.encoder = encoder
        self.views = views
        self.alike = alike
        self.pooler = pooler
        self.projector = MLP([encoder.dim, *projector], norm="batch")
        check_similarity(loss, similarity)
        self.similarity = Similarity(similarity, projector[-1])
        self.rule = loss

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x (V, B, T) ids; y (V, B) int64, equal where two texts have the same meaning."""
        if len(batch.data) < 2:
            raise ValueError(
                "batch_size is 1; a contrastive loss needs other examples as negatives: set batch_size=2 or more"
            )
        x = self.views(batch.data)
        if len(x) < self.alike:
            raise ValueError(f"objective.alike is {self.alike}; objective.views gives no more than {len(x)} texts")
        meaning = torch.arange(x.shape[0] * x.shape[1], device=x.device).view(x.shape[:2])
        meaning = meaning + rank() * meaning.numel()  # no process has the numbers of another
        return x, torch.cat((meaning[:1].expand(self.alike, -1), meaning[self.alike :]))

    def shuffle(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return mismatch(x), y

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        z, meaning = self._embed(x.flatten(0, 1)), y.flatten()
        others, other_meaning, first = gather(z), gather(meaning), rank() * len(z)
        if self.rule.mutual:  # every process scores the anchors of all
            z, meaning, first = others, other_meaning, 0
        same = meaning[:, None] == other_meaning
        pos, neg = same.clone(), ~same
        pos.diagonal(first).fill_(False)  # an anchor is neither to itself
        sim = self.similarity(z, others)
        logs = watched(sim.detach(), self.rule.critic(sim.detach()), pos, neg) | self.rule.watched()
        return Loss(self.rule(sim, pos, neg), logs)

    def critic(self, x: Tensor) -> Tensor:
        """(B, B): the score of the first text of each example with the second text of each, in nats."""
        first, second = self._embed(x[:2].flatten(0, 1)).chunk(2)
        return self.rule.critic(self.similarity(first, second))

    def _embed(self, tokens: Tensor) -> Tensor:
        """(B, T) -> (B, d)."""
        features = self.encoder(tokens)
        return self.projector(features.pooled if self.pooler == "mean" else features.tokens[:, 0])
