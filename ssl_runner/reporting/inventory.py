"""All runs on disk, finished or not, as their files describe them; without torch."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from ssl_runner.config.plain_yaml import read_yaml
from ssl_runner.reporting.runs import CONFIG, run_folders
from ssl_runner.results.result import METRICS, RESULT
from ssl_runner.results.status import STATUS, Status, read_status
from ssl_runner.runtime.locks import is_held

State = Literal["finished", "unfinished", "running", "failed"]
STATUSES: tuple[State, ...] = get_args(State)
AXES = ("dataset", "objective", "backbone")


class Entry(NamedTuple):
    """A run's folder. What its files do not say is "" or None."""

    folder: Path
    status: State
    why: str  # it failed
    dataset: str
    objective: str
    backbone: str
    seed: int | None
    identity: str  # of a finished run
    started: str  # ISO 8601, of a finished run
    progress: float | None  # of pretraining, in [0, 1]
    changed: float  # seconds since 1970


def entries(paths: Sequence[Path], problems: list[str]) -> Iterator[Entry]:
    """The runs that folders lead to, each once. `problems`: gets a line for each file of a sweep that is broken."""
    seen = set()
    for path in paths:
        for folder in run_folders(path, problems):
            known = folder.resolve()
            if known not in seen and folder.is_dir():  # a sweep also names runs that are gone
                seen.add(known)
                yield entry(folder)


def entry(folder: Path) -> Entry:
    """What the files in the folder of a run say of it. Only small ones are read."""
    noted = read_status(folder)
    result, why = _result(folder)
    done = result.get("status") == "done"
    state: State
    if _in_use(folder):
        state, why = "running", ""
    elif done:
        state, why = "finished", ""
    elif why or (noted is not None and noted.failed):
        state, why = "failed", why or str(noted and noted.failed)
    else:
        state, why = "unfinished", ""
    about = result or _config(folder)
    names = _mapping(about.get("name" if result else "names"))
    return Entry(
        folder=folder,
        status=state,
        why=why,
        dataset=_text(names.get("dataset")),
        objective=_text(names.get("objective")),
        backbone=_text(names.get("backbone")),
        seed=about["seed"] if isinstance(about.get("seed"), int) else None,
        identity=_text(result.get("identity")),
        started=_text(result.get("started")),
        progress=1.0 if done else _progress(noted),
        changed=_changed(folder),
    )


def _result(folder: Path) -> tuple[Mapping[str, Any], str]:
    """What `result.json` holds, and why it does not say that the run is done. Without it, neither."""
    path = folder / RESULT
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, ""
    except (OSError, ValueError, RecursionError) as error:
        return {}, f"{RESULT} cannot be read ({str(error).splitlines()[0]})"
    status = found.get("status") if isinstance(found, dict) else None
    return _mapping(found), "" if status == "done" else f"{RESULT} says that it ended as {status!r}"


def _config(folder: Path) -> Mapping[str, Any]:
    with suppress(OSError, ValueError):
        return _mapping(read_yaml((folder / CONFIG).read_text(encoding="utf-8")))
    return {}


def _in_use(folder: Path) -> bool:
    try:
        return is_held(folder)
    except OSError:  # its lock cannot be opened
        return False


def _progress(status: Status | None) -> float | None:
    known = None if status is None or status.failed else status.progress
    return float(known) if isinstance(known, int | float) else None


def _changed(folder: Path) -> float:
    times = [0.0]
    for name in (RESULT, STATUS, METRICS, CONFIG):
        with suppress(OSError):
            times.append((folder / name).stat().st_mtime)
    return max(times)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
