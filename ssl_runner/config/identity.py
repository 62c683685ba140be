"""The identity of a run: a hash of all settings and data that can change its result, and the folder named by it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ssl_runner.config.names import TARGET, added, current
from ssl_runner.config.paths import file_name
from ssl_runner.config.schema import Config, no_part_of_identity

NOT_IDENTITY = (  # keys that do not change a run's result: where it runs, where it writes, how it is monitored
    *no_part_of_identity(Config),
    "dataset.root", "dataset.cache", "dataset.download", "dataset.workers", "dataset.images.root",
    "dataset.images.download",
)  # fmt: skip

NOTHING = "ssl_runner.objectives.none.Nothing"  # the objective that pretrains nothing
OF_PRETRAINING = (
    "budget",
    "optimizer",
    "schedule",
    "batch_size",
    "pretrain_examples",
    "trainer",
    "control",
)  # what changes nothing else


def of_no_use(plain: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of a config's root that cannot change its result, since nothing is pretrained."""
    objective = plain.get("objective")
    none = isinstance(objective, Mapping) and objective.get(TARGET) == NOTHING
    return OF_PRETRAINING if none else ()


def identity(plain: Mapping[str, Any]) -> str:
    """A hash of all settings and data that can change a run's result: ten hexadecimal digits.

    Files enter by their contents (`contents`, computed by `check.contents`), never by their path. Names are the current
    ones, and a key that was added later is omitted at the value equivalent to earlier behavior. So runs of older
    versions have the identity that the same command gives now.
    """
    text = json.dumps(_what_counts(plain, plain.get("contents") or {}), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def identity_but_for(plain: Mapping[str, Any], keys: Iterable[str]) -> str:
    """An identity that is equal for runs that differ at most in the contents of the files that these keys name."""
    text = json.dumps(_what_counts(plain, dict.fromkeys(keys, "")), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _what_counts(plain: Mapping[str, Any], contents: Mapping[str, str]) -> dict[str, Any]:
    def keep(node: Any, path: str) -> Any:
        if path in contents:
            return {"contents": contents[path]}
        if isinstance(node, list):
            return [keep(each, f"{path}[]") for each in node]
        if not isinstance(node, Mapping):
            return node
        target = node.get(TARGET)
        later = added(target) if isinstance(target, str) else added(path)
        return {
            key: keep(value, f"{path}.{key}" if path else key)
            for key, value in sorted(node.items())
            if (f"{path}.{key}" if path else key) not in NOT_IDENTITY and not (key in later and later[key] == value)
        }

    now = current(plain)
    left_out = of_no_use(now)
    kept: dict[str, Any] = keep({key: value for key, value in now.items() if key not in left_out}, "")
    if isinstance(kept.get("controls"), list):  # only controls that exist for the data
        unfit = "pixels" if (plain.get("domain") or {}).get("name") == "text" else "bag_of_words"
        kept["controls"] = [control for control in kept["controls"] if control != unfit]
    return kept


def run_folder(config: Config, plain: Mapping[str, Any]) -> Path:
    """The folder of a run, a function of its config."""
    return folder_named(config, identity(plain))


def folder_named(config: Config, own: str) -> Path:
    """<output>/<dataset>-<objective>-<backbone>[-shuffled]/s<seed>-<identity>"""
    name = file_name("-".join(config.names.get(axis, "?") for axis in ("dataset", "objective", "backbone")))
    return Path(config.output) / (name + control_suffix(config)) / f"s{config.seed}-{own}"


def control_suffix(config: Config) -> str:
    """The suffix in the folder name of a run that is a control ("-shuffled"); "" for others."""
    return "-shuffled" if config.control == "shuffled_target" else ""
