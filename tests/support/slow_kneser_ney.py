"""Kneser-Ney smoothing from the published formulas, with dictionaries: the oracle of the tables."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from special_ids import PAD


class Slow:
    """Interpolated modified Kneser-Ney, n-gram by n-gram."""

    def __init__(self, text: Sequence[int], order: int, vocabulary: int, discount: float | None = None) -> None:
        self.vocabulary = vocabulary
        occurrences: dict[int, Counter[tuple[int, ...]]] = defaultdict(Counter)
        lefts: dict[tuple[int, ...], set[object]] = defaultdict(set)
        for end in range(1, len(text)):  # the first word of a text is given, not predicted
            for k in range(1, min(order, end + 1) + 1):
                gram = tuple(text[end - k + 1 : end + 1])
                occurrences[k][gram] += 1
                begins = end - k + 1
                lefts[gram].add(text[begins - 1] if begins else "nothing")
        self.counts = {
            k: {g: c if k == order else len(lefts[g]) for g, c in occurrences[k].items()} for k in occurrences
        }
        self.amounts = {k: self.discounts(self.counts[k], discount) for k in self.counts}

    @staticmethod
    def discounts(counts: dict[tuple[int, ...], int], fixed: float | None) -> tuple[float, float, float]:
        if fixed is not None:
            return fixed, fixed, fixed
        n = Counter(counts.values())
        if not (n[1] and n[2] and n[3]):
            return 0.5, 1.0, 1.5
        y = n[1] / (n[1] + 2 * n[2])
        return 1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]

    def p(self, word: int, context: tuple[int, ...]) -> float:
        """p(word | context) by n-grams of one word more than the context has."""
        k = len(context) + 1
        lower = self.p(word, context[1:]) if context else (word != PAD) / (self.vocabulary - 1)
        follow = {gram[-1]: c for gram, c in self.counts[k].items() if gram[:-1] == context}
        if not follow:
            return lower
        d1, d2, d3 = self.amounts[k]
        taken = {w: d1 if c == 1 else d2 if c == 2 else d3 for w, c in follow.items()}
        total = sum(follow.values())
        own = (follow[word] - taken[word]) / total if word in follow else 0.0
        return own + sum(taken.values()) / total * lower
