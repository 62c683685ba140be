"""Names that last: a class that moves, a key that is renamed, a key that is added; and the recorded runs."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from ssl_runner.config import names
from ssl_runner.config.compose import compose
from ssl_runner.config.identity import identity
from ssl_runner.config.names import (
    ADDED,
    RENAMED,
    TARGET,
    current,
    current_node,
    older_names,
)
from ssl_runner.config.schema import typed

RECORDS = sorted((Path(__file__).parents[3] / "docs" / "runs").glob("*/*.json"))
# Settings that a command must say now to mean what it meant: they have other defaults, or there is more to be asked.
MEANT = {
    "dino": ["objective.exported=student"],
    "supervised": ["objective.views=null"],
}


def forget() -> None:
    names.added.cache_clear()
    names._renamed_keys.cache_clear()


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Rows for both tables."""

    def add(renamed: Mapping[str, str], added: Mapping[str, Any]) -> None:
        monkeypatch.setattr(names, "RENAMED", {**RENAMED, **renamed})
        monkeypatch.setattr(names, "ADDED", {**ADDED, **added})
        forget()

    yield add
    forget()


def test_a_class_moves_a_key_is_renamed_a_key_is_added_and_the_run_is_the_same(tables: Any) -> None:
    """What an older version wrote: the class elsewhere, `degrees` for `widths`, no `residual`."""
    now = compose(["objective=rotation"])
    backbone = dict(now["backbone"])
    older = {"_target_": "ssl_runner.networks.Plain", "degrees": backbone["widths"]}
    older |= {key: value for key, value in backbone.items() if key not in ("_target_", "widths", "norm")}
    plain = {**now, "backbone": older}
    assert identity(plain) != identity(now)
    target = backbone[TARGET]
    tables(
        {"ssl_runner.networks.Plain": target, f"{target}.degrees": f"{target}.widths"},
        {f"{target}.{key}": value for key, value in backbone.items() if key not in ("widths", TARGET, *older)},
    )
    assert identity(plain) == identity(now)
    assert current(plain)["backbone"] == backbone
    assert typed(plain).backbone == backbone
    assert current_node(older) == backbone
    assert ("ssl_runner.networks.Plain", target) in list(older_names(plain))
    assert (f"{target}.degrees", f"{target}.widths") in list(older_names(plain))
    assert not list(older_names(now))


def test_a_node_within_another_and_in_a_list_is_renamed_too(tables: Any) -> None:
    tables({"a.Old": "a.New", "a.New.x": "a.New.y"}, {"a.New.z": 3})
    new = {TARGET: "a.New", "y": 1, "z": 3}
    plain = {"objective": {TARGET: "a.Other", "loss": {TARGET: "a.Old", "x": 1}, "parts": [{TARGET: "a.Old", "x": 1}]}}
    assert current(plain)["objective"] == {TARGET: "a.Other", "loss": new, "parts": [new]}


def test_a_row_stays_true_of_a_class_that_moves_later(tables: Any) -> None:
    tables({"a.Old": "a.New", "a.Oldest": "a.Old", "a.Oldest.x": "a.Oldest.y"}, {"a.Old.z": 3})
    assert current_node({TARGET: "a.Oldest", "x": 1}) == {TARGET: "a.New", "y": 1, "z": 3}


def test_an_added_key_counts_at_any_other_value(tables: Any) -> None:
    now = compose(["objective=mae", "backbone=vit_micro"])
    less = {**now, "objective": {key: value for key, value in now["objective"].items() if key != "mask"}}
    other = {**now, "objective": now["objective"] | {"mask": "block"}}
    assert identity(less) == identity(now) != identity(other)


def test_keys_of_the_root_are_filled_in() -> None:
    now = compose()
    older = {key: value for key, value in now.items() if key not in ("control", "sweep")}
    older["trainer"] = {key: value for key, value in now["trainer"].items() if f"trainer.{key}" not in ADDED}
    assert identity(older) == identity(now)
    assert typed(older).trainer.checkpoints == 1
    assert typed(older).sweep.search == "grid"


def test_every_name_of_now_is_there() -> None:
    """Rows name classes and keys that exist, at the end of every chain."""
    from ssl_runner.config.schema import Config, Trainer
    from ssl_runner.config.signatures import locate, parameters

    for name in (*RENAMED.values(), *ADDED):
        owner, _, key = name.rpartition(".")
        owner = names.name_now(owner)
        if key[0].isupper():
            locate(names.name_now(name))
        elif owner in ("", "trainer"):
            assert key in {"": Config, "trainer": Trainer}[owner].__annotations__, name
        else:
            assert names.key_now(owner, key) in parameters(locate(owner)), name


@lru_cache
def composed(words: tuple[str, ...]) -> dict[str, Any]:
    return compose(words)


def same_command(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A recorded config, and what its command gives now, said as it was meant."""
    record = json.loads(path.read_text())
    plain, overrides = record["config"], record["result"]["overrides"]
    words = [word for word in overrides if not word.startswith("seed=")] + MEANT.get(plain["names"]["objective"], [])
    if not any(word.startswith("evaluation=") for word in words):  # sets have grown
        words.append(f"evaluation=[{','.join(plain['evaluation'])}]")
    now = composed(tuple(words))
    return plain, {**now, "seed": plain["seed"], "unfit": plain["unfit"]}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.slow] * bool(place % 20), id=f"{path.parent.name}/{path.stem}")
        for place, path in enumerate(RECORDS)
    ],
)
def test_every_recorded_run_is_what_its_command_gives_now(path: Path) -> None:
    plain, now = same_command(path)
    typed(plain)  # older names and keys that lack are no mistake
    assert identity(plain) == identity(now)
