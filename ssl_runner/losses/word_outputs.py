"""Output layers that score words given a vector, with their losses (conf/objective/output/).

R rows, T places of each, M words asked for at each, S noise words, V words of the vocabulary, D width.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_runner.interfaces import TextSpec, WordEncoder
from ssl_runner.losses.precision import float32
from ssl_runner.nn.gather import divisor
from ssl_runner.nn.tables import look_up


def word_counts(spec: TextSpec) -> Tensor:
    """(V,) float64: how often each word is in "pretrain"; 0 for special ids, 1 for all words where that is unknown."""
    counts = torch.tensor(spec.counts or [1] * spec.vocabulary, dtype=torch.float64)
    special = list(spec.special.ids)
    counts[special] = 0
    if not counts.any():
        counts[:] = 1
        counts[special] = 0
    return counts


class _Softplus(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.abs().neg_().exp_().add_(1).log_().add_(x.relu())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grads[0] * x.sigmoid()


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)) = -log s(-x), elementwise, s being the logistic function.

    On CPUs torch's own `logsigmoid` takes 4 times as long; this one loses the digits of values below 1e-7, which no sum
    of losses shows.
    """
    return _Softplus.apply(x) if x.device.type == "cpu" else -F.logsigmoid(-x)


@float32
def softmax(score: Tensor, weight: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy over the vocabulary: () nats per pair.

    score (R, T, M) of the words asked for, weight (R, T, M) of each, 0 where it is no pair; logits (R, T, V) of all
    words at each place.
    """
    total = (logits.logsumexp(dim=2) * weight.sum(dim=2)).sum()
    return (total - (score * weight).sum()) / divisor(weight.sum())


@float32
def negative_sampling(score: Tensor, weight: Tensor, noise: Tensor, negatives: int) -> Tensor:
    """Pairs against pairs with noise words, each by itself: () nats per pair, s being the logistic function,

        -log s(score) - negatives * mean over noise words of log s(-noise)

    score and weight as above; noise (R, T, S), the scores of noise words at each place.
    """
    each = weight.sum(dim=2)
    pull = (softplus(-score) * weight).sum()
    push = (softplus(noise).mean(dim=2) * each).sum()
    return (pull + negatives * push) / divisor(each.sum())


class WordOutput(nn.Module, ABC):
    """A second table of output vectors, initialized to zero: a word with output vector u scores u . v given v."""

    def __init__(self, encoder: WordEncoder, spec: TextSpec) -> None:
        super().__init__()
        self.table = nn.Embedding(spec.vocabulary, encoder.dim, sparse=encoder.embedding.sparse)
        nn.init.zeros_(self.table.weight)

    @abstractmethod
    def draw(self, count: int) -> Tensor:
        """(count, S) int64: the noise words of `count` rows."""

    @abstractmethod
    def loss(self, v: Tensor, score: Tensor, weight: Tensor, noise: Tensor) -> Tensor:
        """The loss of all pairs: () nats per pair.

        v (R, T, D), what stands at each place; score (R, T, M) of the words asked for there, with weight (R, T, M), 0
        where it is no pair; noise (R, S, D), the vectors of the noise words.
        """

    def vectors(self, word: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """(R, T) and (R, S) -> (R, T, D) and (R, S, D): output vectors, in one look-up."""
        both = look_up(self.table, torch.cat((word, noise), dim=1))
        u, others = both.split((word.shape[1], noise.shape[1]), dim=1)
        return u, others


class Softmax(WordOutput):
    """The full softmax over the vocabulary: exact, with a cost proportional to the vocabulary."""

    def draw(self, count: int) -> Tensor:
        return torch.empty(count, 0, dtype=torch.int64, device=self.table.weight.device)

    def loss(self, v: Tensor, score: Tensor, weight: Tensor, noise: Tensor) -> Tensor:
        return softmax(score, weight, v @ self.table.weight.T)


class NegativeSampling(WordOutput):
    """Negative sampling: distinguish true pairs from `negatives` pairs with noise words of probability ~ count^power.

    Mikolov, Sutskever, Chen, Corrado, Dean 2013, "Distributed Representations of Words and Phrases and their
    Compositionality", https://arxiv.org/abs/1310.4546, equation 4. At its minimum a score is log p(pair) / (p(word)
    noise(word)) - log(negatives): Levy, Goldberg 2014, https://proceedings.neurips.cc/paper/2014/hash/feab05aa91085b7a8012516bc3533958-Abstract.html.
    Differs from the paper: all pairs of a row of words (`nn.word_windows.ROW`) share `shared` noise words, over which
    the term of the noise is a mean. Its expectation is that of words drawn for each pair by itself, and so is that of
    the gradient; that pairs see the same words correlates them, and that each sees more of them makes the mean of each
    less noisy. It makes one matrix product of what would be a look-up a pair. As in the paper, and unlike word2vec's
    code, a noise word may be the true one.
    """

    noise: Tensor  # (V,) probabilities

    def __init__(self, encoder: WordEncoder, spec: TextSpec, *, negatives: int, power: float, shared: int) -> None:
        super().__init__(encoder, spec)
        if negatives < 1:
            raise ValueError(f"objective.output.negatives is {negatives}; it must be at least 1 (paper: 5 to 20)")
        if shared < 1:
            raise ValueError(f"objective.output.shared is {shared}; it must be at least 1 word a row")
        counts = word_counts(spec)
        noise = torch.where(counts > 0, counts**power, 0)
        self.negatives = negatives
        self.shared = shared
        self.register_buffer("noise", (noise / noise.sum()).float(), persistent=False)

    def draw(self, count: int) -> Tensor:
        return torch.multinomial(self.noise, count * self.shared, replacement=True).view(count, self.shared)

    def loss(self, v: Tensor, score: Tensor, weight: Tensor, noise: Tensor) -> Tensor:
        return negative_sampling(score, weight, v @ noise.mT, self.negatives)
