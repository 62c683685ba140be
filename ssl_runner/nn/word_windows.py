"""Context windows of words, batched. B examples, T places of each, L words kept of each, W words to either side.

What is kept is moved together, so that a window is a stretch of neighbors; and it is cut into rows of `ROW` words, so
that all windows of a row lie in `ROW` + 2 W columns. Scores of a row's words are one product of small matrices, of a
size that grows with the text, not with its square.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_runner.interfaces import SpecialTokens

ROW = 16  # words of a row: for W of 5, products over fewer cost as much by the number of rows, over more by their size


class Words(NamedTuple):
    """The kept words of each example, and how far each looks."""

    word: Tensor  # (B, L) int64, in their order; then PAD. L is a multiple of ROW
    before: Tensor  # (B, L) int32: how many words before each are in its window; 0 at PAD
    after: Tensor  # (B, L) int32: and after it


def sentences(x: Tensor, special: SpecialTokens) -> Tensor:
    """(B, T) ids -> (B, T) int64: the number of each place's sentence; all special ids but UNK and MASK end one."""
    return (special.among(x) & (x != special.unk) & (x != special.mask)).cumsum(dim=1)


def filled(word: Tensor, pad: int) -> Tensor:
    """(B, L) of `Words` -> (R',) int64: which of the R rows hold words; all, where their number would be waited for."""
    first = word[:, ::ROW].flatten() != pad
    return first.nonzero().squeeze(1) if word.device.type == "cpu" else torch.arange(len(first), device=word.device)


def rows(values: Tensor) -> Tensor:
    """(B, L, ...) -> (R, ROW, ...), R = B L / ROW."""
    return values.reshape(-1, ROW, *values.shape[2:])


def columns(values: Tensor, window: int, fill: int) -> Tensor:
    """(B, L) -> (R, ROW + 2 W): each row with the W values before it and after it in its example; beyond, `fill`."""
    return F.pad(values, (window, window), value=fill).unfold(1, ROW + 2 * window, ROW).flatten(0, 1)


def pairs(before: Tensor, after: Tensor, window: int) -> Tensor:
    """(R, ROW) and (R, ROW) -> (R, ROW, ROW + 2 W) bool: whether a column's word is in the window of a row's word."""
    place = torch.arange(ROW + 2 * window, dtype=before.dtype, device=before.device)
    gap = place - window - place[:ROW, None]  # from a word to a column's
    return (gap >= -before[:, :, None]) & (gap <= after[:, :, None]) & (gap != 0)


def word_apart(
    word: Tensor, before: Tensor, after: Tensor, read: Callable[[Sequence[int]], str]
) -> tuple[list[str], list[str]]:
    """Of `Words`: for each example the word that has most others around it, the first of several, and these with a gap
    in its place. `read`: ids as text."""
    words, others = [], []
    place = (before + after).argmax(dim=1, keepdim=True)
    spans = torch.cat((place, before.gather(1, place), after.gather(1, place)), dim=1)
    for ids, (here, first, last) in zip(word.tolist(), spans.tolist(), strict=True):
        words.append(read(ids[here : here + 1]))
        gap = [read(ids[here - first : here]), "\N{HORIZONTAL ELLIPSIS}", read(ids[here + 1 : here + 1 + last])]
        others.append(" ".join(filter(None, gap)))
    return words, others


class Subsampling(nn.Module):
    """Leave out occurrences of frequent words, at random: an occurrence of word w, which makes up the part f(w) of the
    text, is kept with probability

        min(1, sqrt(t / f(w)) + t / f(w))

    as in word2vec's code; the paper has the first term alone (Mikolov, Sutskever, Chen, Corrado, Dean 2013,
    https://arxiv.org/abs/1310.4546, section 2.3). `counts`: of each word in the text, (vocabulary,), 0 for special ids,
    which are never kept. `threshold`: t; None keeps all words.
    """

    keep: Tensor  # (vocabulary,) probabilities

    def __init__(self, counts: Tensor, special: SpecialTokens, *, threshold: float | None) -> None:
        super().__init__()
        if threshold is not None and not threshold > 0:
            raise ValueError(f"objective.subsample is {threshold}; it must be above 0 (paper: 1e-5), or null for none")
        keep = torch.ones_like(counts)
        if threshold is not None:
            ratio = threshold * counts.sum() / counts
            keep = (ratio.sqrt() + ratio).clamp_max(1)
        keep[list(special.ids)] = 0
        self.register_buffer("keep", keep.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T) ids -> (B, T) bool: what is kept."""
        return torch.rand(x.shape, device=x.device) < self.keep[x]


class DynamicWindow(nn.Module):
    """Give each kept word those around it: at most r kept words to either side within its sentence, r drawn for each
    from 1 to `window` (Mikolov, Chen, Corrado, Dean 2013, https://arxiv.org/abs/1301.3781, section 3.2).

    As in word2vec's code, words that are left out or not in the vocabulary are out of the way: windows reach over them.
    """

    def __init__(self, window: int, special: SpecialTokens) -> None:
        super().__init__()
        if window < 1:
            raise ValueError(f"objective.window is {window}; it must be at least 1 word to either side")
        self.window = window
        self.special = special

    def forward(self, x: Tensor, kept: Tensor) -> Words:
        """(B, T) ids, (B, T) bool -> what is kept."""
        place = kept.cumsum(dim=1) - 1
        length = max(1, -(-longest(place[:, -1] + 1, x.shape[1]) // ROW)) * ROW
        place = torch.where(kept, place, length)  # one place more takes what is not kept
        word = _moved(x, place, length, self.special.pad)
        sentence = _moved(sentences(x, self.special), place, length, -1)
        reach = torch.randint(1, self.window + 1, word.shape, dtype=torch.int32, device=x.device)
        reach = reach.masked_fill_(sentence < 0, 0)
        near = F.pad(sentence, (self.window, self.window), value=-1).unfold(1, self.window, 1)
        before, after = (
            torch.minimum(reach, (there == sentence[:, :, None]).sum(dim=2, dtype=torch.int32))
            for there in (near[:, :length], near[:, -length:])
        )
        return Words(word, before, after)


def longest(count: Tensor, length: int) -> int:
    """(B,) words kept of each example, of `length` at most -> the largest count; but `length` where reading it would
    wait for the device."""
    return int(count.max()) if count.device.type == "cpu" else length


def _moved(values: Tensor, place: Tensor, length: int, fill: int) -> Tensor:
    """(B, T), (B, T) -> (B, length): each value at its place; `fill` where none goes. What goes to `length` is lost."""
    return values.new_full((len(values), length + 1), fill).scatter_(1, place, values)[:, :length]


def exchange(values: Tensor, places: Tensor) -> Tensor:
    """(B, T, ...) values, (B, T) bool -> (B, T, ...): each of the places gets the value of another one of them, by a
    random cycle through all; the others keep theirs."""
    chosen, flat = places.flatten(), values.flatten(0, 1)
    order = torch.where(chosen, torch.rand(chosen.shape, device=chosen.device), 2.0).argsort()  # the places first
    rank, count = torch.arange(len(order), device=order.device), chosen.sum()
    following = torch.where(rank < count, (rank + 1) % count.clamp_min(1), rank)
    return flat.index_copy(0, order, flat[order[following]]).view_as(values)
