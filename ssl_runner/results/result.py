"""Read and write the results of a run: `result.json`, `metrics.csv`.

`result.json` is one JSON object, made of the dataclasses below, with the number of its schema beside them. Keys that
this version does not know are ignored on reading; a change that an older reader would misread raises `SCHEMA`. Results
of schema 1 are read too (`reporting/schema1.py`).
"""

import csv
import fcntl
import glob
import hashlib
import json
import os
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ssl_runner.results import schema1
from ssl_runner.results.metrics import DataRef, Metric, Precision, Protocol
from ssl_runner.results.plain import from_plain, short, to_plain
from ssl_runner.results.values import freeze

SCHEMA = 2
RESULT = "result.json"
METRICS = "metrics.csv"
REPORT = "report.html"
PRETRAINED, RANDOM_START = "pretrained", "random_start"  # whom an evaluation was about
INITIAL = "initial"  # the encoder as it came: weights of a file, a library or another run, before pretraining
PIXELS, BAG_OF_WORDS = "pixels", "bag_of_words"  # what needs no backbone
UNTRAINED = "none"  # the precision of a pretraining that there was none of


class ResultError(ValueError):
    """A file of a run that is missing, broken or half-written; the message names it and says why."""


@dataclass(frozen=True, kw_only=True)
class Name:
    """A run in three words, as the command line says them."""

    dataset: str
    objective: str
    backbone: str


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What one evaluator found of one subject."""

    evaluator: str  # the option's name
    subject: str  # PRETRAINED, or a control
    metrics: tuple[Metric, ...]
    on: DataRef
    protocol: Protocol = field(default_factory=Protocol)
    precision: Precision = field(default_factory=Precision)
    seconds: float | None = None

    def terms(self, metric: Metric) -> dict[str, Any]:
        """All that defines a metric's value but the data: numbers of different terms never share a column."""
        computed = {"precision": self.precision.pretraining, "evaluation precision": self.precision.evaluation}
        known = {part: value for part, value in computed.items() if value}
        return {**self.protocol.terms, **metric.terms, **known}

    @property
    def owner(self) -> str:
        """The same for all subjects of one evaluation, and where it is done again: figures name it as theirs."""
        whole = freeze([self.evaluator, self.protocol.terms, asdict(self.precision), asdict(self.on)])
        return hashlib.sha256(repr(whole).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Extended:
    """The finished run that a run went on from (`extend`)."""

    identity: str
    budget: str  # that it had spent: "30 epochs"
    steps: int  # that it had taken


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """The extent of pretraining. Losses are in the objective's own unit."""

    epochs: float
    steps: int
    examples: int  # seen, repeats included
    loss_first: float | None = None
    loss_last: float | None = None
    extends: Extended | None = None  # whose steps are counted too; None: the run began at step 0


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of a run; None where it was not measured."""

    seconds: float | None = None  # of pretraining
    examples_per_second: float | None = None
    peak_memory_mb: float | None = None
    device: str = ""
    precision: str = ""
    parameters: int | None = None  # of the encoder
    flops_per_step: int | None = None  # of an optimizer step on all devices, forward and backward: flops.py says which
    flops: int | None = None  # of pretraining
    evaluation_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Git:
    """The state of the code that ran."""

    commit: str
    dirty: bool  # the code differed from the commit


@dataclass(frozen=True, kw_only=True)
class Result:
    """Everything that is stored of a run, except for its curves, figures and weights."""

    identity: str
    name: Name
    seed: int
    status: str  # "done", or how it ended
    command: str
    started: str  # ISO 8601
    results: tuple[Evaluation, ...] = ()
    pretraining: Pretraining | None = None
    cost: Cost = field(default_factory=Cost)
    versions: dict[str, str] = field(default_factory=dict)
    git: Git | None = None
    data: dict[str, Any] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)  # composed and resolved; empty in results of older versions
    sweep: str = ""  # the sweep it is part of


class Run(NamedTuple):
    """A finished run and its folder."""

    name: str  # its folder, as shown
    folder: Path
    result: Result


def write_atomically(path: Path, content: str | bytes) -> Path:
    """Write a file atomically: the new content as a whole, or the old one. Creates missing folders, and removes what a
    process that was killed had begun to write of this file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    with _temporary(path) as file:
        temporary = Path(file.name)
        try:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def _temporary(path: Path) -> BinaryIO:
    """A new file beside `path`, locked until it is closed: the system releases the lock of a process that is killed.
    Where the file system knows no locks, it is not locked, and nothing is removed."""
    while True:
        file = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp").open("xb")
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # another process has removed it before it was locked


def _remove_abandoned(path: Path) -> None:
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError), temporary.open("rb") as file:  # BlockingIOError: it is being written
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.unlink()


def read_about(path: Path) -> dict[str, Any]:
    """The JSON beside a figure or a table, which says what it shows; empty if it cannot be read."""
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def own_name(folder: Path, name: str, owner: str) -> str:
    """`name`, with a part of `owner` (`Evaluation.owner`) appended where `name`.json is another evaluation's, so that
    its files are not replaced."""
    other = owner and read_about(folder / f"{name}.json").get("owner", owner) != owner
    return f"{name}-{owner[:8]}" if other else name


def plain_result(result: Result) -> dict[str, Any]:
    """A result as the JSON values that `result.json` holds. Raises TypeError for a value that JSON has no form for."""
    return {"schema": SCHEMA, **to_plain(asdict(result))}


def write_result(folder: Path, result: Result) -> Path:
    """Write `result.json` into a run's folder. Raises TypeError for a value that JSON has no form for."""
    text = json.dumps(plain_result(result), indent=1, allow_nan=False, ensure_ascii=False)
    return write_atomically(folder / RESULT, text + "\n")


def read_result(folder: Path) -> Result:
    """Read `result.json` of a run's folder. Raises ResultError."""
    path = folder / RESULT
    content = _read(path)
    try:
        plain = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ResultError(f"{path} is not a complete JSON file ({error})") from error
    return result_of(plain, str(path))


def result_of(plain: Any, path: str) -> Result:
    """A result from its JSON values, of this schema or of schema 1. Raises ResultError, which names `path`."""
    if not isinstance(plain, dict):
        raise ResultError(f"{path} holds {short(plain)}; an object is needed")
    if plain.get("schema") not in (1, SCHEMA):
        raise ResultError(f"{path} has schema {short(plain.get('schema'))}; this version reads schemas 1 and {SCHEMA}")
    try:
        return from_plain(Result, schema1.upgraded(plain) if plain["schema"] == 1 else plain, "")
    except ValueError as error:
        raise ResultError(f"{path}: {error}") from error


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read `metrics.csv`: a dict a row, without the cells left empty. A last row cut off by a kill is left out.

    Raises ResultError.
    """
    lines = _read(path).splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    if not lines:
        return []
    header, *rows = csv.reader(lines)
    read = []
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise ResultError(f"{path}, line {number}: {len(row)} cells; the header names {len(header)}")
        try:
            read.append({name: float(cell) for name, cell in zip(header, row, strict=True) if cell})
        except ValueError as error:
            raise ResultError(f"{path}, line {number}: {error}") from error
    return read


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ResultError(f"{path} does not exist") from error
    except OSError as error:
        raise ResultError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ResultError(f"{path} is not a text file (byte {error.start} is not UTF-8)") from error
