"""`extend`: a run that goes on from a finished one to a larger budget, as a run of its own identity.

Everything that pretraining depends on is as it was in the run that it extends, but for the budget and the schedule. So
its config is made of that run's `config.yaml`, and of the words of the command line that may say otherwise.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_runner.config.errors import ConfigError
from ssl_runner.config.identity import NOT_IDENTITY, identity, of_no_use
from ssl_runner.config.names import current
from ssl_runner.config.plain_yaml import read_yaml
from ssl_runner.config.request import CONTENTS, RunRequest
from ssl_runner.config.schema import Config, typed
from ssl_runner.results.result import Extended, Result, ResultError, read_result

if TYPE_CHECKING:  # it imports torch, which a command line that is refused does not wait for
    from ssl_runner.runtime.checkpoint_files import Reached

KEY = "extend"
FREE = ("budget", "schedule", "evaluation", "controls", "unfit")  # what may differ from the run that is extended
OF_ONE_COMMAND = ("sweep", "hydra", "resume", "check", KEY)  # what a run says of itself, not of those that extend it


def with_run(words: Sequence[str]) -> list[str]:
    """A command line, and before it the words of the run that it extends, if any, which it does not replace.

    Raises ConfigError where there is no such run.
    """
    own, run = {_place(word) for word in words}, run_of(words)
    if run is None:
        return list(words)
    kept = [word for word in _finished(run).overrides if not _replaced(_place(word), (*own, *OF_ONE_COMMAND))]
    return [*kept, *words]


def run_of(words: Sequence[str]) -> str | None:
    """The folder of the run that a command line extends; None where it extends none."""
    said = [word.partition("=")[2].strip() for word in words if _place(word) == KEY]
    value = said[-1] if said else ""
    unquoted = re.sub(r"\\(.)", r"\1", value[1:-1]) if value[:1] in ('"', "'") else value
    return None if unquoted in ("", "null") else unquoted


def extending(request: RunRequest) -> RunRequest:
    """A composed run, with the settings of the run that it extends, if any. Raises as `extended` does."""
    if request.config.extend is None:
        return request
    plain = extended(request.plain, request.overrides)
    return replace(request, config=typed(plain), plain=plain)


def extended(plain: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """A composed config, with the settings of the run that it extends, if any; `words` is its command line.

    Raises ConfigError where there is no such run, it cannot be extended, or `words` say otherwise than it does.
    """
    run = plain.get(KEY)
    if run is None:
        return dict(plain)
    _finished(run)
    known = _config(run)
    if of_no_use(known):
        raise ConfigError([f"extend: {run!r} pretrained nothing (objective=none), so there is nothing to extend"])
    if not list(Path(run).glob("checkpoints/last*.ckpt")):
        raise ConfigError(
            [f"extend: {run!r} has no checkpoint to go on from; start_from={run} takes its encoder alone"]
        )
    found: dict[str, Any] = {key: deepcopy(value) for key, value in known.items() if key != CONTENTS}
    for key in OF_ONE_COMMAND:
        if key in plain:
            found[key] = plain[key]
    found["names"] = dict(known.get("names", {}))
    problems: list[str] = []
    for place in dict.fromkeys(map(_place, words)):
        path = place.partition("@")[2] or place.replace("/", ".")
        if _lies_in(path, OF_ONE_COMMAND):
            continue
        if not _lies_in(path, (*FREE, *NOT_IDENTITY)):
            problems += _differs(place, path, plain, known, run)
        else:
            _take(found, plain, path)
            found["names"].pop(place, None)
            found["names"] |= {each: name for each, name in plain["names"].items() if each == place}
    problems += _budget(found["budget"], known["budget"], run)
    if problems:
        raise ConfigError(problems)
    return found


def fingerprint(run: str) -> str:
    """What the identity of a run says of the run that it extends: its budget, and its identity with seed 0, so that the
    seeds of a setting that are extended are the seeds of a setting again."""
    known = _config(run)
    return f"{_said(known['budget'])}, {identity({**known, 'seed': 0})}"


def start(config: Config) -> "Reached | None":
    """The checkpoint that an extension begins with; None where the run extends none. Raises ConfigError for damage."""
    from ssl_runner.runtime import checkpoint_files

    if config.extend is None:
        return None
    found = checkpoint_files.find(Path(config.extend))
    if found.newest is None:
        said = "; ".join(f"{path.name} is damaged ({why})" for path, why in found.damaged.items())
        raise ConfigError([f"extend: {config.extend!r} has no checkpoint to go on from{said and f': {said}'}"])
    return found.newest


def about(config: Config) -> Extended | None:
    """What a result says of the run that it extends; None where it extends none."""
    if config.extend is None:
        return None
    result = _finished(config.extend)
    steps = 0 if result.pretraining is None else result.pretraining.steps
    return Extended(identity=result.identity, budget=_said(_config(config.extend)["budget"]), steps=steps)


def _finished(run: str) -> Result:
    try:
        result = read_result(Path(run))
    except ResultError as error:
        where = f"extend is {run!r}, which is not the folder of a finished run: {error}"
        raise ConfigError([f"{where}; set it to such a folder, as ssl-run prints it"]) from error
    if result.status != "done":
        raise ConfigError([f"extend is {run!r}, which is not finished: it ended as {result.status!r}"])
    return result


def _config(run: str) -> dict[str, Any]:
    """The config of a run, in current names."""
    file = Path(run) / "config.yaml"
    try:
        plain: Any = read_yaml(file.read_text(encoding="utf-8"))
        typed(plain)
    except (OSError, ValueError) as error:
        raise ConfigError([f"extend: {str(file)!r} cannot be read: {error}"]) from error
    return current(plain)


def _place(word: str) -> str:
    """The key or group of a word: "objective.ratio" of "+objective.ratio=0.5"."""
    return word.lstrip("+~").partition("=")[0]


def _lies_in(path: str, places: Iterable[str]) -> bool:
    return any(f"{path}.".startswith(f"{place}.") for place in places)


def _replaced(place: str, others: Iterable[str]) -> bool:
    """Whether one of the other words sets the same, or a node that this lies in."""
    return any(place == other or re.match(rf"{re.escape(other)}[./@]", place) for other in others)


def _select(plain: Any, path: str) -> Any:
    for key in path.split("."):
        plain = plain.get(key) if isinstance(plain, Mapping) else None
    return plain


def _take(found: dict[str, Any], plain: Mapping[str, Any], path: str) -> None:
    """Set what lies at a path as it is in another config; remove it where it is not there."""
    *above, last = path.split(".")
    node, source = found, plain
    for key in above:
        node, source = node.setdefault(key, {}), source.get(key) or {}
    if last in source:
        node[last] = source[last]
    else:
        node.pop(last, None)


def _differs(place: str, path: str, plain: Mapping[str, Any], known: Mapping[str, Any], run: str) -> Iterator[str]:
    """A line where a word says otherwise of what pretraining depends on than the run that is extended."""
    asked, was = plain["names"].get(place), known.get("names", {}).get(place)
    if asked is None:
        asked, was = _select(plain, path), _select(known, path)
    if asked != was:
        yield (
            f"{place} is {asked}, and {was} in {run!r}, which it extends: only the budget, the schedule and "
            f"evaluations may differ; start_from={run} begins anew from its encoder"
        )


def _budget(asked: Mapping[str, Any], spent: Mapping[str, Any], run: str) -> Iterator[str]:
    if asked["unit"] != spent["unit"]:
        yield f"budget.unit is {asked['unit']}, and {spent['unit']} in {run!r}, which it extends: set it to that"
    elif not asked["amount"] > spent["amount"]:
        yield (
            f"budget.amount is {asked['amount']:g}, and {run!r}, which it extends, has spent {_said(spent)}: set it to "
            "more, the sum of both"
        )


def _said(budget: Mapping[str, Any]) -> str:
    return f"{budget['amount']:g} {budget['unit']}"
