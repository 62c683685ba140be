"""Read documents from files with bounded memory."""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

from ssl_runner.data.any.tables import read_lines

Documents = Literal["file", "blank_lines", "lines"]


class Document(NamedTuple):
    lines: Iterable[str]  # as they stand in the file, without their ends
    label: int  # -1: unlabeled


def read_documents(path: Path, documents: Documents, label: int = -1) -> Iterator[Document]:
    """The documents of a file, to be read in order: the whole file, text between blank lines, or each line."""
    match documents:
        case "file":
            yield Document(read_lines(path), label)
        case "blank_lines":
            for filled, group in groupby(read_lines(path), lambda line: bool(line.strip())):
                if filled:
                    yield Document(group, label)
        case "lines":
            for line in read_lines(path):
                yield Document([line], label)


_TITLE = re.compile(r"^ = [^=].* = $")


def wikitext_articles(path: Path) -> Iterator[Document]:
    """The articles of a file of WikiText: each begins with its title, " = Title = "."""
    count = 0

    def place(line: str) -> int:
        nonlocal count
        count += bool(_TITLE.match(line))
        return count

    for _, group in groupby(read_lines(path), place):
        yield Document(group, -1)
