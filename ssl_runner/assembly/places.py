"""The folder of a run: named by its identity, or found under the name that an older version gave it."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from ssl_runner.assembly import check
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.identity import NOT_IDENTITY, identity, identity_but_for
from ssl_runner.config.names import current, mentions_older
from ssl_runner.config.request import CONTENTS, RunRequest
from ssl_runner.interfaces import DataSource, DataSpec
from ssl_runner.results.result import RESULT, Result, ResultError, read_result
from ssl_runner.runtime import checkpoint_files

CONFIG = "config.yaml"


def with_contents(request: RunRequest, source: DataSource, spec: DataSpec) -> RunRequest:
    """A run with the fingerprints of the files that its settings name. Raises ConfigError if it already has
    fingerprints, as a job of a sweep does, and the files have changed.
    """
    found = check.contents(request.config, source, spec)
    before = request.config.contents
    refuse_changed(before, found, "those that the run was planned with", "start the sweep again")
    config = replace(request.config, contents=found)
    return replace(request, config=config, plain={**current(request.plain), CONTENTS: found})


def placed(request: RunRequest, loaded: Callable[[], str]) -> tuple[RunRequest, str]:
    """A run, linked to the folder of an older version's equal run if there is one, and a note about older runs.

    `request` has its contents; `loaded` returns the fingerprint of the loaded data. An older run with the same settings
    is used if its data are known to be the same: they are synthetic or published, or its result has the same
    fingerprint. Older versions recorded nothing of the files of `start_from` and of evaluations, so a run with such
    files is not used, which the note says. Only sibling folders with the same seed are searched.
    """
    plain, folder = request.plain, request.own_folder
    if (folder / CONFIG).exists() or request.config.resume == "never":
        return request, ""
    files = [key for key in plain[CONTENTS] if key not in NOT_IDENTITY]
    wanted = identity_but_for(plain, files)
    note = ""
    for older, before in _older(folder.parent, f"s{request.config.seed}-"):
        if identity_but_for(before, files) != wanted:
            continue
        if CONTENTS in before and identity(before) == request.identity:  # named differently
            return replace(request, older=older), ""
        if CONTENTS in before:  # other data
            continue
        if not files:
            return replace(request, older=older), ""
        result = finished(older)
        known = result.data.get("fingerprint") if result is not None else None
        if all(key.startswith("dataset.") for key in files) and known is not None and known == loaded():
            return replace(request, older=older), ""
        note = f"{str(older)!r} has the same settings, but other data or no record of its data: {', '.join(files)}"
    return request, note


def shorter(request: RunRequest) -> Path | None:
    """The finished run that differs from a new one in its budget alone, which is smaller; the longest, if there are
    several. None where there is none, and where the new one was begun, or extends a run itself."""
    config, folder = request.config, request.folder
    if config.extend is not None or checkpoint_files.files(folder):
        return None
    wanted = identity({**request.plain, "budget": None})
    found: list[tuple[float, Path]] = []
    for file in folder.parent.glob(f"s{config.seed}-*/{RESULT}"):
        plain = _config_in(file)
        budget = plain.get("budget") or {}
        if budget.get("unit") != config.budget.unit or not budget.get("amount", 0) < config.budget.amount:
            continue
        if checkpoint_files.files(file.parent) and identity({**plain, "budget": None}) == wanted:
            found.append((budget["amount"], file.parent))
    return max(found)[1] if found else None


def _config_in(file: Path) -> dict[str, Any]:
    """The config in a finished run's result, in current names; empty where there is none."""
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
        return current(result["config"]) if result["status"] == "done" else {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def check_resumes(request: RunRequest) -> None:
    """Raise ConfigError if `resume=must` and there is no checkpoint to resume from."""
    folder = request.folder
    if request.config.resume == "must" and finished(folder) is None and not list(checkpoint_files.files(folder)):
        raise ConfigError(
            [
                f"resume is must, and {str(folder)!r} has no checkpoint to resume from; give the settings "
                "of the run that was started, or set resume=auto"
            ]
        )


def check_unchanged(request: RunRequest) -> None:
    """Raise ConfigError if files that the run in the folder used have changed since."""
    file = request.folder / CONFIG
    known: Any = (_parsed(file.read_text(encoding="utf-8", errors="replace")) or {}) if file.is_file() else {}
    remedy = "restore them, set output to another folder, or set resume=never to run it again on the present files"
    whose = f"those of the run in {str(request.folder)!r}"
    refuse_changed(known.get(CONTENTS) or {}, request.plain[CONTENTS], whose, remedy)


def refuse_changed(before: Mapping[str, str], now: Mapping[str, str], whose: str, remedy: str) -> None:
    """Raise ConfigError if fingerprints differ for a key that is in both."""
    changed = [key for key, found in before.items() if now.get(key, found) != found]
    if changed:
        raise ConfigError([f"{key}: the files differ from {whose}; {remedy}" for key in changed])


def finished(folder: Path) -> Result | None:
    """The result of a finished run; None for any other."""
    try:
        result = read_result(folder)
    except ResultError:
        return None
    return result if result.status == "done" else None


def _older(parent: Path, prefix: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folders of runs whose config was written by an older version, with that config in current names."""
    for file in sorted(parent.glob(f"{prefix}*/{CONFIG}")):
        plain = _read_older(file, file.stat().st_mtime_ns)
        if plain is not None:
            yield file.parent, plain


@lru_cache(1024)
def _read_older(file: Path, changed: int) -> dict[str, Any] | None:
    """A config written by an older version; None if by this one or unreadable. `changed`: its modification time."""
    text = file.read_text(encoding="utf-8", errors="replace")
    plain = None if f"\n{CONTENTS}:" in text and not mentions_older(text) else _parsed(text)
    return None if plain is None else current(plain)


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        plain = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return plain if isinstance(plain, dict) else None
