"""N-grams with Kneser-Ney smoothing."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_runner.interfaces import CountEncoder, Features, TextSpec
from ssl_runner.nn.kneser_ney import Order, estimate, probabilities
from ssl_runner.nn.tokens import mean_of_tokens


class NGram(CountEncoder):
    """Counts of each word after the `order` - 1 words before it, smoothed by those of shorter contexts.

    Interpolated, modified Kneser-Ney: `nn.kneser_ney` says the formulas. `discount`: null estimates three for every
    length of n-gram (modified); a number is taken off every count (the plain form).

    What it holds of a text is the text itself, example by example: the shortest form of all its counts, of a size that
    is known before any are read, in which no example counts twice. Tables of n-grams are made of it when they are first
    asked for. So an exported encoder of this kind holds the whole corpus it was trained on.

    An example goes on where the last token of the one before it is its first, as windows of a corpus do: n-grams are
    counted across that seam. Others begin with nothing before them. Asked about a text, it knows no words before the
    first: there the n-grams are shorter.

    `tokens`: the log probability of each token by n-grams of 1, 2, ... `order` words. `embedding`: the logarithm of how
    often a token occurred, plus one, less that of all.

    Kneser, Ney 1995, "Improved backing-off for m-gram language modeling", https://doi.org/10.1109/ICASSP.1995.479394;
    Chen, Goodman 1999, https://doi.org/10.1006/csla.1999.0128.
    Differs from the papers: ends of sentences are words like any other, and n-grams go on across them; the shortest
    n-grams are interpolated with one over the vocabulary, special tokens but padding included.
    """

    before: Tensor  # (n, T - 1) int32, the tokens of each example; PAD where none was absorbed
    after: Tensor  # (n, T - 1) int32, what follows each of them; with shuffled targets that is another text

    def __init__(self, spec: TextSpec, *, order: int, discount: float | None) -> None:
        super().__init__()
        if order < 1:
            raise ValueError(f"backbone.order is {order}; it must be at least 1 (5: a word given the four before it)")
        if discount is not None and not 0 < discount < 1:
            raise ValueError(f"backbone.discount is {discount}; it must lie in (0, 1), or be null to be estimated")
        if spec.length < 2:
            raise ValueError(f"dataset.length is {spec.length}; backbone=ngram needs examples of at least 2 tokens")
        self.dim = order
        self.order = order
        self.discount = discount
        self.vocabulary = spec.vocabulary
        self.special = spec.special
        self.pad = spec.special.pad
        self.register_buffer("before", torch.full((spec.size, spec.length - 1), spec.special.pad, dtype=torch.int32))
        self.register_buffer("after", torch.full((spec.size, spec.length - 1), spec.special.pad, dtype=torch.int32))
        self.register_buffer("counts", torch.zeros(spec.vocabulary, dtype=torch.int64))
        self.embedding = nn.Embedding(spec.vocabulary, 1, padding_idx=spec.special.pad).requires_grad_(False)
        self._weigh()
        self._orders: list[Order] | None = None  # made of the text when asked for
        self.register_load_state_dict_post_hook(_forget)

    @torch.no_grad()
    def absorb(self, before: Tensor, after: Tensor, index: Tensor) -> None:
        for tokens, sign in ((self.after[index], -1), (after, 1)):
            self.counts.add_(torch.bincount(tokens.flatten(), minlength=self.vocabulary), alpha=sign)
        self.counts[self.pad] = 0
        self.before[index] = before.int()
        self.after[index] = after.int()
        self._weigh()
        self._orders = None

    def states(self, x: Tensor) -> tuple[Tensor, ...]:
        earlier = _earlier(x, 1, self.order, self.pad)
        given = probabilities(self._tables(), x, earlier, vocabulary=self.vocabulary, pad=self.pad)
        return self.embedding(x), given.log().float().masked_fill((x == self.pad)[:, :, None], 0.0)

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        states = self.states(x)
        means = tuple(mean_of_tokens(state, x, self.pad) for state in states)
        return Features(states[-1], means[-1], means if layers else ())

    def log_probability(self, before: Tensor, after: Tensor) -> Tensor:
        earlier = _earlier(before, 0, self.order - 1, self.pad)
        given = probabilities(self._tables(), after, earlier, vocabulary=self.vocabulary, pad=self.pad)
        return given[..., -1].log().float().masked_fill(after == self.pad, 0.0)

    def log_probabilities(self, tokens: Tensor) -> Tensor:
        last = ((tokens != self.pad).sum(dim=1, keepdim=True) - 1).clamp(min=0)
        words = torch.arange(self.vocabulary, device=tokens.device).expand(len(tokens), -1)
        before = [earlier.gather(1, last) for earlier in _earlier(tokens, 0, self.order - 1, self.pad)]
        given = probabilities(self._tables(), words, before, vocabulary=self.vocabulary, pad=self.pad)
        return given[..., -1].log().float()

    @torch.no_grad()
    def _weigh(self) -> None:
        """The embedding follows the counts."""
        share = (self.counts + 1) / (self.counts.sum() + self.vocabulary)
        self.embedding.weight.copy_(share.log()[:, None])
        self.embedding.weight[self.pad] = 0.0

    def _tables(self) -> list[Order]:
        if self._orders is None or self._orders[0].share.device != self.after.device:
            after = self.after.flatten().long()
            self._orders = estimate(
                after, self._columns(), vocabulary=self.vocabulary, pad=self.pad, discount=self.discount
            )
        return self._orders

    def _columns(self) -> Iterator[Tensor]:
        """(n (T - 1),) int64: the token before each place of `after`, then the one before that, and so on."""
        begins = torch.zeros_like(self.before, dtype=torch.bool)
        begins[:, 0] = True
        begins[1:, 0] = self.before[1:, 0] != self.after[:-1, -1]
        first, words = begins.flatten(), self.before.flatten().long()
        for _ in range(self.order - 1):
            yield words
            words = words.roll(1).masked_fill(first, self.pad)


def _earlier(x: Tensor, start: int, stop: int, pad: int) -> list[Tensor]:
    """For n from `start` to `stop`, (B, T) each: the token n places before each place; `pad` before the first."""
    return [F.pad(x, (n, 0), value=pad)[:, : x.shape[1]] for n in range(start, stop)]


def _forget(encoder: NGram, keys: Any) -> None:
    """After a state was loaded: the tables are of another text."""
    encoder._orders = None
