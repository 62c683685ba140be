"""Documents read from files, with bounded memory."""

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

LONG = 2**16  # bytes; longer lines are given in pieces
ENCODING = "texts must be UTF-8"

Documents = Literal["file", "blank_lines", "lines"]
Column = int | str


class Document(NamedTuple):
    lines: Iterable[str]  # as they stand in the file, without their ends
    label: int  # -1: unlabelled


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a file without their ends; a very long one in pieces, cut at spaces where it has some.

    Raises ValueError for bytes that are not UTF-8: it says where.
    """
    with path.open("rb") as file:
        start, rest = 0, b""  # of what is in hand
        while block := file.readline(LONG):
            line = rest + block
            cut = len(line)
            if not line.endswith(b"\n") and len(block) == LONG:
                cut = line.rfind(b" ") + 1 or _whole_characters(line)
            yield _decoded(path, line[:cut], start)
            start, rest = start + cut, line[cut:]
        if rest:
            yield _decoded(path, rest, start)


def _whole_characters(line: bytes) -> int:
    """The length of `line` without a last character that may be cut: continuing bytes are 10xxxxxx."""
    last = len(line) - 1
    while last > 0 and line[last] & 0xC0 == 0x80:
        last -= 1
    return last or len(line)


def _decoded(path: Path, line: bytes, start: int) -> str:
    try:
        return line.decode("utf-8-sig" if start == 0 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        byte = start + error.start + (3 if start == 0 and line.startswith(b"\xef\xbb\xbf") else 0)
        raise ValueError(f"{path} is not UTF-8: byte {byte} is {line[byte - start]:#04x}; {ENCODING}") from error


def read_documents(path: Path, documents: Documents, label: int = -1) -> Iterator[Document]:
    """The documents of a file, each to be read before the next: the whole file, what blank lines part, or each line."""
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


class Table:
    """Rows of a .csv file (commas, quotes) or a .tsv file (tabs, no quotes).

    `columns`: by the names in the first row, or by numbers from 0: then the first row is one like the others.
    """

    def __init__(self, path: Path, columns: dict[str, Column]) -> None:
        self.path = path
        self.columns = columns  # key of the config -> column

    def rows(self) -> Iterator[list[str]]:
        """The values of `columns`, row by row. Raises ValueError for a column or a value that is not there."""
        places: list[int] | None = None
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                tabs = self.path.suffix.lower() == ".tsv"
                reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(file)
                for row in reader:
                    if places is None:
                        places = [self._place(key, column, row) for key, column in self.columns.items()]
                        if isinstance(next(iter(self.columns.values())), str):
                            continue
                    if not row:
                        continue
                    if len(row) <= max(places):
                        raise ValueError(
                            f"{self.path}, line {reader.line_num}: there are {len(row)} columns; "
                            f"{', '.join(f'{key} is {column}' for key, column in self.columns.items())}"
                        )
                    yield [row[place] for place in places]
        except UnicodeDecodeError as error:
            for _ in read_lines(self.path):  # says where
                pass
            raise ValueError(f"{self.path} is not UTF-8; {ENCODING}") from error
        except csv.Error as error:
            raise ValueError(f"{self.path}, line {reader.line_num}: {error}") from error

    def _place(self, key: str, column: Column, first: list[str]) -> int:
        if isinstance(column, int):
            if not 0 <= column < len(first):
                raise ValueError(
                    f"{key} is {column}, and {self.path} has {len(first)} columns; it must be 0 to {len(first) - 1}"
                )
            return column
        if column not in first:
            named = ", ".join(first) if len(", ".join(first)) < 200 else f"{len(first)} others"
            raise ValueError(
                f"{key} is {column}, and {self.path} has no such column; its first row names {named}. Set the column's "
                "name, or its number from 0 where the first row is one like the others"
            )
        return first.index(column)
