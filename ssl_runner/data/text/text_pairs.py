"""A user's own pairs or triples of texts, one per row. n examples of T tokens, V texts each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from ssl_runner.data.any.splits import stratified
from ssl_runner.data.any.tables import Table
from ssl_runner.data.text.tokens import (
    CutSettings,
    check_cut,
    find_tokenizer,
    known_tokenizer,
    read_tokenizer,
    special_tokens,
    tokenizer_path,
    train_tokenizer,
    word_ends,
    word_starts,
)
from ssl_runner.interfaces import Contents, DataSource, Examples, SplitName, TextSpec

TOGETHER = 10_000  # texts cut into tokens at once


class TextPairs(DataSource):
    """The texts of each row of a .csv or .tsv file as one example, [CLS] a [SEP] b [SEP], or with a third.

    Of each text the first (T - 1) // V - 1 tokens are kept, so that all have the same room; PAD comes last. The
    tokenizer is learned from the rows to train on, or is that of a run's folder (or its encoder/): then its vocabulary
    counts, and not `tokens`, `vocabulary` and `lowercase`. Columns are named as in the first row, or numbered from 0
    where it is a row like the others. All rows are kept in memory, 4 bytes a token.
    """

    def __init__(self, *, path: str, columns: list[int | str], **settings: Unpack[CutSettings]) -> None:
        length = settings["length"]
        if len({type(column) for column in columns}) != 1 or len(set(columns)) != len(columns) or len(columns) < 2:
            raise ValueError(
                f"dataset.columns is {list(columns)}; it must list two or more different columns, all by name or all "
                "by number"
            )
        if length < 1 + 2 * len(columns):
            raise ValueError(
                f"dataset.length is {length}; with {len(columns)} texts a row it must be {1 + 2 * len(columns)} or more"
            )
        check_cut(settings)
        self.path = Path(path).expanduser().absolute()
        if self.path.suffix.lower() not in (".csv", ".tsv"):
            raise ValueError(f"dataset.path {self.path} must be a .csv or a .tsv file")
        self.table = Table(self.path, {f"dataset.columns[{place}]": column for place, column in enumerate(columns)})
        self.texts = len(columns)
        self.tokenizer = tokenizer_path(settings)
        self.length = length
        self.tokens = settings["tokens"]
        self.vocabulary = settings["vocabulary"]
        self.lowercase = settings["lowercase"]
        self.test_fraction = settings["test_fraction"]
        self.val_fraction = settings["val_fraction"]
        self.split_seed = settings["split_seed"]
        self._read: dict[str, Any] | None = None  # what is known after `load`

    @property
    def spec(self) -> TextSpec:
        known = self._read or {"vocabulary": self.vocabulary}
        if self._read is None and self.tokenizer is not None:
            known = known_tokenizer(self.tokenizer)
        return TextSpec(length=self.length, **known)

    def check(self) -> None:
        if not self.path.is_file():
            raise ValueError(f"dataset.path {self.path} does not exist; it must be a .csv or .tsv file")
        if next(self.table.rows(), None) is None:
            raise ValueError(f"dataset.path {self.path} has no rows")

    def contents(self) -> Contents:
        given = {} if self.tokenizer is None else {"tokenizer": {"": find_tokenizer(self.tokenizer)}}
        return {"path": {"": self.path}, **given}

    def load(self) -> Mapping[SplitName, Examples]:
        rows = self._rows()
        train, val, test = self._splits(len(rows))
        tokenizer = self._tokenizer([text for place in train.tolist() for text in rows[place]])
        data = encode_rows(tokenizer, rows, self.length)
        self._read = known_of(tokenizer, data[train])
        first, second, third = (Examples(data[part], torch.full((len(part),), -1)) for part in (train, val, test))
        return {"pretrain": first, "train": first, "val": second, "test": third}

    def _rows(self) -> list[list[str]]:
        """The texts of each row. Raises ValueError, with the line, for an empty one."""
        self.check()
        rows = []
        for line, row in self.table.rows():
            if not all(text.strip() for text in row):
                raise ValueError(f"{self.path} (dataset.path), line {line}: a text is empty; remove the row")
            rows.append(row)
        return rows

    def _splits(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """The places of train, val and test among `n` rows."""
        rest, test = stratified(torch.full((n,), -1), self.test_fraction, self.split_seed)
        kept, held = stratified(torch.full((len(rest),), -1), self.val_fraction, self.split_seed)
        return rest[kept], rest[held], test

    def _tokenizer(self, lines: Sequence[str]) -> Any:
        from tokenizers import Tokenizer

        if self.tokenizer is not None:
            return Tokenizer.from_str(read_tokenizer(find_tokenizer(self.tokenizer)))
        learned = train_tokenizer(
            lines, tokens=self.tokens, words="marks", vocabulary=self.vocabulary, lowercase=self.lowercase
        )
        return Tokenizer.from_str(learned)


def known_of(tokenizer: Any, train: Tensor) -> dict[str, Any]:
    """What a `TextSpec` says of a tokenizer and of the ids (n, T) to train on."""
    text = tokenizer.to_str()
    special = special_tokens(text)
    counts = torch.bincount(train.flatten(), minlength=tokenizer.get_vocab_size())
    counts[special.pad] = 0
    return {
        "vocabulary": len(counts),
        "tokenizer": text,
        "special": special,
        "counts": tuple(counts.tolist()),
        "starts": tuple(word_starts(text)),
        "ends": tuple(word_ends(text)),
    }


def encode_rows(tokenizer: Any, rows: Sequence[Sequence[str]], length: int) -> Tensor:
    """Rows of V texts each -> (n, T) int32: [CLS] a [SEP] b [SEP], of each text the first (T - 1) // V - 1 tokens."""
    special, texts = special_tokens(tokenizer.to_str()), len(rows[0])
    room = (length - 1) // texts - 1
    ids = np.full((len(rows), length), special.pad, dtype=np.int32)
    for first in range(0, len(rows), TOGETHER):
        chunk = rows[first : first + TOGETHER]
        cut = iter(tokenizer.encode_batch([text for row in chunk for text in row], add_special_tokens=False))
        for row in ids[first : first + len(chunk)]:
            line = [special.cls]
            for _ in range(texts):
                line += [*next(cut).ids[:room], special.sep]
            row[: len(line)] = line
    return torch.from_numpy(ids)
