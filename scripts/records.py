"""The recorded runs: docs/runs/<group>.jsonl, a line a run, each with its config once.

The first line has the settings that all runs of the group shared when it was written: {"shared": {...}}. A run's line
has its name, the settings in which it differs from these, the keys of those that it lacks (`without`), and its result
but for the config. Lines are sorted by the runs' names. The first line stays as it is while any run has all of it, so
that a run that is measured again changes its own line alone.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from study import StudyError

from ssl_runner.config.identity import identity_but_for
from ssl_runner.config.names import TARGET, key_now, name_now
from ssl_runner.results.result import Result, ResultError, result_of, write_atomically

JUDGED = ("evaluation", "controls", "unfit")  # how a run is judged, and not what it is
STARTS = ("start_from", "dataset.tokenizer")  # each seed may have its own


class Record(NamedTuple):
    """A finished run."""

    name: str  # <folder>-s<seed>-<identity>
    config: dict[str, Any]
    result: dict[str, Any]  # as in result.json, less its config
    place: str = ""  # file and line, for messages

    @property
    def started(self) -> str:
        """When: ISO 8601, UTC."""
        return str(self.result["started"])

    def read(self) -> Result:
        """The result, with its config. Raises StudyError where it is none."""
        try:
            return result_of({**self.result, "config": self.config}, self.place or self.name)
        except ResultError as error:
            raise StudyError(str(error)) from error

    def words(self) -> list[str]:
        """The overrides of its command, by the names that keys have now."""
        return [word_now(word, self.config) for word in self.result["overrides"]]


def word_now(word: str, config: Mapping[str, Any]) -> str:
    """An override by the names that keys have now; `config` is what it was part of.

    >>> word_now("dataset.colour=true", {"dataset": {"_target_": "ssl_runner.data.moving_digits.MovingDigits"}})
    'dataset.color=true'
    """
    key, sign, value = word.partition("=")
    now: list[str] = []
    node: Any = config
    for part in key.split("."):
        target = node.get(TARGET) if isinstance(node, Mapping) else None
        now.append(key_now(name_now(target) if isinstance(target, str) else ".".join(now), part))
        node = node.get(part) if isinstance(node, Mapping) else None
    return ".".join(now) + sign + value


# ------------------------------------------------------------------------------------------------------ read and write


def read(path: Path) -> list[Record]:
    """The runs of a group, in the order of the file. Raises StudyError, with the line, for what is damaged."""
    return _read(path)[1]


def write(path: Path, records: Sequence[Record]) -> None:
    """Write the runs of a group, whole or not at all."""
    shared = _read(path)[0] if path.exists() else {}
    if not any(shared.items() <= record.config.items() for record in records):
        shared = {}
    shared = shared or _common(records)
    lines: list[dict[str, Any]] = [{"shared": shared}]
    for name, config, result, _ in sorted(records, key=_name):
        own = {key: value for key, value in config.items() if key not in shared or shared[key] != value}
        without = [key for key in shared if key not in config]
        lines.append({"run": name, "config": own, **({"without": without} if without else {}), "result": result})
    dump = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
    write_atomically(path, "".join(dump(line) + "\n" for line in lines))


def _name(record: Record) -> str:
    return record.name


def _common(records: Sequence[Record]) -> dict[str, Any]:
    first, *others = [record.config for record in records]
    return {key: value for key, value in first.items() if all(key in c and c[key] == value for c in others)}


def _read(path: Path) -> tuple[dict[str, Any], list[Record]]:
    """What runs shared, and the runs."""
    shared: dict[str, Any] = {}
    records: dict[str, Record] = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        place = f"{path}, line {number}"
        try:
            line = json.loads(text)
        except ValueError as error:
            raise StudyError(f"{place} is not a whole JSON object ({error}); take it from an earlier commit") from error
        if number == 1:
            (shared,) = _parts(line, place, shared=dict)
            continue
        name, own, result = _parts(line, place, run=str, config=dict, result=dict)
        _parts(result, f"{place}, result", started=str, seed=int, overrides=list)
        if name in records:
            raise StudyError(f"{place}: {name} stands in {records[name].place} already; keep one of them")
        without = line.get("without", [])
        config = {key: value for key, value in shared.items() if key not in without} | own
        records[name] = Record(name, config, result, place)
    return shared, list(records.values())


def _parts(line: Any, place: str, **kinds: type) -> list[Any]:
    """Some keys of an object, each of its kind. Raises StudyError."""
    for key, kind in kinds.items():
        if not isinstance(line, dict) or not isinstance(line.get(key), kind):
            raise StudyError(f"{place} has no {key!r} that is a {kind.__name__}; take the line from an earlier commit")
    return [line[key] for key in kinds]


# --------------------------------------------------------------------------------------------------------------- merge


def merge(old: Iterable[Record], new: Iterable[Record]) -> list[Record]:
    """The runs of both; what a newer run replaces is left out.

    It replaces an earlier run of the same setting and seed, by the names of now, whatever their files hold and however
    they are judged. Where the same command means another setting by now, it replaces all runs of the older meaning.
    """
    kept: list[Record] = []
    found = sorted([*old, *new], key=lambda record: record.started)
    files = {key for record in found for key in record.config.get("contents") or {}}
    keys = {id(record): (_setting(record, files), record.result["seed"], _command(record)) for record in found}
    for record in found:
        setting, seed, command = keys[id(record)]

        def stays(other: Record, setting: str = setting, seed: int = seed, command: frozenset[str] = command) -> bool:
            before, of_seed, said = keys[id(other)]
            return of_seed != seed if before == setting else said != command

        kept = [other for other in kept if stays(other)] + [record]
    return sorted(kept, key=_name)


def _setting(record: Record, files: Iterable[str]) -> str:
    """The same for runs that differ in their seed, their evaluations and the contents of files alone."""
    config = {key: value for key, value in record.config.items() if key not in JUDGED}
    return identity_but_for({**config, "seed": 0}, {*files, *STARTS})


def _command(record: Record) -> frozenset[str]:
    return frozenset(word for word in record.words() if word.partition("=")[0] not in ("output", "seed", *STARTS))
