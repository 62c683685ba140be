"""Names that last: a class that moves, a key that is renamed, a key that is added; and the recorded runs."""

from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import records
import torch
from findings import node_of
from safetensors.torch import load_file, save_file

from ssl_runner import load_encoder
from ssl_runner.assembly import construct, export
from ssl_runner.config import names
from ssl_runner.config.compose import compose
from ssl_runner.config.identity import identity
from ssl_runner.config.loader import Loader
from ssl_runner.config.names import (
    ADDED,
    NESTED,
    RECIPE,
    RENAMED,
    RESPELLED,
    TARGET,
    UNTOLD,
    added,
    current,
    current_node,
    older_names,
)
from ssl_runner.config.paths import options
from ssl_runner.config.schema import Config, Sweep, Trainer, typed
from ssl_runner.config.signatures import locate, parameters

GROUPS = sorted((Path(__file__).parents[3] / "docs" / "runs").glob("*.jsonl"))
RECORDS = [(group.stem, record) for group in GROUPS for record in records.read(group)]
# Settings that a command of schema 1 must say now to mean what it meant: they have other defaults.
MEANT = {
    "dino": ["objective.exported=student"],
    "supervised": ["objective.views=null"],
}


def forget() -> None:
    names.name_now.cache_clear()
    names.added.cache_clear()
    names._renamed_keys.cache_clear()
    names._unchanged.cache_clear()


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
    """Rows name modules, classes, keys and options that exist, at the end of every chain."""
    for name in (*RENAMED.values(), *ADDED, *RESPELLED):
        owner, _, key = name.rpartition(".")
        owner = names.name_now(owner)
        if "/" in name:
            group, _, option = name.rpartition("/")
            assert option in options(group)
        elif key[0].isupper():
            locate(names.name_now(name))
        elif owner in ("", "trainer", "sweep"):
            assert key in {"": Config, "trainer": Trainer, "sweep": Sweep}[owner].__annotations__, name
        elif owner == "evaluation":
            assert key in options(owner)
        elif owner.rpartition(".")[2][0].isupper():
            held = names.held_now(owner, key)
            assert held.key in parameters(locate(held.owner)), name
        else:
            import_module(names.name_now(name))


def test_a_row_of_a_module_is_of_all_in_it(tables: Any) -> None:
    tables({"a.old": "a.room.old", "a.old.Class.x": "a.old.Class.y"}, {"a.old.Class.z": 3})
    assert current_node({TARGET: "a.old.Class", "x": 1}) == {TARGET: "a.room.old.Class", "y": 1, "z": 3}
    assert names.name_now("a.older.Class") == "a.older.Class"


def test_a_value_is_spelled_anew() -> None:
    older = compose(["objective=inpainting", "objective.hole=center"])
    older["objective"] = older["objective"] | {TARGET: "ssl_runner.objectives.inpainting.Inpainting", "hole": "centre"}
    assert current(older)["objective"]["hole"] == "center"
    assert tuple(n for n, _ in older_names(older)) == ("ssl_runner.objectives.inpainting.Inpainting.hole=centre",)
    assert identity(older) == identity(compose(["objective=inpainting", "objective.hole=center"]))


@pytest.mark.parametrize(
    ("older", "now"),
    [
        (
            ["objective=relative_position", "objective.colour=drop"],
            ["objective=relative_position", "objective.color=drop"],
        ),
        (["objective=dino", "objective.centre_momentum=0.5"], ["objective=dino", "objective.center_momentum=0.5"]),
        (["objective.views.grey=0.5"], ["objective.views.gray=0.5"]),
        (
            ["dataset=wiki_sample", "objective=cbow", "backbone=word_vectors", "evaluation=[neighbours]"],
            ["dataset=wiki_sample", "objective=cbow", "backbone=word_vectors", "evaluation=[neighbors]"],
        ),
    ],
)
def test_older_words_of_a_command_line_are_read(older: list[str], now: list[str]) -> None:
    assert identity(compose(older)) == identity(compose(now))


def test_what_a_command_line_calls_otherwise_is_said() -> None:
    words, notes = Loader().words_now("config", ["objective=jigsaw", "objective.grey=0.5", "dataset.root=x"])
    assert words == ["objective=jigsaw", "objective.gray=0.5", "dataset.root=x"]
    assert notes == ["objective.grey is called objective.gray now; the older name works until 1.0"]


def test_weights_of_an_older_encoder_are_read(tmp_path: Path) -> None:
    """Written when the input was `normalise`d."""
    plain = compose(["dataset=fake_images", "backbone.widths=[4,8]"])
    config = typed(plain)
    _, spec = construct.source(config)
    encoder = construct.random_start(config, spec)
    construct.fit_statistics(encoder, lambda: (torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7])))
    export.export_encoder(tmp_path, encoder, config.backbone, spec)
    state = load_file(tmp_path / "encoder.safetensors")
    older = {name.replace("normalize", "normalise"): value for name, value in state.items()}
    assert older.keys() != state.keys()
    save_file(older, tmp_path / "encoder.safetensors")
    (tmp_path / export.SUMS).unlink()
    for name, value in load_encoder(tmp_path).encoder.state_dict().items():
        torch.testing.assert_close(value, encoder.state_dict()[name])


@lru_cache
def composed(words: tuple[str, ...]) -> dict[str, Any]:
    return compose(words)


def same_command(record: records.Record) -> tuple[dict[str, Any], dict[str, Any]]:
    """A recorded config, and what its command gives now, said as it was meant."""
    plain = record.config
    words = [word for word in record.words() if not word.startswith("seed=")]
    if record.result["schema"] == 1:
        words += MEANT.get(plain["names"]["objective"], [])
    if not any(word.startswith("evaluation=") for word in words):  # sets have grown
        words.append(f"evaluation=[{','.join(plain['evaluation'])}]")
    now = composed(tuple(words))
    return plain, {**now, "seed": plain["seed"], "unfit": plain["unfit"], "contents": plain.get("contents", {})}


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(record, marks=[pytest.mark.slow] * bool(place % 20), id=f"{group}/{record.name}")
        for place, (group, record) in enumerate(RECORDS)
    ],
)
@pytest.mark.sampled(8)
def test_every_recorded_run_is_what_its_command_gives_now(record: records.Record) -> None:
    plain, now = same_command(record)
    typed(plain)  # older names and keys that lack are no mistake
    assert identity(plain) == identity(now)


def test_every_nested_key_is_there_and_older_ones_are_not() -> None:
    for owner, nests in NESTED.items():
        own = parameters(locate(owner))
        for node, nest in nests.items():
            assert node in own, (owner, node)
            assert set(nest.keys) <= set(parameters(locate(nest.target))), (owner, node)
            assert not set(nest.keys) & set(own), (owner, node)


def test_what_is_no_term_is_presentation() -> None:
    """Of the keys that were added later: what is filled into older terms is what `Evaluator.presentation` leaves."""
    untold = set()
    for node in (node_of(name) for name in options("evaluation")):
        if TARGET not in node:
            continue
        places = {"": node, **{f"{key}.": each for key, each in node.items() if isinstance(each, dict)}}
        presentation = locate(node[TARGET]).presentation
        for place, each in places.items():
            later = added(each.get(TARGET, "none"))
            untold |= {f"{each[TARGET]}.{key}" for key in later if f"{place}{key}" in presentation}
    assert untold - {"ssl_runner.evaluation.text.files.Splits.val"} == UNTOLD


def test_keys_move_into_nodes_and_the_run_is_the_same() -> None:
    """A grid, a recipe and files that an older version had in the evaluators themselves."""
    words = ["dataset=wiki_sample", "objective=bert", "backbone=bert_tiny", "evaluation=[linear,tagging,sts,glue]"]
    words += [f"evaluation.{name}.path=/a" for name in ("tagging", "sts", "glue")]
    now = compose([*words, "evaluation.tagging.texts.train=b", "evaluation.glue.recipe.epochs=2"])
    older = {**now, "evaluation": {name: flattened(node) for name, node in now["evaluation"].items()}}
    assert older["evaluation"]["tagging"].keys() >= {"train", "steps", "path"}
    assert "least_steps" not in older["evaluation"]["glue"]
    assert identity(older) == identity(now)
    assert current(older)["evaluation"] == now["evaluation"]
    assert typed(older).evaluation == now["evaluation"]
    assert ("ssl_runner.evaluation.text.glue.GLUE.epochs", "ssl_runner.evaluation.text.glue.GLUE.recipe.epochs") in (
        set(older_names(older))
    )
    assert compose([*words, "evaluation.tagging.train=b", "evaluation.glue.epochs=2"]) == now


def flattened(node: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluator's node as an older version had it."""
    inner = {key: value for each in node.values() if isinstance(each, dict) for key, value in each.items()}
    own = {key: value for key, value in node.items() if not isinstance(value, dict)}
    return {key: value for key, value in inner.items() if key not in added(RECIPE.target)} | own


def test_an_older_key_beside_its_node_says_what_was_meant() -> None:
    node = compose(["evaluation=linear"])["evaluation"]["linear"]
    assert current_node({**node, "steps": 3})["grid"] == node["grid"] | {"steps": 3}
