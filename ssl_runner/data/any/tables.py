"""Lines and tables of text files, read with bounded memory."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

LONG = 2**16  # bytes; longer lines are given in pieces
LONGEST = 2**24  # characters of a cell of a table
ENCODING = "texts must be UTF-8"

Column = int | str


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a file without their ends (LF, CR LF or CR); a very long one in pieces, cut at spaces where it has
    some.

    Raises ValueError for bytes that are not UTF-8, and for zeros: it says where.
    """
    with path.open("rb") as file:
        start, rest = 0, b""  # of what is in hand
        while block := file.readline(LONG):
            line = rest + block
            cut = len(line)
            if not line.endswith(b"\n") and len(block) == LONG:
                # White space that comes last, and its word, may end the line: alone it would be a blank one.
                body = line.rstrip()
                cut = max(body.rfind(b" "), body.rfind(b"\r")) + 1 or _whole_characters(body) if body else cut
            yield from _decoded(path, line[:cut], start)
            start, rest = start + cut, line[cut:]
        if rest:
            yield from _decoded(path, rest, start)


def _whole_characters(line: bytes) -> int:
    """The length of `line` without a last character that may be cut: continuing bytes are 10xxxxxx."""
    last = len(line) - 1
    while last > 0 and line[last] & 0xC0 == 0x80:
        last -= 1
    return last or len(line)


def _decoded(path: Path, line: bytes, start: int) -> list[str]:
    """One line, split at CRs; `start`: its position in the file."""
    try:
        text = line.decode("utf-8-sig" if start == 0 else "utf-8")
    except UnicodeDecodeError as error:
        byte = start + error.start + (3 if start == 0 and line.startswith(b"\xef\xbb\xbf") else 0)
        raise ValueError(f"{path} is not UTF-8: byte {byte} is {line[byte - start]:#04x}; {ENCODING}") from error
    if "\0" in text:
        byte = start + line.index(b"\0")
        raise ValueError(f"{path} is not text, or is UTF-16: byte {byte} is 0; {ENCODING}")
    lines = text.rstrip("\n")
    return (lines[:-1] if lines.endswith("\r") else lines).split("\r")


class Row(NamedTuple):
    line: int  # of the file, from 1, in which it begins
    values: list[str]


class Table:
    """Rows of a .csv file (commas, quotes) or a .tsv file (tabs, no quotes).

    `columns`: by the names in the first row, or by numbers from 0: then the first row is one like the others. All rows
    have as many cells as the first; those without any text are left out. `strict`: whether what stands between the end
    of a quoted cell and the next comma is refused, and a quote that never ends.
    """

    def __init__(self, path: Path, columns: dict[str, Column], *, strict: bool = True) -> None:
        self.path = path
        self.columns = columns  # key of the config -> column
        self.strict = strict

    def rows(self) -> Iterator[Row]:
        """The values of `columns`, row by row. Raises ValueError, with the line, for an invalid table."""
        csv.field_size_limit(LONGEST)
        tabs = self.path.suffix.lower() == ".tsv"
        places: list[int] = []
        width = line = 0
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                lines = _without_zeros(file)
                plain = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else None
                reader = plain or csv.reader(lines, strict=self.strict)
                line = 1
                for row in reader:
                    begun, line = line, reader.line_num + 1
                    if not any(cell.strip() for cell in row) and len(row) in (0, 1, width):
                        continue
                    if not places:
                        width = len(row)
                        places = [self._place(key, column, row) for key, column in self.columns.items()]
                        if isinstance(next(iter(self.columns.values())), str):
                            continue
                    if len(row) != width:
                        quotes = "" if tabs else "; quote texts with commas or line ends"
                        cells = "1 cell" if len(row) == 1 else f"{len(row)} cells"
                        raise ValueError(f"{self.path}, line {begun}: {cells}, and the first row has {width}{quotes}")
                    yield Row(begun, [row[place] for place in places])
        except UnicodeDecodeError as error:
            for _ in read_lines(self.path):  # says where
                pass
            raise ValueError(f"{self.path} is not UTF-8; {ENCODING}") from error
        except csv.Error as error:
            raise ValueError(f"{self.path}, line {line}: {_said_of(error)}") from error

    def _place(self, key: str, column: Column, first: list[str]) -> int:
        if isinstance(column, int):
            if not 0 <= column < len(first):
                raise ValueError(
                    f"{key} is {column}, and {self.path} has {len(first)} columns; it must be 0 to {len(first) - 1}"
                )
            return column
        if first.count(column) > 1:
            raise ValueError(f"{key} is {column}, and the header of {self.path} has it {first.count(column)} times")
        if column not in first:
            named = ", ".join(first) if len(", ".join(first)) < 200 else f"{len(first)} others"
            raise ValueError(
                f"{key} is {column}, and {self.path} has no such column; its header has {named}; set it to a column's "
                "name, or to its number from 0 if there is no header"
            )
        return first.index(column)


def _said_of(error: csv.Error) -> str:
    """A message for an error of the CSV reader."""
    what = str(error)
    if "unexpected end of data" in what:
        return "a quote opens there, or later, and is never closed"
    if "field larger" in what:
        return f"a cell is longer than {LONGEST} characters: a quote that opens there may not be closed"
    if "expected after" in what:
        return 'the closing quote of a cell must be followed by a comma; a quote within a cell is written ""'
    return what


def _without_zeros(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if "\0" in line:
            raise csv.Error(f"it has a null character; {ENCODING}, not UTF-16")
        yield line
