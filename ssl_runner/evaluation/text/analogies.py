"""Word analogies: whether differences of word vectors represent relations (man is to king as woman is to queen)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

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
from ssl_runner.figures import Bars
from ssl_runner.interfaces import Evaluator, Finding, Subject, TextSpec
from ssl_runner.results.metrics import Better, Protocol, share

SHIPPED = "questions-words.txt"  # in gensim's wheel
SYNTACTIC = "gram"  # what the names of sections on grammar begin with; the others are on meaning


class Question(NamedTuple):
    section: str
    words: tuple[str, str, str, str]  # a is to b as c is to d


class Analogies(Evaluator):
    """Answer "a is to b as c is to ?" by the word whose vector has the highest cosine with b - a + c (3CosAdd).

    Mikolov, Chen, Corrado, Dean 2013, https://arxiv.org/abs/1301.3781, section 4.1; Mikolov, Yih, Zweig 2013,
    https://aclanthology.org/N13-1090. Vectors have length 1; a, b and c are no answers. `questions`: a file with four
    words a line, sections begun by ": name"; null is the copy of Google's that gensim ships. Metrics: accuracy over all
    questions whose four words are in the vocabulary, and over those of the sections on meaning (semantic) and on
    grammar (syntactic), where there are such questions; coverage, the part of all whose words are known. The set is
    published as a whole, and no part of it is "val".
    """

    needs_labels: ClassVar[bool] = False
    reads: ClassVar[type[Any]] = TextSpec
    pixels_are_control: ClassVar[bool] = False
    presentation: ClassVar[frozenset[str]] = frozenset({"questions", "batch_size"})

    def __init__(self, *, questions: str | None, restrict: int | None, case: Case, batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"evaluation.analogies.batch_size is {batch_size}; it must be at least 1 question")
        check_restrict("evaluation.analogies.restrict", restrict)
        self.file = words_file("evaluation.analogies.questions", questions, SHIPPED)
        self.contents = {} if questions is None else {"questions": {"": self.file}}
        self.restrict = restrict
        self.case: Case = case
        self.batch_size = batch_size

    def __call__(self, subject: Subject) -> Finding:
        words = words_of(subject, restrict=self.restrict, case=self.case)
        questions = read_questions(self.file)
        found = [[words.places.get(folded(word, self.case), -1) for word in each.words] for each in questions]
        covered = [place for place, each in enumerate(found) if min(each) >= 0]
        if not covered:
            raise ValueError(
                f"no question of {self.file.name} has all its four words in the vocabulary: {len(questions):,} "
                f"questions, {len(words.names):,} words"
            )
        asked = torch.tensor([found[place] for place in covered], device=subject.device)
        right = (answers(words, asked[:, :3], self.batch_size) == asked[:, 3]).tolist()
        by_section: dict[str, list[bool]] = {question.section: [] for question in questions}
        for place, correct in zip(covered, right, strict=True):
            by_section[questions[place].section].append(correct)
        of_half: dict[str, list[bool]] = {"semantic": [], "syntactic": []}
        for section, answered in by_section.items():
            of_half[kind_of(section)] += answered
        return Finding(
            [
                share("accuracy", _part(right), headline=True),
                share("coverage", len(covered) / len(questions), better=Better.NEITHER),
                *(
                    share("accuracy", _part(each), headline=True, condition={"section": half})
                    for half, each in of_half.items()
                    if each
                ),
            ],
            Protocol(
                terms={"method": "analogies by 3CosAdd", "files": fingerprint([self.file])},
                measured={
                    "questions in file": len(questions),
                    "covered": {"all": len(covered), **{half: len(each) for half, each in of_half.items()}},
                    "seed": subject.seed,
                },
            ),
            figures={"sections": _bars(questions, by_section)},
        )


def answers(words: Words, asked: Tensor, batch_size: int) -> Tensor:
    """(n, 3) places of a, b and c -> (n,) int64: the index of the word nearest to b - a + c, except for these three."""
    found = []
    for some in asked.split(batch_size):
        a, b, c = words.vectors[some].unbind(dim=1)
        scores = (b - a + c) @ words.vectors.T
        found.append(scores.scatter(1, some, -torch.inf).argmax(dim=1))
    return torch.cat(found)


def read_questions(file: Path) -> list[Question]:
    """The questions of a file. Raises ValueError, with the line number, for a line of another form."""
    questions = []
    section = ""
    for number, line in lines_of(file):
        if line.startswith(":"):
            section = line[1:].strip()
            continue
        match line.split():
            case [a, b, c, d] if section:
                questions.append(Question(section, (a, b, c, d)))
            case _:
                raise ValueError(
                    f"line {number} of {str(file)!r} is {line[:60]!r}; it must have four words, after a line with "
                    '": " and the name of a section'
                )
    return questions


def kind_of(section: str) -> str:
    """The half of the questions that a section belongs to, by the names of grammar sections in these files."""
    return "syntactic" if section.startswith(SYNTACTIC) else "semantic"


def _part(right: Sequence[bool]) -> float:
    return sum(right) / len(right)


def _bars(questions: Sequence[Question], by_section: dict[str, list[bool]]) -> Bars:
    """Sections with at least one covered question."""
    asked = [name for name, right in by_section.items() if right]
    total = {name: sum(question.section == name for question in questions) for name in asked}
    return Bars(
        asked,
        {"accuracy": [100 * _part(by_section[name]) for name in asked]},
        "accuracy, %",
        note="Questions answered (those whose words are in the vocabulary): "
        + ", ".join(f"{len(by_section[name]):,} of {total[name]:,} of {name}" for name in asked)
        + ".",
    )
