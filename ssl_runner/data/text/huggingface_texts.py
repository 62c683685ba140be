"""Texts in the formats of Hugging Face: of its hub, of a saved dataset, of Parquet or Arrow files."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Unpack, cast

from ssl_runner.data.any.huggingface import HubData, HubSettings
from ssl_runner.data.any.labels import UNREAD, say_if_alone
from ssl_runner.data.text.corpus import Corpus, Parts, TextSettings
from ssl_runner.data.text.documents import Document
from ssl_runner.interfaces import Contents, DataSource, Examples, SplitName, TextSpec


class HubTextSettings(HubSettings, TextSettings):
    """Settings of texts in Hugging Face's formats."""


class HuggingFaceTexts(DataSource):
    """Texts of a dataset of the Hugging Face hub, of a folder of `save_to_disk`, or of Parquet or Arrow files.

    A row is a document. Splits, `streaming` and `limit` are those of `HuggingFaceImages`: rows are read once, in order,
    and tokenized into the cache.
    """

    def __init__(self, *, text_column: str, **settings: Unpack[HubTextSettings]) -> None:
        self.column = text_column
        self.hub = HubData(settings, {"dataset.text_column": text_column})
        self.corpus = Corpus(**cast(TextSettings, settings))

    @property
    def spec(self) -> TextSpec:
        self.hub.check()
        names = self.hub.names()
        return self.corpus.spec([str(place) for place in range(UNREAD)] if names is None else names)

    def check(self) -> None:
        self.hub.check()
        features = self.hub.features
        if features is not None and getattr(features[self.column], "dtype", "") not in ("string", "large_string"):
            raise ValueError(f"dataset.text_column is {self.column}, which holds {features[self.column]}, not text")
        _ = self.hub.splits
        say_if_alone(self.hub.names() or (), "if that carries no information, set dataset.label_column=null")

    def contents(self) -> Contents:
        return {**self.hub.contents(), **self.corpus.contents()}

    def load(self) -> Mapping[SplitName, Examples]:
        self.check()
        if self.hub.label is not None and self.hub.names() is None:
            self.hub.learn_names(row[self.hub.label] for row in self.hub.rows("train", [self.hub.label]))
        parts: Parts = {part: partial(self._read, part) for part in self.hub.splits}  # type: ignore[misc]
        form = {"form": "huggingface", "splits": self.hub.splits, "identity": self.hub.identity()}
        return self.corpus.load(parts, self.hub.files, form)

    def _read(self, part: SplitName) -> Iterator[Document]:
        for row in self.hub.rows(part):
            label = -1 if self.hub.label is None else self.hub.number(row[self.hub.label], part)
            yield Document((row[self.column] or "").splitlines(), label)
