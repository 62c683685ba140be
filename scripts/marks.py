"""The numbers of a page that are to be measured again: marks that a study sets, and that go as newer runs come."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date

MARKED = "†"
STARTED = "started"  # in what is said of a row: when the first of its runs started


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Numbers of runs from before a date: of the columns with these titles and the rows that agree in all that is said
    of them; where nothing is said, of all. Raises ValueError for a date that is none."""

    reason: str
    before: str  # 2026-11-29: what started earlier is to be measured again
    columns: tuple[str, ...] = ()
    objective: str = ""
    backbone: str = ""
    subject: str = ""  # pretrained, random_start, ...

    def __post_init__(self) -> None:
        try:
            date.fromisoformat(self.before)
        except ValueError as error:
            raise ValueError(f"before is {self.before!r}; a date is needed, as 2026-11-29") from error

    def row(self) -> dict[str, str]:
        """What the mark says of rows."""
        said = {"subject": self.subject, "objective": self.objective, "backbone": self.backbone}
        return {key: value for key, value in said.items() if value}

    def covers(self, row: Mapping[str, str]) -> bool:
        return self.row().items() <= row.items()

    def is_open(self, row: Mapping[str, str]) -> bool:
        """Whether it is about a row, and runs of that row are older. A row that says no date is."""
        return self.covers(row) and row.get(STARTED, "") < self.before


@dataclass(frozen=True, kw_only=True)
class PartMark(Mark):
    """A mark of which some rows are measured again: it stands beside the others, and no more above them."""


def open_marks(marks: Iterable[Mark], rows: Mapping[str, Sequence[Mapping[str, str]]]) -> tuple[Mark, ...]:
    """The marks that are still about older runs, each as a PartMark where some of its rows are newer. `rows`: by the
    title of a column, those that have a figure in it."""
    found: list[Mark] = []
    for mark in marks:
        about = [row for title in mark.columns or rows for row in rows[title] if mark.covers(row)]
        older = [row for row in about if mark.is_open(row)]
        if older and len(older) < len(about):
            mark = PartMark(**{part.name: getattr(mark, part.name) for part in fields(mark)})
        found += [mark] * bool(older)
    return tuple(found)


def sign(marks: Iterable[Mark], row: Mapping[str, str] | None, column: str | None) -> str:
    """The sign beside the title of a column (no row), the name of a row (no column) or a number, if a mark is about
    just that. A mark of a whole table is said above it alone."""
    for mark in marks:
        by_row = bool(mark.row()) or isinstance(mark, PartMark)
        of_row = not by_row if row is None else by_row and mark.is_open(row)
        of_column = not mark.columns if column is None else column in mark.columns
        if of_row and of_column:
            return f" {MARKED}"
    return ""


def said_of(marks: Iterable[Mark]) -> list[str]:
    """What the page says above a table of numbers that are to be measured again, a line a mark."""
    lines = []
    for mark in marks:
        columns = ", ".join(f"*{title}*" for title in mark.columns)
        rows = ", ".join(f"*{value.replace('_', ' ')}*" for value in mark.row().values())
        about = " of ".join(filter(None, [columns, rows])) or "All figures of this table"
        if isinstance(mark, PartMark):
            about = f"{about}, where marked" if columns or rows else "The rows marked so"
        lines.append(f"{MARKED} {about}, to be measured again: {mark.reason}")
    return lines


def unknown_parts(marks: Iterable[Mark], titles: Iterable[str], rows: Sequence[Mapping[str, str]]) -> Iterable[str]:
    """What marks say that is nothing of their table, in words."""
    known = set(titles)
    for mark in marks:
        strange = [title for title in mark.columns if title not in known]
        if strange:
            yield f"again.columns: no such title: {', '.join(strange)}"
        if not any(mark.covers(row) for row in rows):
            yield f"again: no row of the table is {mark.row()}"
