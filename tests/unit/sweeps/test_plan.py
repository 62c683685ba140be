"""Axes, combinations, composition: fast, and the same as Hydra's own."""

from pathlib import Path
from unittest.mock import Mock

import pytest
from hydra.types import RunMode

from ssl_runner.config.compose import with_names
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.loader import Loader
from ssl_runner.sweeps.plan import Axes, Composer, Interval, combinations, plan, read_axes, short_names


@pytest.fixture
def loader() -> Loader:
    return Loader()


def axes(loader: Loader, *arguments: str, searchpath: Path | None = None) -> Axes:
    hydra = [f"hydra.searchpath=[file://{searchpath}]"] if searchpath else []
    return read_axes(Composer(loader, "config", hydra, []), arguments)


def preset(folder: Path, text: str) -> Path:
    """A folder of the user's own with conf/sweep/mine.yaml."""
    (folder / "sweep").mkdir()
    (folder / "sweep" / "mine.yaml").write_text(f"# @package _global_\nsweep:\n  params: {text}\n")
    return folder


def test_axes_are_read_from_the_command_line(loader: Loader) -> None:
    found = axes(loader, "objective=mae,rotation", "seed=range(0,3)", "batch_size=64", "optimizer.lr=interval(0.1,0.2)")
    assert found.choices == {"objective": ["mae", "rotation"], "seed": ["0", "1", "2"]}
    assert found.intervals == {"optimizer.lr": Interval(0.1, 0.2, False)}
    assert found.fixed == ["batch_size=64"]


def test_a_glob_finds_options_and_a_list_is_no_sweep(loader: Loader) -> None:
    found = axes(loader, "backbone=glob(vit*)", "evaluation=[linear,knn]")
    assert found.choices == {"backbone": ["vit_micro", "vit_small", "vit_tiny"]}
    assert found.fixed == ["evaluation=[linear,knn]"]


def test_params_of_a_preset_are_axes_and_the_command_line_overrides_them(loader: Loader, tmp_path: Path) -> None:
    own = preset(
        tmp_path,
        "{objective.loss.temperature: [0.1, 0.5], seed: 'range(0,3)', trainer.clip_norm: [null, 1.0]}",
    )
    assert axes(loader, "sweep=mine", searchpath=own).choices == {
        "objective.loss.temperature": ["0.1", "0.5"], "seed": ["0", "1", "2"], "trainer.clip_norm": ["null", "1.0"],
    }  # fmt: skip
    overridden = axes(loader, "sweep=mine", "seed=7", "objective.loss.temperature=0.2,0.3", searchpath=own)
    assert overridden.choices["objective.loss.temperature"] == ["0.2", "0.3"]
    assert "seed" not in overridden.choices


def test_a_value_may_belong_to_an_option_that_is_only_swept(loader: Loader) -> None:
    found = axes(loader, "objective=mae,autoencoder", "objective.decoder_dim=32", "backbone=vit_micro")
    assert found.fixed == ["objective.decoder_dim=32", "backbone=vit_micro"]


def test_the_seed_turns_slowest() -> None:
    found = combinations(Axes([], {"seed": ["0", "1"], "objective.ratio": ["0.1", "0.2"]}, {}, frozenset()))
    assert [(each["seed"], each["objective.ratio"]) for each in found] == [
        ("0", "0.1"), ("0", "0.2"), ("1", "0.1"), ("1", "0.2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "overrides",
    [
        ["objective=mae", "backbone=vit_micro", "objective.ratio=0.3", "seed=4"],
        ["dataset=cifar10", "objective.views.crop_scale=[0.5,1.0]"],
        ["backbone.widths=[8,16]", "optimizer.lr=1e-3", "trainer.clip_norm=null"],
        ["experiment=simclr_mnist", "seed=2"],
        ["logger.wandb.project=a b", "+logger.wandb.extra=1"],
        ["logger.wandb.project='1'", "objective.loss.temperature=.5"],
        ["logger.wandb.name=${seed}", "seed=3"],
        ["evaluation=[knn]", "evaluation.knn.k=3"],
    ],
)
@pytest.mark.sampled(3)
def test_composition_is_hydras(loader: Loader, overrides: list[str]) -> None:
    composer = Composer(loader, "config", [], overrides[:1])
    composed = composer(overrides[1:])
    again = composer([*overrides[1:]])
    cfg = loader.load_configuration("config", overrides, RunMode.RUN)
    expected = with_names(cfg, cfg.hydra.runtime.choices)
    assert composed == again == expected
    assert composed is not again


@pytest.mark.thorough
def test_fitting_leaves_out_what_does_not_go_together(loader: Loader, tmp_path: Path) -> None:
    own = preset(tmp_path, "{objective: fitting}")
    found = axes(loader, "sweep=mine", "dataset=fake_images", searchpath=own)
    hydra = [f"hydra.searchpath=[file://{own}]"]
    planned = plan(Composer(loader, "config", hydra, found.fixed), found, combinations(found))
    names = {job.config.names["objective"] for job in planned.jobs}
    assert {"simclr", "rotation"} <= names
    assert "mae" not in names
    assert any(why.startswith("objective=mae needs a patch encoder") for why in planned.left_out)


def test_each_run_is_planned_once_and_named_by_what_differs(loader: Loader) -> None:
    found = axes(loader, "objective.loss.temperature=0.5,0.50,0.1", "seed=0,1", "dataset=fake_images")
    planned = plan(Composer(loader, "config", [], found.fixed), found, combinations(found))
    assert [job.label for job in planned.jobs] == [
        "temperature=0.5 s0", "temperature=0.1 s0", "temperature=0.5 s1", "temperature=0.1 s1",
    ]  # fmt: skip
    assert len({job.folder for job in planned.jobs}) == 4


def test_what_is_wrong_is_said_once_with_its_run(loader: Loader) -> None:
    found = axes(loader, "objective.loss.temperature=0.1,hot", "seed=0,1", "dataset=fake_images")
    with pytest.raises(ConfigError) as refused:
        plan(Composer(loader, "config", [], found.fixed), found, combinations(found))
    (problem,) = refused.value.problems
    assert problem.startswith("temperature=hot s0: objective.loss.temperature: 'hot' is a str")


def test_many_runs_are_composed_once_for_each_option(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    composer = Composer(loader, "config", [], ["dataset=fake_images"])
    compose = Mock(wraps=composer._compose)
    monkeypatch.setattr(composer, "_compose", compose)
    chosen = [{"objective": name, "seed": str(seed)} for name in ("simclr", "rotation") for seed in range(15)]
    found = Axes(["dataset=fake_images"], {"objective": ["simclr", "rotation"], "seed": ["0", "1"]}, {}, frozenset())
    assert len({job.identity for job in plan(composer, found, chosen).jobs}) == 30
    assert compose.call_count == 2


def test_names_are_as_short_as_tells_them_apart() -> None:
    assert short_names(["a.loss.temperature", "b.knn.temperature", "seed"]) == {
        "a.loss.temperature": "loss.temperature", "b.knn.temperature": "knn.temperature", "seed": "seed",
    }  # fmt: skip
