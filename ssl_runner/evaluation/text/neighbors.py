"""Nearest neighbors of words."""

from typing import Any, ClassVar

import torch

from ssl_runner.evaluation.text.words import Case, check_restrict, folded, words_of
from ssl_runner.figures import Passages
from ssl_runner.interfaces import Evaluator, Finding, Subject, TextSpec
from ssl_runner.results.metrics import Better, Protocol, description, share


class Neighbors(Evaluator):
    """List, for each of `words`, the `count` words whose vectors have the highest cosine with its own.

    Metrics: coverage, the part of `words` that are in the vocabulary, and cosine, the mean over the words listed.
    """

    needs_labels: ClassVar[bool] = False
    reads: ClassVar[type[Any]] = TextSpec
    pixels_are_control: ClassVar[bool] = False

    def __init__(self, *, words: list[str], count: int, restrict: int | None, case: Case) -> None:
        if not words:
            raise ValueError("evaluation.neighbors.words is empty; it must list at least one word")
        if count < 1:
            raise ValueError(f"evaluation.neighbors.count is {count}; it must be at least 1 word")
        check_restrict("evaluation.neighbors.restrict", restrict)
        self.words = words
        self.count = count
        self.restrict = restrict
        self.case: Case = case

    def __call__(self, subject: Subject) -> Finding:
        known = words_of(subject, restrict=self.restrict, case=self.case)
        places = [known.places.get(folded(word, self.case)) for word in self.words]
        asked = [place for place in places if place is not None]
        count = min(self.count, len(known.names) - 1)
        own = torch.tensor(asked, dtype=torch.long, device=subject.device)
        scores = (known.vectors[own] @ known.vectors.T).scatter(1, own[:, None], -torch.inf)
        cosine, nearest = (part.tolist() for part in scores.topk(count, dim=1))
        lists = iter(
            ", ".join(f"{known.names[place]} {value:.2f}" for value, place in zip(*each, strict=True))
            for each in zip(cosine, nearest, strict=True)
        )
        said = ["not in the vocabulary" if place is None else next(lists) for place in places]
        values = [value for each in cosine for value in each]
        metrics = [share("coverage", len(asked) / len(self.words), better=Better.NEITHER, headline=True)]
        if values:
            metrics.append(description("cosine", sum(values) / len(values)))
        return Finding(
            metrics,
            Protocol(terms={"method": "nearest words"}, measured={"words listed": count, "seed": subject.seed}),
            {
                "words": Passages(
                    {"word": self.words, "nearest": said},
                    note="Nearest words by cosine of their vectors, with these cosines.",
                )
            },
        )
