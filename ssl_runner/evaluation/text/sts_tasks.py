"""Semantic textual similarity on six sets: STS12 to STS16 and STS-B, and their average."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ssl_runner.evaluation.any.scores import spearman
from ssl_runner.evaluation.any.subject import named_layer
from ssl_runner.evaluation.text import bag_of_words
from ssl_runner.evaluation.text.data import check_length, cut_share, fingerprint, read_text
from ssl_runner.evaluation.text.files import ScoredPairs
from ssl_runner.evaluation.text.heads import is_control
from ssl_runner.evaluation.text.reading import reading, text_spec
from ssl_runner.evaluation.text.sts import Pooler, pair_cosines
from ssl_runner.interfaces import DataSpec, Evaluator, Finding, Subject, TextSpec
from ssl_runner.results.metrics import Protocol, Split, correlation

KEY = "evaluation.sts_tasks"
BENCHMARK = "STS-B"
INPUT, GOLD = "STS.input.", "STS.gs."  # what the names of both files of a source begin with


class Pairs(NamedTuple):
    """The pairs of a task that people scored."""

    texts: list[tuple[str, str]]
    score: Tensor  # (n,) float32


class SimilarityTasks(Evaluator):
    """Rank correlation of the cosine of two sentence vectors with the human score, on each of six tasks.

    A task is a folder with files of pairs, one a source of texts, and of their scores; a pair without a score (of STS15
    and STS16 most) is left out. STS-B has files of its own. All pairs of a task count together, whatever their source,
    as in Gao, Yao, Chen 2021 (SimCSE), https://arxiv.org/abs/2104.08821, appendix B. Vectors, `length`, `pooler`,
    `layer` and bag of words as in `sts.SentenceSimilarity`. Metrics: spearman of each task, that of STS-B also on val;
    average, of the six. The sets are published as test sets, and the average has no "val".

    Agirre et al. 2012 to 2016, SemEval tasks (https://aclanthology.org/S16-1081 the last); layout of the files as
    Conneau, Kiela 2018 (SentEval), https://arxiv.org/abs/1803.05449. Differs from SimCSE's average: without SICK-R.
    """

    needs_labels: ClassVar[bool] = False
    reads: ClassVar[type[DataSpec]] = TextSpec
    presentation: ClassVar[frozenset[str]] = frozenset({"path", "benchmark", "texts.val", "texts.test"})

    def __init__(
        self,
        *,
        path: str,
        folders: dict[str, str],
        benchmark: str,
        texts: ScoredPairs,
        length: int,
        pooler: Pooler,
        layer: str | int,
    ) -> None:
        if not folders or BENCHMARK in folders:
            raise ValueError(f"{KEY}.folders is {folders}; it must name at least one task, and not {BENCHMARK}")
        check_length(KEY, length, least=3)
        self.layer = named_layer(f"{KEY}.layer", layer)
        self.pooler: Pooler = pooler
        self.length = length
        files = {name: task_files(path, name, folder) for name, folder in folders.items()}
        own = texts.find(KEY, benchmark)
        whole = texts.read(KEY, own)
        self.tasks = {name: read_task(each) for name, each in files.items()}
        self.tasks[BENCHMARK] = Pairs([(a, b) for a, b in whole.texts["test"]], whole.label["test"])
        self.val = Pairs([(a, b) for a, b in whole.texts["val"]], whole.label["val"])
        every = [file for each in files.values() for pair in each for file in pair]
        self.fingerprint = fingerprint([*every, *own.values()])
        self.contents = {
            "path": {f"{name}/{file.name}": file for name, each in files.items() for pair in each for file in pair},
            "benchmark": {str(split): file for split, file in own.items()},
        }

    def __call__(self, subject: Subject) -> Finding:
        spec = text_spec(subject, self.length)
        similarity, said = self._similarity(subject, spec)
        found = {name: spearman(similarity(task.texts), task.score) for name, task in self.tasks.items()}
        metrics = [correlation("average", sum(found.values()) / len(found), headline=True)]
        metrics += [correlation("spearman", value, condition={"task": name}) for name, value in found.items()]
        val: Split = "val"
        value = spearman(similarity(self.val.texts), self.val.score)
        metrics.append(correlation("spearman", value, split=val, condition={"task": BENCHMARK}))
        return Finding(
            metrics,
            Protocol(
                terms={
                    "method": "cosine of sentence vectors",
                    "pairs": "all of a task together",
                    "files": self.fingerprint,
                },
                measured={
                    "pairs of": {name: len(task.texts) for name, task in self.tasks.items()},
                    **reading(
                        spec,
                        cut_share(
                            spec, [(text,) for task in self.tasks.values() for pair in task.texts for text in pair]
                        ),
                    ),
                    "seed": subject.seed,
                    **said,
                },
            ),
        )

    def _similarity(
        self, subject: Subject, spec: TextSpec
    ) -> tuple[Callable[[Sequence[tuple[str, str]]], Tensor], Mapping[str, Any]]:
        """What scores pairs, and what is said of it."""
        if is_control(subject):
            bag = bag_of_words.scores_answer(spec, self.val.texts)
            return bag.answer, {"control": bag.said}
        return lambda pairs: pair_cosines(subject, spec, pairs, self.layer, self.pooler), {}


# --------------------------------------------------------------------------------------------------------------- files


def task_files(path: str, name: str, folder: str) -> list[tuple[Path, Path]]:
    """The files of a task, pairs and their scores, one of each a source. Raises ValueError where one is missing."""
    place = Path(path).expanduser() / folder
    if not place.is_dir():
        raise ValueError(
            f"{KEY}.path is {path!r}, which has no folder {folder!r}; set it to a folder in SentEval's layout, or "
            f"{KEY}.folders.{name} to the folder of {name} in it"
        )
    inputs = sorted(place.glob(f"{INPUT}*.txt"))
    if not inputs:
        raise ValueError(f"{str(place)!r} has no files {INPUT}*.txt; {KEY}.folders.{name} must name a folder of these")
    pairs = [(each, place / each.name.replace(INPUT, GOLD)) for each in inputs]
    for each, gold in pairs:
        if not gold.is_file():
            raise ValueError(f"{str(place)!r} has {each.name} and no {gold.name}, the scores of its pairs")
    return pairs


def read_task(files: Sequence[tuple[Path, Path]]) -> Pairs:
    """The pairs of all sources that have a score. Raises ValueError, with the line, for files of another form."""
    texts: list[tuple[str, str]] = []
    scores: list[float] = []
    for pairs, gold in files:
        rows, golds = lines_of(pairs), lines_of(gold)
        if len(rows) != len(golds):
            raise ValueError(f"{pairs} has {len(rows)} pairs and {gold.name} {len(golds)} scores; they must be as many")
        for number, (row, score) in enumerate(zip(rows, golds, strict=True), start=1):
            if not score.strip():
                continue
            cells = row.split("\t")
            if len(cells) < 2:
                raise ValueError(f"{pairs}, line {number} is {row[:60]!r}; it must be two texts, separated by a tab")
            texts.append((cells[0], cells[1]))
            scores.append(number_of(score, f"{gold}, line {number}"))
    if len(texts) < 2:
        raise ValueError(f"{files[0][0].parent} has {len(texts)} pairs with a score; at least two are needed")
    return Pairs(texts, torch.tensor(scores))


def lines_of(file: Path) -> list[str]:
    """The lines of a file, the last one's end apart; empty ones are lines."""
    return [line.rstrip("\r") for line in read_text(file).removesuffix("\n").split("\n")]


def number_of(text: str, where: str) -> float:
    """Raises ValueError for what is no finite number."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{where}: the score {text.strip()!r} is not a finite number")
    return found
