"""GloVe: predict the co-occurrence count of two words."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, Loss, Objective, TextSpec, WordEncoder
from ssl_runner.losses.word_counts import log_count_squares
from ssl_runner.nn.count_table import CountTable
from ssl_runner.nn.gather import divisor, gather
from ssl_runner.nn.word_windows import exchange, sentences


class Near(NamedTuple):
    word: Tensor  # (B, T) int64: the words of an example, without what is none; then PAD
    share: Tensor  # (B, T, W): 1 / d where the word d places on is of the same sentence; else 0
    example: Tensor  # (B,) int64: which examples of the split these are: each is counted once


class Often(NamedTuple):
    times: Tensor  # (B, T, W): X of the word and the one d places on, as counted so far


class Counted(NamedTuple):
    keys: Tensor  # (n,) int64 of pairs of words
    amounts: Tensor  # (n,) by which their counts grow
    examples: Tensor  # (B,) int64: of which they are


class GloVe(Objective[Near, Often]):
    """Fit the logarithm of co-occurrence counts of words.

        X_ij = sum of 1 / d over all places where i and j are d words apart, d <= window, in one sentence
        x = (i, j),   y = X_ij
        loss = f(X_ij) (v_i . u_j + a_i + b_j - log X_ij)^2,   f(X) = min(1, (X / x_max)^alpha)

    summed over all i and j with X_ij > 0. Here a pair that is met in a text counts (1 / d) / X_ij of that loss, in both
    orders; over a pass through the corpus these shares sum to 1, so the sum over a pass is GloVe's. The value is that
    sum over the pairs met, divided by their number. v is a row of the encoder, u of a second table.

    X is counted as the corpus is read, once for each example: during the first pass it is that of what has been read
    before the batch and of the meeting itself; afterwards it is the corpus', but for the examples that did not fill a
    last batch, which are counted when they come. Of several processes each counts what all of them read.

    Pennington, Socher, Manning 2014, "GloVe: Global Vectors for Word Representation",
    https://aclanthology.org/D14-1162, section 3.
    Differs from the paper: pairs are met in the order of the text, frequent ones often and each time with a small
    weight, in place of a shuffled list of X; the encoder's vectors are v alone, not v + u; words that are not in the
    vocabulary are out of the way of windows; pairs across the ends of examples are not seen. At most `entries` pairs
    are counted, further ones are left out: `uncounted` logs their part of all X.
    """

    counts_examples: ClassVar[bool] = True
    encoder: WordEncoder
    seen: Tensor  # (n + 1,) bool: examples that are counted; the last for those of an unknown place

    def __init__(
        self,
        encoder: WordEncoder,
        spec: TextSpec,
        *,
        window: int,
        x_max: float,
        alpha: float,
        entries: int,
    ) -> None:
        super().__init__()
        if window < 1:
            raise ValueError(f"objective.window is {window}; it must be at least 1 word to either side")
        if not x_max > 0:
            raise ValueError(f"objective.x_max is {x_max}; it must be above 0 (paper: 100)")
        if not alpha >= 0:
            raise ValueError(f"objective.alpha is {alpha}; it must be 0 or more (paper: 0.75)")
        if entries < 1:
            raise ValueError(f"objective.entries is {entries}; it must be at least 1 pair of words")
        self.encoder = encoder
        self.window = window
        self.x_max = x_max
        self.alpha = alpha
        self.vocabulary = spec.vocabulary
        self.special = spec.special
        sparse = encoder.embedding.sparse
        self.table = nn.Embedding(spec.vocabulary, encoder.dim, sparse=sparse)
        nn.init.uniform_(self.table.weight, -0.5 / encoder.dim, 0.5 / encoder.dim)
        self.first_bias, self.second_bias = (nn.Embedding(spec.vocabulary, 1, sparse=sparse) for _ in range(2))
        nn.init.zeros_(self.first_bias.weight)
        nn.init.zeros_(self.second_bias.weight)
        self.counts = CountTable(entries)
        self.register_buffer("seen", torch.zeros(spec.size + 1, dtype=torch.bool))

    def split(self, batch: Batch) -> tuple[Near, Often]:
        is_word = ~self.special.among(batch.data)
        order = (~is_word).byte().argsort(dim=1, stable=True)  # words first, as they stand
        word = batch.data.masked_fill(~is_word, self.special.pad).gather(1, order)
        sentence = sentences(batch.data, self.special).gather(1, order)
        after, inside = self._after(word)
        near = inside & (sentence[:, after] == sentence[:, :, None]) & (word[:, after] != self.special.pad)
        share = near / torch.arange(1, self.window + 1, device=word.device)
        x = Near(word, share, batch.index)
        return x, Often(self.counts(self._keys(word)) * near + self._amounts(x))

    def shuffle(self, x: Near, y: Often) -> tuple[Near, Often]:
        """Each pair of words gets the count of another pair of the batch."""
        return x, Often(exchange(y.times.flatten(1), (x.share > 0).flatten(1)).view_as(y.times))

    def loss(self, x: Near, y: Often) -> Loss:
        first, second = self.first_bias(x.word), self.second_bias(x.word)
        guess = self.encoder.embedding(x.word) @ self.table(x.word).mT + first + second.mT
        after = self._after(x.word)[0].expand(len(x.word), -1, -1)
        error = sum(
            log_count_squares(one, y.times, x.share, x_max=self.x_max, alpha=self.alpha)
            for one in (guess.gather(2, after), guess.mT.gather(2, after))
        )
        met = divisor((x.share > 0).sum())
        counted = Counted(self._keys(x.word).flatten(), self._amounts(x).flatten(), self._place(x))
        return Loss(error / (2 * met), {"uncounted": self.counts.uncounted}, counted)

    def after_step(self, carries: Sequence[Counted], progress: float) -> None:
        keys, amounts, examples = (gather(torch.cat(each)) for each in zip(*carries, strict=True))
        self.counts.add(keys, amounts)  # at once: which place a key gets may depend on what was there before
        self.seen.index_fill_(0, examples, True)  # an assignment would wait for the device

    def _after(self, word: Tensor) -> tuple[Tensor, Tensor]:
        """(T, W) the place d on, for d from 1 to W, and (T, W) bool: whether there is one; else it is the last."""
        length = word.shape[1]
        after = torch.arange(length, device=word.device)[:, None] + torch.arange(1, self.window + 1, device=word.device)
        return after.clamp_max(length - 1), after < length

    def _keys(self, word: Tensor) -> Tensor:
        """(B, T) -> (B, T, W) int64: a key for each unordered pair of words."""
        one, other = word[:, :, None], word[:, self._after(word)[0]]
        return torch.minimum(one, other) * self.vocabulary + torch.maximum(one, other)

    def _place(self, x: Near) -> Tensor:
        """(B,) int64: where `seen` knows the examples."""
        return x.example.clamp_max(len(self.seen) - 1)

    def _amounts(self, x: Near) -> Tensor:
        """(B, T, W): what each pair of positions adds to X, if its example is not counted yet. Two places with one word
        are a pair of it with itself in both orders."""
        same = x.word[:, :, None] == x.word[:, self._after(x.word)[0]]
        return x.share * (1 + same.float()) * ~self.seen[self._place(x)][:, None, None]
