"""Word similarity: cosines of word vectors, compared with human scores."""

import math
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch

from ssl_runner.evaluation.any.scores import spearman
from ssl_runner.evaluation.text.data import fingerprint
from ssl_runner.evaluation.text.words import (
    Case,
    Words,
    check_restrict,
    folded,
    lines_of,
    words_file,
    words_of,
)
from ssl_runner.interfaces import Evaluator, Finding, Subject, TextSpec
from ssl_runner.results.metrics import Better, Metric, Protocol, correlation, share

SHIPPED = {"wordsim353": "wordsim353.tsv", "simlex999": "simlex999.txt"}  # in gensim's wheel


class Pair(NamedTuple):
    one: str
    other: str
    score: float  # the mean of what people said


class WordSimilarity(Evaluator):
    """Spearman's rank correlation of the cosines of word vectors with human scores of pairs of words.

    Finkelstein et al. 2002, "Placing Search in Context" (WordSim-353), https://doi.org/10.1145/503104.503110; Hill,
    Reichart, Korhonen 2015, "SimLex-999", https://doi.org/10.1162/COLI_a_00237. `pairs`: files by name, a line two
    words and a score with tabs between, # before a comment; null is the copy that gensim ships. Metrics of each file:
    spearman (-1 to 1) over the pairs whose words are both in the vocabulary; coverage, their part of all; spearman_all,
    over all pairs, those that are not covered having a cosine of 0. Without any differences in cosine, they are 0. The
    sets are published as a whole, and no part of them is "val".
    """

    needs_labels: ClassVar[bool] = False
    reads: ClassVar[type[Any]] = TextSpec
    pixels_are_control: ClassVar[bool] = False
    presentation: ClassVar[frozenset[str]] = frozenset({"pairs"})  # what is in a file is a term of its metrics

    def __init__(self, *, pairs: dict[str, str | None], restrict: int | None, case: Case) -> None:
        if not pairs:
            raise ValueError("evaluation.word_similarity.pairs is empty; it must name at least one file")
        own = [name for name, path in pairs.items() if path is None and name not in SHIPPED]
        if own:
            raise ValueError(
                f"evaluation.word_similarity.pairs.{own[0]} is null; only {' and '.join(SHIPPED)} are shipped with "
                "gensim: name a file"
            )
        check_restrict("evaluation.word_similarity.restrict", restrict)
        self.files = {
            name: words_file(f"evaluation.word_similarity.pairs.{name}", path, SHIPPED.get(name, ""))
            for name, path in pairs.items()
        }
        self.contents = {f"pairs.{name}": {"": file} for name, file in self.files.items() if pairs[name] is not None}
        self.restrict = restrict
        self.case: Case = case

    def __call__(self, subject: Subject) -> Finding:
        words = words_of(subject, restrict=self.restrict, case=self.case)
        metrics: list[Metric] = []
        sizes, known = {}, {}
        for name, file in self.files.items():
            pairs = read_pairs(file)
            cosine = torch.tensor([self._cosine(words, pair) for pair in pairs])
            score = torch.tensor([pair.score for pair in pairs], dtype=torch.float64)
            covered = ~cosine.isnan()
            if covered.sum() < 2:
                raise ValueError(
                    f"{file.name} has {int(covered.sum())} of {len(pairs)} pairs with both words in the "
                    f"vocabulary of {len(words.names):,} words; at least two are needed"
                )
            of: dict[str, Any] = {"condition": {"file": name}, "terms": {"files": fingerprint([file])}}
            metrics += [
                correlation("spearman", spearman(cosine[covered], score[covered]), headline=True, **of),
                share("coverage", covered.double().mean().item(), better=Better.NEITHER, **of),
                correlation("spearman_all", spearman(cosine.nan_to_num(0), score), **of),
            ]
            sizes[name], known[name] = len(pairs), int(covered.sum())
        return Finding(
            metrics,
            Protocol(
                terms={"method": "word similarity", "similarity": "cosine of the embedding's rows"},
                measured={"pairs in file": sizes, "covered": known, "seed": subject.seed},
            ),
        )

    def _cosine(self, words: Words, pair: Pair) -> float:
        """nan if one of the words is unknown."""
        one, other = (words.places.get(folded(word, self.case)) for word in (pair.one, pair.other))
        return math.nan if one is None or other is None else float(words.vectors[one] @ words.vectors[other])


def read_pairs(file: Path) -> list[Pair]:
    """The pairs of a file. Raises ValueError, with the line number, for a line of another form."""
    pairs = []
    for number, line in lines_of(file):
        if line.startswith("#"):
            continue
        try:
            one, other, score = line.split("\t")
            pairs.append(Pair(one.strip(), other.strip(), float(score)))
        except ValueError as error:
            raise ValueError(
                f"line {number} of {str(file)!r} is {line[:60]!r}; it must be two words and a number, separated by tabs"
            ) from error
    return pairs
