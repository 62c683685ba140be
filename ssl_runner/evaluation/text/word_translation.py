"""Translation of words by a linear map between two spaces of word vectors.

V words of one side, W of the other, E and F widths of their vectors, n pairs of a dictionary.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_runner.evaluation.any.projection import neighbor_plane, principal_plane
from ssl_runner.evaluation.any.subject import TOLD
from ssl_runner.evaluation.text.data import fingerprint, read_text
from ssl_runner.evaluation.text.word_files import check_vectors, read_vectors, vector_files
from ssl_runner.evaluation.text.words import Case, Words, check_restrict, folded, words_of
from ssl_runner.figures import Scatter
from ssl_runner.interfaces import Contents, Evaluator, Finding, SplitName, Subject, TextSpec
from ssl_runner.results.metrics import Better, Metric, Protocol, Split, share

KEY = "evaluation.word_translation"
AT = (1, 5)  # answers among which a translation counts
LEAST = 2  # words of each part


class Pairs(NamedTuple):
    """Words of one side with their translations, as places in both vocabularies."""

    known: Mapping[int, list[int]]  # word -> translations
    entries: int  # of the dictionary, unknown words among them
    covered: int  # entries with both words known


class WordTranslation(Evaluator):
    """Map the vectors of one side to those of the other, and take for a word's translation the nearest vector there.

        W = argmin over W with orthonormal columns or rows of sum over seeds |x W - y|^2 = U V^T,   U S V^T = svd(X^T Y)

    Vectors have length 1, less the mean of their side with `center`, and then length 1 again (Artetxe, Labaka, Agirre
    2016). Among the most frequent words of the dictionary that both sides know, `seeds` fit the map, and `questions`
    each are asked as val and as test; which, is drawn once for all runs. A word with several translations is right with
    any of them. Metrics on test and val: precision at 1 and 5, the share of words of which a translation is among so
    many nearest of all words of the other side by cosine; the same with translations of the seeds shuffled, which a map
    of that form reaches by chance; and of a single vector drawn blindly (chance). coverage: the share of the
    dictionary whose words are both known.

    Mikolov, Le, Sutskever 2013, https://arxiv.org/abs/1309.4168; the map orthogonal as in Xing, Wang, Liu, Lin 2015,
    https://aclanthology.org/N15-1104; Schönemann 1966, https://doi.org/10.1007/BF02289451; on halves of one corpus
    truth is known.
    """

    needs_labels: ClassVar[bool] = False
    reads: ClassVar[type[Any]] = TextSpec
    pixels_are_control: ClassVar[bool] = False
    presentation: ClassVar[frozenset[str]] = frozenset({"other", "dictionary", "words"})

    def __init__(
        self,
        *,
        other: str,
        dictionary: str | None,
        seeds: int,
        questions: int,
        restrict: int | None,
        case: Case,
        center: bool,
        words: int,
    ) -> None:
        for name, value in {"seeds": seeds, "questions": questions, "words": words}.items():
            if value < LEAST:
                raise ValueError(f"{KEY}.{name} is {value}; it must be at least {LEAST} words")
        check_restrict(f"{KEY}.restrict", restrict)
        self.files = vector_files(f"{KEY}.other", other)
        check_vectors(f"{KEY}.other", self.files)
        contents: Contents = {"other": {file.name: file for file in self.files}}
        self.dictionary = None
        if dictionary is not None:
            file = Path(dictionary).expanduser()
            self.dictionary = read_dictionary(file)
            contents = {**contents, "dictionary": {"": file}}
        self.contents = contents
        self.prints = fingerprint([*self.files, *([] if dictionary is None else [Path(dictionary).expanduser()])])
        self.seeds = seeds
        self.questions = questions
        self.restrict = restrict
        self.case: Case = case
        self.center = center
        self.words = words

    def __call__(self, subject: Subject) -> Finding:
        own = words_of(subject, restrict=self.restrict, case=self.case)
        other = read_vectors(self.files, restrict=self.restrict, case=self.case, device=subject.device)
        pairs = self._pairs(own, other)
        parts = self._parts(pairs)
        x, y = (self._prepared(side.vectors) for side in (own, other))
        seeds = [(word, translation) for word in parts["train"] for translation in pairs.known[word]]
        mapped = x @ procrustes(*matched(x, y, seeds))
        shuffled = x @ procrustes(*matched(x, y, mixed(seeds)))
        metrics: list[Metric] = []
        for split in TOLD:
            asked = {word: pairs.known[word] for word in parts[split]}
            metrics += precisions(asked, mapped, y, split, headline=True)
            metrics += precisions(asked, shuffled, y, split, dictionary="shuffled")
        metrics += [
            share("chance", 1 / len(other.names), better=Better.NEITHER),
            share("coverage", pairs.covered / pairs.entries, better=Better.NEITHER),
        ]
        return Finding(
            metrics,
            Protocol(
                terms={
                    "method": "orthogonal map of word vectors",
                    "retrieval": "cosine",
                    "files": self.prints,
                },
                measured={
                    "entries": pairs.entries,
                    "covered": pairs.covered,
                    "vocabulary": len(own.names),
                    "other vocabulary": len(other.names),
                    **{f"{split} words": len(each) for split, each in parts.items()},
                    "seed": subject.seed,
                },
            ),
            figures={"both sides": self._drawn(subject.seed, own, other, mapped, y, pairs, parts["test"])},
        )

    def _pairs(self, own: Words, other: Words) -> Pairs:
        """The dictionary in places. Raises ValueError where both sides know too few of its words."""
        shared = [(name, name) for name in own.places if name in other.places]
        entries = shared if self.dictionary is None else self.dictionary
        known: dict[int, list[int]] = {}
        covered = 0
        for word, translation in entries:
            here, there = (
                side.places.get(folded(each, self.case)) for side, each in ((own, word), (other, translation))
            )
            if here is not None and there is not None:
                known.setdefault(here, []).append(there)
                covered += 1
        if len(known) < 3 * LEAST:
            raise ValueError(
                f"{KEY}: of {len(entries)} entries of the dictionary {covered} have both words in the vocabularies of "
                f"{len(own.names):,} and {len(other.names):,} words; at least {3 * LEAST} words are needed"
            )
        return Pairs(dict(sorted(known.items())), len(entries), covered)

    def _parts(self, pairs: Pairs) -> dict[SplitName, list[int]]:
        """The words of train (seeds), val and test, the most frequent first; fewer where the dictionary is small: then
        half of them are seeds."""
        wanted = self.seeds + 2 * self.questions
        words = list(pairs.known)[:wanted]
        questions = self.questions if len(words) == wanted else max(1, len(words) // 4)
        order = torch.randperm(len(words), generator=torch.Generator().manual_seed(0)).tolist()
        cuts = {"test": order[:questions], "val": order[questions : 2 * questions], "train": order[2 * questions :]}
        return {split: [words[place] for place in sorted(places)] for split, places in cuts.items()}  # type: ignore[misc]

    def _prepared(self, vectors: Tensor) -> Tensor:
        """(V, E) of length 1 -> (V, E) float64 of length 1."""
        vectors = vectors.double()
        return F.normalize(vectors - vectors.mean(dim=0), dim=1) if self.center else vectors

    def _drawn(
        self, seed: int, own: Words, other: Words, mapped: Tensor, y: Tensor, pairs: Pairs, asked: Sequence[int]
    ) -> Scatter:
        """Words of test on both sides, in the space of the other one."""
        chosen = [word for word in asked if own.names[word].isalpha()][: self.words] or asked[: self.words]
        there = [pairs.known[word][0] for word in chosen]
        vectors = torch.cat((mapped[chosen], y[there])).float().cpu()
        return Scatter(
            neighbor_plane(vectors, principal_plane(vectors)[0], seed),
            np.repeat([0, 1], len(chosen)),
            names=("own, mapped", "other"),
            texts=[*(own.names[word] for word in chosen), *(other.names[word] for word in there)],
            note="t-SNE of words of test, which the map was not fitted on, in the space of the other side: a word "
            "beside its translation was mapped well.",
        )


# ------------------------------------------------------------------------------------------------------------- the map


def procrustes(x: Tensor, y: Tensor) -> Tensor:
    """(n, E) and (n, F) -> (E, F): the orthogonal map that brings x nearest to y. Schönemann 1966."""
    u, _, vh = torch.linalg.svd((x.T @ y).cpu().double(), full_matrices=False)
    return (u @ vh).to(x)


def matched(x: Tensor, y: Tensor, pairs: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """The vectors of pairs of places, (n, E) and (n, F)."""
    here, there = torch.tensor(pairs, device=x.device).T
    return x[here], y[there]


def mixed(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Each word with the translation of another one."""
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist()
    following = dict(zip(order, [*order[1:], order[0]], strict=True))
    return [(word, pairs[following[place]][1]) for place, (word, _) in enumerate(pairs)]


def precisions(
    asked: Mapping[int, Sequence[int]], mapped: Tensor, y: Tensor, split: Split, *, headline: bool = False, **of: str
) -> list[Metric]:
    """The share of words of which a translation is among the nearest 1 and 5 vectors of the other side."""
    nearest = (mapped[list(asked)] @ y.T).topk(min(max(AT), len(y)), dim=1).indices.tolist()
    return [
        share(
            "precision",
            sum(bool(set(found[:k]) & set(right)) for found, right in zip(nearest, asked.values(), strict=True))
            / len(asked),
            split=split,
            headline=headline,
            condition={"at": k, **of},
        )
        for k in AT
    ]


def read_dictionary(file: Path) -> list[tuple[str, str]]:
    """The entries of a file. Raises ValueError, with the line, for one of another form."""
    if not file.is_file():
        raise ValueError(f"{KEY}.dictionary is {str(file)!r}, which is not an existing file")
    entries = []
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        cells = line.split("\t") if "\t" in line else line.split()
        if len(cells) != 2 or not all(cell.strip() for cell in cells):
            raise ValueError(
                f"{file}, line {number} is {line[:60]!r}; it must be a word and its translation, with a tab or a space "
                "between"
            )
        entries.append((cells[0].strip(), cells[1].strip()))
    if not entries:
        raise ValueError(f"{file} has no entries")
    return entries
