"""BERT: predict masked tokens from all others, and whether two passages are consecutive."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import (
    Batch,
    Loss,
    Objective,
    TextSpec,
    TokenEncoder,
)
from ssl_runner.losses.classification import accuracy, cross_entropy
from ssl_runner.losses.tokens import mean_of_real, token_nll
from ssl_runner.nn.patches import gather_places
from ssl_runner.nn.tokens import word_begins
from ssl_runner.nn.transformer import init_linear
from ssl_runner.nn.vocabulary import TokenScores
from ssl_runner.results.metrics import BASELINE, RIGHT, Kind

LONGEST = 8  # tokens of a word that is sure to fit where words are hidden as a whole


class Masked(NamedTuple):
    text: Tensor  # (B, T) int64, some tokens replaced
    places: Tensor  # (B, K) int32, for they are no ids, ascending: what is asked for; -1 where it is fewer than K


class Hidden(NamedTuple):
    tokens: Tensor  # (B, K) int64: what stood at these places; PAD where an example hides fewer than K
    consecutive: Tensor  # (B,) int64: 1 if the second passage follows the first; 1 where there is no second


class MaskedLanguageModel(Objective[Masked, Hidden]):
    """Predict masked tokens, and whether the second passage follows the first.

        x = t with t_i, i in M, replaced,   y = t_i for i in M, and c
        loss = mean over M of -log p(t_i | x)   +   next_sentence * -log p(c | x)         nats per token, nats per pair

    M: of an example with n tokens that are not special round(ratio * n), 1 at least, drawn at random;
    with `whole_words` words are drawn until they have as many tokens, and the last may go beyond that. Each of them
    becomes [MASK], another token drawn uniformly, or stays, with the three probabilities `shares`. Only places in M are
    scored over the vocabulary: K of each example, so that nothing waits for their number. The loss is over all of M,
    masked_accuracy over those that x does not show: a network that copies is right wherever a token stays.

    With next_sentence > 0 a window is x = [CLS] a [SEP] b [SEP]: a is what comes before the end of a sentence nearest
    to the middle, b what comes after it or, in half of all draws, what comes after that end in another example. Where
    a window has no such end, or the vocabulary no token for it, all is cut within a sentence, and b is of an example
    that is cut so too. So where the passages begin and end says nothing of whether b is in its place; that of a
    batch's earliest cut may be shorter and padded, whether it is in its place or not.
    Otherwise x = [CLS] t_2 ... t_{T-1} [SEP].

    Devlin, Chang, Lee, Toutanova 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language
    Understanding", https://arxiv.org/abs/1810.04805, section 3.1 and appendix A.
    Differs from the paper: passages are of the running text, whose documents b may overstep; tokens are drawn anew in
    each epoch; what replaces a token is never special.
    """

    logged: ClassVar[Mapping[str, Kind]] = {
        **{"masked_accuracy": RIGHT, "masked_majority": BASELINE},
        **{"next_accuracy": RIGHT, "next_chance": BASELINE},
    }
    starts: Tensor  # (vocabulary,) bool: whether a token begins a word; special ones do
    ends: Tensor  # (vocabulary,) bool: whether what follows a token begins one; after special ones it does
    ordinary: Tensor  # (V',) int64: the ids that are no special ones

    def __init__(
        self,
        encoder: TokenEncoder,
        spec: TextSpec,
        *,
        ratio: float,
        shares: list[float],
        whole_words: bool,
        next_sentence: float,
    ) -> None:
        super().__init__()
        if not 0 < ratio < 1:
            raise ValueError(f"objective.ratio is {ratio}; it must lie in (0, 1) (paper: 0.15)")
        if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(
                f"objective.shares is {shares}; it must be three shares that sum to 1: of [MASK], of another token, "
                "of the token itself (paper: [0.8, 0.1, 0.1])"
            )
        if not next_sentence >= 0:
            raise ValueError(f"objective.next_sentence is {next_sentence}; it is a weight: 0 (none) or more")
        if next_sentence > 0 and spec.example != "window":
            raise ValueError(
                f"dataset.example is {spec.example}; objective.next_sentence takes two passages from a window of the "
                "running text: set dataset.example=window, or objective.next_sentence=0"
            )
        least = 5 if next_sentence > 0 else 3
        if spec.length < least:
            raise ValueError(f"dataset.length is {spec.length}; with the special tokens an example has {least} or more")
        self.encoder = encoder
        self.ratio = ratio
        self.shares = list(shares)
        self.mask, self.noise, _ = shares
        self.whole_words = whole_words
        self.special = spec.special
        self.register_buffer("ordinary", spec.special.ordinary(spec.vocabulary), persistent=False)
        self.next_sentence = next_sentence
        ordinary = self.ordinary.tolist()
        self.most_frequent = max(ordinary, key=lambda token: spec.counts[token]) if spec.counts else None
        starts = torch.tensor(spec.starts) if whole_words and spec.starts else torch.ones(spec.vocabulary).bool()
        starts[list(spec.special.ids)] = True
        ends = torch.tensor(spec.ends) if spec.ends else torch.zeros(spec.vocabulary).bool()
        ends[list(spec.special.ids)] = True
        self.register_buffer("starts", starts, persistent=False)
        self.register_buffer("ends", ends, persistent=False)
        self.spare = 0 if starts.all() else LONGEST - 1  # places for what the last word goes beyond
        self.transform = nn.Sequential(
            nn.Linear(encoder.dim, encoder.dim), nn.GELU(), nn.LayerNorm(encoder.dim, eps=1e-6)
        ).apply(init_linear)
        self.scores = TokenScores(encoder, "tied")
        self.judge: nn.Module | None = None
        if next_sentence > 0:
            self.judge = nn.Sequential(nn.Linear(encoder.dim, encoder.dim), nn.Tanh(), nn.Linear(encoder.dim, 2))
            self.judge.apply(init_linear)

    def split(self, batch: Batch) -> tuple[Masked, Hidden]:
        text, consecutive = self._framed(batch.data) if self.judge is None else self._pairs(batch.data)
        places, tokens = self._draw(text)
        shown = torch.where(tokens == self.special.pad, text.gather(1, places), self._replaced(tokens))
        asked = places.masked_fill(tokens == self.special.pad, -1).int()
        return Masked(text.scatter(1, places, shown), asked), Hidden(tokens, consecutive)

    def loss(self, x: Masked, y: Hidden) -> Loss:
        states = self.encoder(x.text).tokens
        logits = self._scores(states, x.places)
        pad = self.special.pad
        value = mean_of_real(token_nll(logits, y.tokens, pad), y.tokens, pad)
        right = (logits.argmax(dim=2) == y.tokens).float()
        hidden = self.hidden(x, y)
        logs = {"masked_loss": value.detach(), "masked_accuracy": mean_of_real(right, hidden, pad)}
        if self.most_frequent is not None:
            logs["masked_majority"] = mean_of_real((y.tokens == self.most_frequent).float(), hidden, pad)
        if self.judge is not None:
            judged = self.judge(states[:, 0])
            wrong = cross_entropy(judged, y.consecutive)
            value = value + self.next_sentence * wrong
            chance = torch.full_like(wrong.detach(), 0.5)
            logs |= {
                "next_loss": wrong.detach(),
                "next_accuracy": accuracy(judged, y.consecutive),
                "next_chance": chance,
            }
        return Loss(value, logs)

    def predict(self, x: Masked) -> Hidden:
        states = self.encoder(x.text).tokens
        tokens = self._scores(states, x.places).argmax(dim=2).masked_fill(x.places < 0, self.special.pad)
        if self.judge is None:
            return Hidden(tokens, torch.ones_like(tokens[:, 0]))
        return Hidden(tokens, self.judge(states[:, 0]).argmax(dim=1))

    def passages(self, x: Masked, y: Hidden, read: Callable[[Sequence[int]], str]) -> Mapping[str, Sequence[str]]:
        """The text with its answers in their gaps, each in brackets."""
        filled = []
        for text, places, tokens in zip(x.text.tolist(), x.places.tolist(), y.tokens.tolist(), strict=True):
            answers = {place: read([token]) for place, token in zip(places, tokens, strict=True) if place >= 0}
            pieces, begun = [], 0
            for place in sorted(answers):
                pieces += [read(text[begun:place]), f"[{answers[place]}]"]
                begun = place + 1
            filled.append(" ".join(filter(None, [*pieces, read(text[begun:])])))
        said = {"y, in their gaps": filled}
        if self.judge is None:
            return said
        return {**said, "y, second passage follows": ["yes" if each else "no" for each in y.consecutive.tolist()]}

    def hidden(self, x: Masked, y: Hidden) -> Tensor:
        shown = x.text.gather(1, x.places.long().clamp(min=0))
        return y.tokens.masked_fill(shown == y.tokens, self.special.pad)  # unchanged tokens are predicted by copying

    def hides(self) -> Mapping[str, Any]:
        pairs = self.next_sentence > 0
        return {"ratio": self.ratio, "shares": self.shares, "whole words": self.whole_words, "pairs": pairs}

    def fill_in(self, x: Masked) -> Tensor:
        return self.predict(x).tokens

    def pseudo_log_likelihood(self, tokens: Tensor) -> Tensor:
        count, length = tokens.shape
        each = torch.eye(length, dtype=torch.bool, device=tokens.device)
        text = torch.where(each, self.special.mask, tokens[:, None])  # (B, T, T): a copy for each token
        states = self.encoder(text.flatten(0, 1)).tokens.view(count, length, length, -1)
        hidden = states.diagonal(dim1=1, dim2=2).transpose(1, 2)  # (B, T, D)
        scores = self.scores(self.transform(hidden), self.encoder.embedding)
        return -token_nll(scores, tokens, self.special.pad).masked_fill(self.special.among(tokens), 0.0)

    def _scores(self, states: Tensor, places: Tensor) -> Tensor:
        """(B, T, D) and (B, K) -> (B, K, V); for unused slots those of position 0."""
        return self.scores(self.transform(gather_places(states, places.long().clamp(min=0))), self.encoder.embedding)

    def _framed(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Replace the first and last token of a full row by [CLS] and [SEP]; shorter rows already have them."""
        text = t.clone()
        text[:, 0] = self.special.cls
        text[:, -1] = torch.where(t[:, -1] == self.special.pad, self.special.pad, self.special.sep)
        return text, torch.ones_like(t[:, 0])

    def _pairs(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """[CLS] a [SEP] b [SEP] (B, T), and whether b follows a (B,)."""
        count, length = t.shape
        place = torch.arange(length, device=t.device)
        end = t == self.special.sep  # of a document; separators are to stand between passages alone
        t = t.masked_fill(end, self.special.unk if self.special.eos is None else self.special.eos)
        if self.special.eos is not None:
            end = t == self.special.eos
        # Both cuts leave a token in each passage; `length` is farther from the middle than any place.
        distance = (place - (length - 1) / 2).abs()
        at_end, within = (
            2 + (distance + length * ~where)[:, 2 : length - 2].argmin(dim=1, keepdim=True) for where in (end, ~end)
        )
        ends = end.gather(1, at_end)
        ends = ends & (ends.sum() > 1)  # there is a second such passage
        cut = torch.where(ends, at_end, within)
        # Each passage is offered what follows the next earlier cut of its kind; the earliest, the second earliest.
        order = (cut + length * ends + torch.rand(count, 1, device=t.device)).argsort(dim=0).squeeze(1)
        rank, kind = torch.arange(count, device=t.device), ends[order, 0]
        earliest = (rank == 0) | (kind & ~kind.roll(1))
        neighbor = torch.where(earliest, rank + 1, rank - 1).clamp(max=count - 1)
        other = torch.empty_like(order).scatter_(0, order, order[neighbor])
        begin = torch.where(ends, at_end[other], within[other])
        follows = torch.rand(count, 1, device=t.device) < 0.5 if count > 1 else torch.ones_like(ends)
        second = torch.where(follows, t, t[other].gather(1, (place + begin - cut).clamp(0, length - 1)))
        text = torch.where(place < cut, t, second).scatter(1, cut, self.special.sep)
        text[:, 0] = self.special.cls
        last = (cut + length - begin).clamp(max=length - 1)  # in both cases: otherwise it would reveal a random b
        text = text.scatter(1, last, self.special.sep).masked_fill(place > last, self.special.pad)
        return text, follows[:, 0].long()

    def _draw(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Positions (B, K), and the tokens to mask there (B, K): PAD where an example masks fewer than K."""
        count, length = text.shape
        ordinary = ~self.special.among(text)
        word = self._words(text)
        # A word's tokens share a number, and so come one after the other when sorted; special ones come last.
        number = torch.rand(count, length, device=text.device).gather(1, word).masked_fill(~ordinary, 2)
        order = number.argsort(dim=1, stable=True)
        word = word.gather(1, order)
        rank = torch.arange(length, device=text.device)
        begins = word != word.roll(1, dims=1)
        begins[:, 0] = True
        begin = torch.where(begins, rank, 0).cummax(dim=1).values  # tokens drawn before this one's word
        size = torch.zeros_like(text).scatter_add(1, word, torch.ones_like(word)).gather(1, word)
        wanted = (self.ratio * ordinary.sum(dim=1, keepdim=True) + 0.5).floor().clamp(min=1)
        most = min(length, max(1, int(self.ratio * (length - 2) + 0.5)) + self.spare)  # two are special, at least
        asked = (begin < wanted) & (begin + size <= most) & ordinary.gather(1, order)
        places, first = order[:, :most].sort(dim=1)
        return places, text.gather(1, places).masked_fill(~asked.gather(1, first), self.special.pad)

    def _words(self, text: Tensor) -> Tensor:
        """(B, T) int64: the index of each token's word in its text; each special token is a word."""
        return word_begins(text, self.starts, self.ends).cumsum(dim=1) - 1

    def _replaced(self, tokens: Tensor) -> Tensor:
        """[MASK], a random token, or the token itself, with the configured probabilities."""
        drawn = torch.rand(tokens.shape, device=tokens.device)
        noise = self.ordinary[torch.randint_like(tokens, len(self.ordinary))]
        return torch.where(
            drawn < self.mask, self.special.mask, torch.where(drawn < self.mask + self.noise, noise, tokens)
        )
