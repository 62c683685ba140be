"""A two-dimensional map of frequent words."""

from typing import Any, ClassVar

import numpy as np

from ssl_runner.evaluation.any.projection import neighbor_plane, principal_plane
from ssl_runner.evaluation.text.words import words_of
from ssl_runner.figures import Scatter
from ssl_runner.interfaces import Evaluator, Finding, Subject, TextSpec
from ssl_runner.results.metrics import Protocol, description

NEIGHBORS = 10  # of trustworthiness


class WordMap(Evaluator):
    """Map frequent words by t-SNE (van der Maaten, Hinton 2008) of their vectors, scaled to length 1.

    The `skip` most frequent words, which are the grammar's, are left out, and the `words` that follow are drawn.
    Metric: trustworthiness (0 to 1: how far the ten neighbors in the plane are neighbors in vectors).
    """

    needs_labels: ClassVar[bool] = False
    reads: ClassVar[type[Any]] = TextSpec
    pixels_are_control: ClassVar[bool] = False

    def __init__(self, *, words: int, skip: int) -> None:
        if words < 4:
            raise ValueError(f"evaluation.word_map.words is {words}; it must be at least 4")
        if skip < 0:
            raise ValueError(f"evaluation.word_map.skip is {skip}; it must be 0 or more words")
        self.words = words
        self.skip = skip

    def __call__(self, subject: Subject) -> Finding:
        from sklearn.manifold import trustworthiness

        known = words_of(subject, restrict=None, case="fold")
        chosen = [place for place, name in enumerate(known.names) if name.isalpha()][self.skip :][: self.words]
        if len(chosen) < 4:
            raise ValueError(
                f"evaluation.word_map.skip is {self.skip}, which leaves {len(chosen)} words, and 4 are needed: lower it"
            )
        vectors = known.vectors[chosen].cpu()
        points = neighbor_plane(vectors, principal_plane(vectors)[0], subject.seed)
        neighbors = min(NEIGHBORS, (len(chosen) - 1) // 2)
        return Finding(
            [
                description(
                    "trustworthiness",
                    float(trustworthiness(vectors.numpy(), points, n_neighbors=neighbors)),
                    headline=True,
                )
            ],
            Protocol(
                terms={"method": "map of words by t-SNE"},
                measured={"words drawn": len(chosen), "neighbors": neighbors, "seed": subject.seed},
            ),
            figures={
                "words": Scatter(
                    points,
                    np.full(len(chosen), -1),
                    texts=[known.names[place] for place in chosen],
                    note="t-SNE of frequent words: it keeps neighbors; distances between groups mean little. "
                    "Where labels would overlap, only the more frequent word is labeled.",
                )
            },
        )
