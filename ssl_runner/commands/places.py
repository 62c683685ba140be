"""Where a run lies: in the folder that its identity names, or in one that an older version named otherwise."""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ssl_runner.config import NOT_IDENTITY, Config, ConfigError, identity_but_for, run_folder
from ssl_runner.names import current
from ssl_runner.reporting.results import Result, ResultError, read_result

CONFIG = "config.yaml"
CONTENTS = "contents"  # the key of the fingerprints; configs of older versions lack it


class Place(NamedTuple):
    folder: Path
    note: str = ""  # what is to be said of an older run


def place_of(config: Config, plain: Mapping[str, Any], loaded: Callable[[], str]) -> Place:
    """The folder of a run. `plain` with its contents; `loaded` gives the fingerprint of the data as they are read.

    An older run of the same settings is taken where its data are known to be the same: they are made or published, or
    its result has the fingerprint of what it read. Of what `start_from` and evaluations named nothing was noted, so
    such a run is not taken, which is said. Only folders beside the run's own are looked at, of the same seed.
    """
    folder = run_folder(config, plain)
    if (folder / CONFIG).exists() or config.resume == "never":
        return Place(folder)
    files = [key for key in plain[CONTENTS] if key not in NOT_IDENTITY]
    wanted = identity_but_for(plain, files)
    note = ""
    for older, before in _older(folder.parent, f"s{config.seed}-"):
        if identity_but_for(before, files) != wanted:
            continue
        if not files:
            return Place(older)
        result = finished(older)
        known = result.data.get("fingerprint") if result is not None else None
        if all(key.startswith("dataset.") for key in files) and known is not None and known == loaded():
            return Place(older)
        note = f"{str(older)!r} has these settings, but other data, or none that it tells of: {', '.join(files)}"
    return Place(folder, note)


def check_unchanged(folder: Path, plain: Mapping[str, Any]) -> None:
    """Raise ConfigError where a run in `folder` was of other files than there are now."""
    file = folder / CONFIG
    known: Any = (_parsed(file.read_text(encoding="utf-8", errors="replace")) or {}) if file.is_file() else {}
    remedy = "bring these back, set output to another folder, or set resume=never to run it again on what is there"
    refuse_changed(known.get(CONTENTS) or {}, plain[CONTENTS], f"those of the run in {str(folder)!r}", remedy)


def refuse_changed(before: Mapping[str, str], now: Mapping[str, str], whose: str, remedy: str) -> None:
    """Raise ConfigError where files differ that are known of both."""
    changed = [key for key, found in before.items() if now.get(key, found) != found]
    if changed:
        raise ConfigError([f"{key}: the files there are not {whose}; {remedy}" for key in changed])


def finished(folder: Path) -> Result | None:
    """The result of a run that ended well, else None."""
    try:
        result = read_result(folder)
    except ResultError:
        return None
    return result if result.status == "done" else None


def _older(parent: Path, prefix: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folders of runs whose config an older version wrote, with that config."""
    for file in sorted(parent.glob(f"{prefix}*/{CONFIG}")):
        plain = _read_older(file, file.stat().st_mtime_ns)
        if plain is not None:
            yield file.parent, plain


@lru_cache(1024)
def _read_older(file: Path, changed: int) -> dict[str, Any] | None:
    """A config that an older version wrote; None where this one did, or it cannot be read. `changed`: when."""
    text = file.read_text(encoding="utf-8", errors="replace")
    plain = None if f"\n{CONTENTS}:" in text else _parsed(text)
    return None if plain is None else current(plain)


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        plain = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return plain if isinstance(plain, dict) else None
