"""The node `texts` of evaluators: the files of a user's texts, and their columns."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from ssl_runner.evaluation.text.data import (
    Files,
    Separator,
    TextSet,
    by_setting,
    check_length,
    find_files,
    read_set,
    with_val,
)
from ssl_runner.interfaces import DataSpec, Evaluator, TextSpec

PLACES = frozenset(
    {"path", "texts.train", "texts.val", "texts.test"}
)  # stand for contents, whose fingerprint is a term


@dataclass(frozen=True, kw_only=True)
class Splits:
    """One file per split. `val` null: a part of train."""

    train: str
    val: str | None
    test: str

    def find(self, key: str, path: str) -> Files:
        """The files in the folder `path`. `key`: the evaluator's in the config, "evaluation.tagging". Raises ValueError
        where one is not there."""
        return find_files(key, path, {"train": self.train, "val": self.val, "test": self.test})


@dataclass(frozen=True, kw_only=True)
class Table(Splits):
    """Texts with labels, one example per line. Columns are numbered from 0, or named as in the first line."""

    separator: Separator
    label: int | str
    least: ClassVar[int]  # tokens of an example, special ones among them

    @abstractmethod
    def read(self, key: str, files: Files) -> TextSet:
        """The set, with a val. Raises ValueError as `data.read_set` does."""

    def read_classes(self, key: str, files: Files) -> TextSet:
        """Like `read`, for an evaluator that does not support scores."""
        found = self.read(key, files)
        if not found.classes:
            raise ValueError(f"{key}.texts.labels is scores; it must be classes; for scores use {key}_finetune")
        return found

    def _read(self, key: str, files: Files, labels: Literal["classes", "scores"], *texts: str) -> TextSet:
        """`texts`: the keys of the columns of text."""
        columns = {f"{key}.texts.{name}": getattr(self, name) for name in ("label", *texts)}
        return with_val(read_set(files, columns, labels=labels, separator=self.separator))


@dataclass(frozen=True, kw_only=True)
class LabeledTexts(Table):
    """Texts with classes."""

    text: int | str
    least: ClassVar[int] = 3

    def read(self, key: str, files: Files) -> TextSet:
        return self._read(key, files, "classes", "text")


@dataclass(frozen=True, kw_only=True)
class LabeledPairs(Table):
    """Pairs of texts with classes, or with scores, as those of STS-B."""

    labels: Literal["classes", "scores"]
    first: int | str
    second: int | str
    least: ClassVar[int] = 5

    def read(self, key: str, files: Files) -> TextSet:
        return self._read(key, files, self.labels, "first", "second")


@dataclass(frozen=True, kw_only=True)
class ScoredPairs:
    """Pairs of texts with scores, for evaluations without training."""

    val: str
    test: str
    separator: Separator
    score: int | str
    first: int | str
    second: int | str

    def find(self, key: str, path: str) -> Files:
        """As `Splits.find`."""
        return find_files(key, path, {"val": self.val, "test": self.test})

    def read(self, key: str, files: Files) -> TextSet:
        """Raises ValueError as `data.read_set` does."""
        columns = {f"{key}.texts.{name}": getattr(self, name) for name in ("score", "first", "second")}
        return read_set(files, columns, labels="scores", separator=self.separator)


@dataclass(frozen=True, kw_only=True)
class Articles(Splits):
    """Files of SQuAD 1.1's form in the folder `path`; or `path` is one file, `test_share` of whose articles, chosen by
    `split_seed`, are "test". So are those chosen that are "val" where no file is."""

    test_share: float
    split_seed: int


class OfFiles(Evaluator):
    """The base class of evaluators of a user's texts."""

    needs_labels: ClassVar[bool] = False  # of the data that were pretrained on
    reads: ClassVar[type[DataSpec]] = TextSpec
    presentation: ClassVar[frozenset[str]] = PLACES
    key: ClassVar[str]  # in the config, for messages: "evaluation.tagging"

    def __init__(self, *, path: str, texts: Splits | ScoredPairs, length: int, least: int) -> None:
        """`length`: tokens of an example, `least` or more."""
        check_length(self.key, length, least=least)
        self.length = length
        self.files = texts.find(self.key, path)
        self.contents = by_setting(self.files)
