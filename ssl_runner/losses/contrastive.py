"""Contrastive losses with a common signature, so that views, similarity, loss and negatives are independent choices.

`sim` (N, M) similarities s_ij of N anchors to M candidates, higher is more similar; `pos` (N, M) bool: which candidates
are positives of which anchor; `neg` (N, M): which are negatives, bool or, where some weigh more than others, weights
>= 0. A candidate that is neither is ignored, as is an anchor's similarity to itself. A pair is an anchor and one of its
positives, (i, j); each loss is a mean over pairs or over anchors that have any. An anchor without negatives
costs nothing (or the loss's minimum).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_runner.losses.precision import float32
from ssl_runner.nn.gather import divisor

ABSENT = -1e30  # the logit of an absent candidate: finite, so that a sum over nothing has the gradient 0, not NaN

Mining = Literal["all", "semi_hard", "hard"]


@float32
def pair(sim: Tensor, pos: Tensor, neg: Tensor, *, attract: float, repel: float) -> Tensor:
    """Pull positives up to one similarity and push negatives down to another, with half squared hinges.

        loss = 1/2 mean over pairs of max(0, attract - s_ij)^2 + 1/2 mean over negatives of max(0, s_ik - repel)^2

    Hadsell, Chopra, LeCun 2006, "Dimensionality Reduction by Learning an Invariant Mapping",
    https://doi.org/10.1109/CVPR.2006.100, eq. 4: s = -distance, attract = 0, repel = -margin. The margin is of Chopra,
    Hadsell, LeCun 2005, https://doi.org/10.1109/CVPR.2005.202, where dissimilar pairs cost an exponential.
    Differs from the paper: positives and negatives weigh the same, however many there are of either.
    """
    near = F.relu(attract - sim).square()
    far = F.relu(sim - repel).square()
    return (_mean(near, pos) + _mean(far, neg)) / 2


@float32
def triplet(sim: Tensor, pos: Tensor, neg: Tensor, *, margin: float, mining: Mining) -> Tensor:
    """Require each positive to be more similar than the negatives of its anchor, by a margin.

        loss = mean over pairs (i, j) of  max(0, margin + s_ik - s_ij),   k: every negative of i (their mean),
               semi_hard: the most similar of those that are less similar than j (where none is, the least similar),
               hard: the most similar

    Schroff, Kalenichenko, Philbin 2015, "FaceNet", https://arxiv.org/abs/1503.03832, section 3, of squared distances of
    unit vectors, which are 2 - 2 cos: with cosines, a margin of half the paper's 0.2.
    Differs from the paper: the semi-hard negative is the hardest of them, of the batch at hand; weights of negatives
    count where all are used, else only whether they are above 0.
    """
    present = neg > 0
    if mining == "hard":
        hardest = sim.masked_fill(~present, ABSENT).amax(dim=1, keepdim=True)
        return _mean(F.relu(margin + hardest - sim), pos)
    # Sorted, the negatives of an anchor that matter to a pair are those from one place on: no (N, M, M) tensor is made.
    values, order = sim.masked_fill(~present, ABSENT).sort(dim=1)
    if mining == "semi_hard":
        place = torch.searchsorted(values.detach(), sim.detach().contiguous()) - 1  # the last that is below s_ij
        first = sim.shape[1] - present.sum(dim=1, keepdim=True)
        chosen = values.gather(1, torch.maximum(place, first).clamp_max(sim.shape[1] - 1))
        return _mean(F.relu(margin + chosen - sim), pos)
    weight = neg.to(sim.dtype).gather(1, order)
    place = torch.searchsorted(values.detach(), (sim - margin).detach(), right=True)  # the first that costs anything
    costs = _sums_from(weight * values).gather(1, place) + _sums_from(weight).gather(1, place) * (margin - sim)
    return (costs * pos).sum() / divisor((pos * weight.sum(dim=1, keepdim=True)).sum())


@float32
def lifted(sim: Tensor, pos: Tensor, neg: Tensor, *, margin: float) -> Tensor:
    """Compare each positive pair with all negatives of both its members.

        loss = 1/2 mean over pairs (i, j) of  max(0, margin + log( sum_{k in neg(i)} e^{s_ik} + sum_{l in neg(j)}
               e^{s_lj} ) - s_ij)^2

    Song, Xiang, Jegelka, Savarese 2016, "Deep Metric Learning via Lifted Structured Feature Embedding",
    https://arxiv.org/abs/1511.06452, eq. 4, with s = -distance. The negatives of j are the anchors that have it as a
    negative: where anchors and candidates are the same vectors, all of them.
    """
    of_anchor, of_positive = log_sum(sim, neg), log_sum(sim.T, neg.T).T
    return _mean(F.relu(margin + torch.logaddexp(of_anchor, of_positive) - sim).square(), pos) / 2


@float32
def nce(sim: Tensor, pos: Tensor, neg: Tensor, log_normalizer: Tensor, log_noise: Tensor) -> Tensor:
    r"""Distinguish each positive from noise by logistic regression, per candidate. Nats per positive pair.

        G_ij = (s_ij - c) - log(k p_noise(j)),   k the number of negatives (noise samples) of anchor i
        loss = mean over pairs (i, j) of  -log sigma(G_ij) - sum_{k in neg(i)} log(1 - sigma(G_ik))

    The model p(j | i) = e^{s_ij - c} need not be normalized: at the optimum c is the log of its normalizer.
    Gutmann, Hyvarinen 2010, "Noise-contrastive estimation: A new estimation principle for unnormalized statistical
    models", https://proceedings.mlr.press/v9/gutmann10a.html, eq. 3; k: Gutmann, Hyvarinen 2012.

    `log_normalizer` c and `log_noise` log p_noise are broadcast over (N, M).
    """
    noise_samples = neg.sum(dim=1, keepdim=True, dtype=sim.dtype).clamp_min(1)
    logit = sim - log_normalizer - noise_samples.log() - log_noise
    of_noise = (F.softplus(logit) * neg).sum(dim=1, keepdim=True)
    return _mean(F.softplus(-logit) + of_noise, pos)


@float32
def info_nce(sim: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
    r"""Score each positive against all negatives of its anchor; nats per positive pair.

        loss = mean over pairs (i, j) of  -log( e^{s_ij} / (e^{s_ij} + sum_{k in neg(i)} e^{s_ik}) )

    van den Oord, Li, Vinyals 2018, https://arxiv.org/abs/1807.03748, eq. 4. With cosines over tau, two views, and all
    other views as negatives it is NT-Xent (Chen et al. 2020, https://arxiv.org/abs/2002.05709, eq. 1). As it stands,
    without a temperature, it is the N-pair loss (Sohn 2016).

    >>> import torch
    >>> sim = torch.tensor([[2.0, 1.0, 0.0]])
    >>> pos, neg = torch.tensor([[True, False, False]]), torch.tensor([[False, True, True]])
    >>> round(info_nce(sim, pos, neg).item(), 4)  # log(1 + e^-1 + e^-2)
    0.4076
    """
    return _mean(F.softplus(log_sum(sim, neg) - sim), pos)  # log(e^s + e^n) - s


@float32
def debiased_info_nce(sim: Tensor, pos: Tensor, neg: Tensor, *, prior: float, least: Tensor) -> Tensor:
    """InfoNCE minus the expected contribution of negatives of the anchor's class; nats per positive pair.

        g_i = max( (mean_{k in neg(i)} e^{s_ik} - prior mean_{j in pos(i)} e^{s_ij}) / (1 - prior),  e^least )
        loss = mean over pairs (i, j) of  -log( e^{s_ij} / (e^{s_ij} + K g_i) ),   K the number of negatives of i

    Chuang, Robinson, Lin, Torralba, Jegelka 2020, "Debiased Contrastive Learning", https://arxiv.org/abs/2007.00224,
    section 3; with negatives weighted by similarity: Robinson, Chuang, Sra, Jegelka 2021, "Contrastive Learning with
    Hard Negative Samples", https://arxiv.org/abs/2010.04592, section 3. `prior`: the chance that a negative is of the
    anchor's class. `least`, broadcast over (N, 1): the least similarity there can be.
    """
    top = sim.amax(dim=1, keepdim=True).detach()
    scaled = (sim - top).exp()
    count, positives = (mask.sum(dim=1, keepdim=True).clamp_min(1) for mask in (neg, pos))
    biased, own = (scaled * neg).sum(dim=1, keepdim=True) / count, (scaled * pos).sum(dim=1, keepdim=True) / positives
    unbiased = torch.maximum((biased - prior * own) / (1 - prior), (least - top).exp())
    return _mean(F.softplus(top + (count * unbiased).log() - sim), pos)


@float32
def soft_nearest_neighbors(sim: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
    """-log probability that a neighbor of the anchor, drawn in proportion to e^s, is positive; nats per anchor.

        loss = mean over anchors i of  -log( sum_{j in pos(i)} e^{s_ij} / sum_{k in pos(i) or neg(i)} e^{s_ik} )

    Salakhutdinov, Hinton 2007, "Learning a Nonlinear Embedding by Preserving Class Neighborhood Structure",
    https://proceedings.mlr.press/v2/salakhutdinov07a.html; Frosst, Papernot, Hinton 2019, "Analyzing and Improving
    Representations with the Soft Nearest Neighbor Loss", https://arxiv.org/abs/1902.01889, eq. 1: s = -|a - b|^2 / T.
    With one positive an anchor it is InfoNCE.
    """
    value = log_sum(sim, pos + neg) - log_sum(sim, pos)
    return _mean(value, pos.any(dim=1, keepdim=True))


@float32
def supervised_contrastive(sim: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
    """Cross-entropy of each positive among all candidates, including other positives; mean nats per anchor.

        loss = mean over anchors i of  mean_{j in pos(i)} -log( e^{s_ij} / sum_{k in pos(i) or neg(i)} e^{s_ik} )

    Khosla, Teterwak, Wang, Sarna, Tian, Isola, Maschinot, Liu, Krishnan 2020, "Supervised Contrastive Learning",
    https://arxiv.org/abs/2004.11362, eq. 2 (the sum outside the logarithm). With one positive an anchor it is InfoNCE.
    """
    positives = pos.sum(dim=1, keepdim=True)
    own = (sim * pos).sum(dim=1, keepdim=True) / positives.clamp_min(1)
    return _mean(log_sum(sim, pos + neg) - own, positives > 0)


def log_sum(sim: Tensor, weight: Tensor) -> Tensor:
    """log of the sum of each row's e^sim, weighted: (N, M), (N, M) bool or float -> (N, 1). A sum of none: -1e30."""
    if weight.dtype is torch.bool:
        return sim.masked_fill(~weight, ABSENT).logsumexp(dim=1, keepdim=True)
    return torch.where(weight > 0, sim + weight.log(), ABSENT).logsumexp(dim=1, keepdim=True)


def _mean(value: Tensor, weight: Tensor) -> Tensor:
    """The weighted mean of all values, 0 where there are none; of several processes' values, in the mean over them."""
    return (value * weight).sum() / divisor(weight.sum())


def _own_mean(value: Tensor, weight: Tensor) -> Tensor:
    """The weighted mean of this process' values, 0 where there are none."""
    return (value * weight).sum() / weight.sum().clamp_min(1)


def _sums_from(x: Tensor) -> Tensor:
    """(N, M) -> (N, M + 1): suffix sums of each row; 0 at M."""
    return F.pad(x.flip(1).cumsum(dim=1).flip(1), (0, 1))


# --------------------------------------------------------------------------------------------------------- candidates


def sampled(neg: Tensor, priority: Tensor, count: int) -> Tensor:
    """Of each anchor's negatives the `count` with the greatest priority, all where there are fewer: (N, M) bool."""
    count = min(count, neg.shape[1])
    chosen = priority.masked_fill(~neg, -1).topk(count, dim=1).indices
    return torch.zeros_like(neg).scatter_(1, chosen, True) & neg


@torch.no_grad()
@float32
def hard_weights(sim: Tensor, neg: Tensor, hardness: float) -> Tensor:
    """Weights of negatives in proportion to e^{hardness s_ik}, their mean 1: (N, M), (N, M) bool -> (N, M).

    Robinson et al. 2021, https://arxiv.org/abs/2010.04592, section 3, with hardness = beta / temperature.
    Differs from the paper's code: no gradient flows through the weights.
    """
    weight = (hardness * sim).masked_fill(~neg, ABSENT).softmax(dim=1) * neg
    return weight * neg.sum(dim=1, keepdim=True)


# ------------------------------------------------------------------------------------------------------ what to watch


@torch.no_grad()
def watched(sim: Tensor, critic: Tensor, pos: Tensor, neg: Tensor) -> dict[str, Tensor]:
    """The logs of every loss, () each; arguments (N, M) each, masks bool.

    accuracy: how often the most similar candidate is a positive. log_candidates: log N, N a positive and the negatives
    of its anchor. information_bound: log N - InfoNCE of the critic, at most the mutual information of an anchor and its
    positive, in nats, for any critic (van den Oord et al. 2018, section 2.3; Poole et al. 2019,
    https://arxiv.org/abs/1905.06922): for InfoNCE itself log N - loss. It holds for negatives drawn at random, not for
    those that are picked, or weeded out, by their label.
    """
    nearest = sim.masked_fill(~(pos | neg), ABSENT).argmax(dim=1, keepdim=True)
    log_candidates = _own_mean((1 + neg.sum(dim=1, keepdim=True)).log().expand_as(pos), pos)
    return {
        "accuracy": _own_mean(pos.gather(1, nearest).float(), pos.any(dim=1, keepdim=True)),
        "log_candidates": log_candidates,
        "information_bound": log_candidates - _own_mean(F.softplus(log_sum(critic, neg) - critic), pos),
        "positive_similarity": _own_mean(sim, pos),
        "negative_similarity": _own_mean(sim, neg),
    }
