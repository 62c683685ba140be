"""What scripts/methods.py, scripts/claims.py and scripts/pictures.py show: one YAML file a study, in scripts/studies/.

A study names a number by its parts, as its address has them: evaluator, metric, condition, and the data where they are
not the run's own.
"""

import re
import shlex
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import jinja2
import yaml
from marks import Mark, unknown_parts

from ssl_runner.reporting.statistics import Interval
from ssl_runner.results.address import ON, Address
from ssl_runner.results.plain import from_plain

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / "scripts" / "studies"

T = TypeVar("T")


class StudyError(ValueError):
    """A study's file that cannot be read, or that does not go with its records; the message names it and says why."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A number of the table, and how it is written."""

    title: str
    evaluator: str
    metric: str
    condition: dict[str, Any] = field(default_factory=dict)  # {labels: 0.01}
    data: dict[str, Any] = field(default_factory=dict)  # data other than the run's: {dataset: ..., label: direction}
    times: float = 1  # 100: of shares, and of correlations where the page says so
    decimals: int | None = None  # None: one with `times`, and of what is 10 or more; else three
    lower_is_better: bool = False
    reference: bool = False  # is there to be beaten: no difference to it is shown

    def show(self, found: Interval | None) -> str:
        """Mean and half of the 95 % interval; a single number without, nothing of none."""
        if found is None:
            return ""
        decimals = self.decimals
        if decimals is None:
            decimals = 1 if self.times != 1 or abs(found.mean) >= 10 else 3
        mean = f"{self.times * found.mean:.{decimals}f}"
        return mean if found.n == 1 else f"{mean} ± {self.times * (found.high - found.low) / 2:.{decimals}f}"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Runs that share overrides: one for each of `of`."""

    of: tuple[str, ...]
    also: str = ""


@dataclass(frozen=True, kw_only=True)
class Question:
    """An evaluation of finished runs, by `ssl-evaluate`: on other data, of those that have it on their own; or on their
    own data, of all."""

    evaluator: str
    data: dict[str, Any] = field(default_factory=dict)  # {dataset: moving_digits, label: direction}; {}: their own
    settings: tuple[str, ...] = ()  # overrides of the evaluation
    corpus: str = ""  # what it reads from outputs/corpora/


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs side by side, and their table in docs/methods.md; or another table of the runs of other groups."""

    title: str
    about: str
    runs: tuple[Batch, ...]
    columns: tuple[Column, ...]
    jobs: int  # runs at a time
    classes: int = 10  # of the labels that it is asked about
    common: str = ""  # overrides of all runs
    seeds: tuple[int, ...] = (0, 1, 2)
    start_from: str = ""  # a group with one run a seed: from its weights runs of the same seed start
    corpus: str = ""  # what it reads from outputs/corpora/, which scripts/corpora.py makes
    beside: dict[str, str] = field(default_factory=dict)  # override -> a group whose run of the same seed it names
    of: tuple[str, ...] = ()  # groups whose finished runs are asked and shown, in place of runs of its own
    asked_afterwards: tuple[Question, ...] = ()
    again: tuple[Mark, ...] = ()

    def overrides(self) -> list[list[str]]:
        """Those of each run, less its seed."""
        lines = [f"{self.common} {run} {batch.also}" for batch in self.runs for run in batch.of]
        return [shlex.split(line) for line in lines]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A column of a claim over its only axis, above its random start: one curve of a picture."""

    title: str
    claim: str
    column: Column


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Curves of several claims in one picture."""

    x_label: str
    y_label: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A question, what is said about it, and how it was asked: a section of docs/claims.md."""

    question: str
    said: str
    about: str  # what ran
    overrides: str  # of the sweep
    columns: tuple[Column, ...]
    table: str = "settings"  # or turned, square, ranks, architectures: see scripts/claims.py
    pictures: tuple[str, ...] = ()  # titles of the comparison's pictures
    picture: Picture | None = None  # drawn from several claims
    cost: bool = False  # whether its table shows what pretraining took
    corpus: str = ""  # what it reads from outputs/corpora/, which scripts/corpora.py makes
    again: tuple[Mark, ...] = ()

    def words(self) -> list[str]:
        return shlex.split(self.overrides)


@dataclass(frozen=True, kw_only=True)
class GroupClaim:
    """A question that groups of docs/methods.md answer: a section of docs/claims.md with their tables."""

    question: str
    said: str
    groups: tuple[str, ...]
    columns: tuple[str, ...] = ()  # titles of those that are shown; (): all

    def shown(self, group: Group) -> Group:
        """A group with these columns, and what is to be measured again of them."""
        titles = {column.title for column in group.columns if not self.columns or column.title in self.columns}
        marks = [replace(mark, columns=tuple(t for t in mark.columns if t in titles)) for mark in group.again]
        return replace(
            group,
            columns=tuple(column for column in group.columns if column.title in titles),
            again=tuple(new for new, mark in zip(marks, group.again, strict=True) if new.columns or not mark.columns),
        )


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What a run drew: a section of docs/pictures.md."""

    title: str
    about: str
    commands: tuple[str, ...]  # one after the other; in their words, RUN is the run of the ssl-run before
    figures: tuple[str, ...]  # of the last run: their titles
    columns: tuple[Column, ...] = ()  # numbers of the last run that are said beside them


class _Loader(yaml.SafeLoader):
    """Of YAML in which dates are text."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in each if not tag.endswith(":timestamp")]
        for first, each in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_studies(kind: type[T], folder: str) -> dict[str, T]:
    """The studies that scripts/studies/<folder>.yaml lists, in its order, each from its file. Raises StudyError."""
    order = yaml.safe_load((STUDIES / f"{folder}.yaml").read_text(encoding="utf-8"))
    return {name: read_study(kind, STUDIES / folder / f"{name}.yaml") for name in order}


def read_study(kind: type[T], path: Path) -> T:
    """One file; every key must be known. Raises StudyError."""
    try:
        plain = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        study = from_plain(kind, plain, "")
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise StudyError(f"{path}: {error}") from error
    unknown = list(_unknown(study, plain, ""))
    if unknown:
        raise StudyError(f"{path}: {'; '.join(unknown)}")
    return study


def _unknown(made: Any, plain: Any, where: str) -> Iterable[str]:
    """Keys that no field was made of, a line each."""
    if is_dataclass(made):
        known = [part.name for part in fields(made)]
        for key in plain:
            path = f"{where}.{key}" if where else str(key)
            if key in known:
                yield from _unknown(getattr(made, key), plain[key], path)
            else:
                yield f"{path}: no such key; choose one of: {', '.join(known)}"
    elif isinstance(made, tuple):
        for place, (part, own) in enumerate(zip(made, plain, strict=True)):
            yield from _unknown(part, own, f"{where}[{place}]")


def address(wanted: Column) -> Address:
    """Where a study's number stands in a comparison; it may be told apart there by more."""
    return Address(wanted.evaluator, wanted.metric, wanted.condition, elsewhere(wanted.data))


def elsewhere(data: Mapping[str, Any]) -> dict[str, Any]:
    """What an address says of data that are not the run's own."""
    return {ON: data["dataset"], **{key: value for key, value in data.items() if key != "dataset"}} if data else {}


def asks(wanted: Column, found: Address) -> bool:
    """Whether a study's column is the one at an address."""
    return address(wanted).covers(found) and (ON in found.apart) == bool(wanted.data)


def check_marks(name: str, marks: Iterable[Mark], columns: Iterable[Column], rows: Sequence[Mapping[str, str]]) -> None:
    """Raises StudyError for a mark that is about nothing in its table."""
    for problem in unknown_parts(marks, [column.title for column in columns], rows):
        raise StudyError(f"{name}: {problem}")


# ------------------------------------------------------------------------------------------------ command lines, pages


def parsers(about: str | None) -> tuple[ArgumentParser, ArgumentParser, ArgumentParser]:
    """That of a script that says `about` of itself, and those of its tasks run and keep. The task page takes nothing;
    which was asked for is `task`."""
    parser = ArgumentParser(description=about, formatter_class=RawDescriptionHelpFormatter)
    tasks = parser.add_subparsers(dest="task", required=True)
    tasks.add_parser("page")
    return parser, tasks.add_parser("run"), tasks.add_parser("keep")


def fill(template: str, **values: Any) -> str:
    """A page from its template in scripts/studies/."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(STUDIES), undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template(template).render(values)


def heading_link(page: str, heading: str) -> str:
    """The address of a heading, as Markdown pages number them."""
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return f"{page}#{kept.replace(' ', '-')}"
