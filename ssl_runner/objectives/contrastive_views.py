"""Contrastive learning of views: identify views of the same example among those of others (SimCLR and variants)."""

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from ssl_runner.interfaces import Batch, DataSpec, Encoder, Loss, Objective, Views, another
from ssl_runner.losses.contrastive import hard_weights, sampled, watched
from ssl_runner.losses.rules import Rule, check_similarity
from ssl_runner.losses.similarity import Similarity, SimilarityName
from ssl_runner.nn.gather import gather, rank, ranks
from ssl_runner.nn.mlp import MLP, LastNorm, Norm
from ssl_runner.nn.positives import Positives
from ssl_runner.nn.queue import Queue


class Origin(NamedTuple):
    source: Tensor  # (V, B) int64: the place in the data of the example that a view is of
    label: Tensor  # (V, B) int64: its label; -1 where unlabeled
    member: Tensor  # (V, B) int64: in the batch, the example whose group a view counts to; its own but in the control
    priority: Tensor  # (V * B, M) in [0, 2): of its M candidates an anchor takes the first as negatives; M = 0: all


class Moved(NamedTuple):
    features: Tensor  # (V, B, D) of the encoder
    keys: Tensor  # (B, d) embeddings of the last view
    group: Tensor  # (B,) int64


class ContrastiveViews(Objective[Tensor, Origin]):
    """Identify, by a contrastive loss, which views are of the same example, or of the same group of examples.

        x = V random views of each example,   y = the example each came from
        loss = rule(similarity(g(f(x_i)), g(f(x_j))))                               nats per positive pair (InfoNCE)

    Chen, Kornblith, Norouzi, Hinton 2020, "A Simple Framework for Contrastive Learning of Visual Representations",
    https://arxiv.org/abs/2002.05709, with InfoNCE, cosines, two views and all negatives of the batch.
    Every view is an anchor; its candidates are all views of this process, or of all `ranks`, and the last `queue` keys,
    one per example, as they were when pushed. `positives` defines groups: candidates of the anchor's group are
    positives, or ignored in the queue; all others are negatives. `negatives` draws so many of these, without
    replacement, from the queue only as many as the batch lacks, and all if there are fewer. `hardness` weights them by
    similarity.
    Differs from the paper: AdamW by default in place of LARS, and batches of hundreds in place of thousands.
    """

    collapse: ClassVar[str] = (
        "the repulsion of negatives is too weak: lower objective.loss.temperature, or raise batch_size"
    )

    def __init__(
        self,
        encoder: Encoder,
        spec: DataSpec,
        *,
        views: Views,
        projector: list[int],
        projector_norm: Norm,
        projector_last_norm: LastNorm,
        similarity: SimilarityName,
        loss: Rule,
        positives: Positives,
        negatives: int | None,
        hardness: float,
        queue: int,
        ranks: Literal["own", "all"],
    ) -> None:
        super().__init__()
        if not projector or min(projector) < 1:
            raise ValueError(
                f"objective.projector is {projector}; it must list the widths of the head's layers, such as [128, 64]"
            )
        if negatives is not None and negatives < 1:
            raise ValueError(f"objective.negatives is {negatives}; it must be at least 1, or null for all there are")
        if not hardness >= 0:
            raise ValueError(f"objective.hardness is {hardness}; it must be 0 (equal weights) or more")
        if queue < 0:
            raise ValueError(f"objective.queue is {queue}; it must be 0 (none) or a number of keys to keep")
        self.encoder = encoder
        self.views = views
        self.projector = MLP([encoder.dim, *projector], norm=projector_norm, last_norm=projector_last_norm)
        check_similarity(loss, similarity)
        self.similarity = Similarity(similarity, projector[-1])
        self.rule = loss
        self.positives = positives
        self.negatives = negatives
        self.hardness = hardness
        self.queue = Queue(queue, projector[-1]) if queue else None
        self.all_ranks = ranks == "all"
        self.labeled = spec.classes > 0

    def split(self, batch: Batch) -> tuple[Tensor, Origin]:
        """x (V, B, C, h, w), or those of other data."""
        if len(batch.data) < 2:
            raise ValueError(
                "batch_size is 1; a contrastive loss needs other examples as negatives: set batch_size=2 or more"
            )
        x = self.views(batch.data)
        source, label = (each.expand(len(x), -1) for each in (batch.index, batch.label))
        member = torch.arange(len(batch.index), device=x.device).expand_as(source)
        anchors = source.numel()
        if self.negatives is None:
            return x, Origin(source, label, member, x.new_empty(anchors, 0))
        near = anchors * (ranks() if self.all_ranks else 1)
        far = 0 if self.queue is None else len(self.queue.keys)
        priority = torch.rand(anchors, near + far, device=x.device)
        priority[:, :near] += 1  # the batch comes before the queue
        return x, Origin(source, label, member, priority)

    def shuffle(self, x: Tensor, y: Origin) -> tuple[Tensor, Origin]:
        """Every view but the first is another example's, and every place has the group of a random one: without that,
        views with one label, or in one cluster, would be positives although they were moved."""
        count = x.shape[1]
        kept = torch.arange(count, device=x.device)
        place = torch.stack([kept, *(another(count, x.device) for _ in x[1:])])  # (V, B)
        view = torch.arange(len(x), device=x.device)[:, None]
        member = torch.randperm(count, device=x.device).expand_as(y.source)
        return x[view, place], Origin(y.source.gather(1, place), y.label.gather(1, place), member, y.priority)

    def loss(self, x: Tensor, y: Origin) -> Loss:
        features = self.encoder(x.flatten(0, 1)).pooled
        z = self.projector(features)
        features = features.detach().unflatten(0, y.source.shape)
        groups = self.positives(features, y.source[0], y.label[0])[y.member[0]]
        keys = z.detach()[-len(groups) :]
        group, label = groups.repeat(len(x)), y.label.flatten()
        others, other_group, other_label, first = z, group, label, 0
        if self.all_ranks:
            others, other_group, other_label = gather(z), gather(group), gather(label)
            first = rank() * len(z)
            if self.rule.mutual:  # every process scores the anchors of all
                z, group, label, first = others, other_group, other_label, 0
                y = y._replace(priority=gather(y.priority))

        pos = group[:, None] == other_group
        neg = ~pos
        pos.diagonal(first).fill_(False)  # an anchor is neither to itself
        if self.queue is not None:
            held = (group[:, None] != self.queue.labels) & self.queue.filled
            pos, neg = torch.cat((pos, torch.zeros_like(held)), dim=1), torch.cat((neg, held), dim=1)
            others = torch.cat((others, self.queue.keys.to(others.dtype)))
        if self.negatives is not None:
            neg = sampled(neg, y.priority, self.negatives)

        sim = self.similarity(z, others)
        value = self.rule(sim, pos, neg if self.hardness == 0 else hard_weights(sim.detach(), neg, self.hardness))
        logs = watched(sim.detach(), self.rule.critic(sim.detach()), pos, neg) | self.rule.watched()
        if self.labeled:
            near = neg[:, : len(other_label)]  # the queue's labels are not kept
            logs["false_negatives"] = (near & (label[:, None] == other_label)).sum() / near.sum().clamp_min(1)
        return Loss(value, logs, Moved(features, keys, groups))

    def after_step(self, carries: Sequence[Moved], progress: float) -> None:
        self.positives.update(torch.cat([each.features for each in carries], dim=1), progress)
        if self.queue is not None:
            for each in carries:
                self.queue.push(each.keys, each.group)

    def critic(self, x: Tensor) -> Tensor:
        """(B, B): the score of the first view of each example with the second view of each, in nats."""
        first, second = self.projector(self.encoder(x[:2].flatten(0, 1)).pooled).chunk(2)
        return self.rule.critic(self.similarity(first, second))
