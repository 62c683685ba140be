"""Configurable contrastive losses of `losses.contrastive` (conf/objective/loss/)."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from ssl_runner.losses import contrastive
from ssl_runner.losses.similarity import LEAST, SimilarityName

LEAST_TEMPERATURE = 0.01  # below it float32's cosines are too coarse when divided by the temperature


class Rule(nn.Module, ABC):
    """Score positives against negatives: similarities and masks as in `losses.contrastive` -> ()."""

    mutual: ClassVar[bool] = False  # whether what an anchor costs depends on other anchors: then it must see them all

    @abstractmethod
    def forward(self, sim: Tensor, pos: Tensor, neg: Tensor) -> Tensor: ...

    @property
    def reads_least(self) -> bool:
        """Whether it needs the lowest possible similarity."""
        return False

    def critic(self, sim: Tensor) -> Tensor:
        """The loss's estimate of log p(candidate | anchor) / p(candidate), up to a constant per anchor: (N, M)."""
        return sim

    def watched(self) -> dict[str, Tensor]:
        """Its learned parameters, () each, for logs."""
        return {}


def check_similarity(rule: Rule, name: SimilarityName) -> None:
    """Raise ValueError if a loss needs the lowest possible similarity, and `name` has none."""
    if rule.reads_least and name not in LEAST:
        raise ValueError(
            f"objective.loss.prior is above 0, and objective.similarity is {name}, which has no minimum "
            "to bound the debiased loss by; set objective.similarity=cosine, or objective.loss.prior=0"
        )


class Temperature(nn.Module):
    """Divide similarities by a temperature: fixed, or learned from a start, by its logarithm and not below 0.01."""

    log: nn.Parameter | None

    def __init__(self, start: float, *, learned: bool) -> None:
        super().__init__()
        if not start > 0:
            raise ValueError(f"objective.loss.temperature is {start}; it must be above 0 (SimCLR: 0.1 to 0.5)")
        self.start = start
        self.register_parameter("log", nn.Parameter(torch.tensor([math.log(start)])) if learned else None)

    def forward(self, sim: Tensor) -> Tensor:
        return sim / (self.start if self.log is None else _temperature(self.log))

    def watched(self) -> dict[str, Tensor]:
        return {} if self.log is None else {"temperature": _temperature(self.log.detach()).squeeze()}


def _temperature(log: Tensor) -> Tensor:
    return log.exp().clamp_min(LEAST_TEMPERATURE)


class WithTemperature(Rule):
    """The base class of losses with a temperature."""

    def __init__(self, *, temperature: float, learn_temperature: bool) -> None:
        super().__init__()
        self.temperature = Temperature(temperature, learned=learn_temperature)

    def critic(self, sim: Tensor) -> Tensor:
        return self.temperature(sim)

    def watched(self) -> dict[str, Tensor]:
        return self.temperature.watched()


class Pair(Rule):
    """`contrastive.pair`."""

    def __init__(self, *, attract: float, repel: float) -> None:
        super().__init__()
        if not repel < attract:
            raise ValueError(
                f"objective.loss.repel is {repel} and objective.loss.attract {attract}; repel, the upper "
                "bound for negatives, must be below attract, the lower bound for positives"
            )
        self.attract, self.repel = attract, repel

    def forward(self, sim: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
        return contrastive.pair(sim, pos, neg, attract=self.attract, repel=self.repel)


class Triplet(Rule):
    """`contrastive.triplet`."""

    def __init__(self, *, margin: float, mining: contrastive.Mining) -> None:
        super().__init__()
        self.margin, self.mining = _margin(margin), mining

    def forward(self, sim: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
        return contrastive.triplet(sim, pos, neg, margin=self.margin, mining=self.mining)


class Lifted(Rule):
    """`contrastive.lifted`."""

    mutual = True

    def __init__(self, *, margin: float) -> None:
        super().__init__()
        self.margin = _margin(margin)

    def forward(self, sim: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
        return contrastive.lifted(sim, pos, neg, margin=self.margin)


class NPair(Rule):
    """The N-pair loss: `contrastive.info_nce` of bare similarities, in the paper dot products. Nats per positive pair.

        loss = mean over pairs (i, j) of  log(1 + sum_{k in neg(i)} e^{s_ik - s_ij})

    Sohn 2016, "Improved Deep Metric Learning with Multi-class N-pair Loss Objective",
    https://papers.nips.cc/paper/6200-improved-deep-metric-learning-with-multi-class-n-pair-loss-objective.
    Differs from the paper: every view is an anchor, and all views of other images are its negatives, where the paper
    takes one of each pair; no penalty on the length of the vectors.
    """

    def forward(self, sim: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
        return contrastive.info_nce(sim, pos, neg)


class NCE(WithTemperature):
    """`contrastive.nce` with uniform noise over the n candidates of an anchor. Nats per positive pair.

    The model is p(j | i) = e^{s_ij / temperature - c} / n: c is the log of the mean of e^{s / temperature} over the
    noise, and s / temperature - c estimates log p(j | i) / p_noise(j). `log_normalizer`: c; None learns it, from 0.
    """

    def __init__(self, *, temperature: float, learn_temperature: bool, log_normalizer: float | None) -> None:
        super().__init__(temperature=temperature, learn_temperature=learn_temperature)
        start = torch.tensor([0.0 if log_normalizer is None else float(log_normalizer)])
        self.log_normalizer = nn.Parameter(start, requires_grad=log_normalizer is None)

    def forward(self, sim: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
        log_count = (pos + (neg > 0)).sum(dim=1, keepdim=True).clamp_min(1).log()
        return contrastive.nce(self.temperature(sim), pos, neg, self.log_normalizer + log_count, -log_count)

    def watched(self) -> dict[str, Tensor]:
        return super().watched() | {"log_normalizer": self.log_normalizer.detach().squeeze()}


class InfoNCE(WithTemperature):
    """`contrastive.info_nce`, or with a `prior` above 0 `contrastive.debiased_info_nce`, of cosines (least: -1)."""

    def __init__(self, *, temperature: float, learn_temperature: bool, prior: float) -> None:
        super().__init__(temperature=temperature, learn_temperature=learn_temperature)
        if not 0 <= prior < 1:
            raise ValueError(f"objective.loss.prior is {prior}; it must lie in [0, 1) (ten equal classes: 0.1)")
        self.prior = prior

    @property
    def reads_least(self) -> bool:
        return self.prior > 0

    def forward(self, sim: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
        logits = self.temperature(sim)
        if self.prior == 0:
            return contrastive.info_nce(logits, pos, neg)
        least = self.temperature(torch.full_like(sim[:1, :1], LEAST["cosine"]))
        return contrastive.debiased_info_nce(logits, pos, neg, prior=self.prior, least=least)


class SoftNearestNeighbors(WithTemperature):
    """`contrastive.soft_nearest_neighbors` of similarities divided by a temperature. Nats per anchor."""

    def forward(self, sim: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
        return contrastive.soft_nearest_neighbors(self.temperature(sim), pos, neg)


class SupCon(WithTemperature):
    """`contrastive.supervised_contrastive` of similarities divided by a temperature. Nats per anchor."""

    def forward(self, sim: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
        return contrastive.supervised_contrastive(self.temperature(sim), pos, neg)


def _margin(margin: float) -> float:
    if not margin > 0:
        raise ValueError(f"objective.loss.margin is {margin}; it must be above 0")
    return margin
