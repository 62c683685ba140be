import random
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_runs import made_config, made_run

from ssl_runner.config.identity import NOT_IDENTITY
from ssl_runner.reporting.axes import NOT_A_SETTING, Axis, Description, describe, find_axes, matching, shortest
from ssl_runner.results.values import parse, text


def axes(*configs: dict[str, Any]) -> list[Axis]:
    descriptions, problems = describe([made_run(str(place), config) for place, config in enumerate(configs)])
    assert problems == []
    return find_axes(descriptions)


def keys(*configs: dict[str, Any]) -> list[str]:
    return [axis.key for axis in axes(*configs)]


def test_what_cannot_change_a_result_is_no_setting() -> None:
    assert set(NOT_IDENTITY) <= set(NOT_A_SETTING)
    assert {"seed", "evaluation"} <= set(NOT_A_SETTING)


def test_runs_that_are_alike_but_for_their_seed_and_places_have_no_axis() -> None:
    assert keys(made_config(), made_config(seed=1, output="elsewhere", dataset__root="/data", logger={})) == []
    assert keys(made_config()) == []
    assert find_axes([]) == []


def test_a_number_is_an_axis_in_ascending_order() -> None:
    found = axes(*(made_config(objective__ratio=ratio) for ratio in (0.75, 0.5, 0.9, 0.5)))
    assert found == [Axis("objective.ratio", "ratio", (0.5, 0.75, 0.9), True)]


def test_words_keep_the_order_they_were_met_in_and_lists_are_one_value() -> None:
    changed = ([8, 4], [16], None)
    (axis,) = axes(*(made_config("simclr", objective__projector=value) for value in changed))
    assert axis == Axis("objective.projector", "projector", ((8, 4), (16,), None), False)


def test_of_two_objectives_only_the_name_is_an_axis() -> None:
    (axis,) = axes(made_config("simclr"), made_config("mae"), made_config("rotation"))
    assert axis == Axis("objective", "objective", ("simclr", "mae", "rotation"), False)


def test_a_key_is_an_axis_where_runs_with_the_same_objective_differ_in_it() -> None:
    configs = [made_config("simclr"), made_config("mae", objective__ratio=0.5), made_config("mae")]
    objective, ratio = axes(*configs)
    assert objective.values == ("simclr", "mae")
    assert ratio == Axis("objective.ratio", "ratio", (0.5, 0.75, None), True)


def test_an_option_within_another() -> None:
    triplet = made_config(
        "simclr", objective__loss={"_target_": "Triplet", "margin": 1.0}, names={"objective/loss": "triplet"}
    )
    assert axes(made_config("simclr"), triplet) == [Axis("objective/loss", "loss", ("info_nce", "triplet"), False)]
    assert keys(made_config("mae"), triplet) == ["objective"]
    assert keys(made_config("mae"), triplet, made_config("simclr")) == ["objective", "objective/loss"]
    warmer = made_config("simclr", objective__loss__temperature=0.5)
    assert keys(warmer, triplet, made_config("simclr")) == ["objective/loss", "objective.loss.temperature"]


def test_views_that_follow_the_dataset_are_no_axis() -> None:
    mnist, cifar = made_config("simclr", "mnist"), made_config("simclr", "cifar")
    assert keys(mnist, cifar) == ["dataset"]
    chosen = made_config(
        "simclr", "cifar", objective__views={"_target_": "Views", "flip": 0.0}, names={"objective/views": "digits"}
    )
    assert keys(mnist, cifar, chosen) == ["dataset", "objective/views"]
    assert keys(cifar, chosen) == ["objective/views"]


def test_names_that_bring_the_same_are_no_axis() -> None:
    assert keys(made_config(names={"objective": "mae"}), made_config(names={"objective": "mae_again"})) == []
    assert keys(made_config(names={"experiment": "a"}), made_config(names={"experiment": "b"})) == []


def test_options_without_a_number_are_told_apart_by_their_class() -> None:
    one, other = (made_config(backbone={"_target_": name}, names={"backbone": name}) for name in ("A", "B"))
    assert keys(one, other) == ["backbone"]


def test_names_come_first_and_what_a_reader_looks_for_before_others() -> None:
    other = made_config(
        "rotation", "cifar", batch_size=64, backbone={"_target_": "ConvNet"}, names={"backbone": "convnet"}
    )
    third = made_config("rotation", batch_size=128)
    assert keys(made_config(), other, third) == ["dataset", "objective", "backbone", "batch_size"]


def test_without_a_config_names_and_overrides_tell_runs_apart(tmp_path: Path) -> None:
    def bare(name: str, *overrides: str) -> Any:
        return made_run(name, made_config(), overrides=overrides)._replace(folder=tmp_path / name)

    one = bare("one", "objective=mae", "objective.ratio=0.5", "seed=0", "logger=csv")
    two = bare("two", "objective=mae", "+objective.ratio=0.75", "seed=1")
    runs = [run._replace(result=replace(run.result, config={})) for run in (one, two)]
    found, problems = describe(runs)
    assert find_axes(found) == [Axis("objective.ratio", "ratio", (0.5, 0.75), True)]
    assert problems == [
        f"{tmp_path / 'one'} and 1 more have no readable config: runs are distinguished only by names and overrides"
    ]
    other = bare("three")
    other = other._replace(result=replace(other.result, name=replace(other.result.name, objective="z")))
    assert [axis.key for axis in find_axes(describe([runs[0], other])[0])] == ["objective"]


def test_an_older_result_is_described_by_its_config_file(tmp_path: Path) -> None:
    run = made_run("old", made_config(objective__ratio=0.25))._replace(folder=tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(run.result.config))
    old = run._replace(result=replace(run.result, config={}))
    found, problems = describe([old, made_run("new")])
    assert problems == []
    assert [axis.key for axis in find_axes(found)] == ["objective.ratio"]
    (tmp_path / "config.yaml").write_text("{broken")
    assert len(describe([old])[1]) == 1


def test_runs_that_agree_in_all_axes_agree_in_every_setting() -> None:
    triplet = {"objective__loss": {"_target_": "Triplet", "margin": 1.0}, "names": {"objective/loss": "triplet"}}
    plain = {"objective__views": {"_target_": "Views", "flip": 0.0}, "names": {"objective/views": "digits"}}
    changes: list[dict[str, Any]] = [{}, {"batch_size": 8}, {"backbone__depth": 2}]
    own: dict[str, list[dict[str, Any]]] = {
        "rotation": [],
        "mae": [{"objective__ratio": 0.5}],
        "simclr": [triplet, plain, {"objective__loss__temperature": 0.5}, {"objective__projector": [8]}],
    }
    made = [
        made_config(objective, dataset, **{**change, "names": {**change.get("names", {})}})
        for objective, more in own.items()
        for dataset in ("mnist", "cifar")
        for change in changes + more
    ]
    everything, _ = describe([made_run(str(place), config) for place, config in enumerate(made)])
    draw = random.Random(0)
    for _ in range(200):
        some = draw.sample(everything, draw.randint(2, 8))
        found = find_axes(some)
        for one, other in combinations(some, 2):
            alike = all(one.get(axis.key) == other.get(axis.key) for axis in found)
            assert alike == (settings(one) == settings(other))


def settings(described: Description) -> dict[str, Any]:
    ours = ("objective", "dataset.name", "backbone", "batch_size")
    return {key: value for key, value in described.values.items() if key.startswith(ours)}


def test_short_names_are_as_long_as_they_must_be() -> None:
    all_keys = ["optimizer.lr", "objective.loss.scale", "objective.views.scale", "objective/loss", "objective"]
    assert [shortest(key, all_keys) for key in all_keys] == ["lr", "loss.scale", "views.scale", "loss", "objective"]
    assert shortest("loss", ["loss", "a.loss"]) == "loss"


def test_a_key_is_found_by_its_last_words() -> None:
    all_keys = ["optimizer.lr", "objective.loss.scale", "objective.views.scale", "objective", "other.objective"]
    assert matching("lr", all_keys) == ["optimizer.lr"]
    assert matching("loss.scale", all_keys) == ["objective.loss.scale"]
    assert matching("scale", all_keys) == ["objective.loss.scale", "objective.views.scale"]
    assert matching("objective", all_keys) == ["objective"]
    assert matching("r", all_keys) == []


@pytest.mark.parametrize(
    "value",
    [
        0,
        1.5,
        1e-05,
        True,
        None,
        "mae",
        "64",
        "1e-3",
        "true",
        "null",
        "[1]",
        "a b",
        "",
        "a,b",
        (1, 2.5),
        ("a,b", "c"),
        ("a", "b"),
        (),
    ],
)
def test_what_is_written_is_read_as_the_same(value: Any) -> None:
    assert parse(text(value)) == value
    assert type(parse(text(value))) is type(value)
