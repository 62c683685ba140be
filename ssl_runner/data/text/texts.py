"""Local texts: articles shipped with a package, and a user's own files."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Unpack

from ssl_runner.data.any.folders import Labels, Splits, Tree
from ssl_runner.data.any.labels import in_order, say_if_alone, some
from ssl_runner.data.any.tables import Column, Table
from ssl_runner.data.text.corpus import Corpus, CorpusSettings, Part, Parts, TextSettings
from ssl_runner.data.text.documents import Document, Documents, read_documents
from ssl_runner.data.text.wiki import articles, wiki_file
from ssl_runner.interfaces import Contents, DataSource, Examples, SplitName, TextSpec

SUFFIXES = frozenset([".txt", ".text", ".md"])


class WikiSample(DataSource):
    """About 100 articles of the English Wikipedia, shipped with the package gensim. An article is a document."""

    def __init__(self, **settings: Unpack[CorpusSettings]) -> None:
        self.corpus = Corpus(words="marks", sentences="split", **settings)

    @property
    def spec(self) -> TextSpec:
        return self.corpus.spec()

    def check(self) -> None:
        wiki_file()

    def contents(self) -> Contents:
        return self.corpus.contents()

    def load(self) -> Mapping[SplitName, Examples]:
        path = wiki_file()

        def read() -> Iterator[Document]:
            for paragraphs in articles(path):
                yield Document([line for paragraph in paragraphs for line in (paragraph, "")], -1)

        return self.corpus.load({"train": read}, [path], {"form": "wiki"})


class TextFile(DataSource):
    """A text in one file, or in one a split. `documents`: whether the whole file is a document, what blank lines part,
    or each line."""

    def __init__(
        self,
        *,
        path: str,
        val_path: str | None,
        test_path: str | None,
        documents: Documents,
        **settings: Unpack[TextSettings],
    ) -> None:
        self.paths = _paths(path, val_path, test_path)
        self.documents = documents
        self.corpus = Corpus(**settings)

    @property
    def spec(self) -> TextSpec:
        return self.corpus.spec()

    def check(self) -> None:
        _check_files(self.paths, "a UTF-8 text file")

    def contents(self) -> Contents:
        return {**_by_setting(self.paths), **self.corpus.contents()}

    def load(self) -> Mapping[SplitName, Examples]:
        self.check()
        parts: Parts = {part: partial(read_documents, path, self.documents) for part, path in self.paths.items()}
        return self.corpus.load(parts, list(self.paths.values()), {"form": "file", "documents": self.documents})


class TextFolder(DataSource):
    """Texts under `path`, one document per file. `labels` and `splits` define what folders are: see `folders.Tree`."""

    def __init__(
        self,
        *,
        path: str,
        labels: Labels,
        splits: Splits,
        **settings: Unpack[TextSettings],
    ) -> None:
        self.tree = Tree(Path(path).expanduser().absolute(), SUFFIXES, "text", labels=labels, splits=splits)
        self.corpus = Corpus(**settings)

    @property
    def spec(self) -> TextSpec:
        return self.corpus.spec(self.tree.class_names())

    def check(self) -> None:
        self.tree.check()

    def contents(self) -> Contents:
        return {"path": self.tree.named(), **self.corpus.contents()}

    def load(self) -> Mapping[SplitName, Examples]:
        self.check()
        found = self.tree.listed()

        def read(paths: list[Path], labels: list[int]) -> Iterator[Document]:
            for path, label in zip(paths, labels, strict=True):
                yield from read_documents(path, "file", label)

        parts: dict[Part, Callable[[], Iterator[Document]]] = {}
        for name in ("train", "val", "test"):
            if name in found:
                parts[name] = partial(read, *found[name])  # type: ignore[index]
        files = [path for paths, _ in found.values() for path in paths]
        form = {"form": "folder", "labels": [labels for _, labels in found.values()]}
        return self.corpus.load(parts, files, form)


class TextTable(DataSource):
    """One document per row of a .csv or .tsv file, or of one file per split, optionally with a class.

    Columns are named as in the first row, or numbered from 0 where it is a row like the others.
    """

    def __init__(
        self,
        *,
        path: str,
        val_path: str | None,
        test_path: str | None,
        text_column: int | str,
        label_column: int | str | None,
        **settings: Unpack[TextSettings],
    ) -> None:
        self.paths = _paths(path, val_path, test_path)
        self.columns: dict[str, Column] = {"dataset.text_column": text_column}
        if label_column is not None:
            self.columns["dataset.label_column"] = label_column
            if type(label_column) is not type(text_column):
                raise ValueError(
                    f"dataset.label_column is {label_column} and dataset.text_column is {text_column}; both must be "
                    "names, or both numbers"
                )
        for path_ in self.paths.values():
            if path_.suffix.lower() not in (".csv", ".tsv"):
                raise ValueError(f"dataset.path {path_} must be a .csv or a .tsv file")
        self.corpus = Corpus(**settings)

    @property
    def spec(self) -> TextSpec:
        self.check()
        return self.corpus.spec(self._names)

    def check(self) -> None:
        _check_files(self.paths, "a .csv or .tsv file")
        for path in self.paths.values():
            next(Table(path, self.columns).rows(), None)

    def contents(self) -> Contents:
        return {**_by_setting(self.paths), **self.corpus.contents()}

    def load(self) -> Mapping[SplitName, Examples]:
        self.check()
        parts: Parts = {part: partial(self._read, path) for part, path in self.paths.items()}
        return self.corpus.load(parts, list(self.paths.values()), {"form": "table", "columns": self.columns})

    @cached_property
    def _names(self) -> tuple[str, ...]:
        """The classes of train, in numerical order if all are numbers, else in alphabetical order."""
        if len(self.columns) == 1:
            return ()
        path = self.paths["train"]
        labels = [(line, self._label(path, line, label)) for line, (_, label) in Table(path, self.columns).rows()]
        whole = [label.lstrip("-").isdecimal() for _, label in labels]
        if (
            isinstance(self.columns["dataset.label_column"], int)
            and whole[1:]
            and whole == [False] + [True] * len(whole[1:])
        ):
            raise ValueError(
                f"{path}, line {labels[0][0]}: the label is {labels[0][1]!r}, and all others are numbers: if this row "
                "is a header, set dataset.text_column and dataset.label_column to names"
            )
        try:
            names = in_order(label for _, label in labels)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        say_if_alone(names, "if they carry no information, set dataset.label_column=null")
        return names

    def _label(self, path: Path, line: int, label: str) -> str:
        if not label.strip():
            raise ValueError(
                f"{path}, line {line}: the label is empty; fill it in, remove the row, or set dataset.label_column=null"
            )
        return label.strip()

    def _read(self, path: Path) -> Iterator[Document]:
        known = {name: place for place, name in enumerate(self._names)}
        for line, (text, *label) in Table(path, self.columns).rows():
            name = self._label(path, line, label[0]) if label else ""
            if label and name not in known:
                raise ValueError(
                    f"{path}, line {line}: the label {name!r} is not in {self.paths['train']}, which has "
                    + some(list(known), 20)
                )
            yield Document(text.splitlines(), known[name] if label else -1)


def _paths(path: str, val_path: str | None, test_path: str | None) -> dict[Part, Path]:
    given: dict[Part, str | None] = {"train": path, "val": val_path, "test": test_path}
    return {part: Path(each).expanduser().absolute() for part, each in given.items() if each is not None}


def _by_setting(paths: Mapping[Part, Path]) -> Contents:
    return {"path" if part == "train" else f"{part}_path": {"": path} for part, path in paths.items()}


def _check_files(paths: Mapping[Part, Path], what: str) -> None:
    for part, path in paths.items():
        if not path.is_file():
            key = "dataset.path" if part == "train" else f"dataset.{part}_path"
            raise ValueError(f"{key} {path} does not exist; it must be {what}")
        if path.stat().st_size == 0:
            raise ValueError(f"{path} is empty; it must be {what}")
