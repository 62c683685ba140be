"""A user's own pairs of texts, each a text of its own: two columns of a table."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Unpack

import torch
from torch import Tensor

from ssl_runner.data.text.text_pairs import TextPairs, encode_rows, known_of
from ssl_runner.data.text.tokens import CutSettings
from ssl_runner.interfaces import Examples, SplitName, TextSpec


class PairedTexts(TextPairs):
    """Two columns of a .csv or .tsv file: the text that encoders read, [CLS] a [SEP], and the second view of it.

    Of each text the first T - 2 tokens are kept. One tokenizer, of both columns, serves both. All else is as with
    `text_pairs.TextPairs`, whose examples have both texts in one row.
    """

    def __init__(
        self, *, path: str, column: int | str, other_column: int | str, **settings: Unpack[CutSettings]
    ) -> None:
        if type(column) is not type(other_column) or column == other_column:
            raise ValueError(
                f"dataset.column is {column} and dataset.other_column is {other_column}; they must be two different "
                "columns, both by name or both by number"
            )
        super().__init__(path=path, columns=[column, other_column], **settings)
        self._others: dict[SplitName, Tensor] = {}

    @property
    def spec(self) -> TextSpec:
        spec = super().spec
        return replace(spec, example="sentence", other=replace(spec, example="sentence"))

    def load(self) -> Mapping[SplitName, Examples]:
        rows = self._rows()
        train, val, test = self._splits(len(rows))
        tokenizer = self._tokenizer([text for place in train.tolist() for text in rows[place]])
        first, second = (encode_rows(tokenizer, [[row[side]] for row in rows], self.length) for side in (0, 1))
        self._read = known_of(tokenizer, torch.cat((first[train], second[train])))
        places: dict[SplitName, Tensor] = {"pretrain": train, "train": train, "val": val, "test": test}
        self._others = {split: second[place] for split, place in places.items()}
        return {split: Examples(first[place], torch.full((len(place),), -1)) for split, place in places.items()}

    def others(self, split: SplitName) -> Tensor:
        return self._others[split]
