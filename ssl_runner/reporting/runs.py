"""Find finished runs on disk, and choose among them."""

import difflib
import operator
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from glob import glob
from pathlib import Path
from typing import Any

from ssl_runner.reporting.axes import Description, describe, matching
from ssl_runner.results.result import METRICS, RESULT, ResultError, Run, read_result
from ssl_runner.results.status import STATUS
from ssl_runner.results.values import is_number, parse, text
from ssl_runner.runtime.locks import LOCK

CONFIG = "config.yaml"
SWEEP = "sweep.yaml"  # of <output>/sweeps/<name>/: names its runs, as seen from <output>
ORDERS = {"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}


def find_runs(paths: Sequence[Path], told: Callable[[int], None] | None = None) -> tuple[list[Run], list[str]]:
    """All finished runs that `paths` lead to, each once, and a line for each that is broken or did not finish.

    `told` is told how many folders were looked at, after each.

    A path is a run's folder or a file in it, a sweep's folder, a folder with such folders somewhere under it, or a
    pattern of paths (*, ?, [...], ** for any number of folders).
    """
    runs, problems, seen = [], [], set()
    for path in paths:
        found = [path] if path.exists() else [Path(name) for name in sorted(glob(str(path), recursive=True))]
        if not found:
            problems.append(f"{path} does not exist")
        for folder in (folder for place in found for folder in run_folders(place, problems)):
            if folder.resolve() in seen:
                continue
            seen.add(folder.resolve())
            if told is not None:
                told(len(seen))
            if not (folder / RESULT).exists():
                problems.append(f"{folder} has no {RESULT}: the run did not finish, or is still running")
                continue
            try:
                result = read_result(folder)
            except ResultError as error:
                problems.append(str(error))
                continue
            if result.status == "done":
                runs.append(Run("", folder, result))
            else:
                problems.append(f"{folder}: the run ended as {result.status!r}")
    return _named(runs), problems


def run_folders(path: Path, problems: list[str]) -> Iterator[Path]:
    """Folders of runs, finished or not; hidden folders apart, and what lies within a run's folder. A sweep's runs."""
    if path.is_file():
        path = path.parent
    for folder, inside, files in os.walk(path):
        if is_run(files):
            inside.clear()
            yield Path(folder)
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        if SWEEP in files:
            yield from _swept(Path(folder), problems)


def is_run(files: Iterable[str]) -> bool:
    """Whether a folder with such files is a run's: with a result, with curves, or, of one that has only begun, with two
    of config, status and lock."""
    names = set(files)
    return bool(names & {RESULT, METRICS}) or len(names & {CONFIG, STATUS, LOCK}) > 1


def _swept(folder: Path, problems: list[str]) -> list[Path]:
    from ssl_runner.config.plain_yaml import read_yaml

    path = folder / SWEEP
    try:
        runs = read_yaml(path.read_text(encoding="utf-8"))["runs"]
        return [folder.parent.parent / run for run in runs]
    except (OSError, ValueError, KeyError, TypeError) as error:
        problems.append(f"{path} cannot be read ({str(error).splitlines()[0]}); it must list its folders under runs:")
        return []


def _named(runs: Sequence[Run]) -> list[Run]:
    """Name each run by its folder, relative to the common parent folder."""
    if not runs:
        return []
    folders = [run.folder.resolve() for run in runs]
    start = os.path.commonpath([folder.parent for folder in folders])
    return [run._replace(name=os.path.relpath(folder, start)) for run, folder in zip(runs, folders, strict=True)]


def where(runs: Sequence[Run], conditions: Sequence[str]) -> list[Run]:
    """The runs whose configs meet every condition: "objective=simclr", "ratio>=0.5".

    Before the sign stands a group of options or a key of the config, or as few of its last words as tell it apart. A
    run without the key meets != alone; order is for numbers. Raises ValueError for what is no condition or no key.
    """
    if not conditions:
        return list(runs)
    described, _ = describe(runs)
    kept = list(zip(runs, described, strict=True))
    for condition in conditions:
        key, sign, value = _condition(condition, described)
        kept = [(run, each) for run, each in kept if _meets(each.get(key), sign, value)]
    return [run for run, _ in kept]


def _condition(condition: str, described: Sequence[Description]) -> tuple[str, str, str]:
    """Key, sign and value. Of several keys that end in the same words, those count in which the runs differ."""
    parts = re.fullmatch(r"\s*([^=!<>\s]+)\s*(!=|<=|>=|=|<|>)(.*)", condition)
    if parts is None:
        raise ValueError(f"{condition!r} is not a condition; write key=value, or use != < > <= >= in place of =")
    word, sign, value = parts.groups()
    keys = list(dict.fromkeys(key for each in described for key in (*each.options, *each.values)))
    found = matching(word, keys)
    if len(found) > 1:
        found = [key for key in found if len({each.get(key) for each in described}) > 1] or found
    if len(found) != 1:
        near = found or difflib.get_close_matches(word, keys, n=3)
        among = f"; {'choose one of' if found else 'did you mean'}: {', '.join(near)}" if near else ""
        raise ValueError(f"{word!r} is {'more than one key' if found else 'no key'} of these runs' configs{among}")
    if sign not in ("=", "!=") and not is_number(parse(value)):
        raise ValueError(f"{condition!r} compares with {value!r}; {sign} needs a number")
    return found[0], sign, value.strip()


def _meets(value: Any, sign: str, wanted: str) -> bool:
    if sign in ("=", "!="):
        same = value == parse(wanted) or (value is not None and text(value) == wanted)
        return same == (sign == "=")
    return is_number(value) and ORDERS[sign](value, parse(wanted))
