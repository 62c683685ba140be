"""Kneser-Ney smoothing of n-grams, as sorted tables. N places, C contexts, G n-grams, V words; `pad` is no word."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

FALLBACK = (0.5, 1.0, 1.5)  # discounts where counts of counts give none, as kenlm's
NONE = torch.iinfo(torch.int64).max  # the last key of every table, which nothing has: a search always ends at a place


class Order(NamedTuple):
    """All n-grams of one length. The id of a context, or of an n-gram, is its place in the table."""

    contexts: Tensor  # (C + 1,) int64 ascending: V times the id of the context shorter by one, plus the word before it
    left: Tensor  # (C + 1,) float64: the part of the context's count that discounts leave for shorter n-grams
    grams: Tensor  # (G + 1,) int64 ascending: V times the context's id, plus the word after it
    share: Tensor  # (G + 1,) float64: the n-gram's part of its context's count, discounted


def discounts(counts: Tensor) -> tuple[float, float, float]:
    """Discounts of counts of 1, of 2, and of 3 and more, from the numbers of such counts: n_1, n_2, ...

        D_j = j - (j + 1) Y n_{j+1} / n_j,   Y = n_1 / (n_1 + 2 n_2)

    Chen, Goodman 1999, "An empirical study of smoothing techniques for language modeling",
    https://doi.org/10.1006/csla.1999.0128, section 3. Where n_1, n_2 or n_3 is 0, or a D_j not in [0, j] (a short text,
    or few different words), they are 0.5, 1 and 1.5, as kenlm's where a fallback is asked for.
    """
    n = torch.bincount(counts.clamp(max=5), minlength=6).tolist()
    if 0 in n[1:4]:
        return FALLBACK
    y = n[1] / (n[1] + 2 * n[2])
    d1, d2, d3 = (j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3))
    return (d1, d2, d3) if 0 <= d1 <= 1 and 0 <= d2 <= 2 and 0 <= d3 <= 3 else FALLBACK


def estimate(
    after: Tensor, before: Iterable[Tensor], *, vocabulary: int, pad: int, discount: float | None
) -> list[Order]:
    """Count the n-grams of every length, the shortest first.

    `after` (N,) int64: the word at each place; `before`, (N,) int64 each: the word one place before it, that before
    this one, and so on, so that the longest n-gram has one word more than they are. `pad`: there is none. `discount`
    None: `discounts`, for each length its own; a number in [0, 1]: the same off every count.

    The longest n-grams count as often as they occur. Shorter ones count by what stands before them: once for each
    different word, and once for each time that there is none (so kenlm counts what begins a sentence).
    """
    place = (after != pad).nonzero().squeeze(1)  # those of n-grams of the present length
    after = after[place]
    contexts, context = after.new_zeros(1), torch.zeros_like(after)  # the one of no words
    grams, gram = torch.unique(after, return_inverse=True)
    orders = []
    for words in before:
        words = words[place]
        longer = words != pad
        place, after = place[longer], after[longer]
        next_contexts, context = torch.unique(context[longer] * vocabulary + words[longer], return_inverse=True)
        next_grams, next_gram = torch.unique(context * vocabulary + after, return_inverse=True)
        ending = torch.empty_like(next_grams)  # each n-gram without its first word
        ending[next_gram] = gram[longer]
        counts = _times(ending, grams) + _times(gram[~longer], grams)
        orders.append(_order(contexts, grams, counts, vocabulary, discount))
        contexts, grams, gram = next_contexts, next_grams, next_gram
    return [*orders, _order(contexts, grams, _times(gram, grams), vocabulary, discount)]


def probabilities(
    orders: Sequence[Order], after: Tensor, before: Sequence[Tensor], *, vocabulary: int, pad: int
) -> Tensor:
    """(..., orders) float64: p(after | before) by n-grams of every length, the shortest first.

        p_k(w | h) = (c(h w) - D(c(h w))) / c(h) + left(h) p_{k-1}(w | h less its first word),   p_0 = 1 / (V - 1)
        left(h) = sum_w D(c(h w)) / c(h)

    c counts as `estimate` says; where h never occurred, p_k = p_{k-1}. The sum over all w is 1; `pad` has 0.

    `after` (...) int64, and `before` as in `estimate`, each (...) or broadcast to it: where a word is `pad`, those
    before it are not read, and the longer n-grams give what the longest one in reach gives.
    """
    shape = torch.broadcast_shapes(after.shape, *(words.shape for words in before))
    p = torch.full(shape, 1 / (vocabulary - 1), dtype=torch.float64, device=after.device)
    p = p.masked_fill(after == pad, 0.0)
    context = torch.zeros((), dtype=torch.int64, device=after.device)
    known = torch.ones((), dtype=torch.bool, device=after.device)
    found = []
    for order, words in zip(orders, (None, *before), strict=True):
        if words is not None:
            context, seen = _search(order.contexts, context * vocabulary + words)
            known = known & seen & (words != pad)
        gram, seen = _search(order.grams, context * vocabulary + after)
        p = torch.where(known, order.share[gram] * seen + order.left[context] * p, p)
        found.append(p)
    return torch.stack(found, dim=-1)


def _order(contexts: Tensor, grams: Tensor, counts: Tensor, vocabulary: int, discount: float | None) -> Order:
    amounts = discounts(counts) if discount is None else (discount,) * 3
    amount = torch.tensor([0.0, *amounts], dtype=torch.float64, device=counts.device)[counts.clamp(max=3)]
    context = grams // vocabulary
    total = torch.bincount(context, counts.double(), minlength=len(contexts))
    taken = torch.bincount(context, amount, minlength=len(contexts))
    left = torch.where(total > 0, taken / total, 1.0)  # the context of no words has a count of 0 before any text
    share = (counts - amount) / total[context]
    last, nothing = grams.new_tensor([NONE]), share.new_zeros(1)
    return Order(*(torch.cat(pair) for pair in ((contexts, last), (left, nothing), (grams, last), (share, nothing))))


def _times(ids: Tensor, table: Tensor) -> Tensor:
    """How often each place of `table` is in `ids`."""
    return torch.bincount(ids, minlength=len(table))


def _search(table: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """The place of each key in an ascending table, and whether it is there at all (otherwise any place)."""
    place = torch.searchsorted(table, keys.contiguous())
    return place, table[place] == keys
