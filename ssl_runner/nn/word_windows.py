"""Context windows of words, batched. B examples, T places of each, W places to either side."""

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import SpecialTokens


def sentences(x: Tensor, special: SpecialTokens) -> Tensor:
    """(B, T) ids -> (B, T) int64: the number of each place's sentence; all special ids but UNK and MASK end one."""
    return (special.among(x) & (x != special.unk) & (x != special.mask)).cumsum(dim=1)


def gaps(x: Tensor, kept: Tensor, window: int, special: SpecialTokens) -> Tensor:
    """(B, T) ids, (B, T) bool -> (B, T, T) whole numbers: how many kept words on one place is from another, 0 from
    itself.

    More than any `window` where the two are not in one sentence or one of them is not kept.
    """
    number = kept.cumsum(dim=1) + window * sentences(x, special)
    alone = -(window + 1) * (1 + torch.arange(x.shape[1], device=x.device))
    small = (window + 1) * 2 * x.shape[1] < 2**15  # the farther apart any two can be; a narrow type is faster
    place = torch.where(kept, number, alone).to(torch.int16 if small else torch.int32)
    return (place[:, :, None] - place[:, None, :]).abs_()


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
    """Pair each kept word with those around it: at most r kept words to either side within its sentence, r drawn for
    each from 1 to `window` (Mikolov, Chen, Corrado, Dean 2013, https://arxiv.org/abs/1301.3781, section 3.2).

    As in word2vec's code, words that are left out or not in the vocabulary are out of the way: windows reach over them.
    """

    def __init__(self, window: int, special: SpecialTokens) -> None:
        super().__init__()
        if window < 1:
            raise ValueError(f"objective.window is {window}; it must be at least 1 word to either side")
        self.window = window
        self.special = special

    def forward(self, x: Tensor, kept: Tensor) -> Tensor:
        """(B, T) ids, (B, T) bool -> (B, T, T) bool: whether the second place is in the window of the first."""
        gap = gaps(x, kept, self.window, self.special)
        reach = torch.randint(1, self.window + 1, x.shape, dtype=gap.dtype, device=x.device)
        pairs = gap <= reach[:, :, None]
        pairs.diagonal(dim1=1, dim2=2).fill_(False)  # no word is around itself
        return pairs


def exchange(values: Tensor, places: Tensor) -> Tensor:
    """(B, T, ...) values, (B, T) bool -> (B, T, ...): each of the places gets the value of another one of them, by a
    random cycle through all; the others keep theirs."""
    chosen, flat = places.flatten(), values.flatten(0, 1)
    order = torch.where(chosen, torch.rand(chosen.shape, device=chosen.device), 2.0).argsort()  # the places first
    rank, count = torch.arange(len(order), device=order.device), chosen.sum()
    following = torch.where(rank < count, (rank + 1) % count.clamp_min(1), rank)
    return flat.index_copy(0, order, flat[order[following]]).view_as(values)
