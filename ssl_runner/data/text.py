"""Texts as datasets."""

from collections.abc import Iterator, Mapping

from ssl_runner.data.corpus import Corpus, Document, Example
from ssl_runner.data.tokens import Tokens
from ssl_runner.data.wiki import articles, wiki_file
from ssl_runner.interfaces import DataSource, Examples, SplitName, TextSpec


class WikiSample(DataSource):
    """About 100 articles of the English Wikipedia of April 2016 or before, which the package gensim ships.

    An article is a document; whole ones are held out.
    """

    def __init__(
        self,
        *,
        example: Example,
        length: int,
        tokens: Tokens,
        vocabulary: int,
        lowercase: bool,
        cache: str,
        test_fraction: float,
        val_fraction: float,
        split_seed: int,
    ) -> None:
        self.corpus = Corpus(
            example=example,
            length=length,
            tokens=tokens,
            words="marks",
            vocabulary=vocabulary,
            lowercase=lowercase,
            sentences="split",
            cache=cache,
            test_fraction=test_fraction,
            val_fraction=val_fraction,
            split_seed=split_seed,
        )

    @property
    def spec(self) -> TextSpec:
        return self.corpus.spec()

    def check(self) -> None:
        wiki_file()

    def load(self) -> Mapping[SplitName, Examples]:
        path = wiki_file()

        def read() -> Iterator[Document]:
            for paragraphs in articles(path):
                yield Document([line for paragraph in paragraphs for line in (paragraph, "")], -1)

        return self.corpus.load({"train": read}, [path], {"form": "wiki"})
