"""The model card of an exported encoder."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from made_runs import made_config, made_metric, made_run

from ssl_runner.reporting.card import Exported, card, figures, seeds_of, without_folders
from ssl_runner.results.metrics import Better, Unit
from ssl_runner.results.result import Run, write_result

ABOUT = Exported(
    format="onnx",
    files=["model.onnx"],
    kind="images",
    input="images",
    shape=("batch", 3, 32, 32),
    dtype="float32",
    longest=None,
    dim=64,
    classes=10,
    special={},
    difference=3e-7,
)


def run_of(metrics: dict[str, Any], **config: Any) -> Run:
    return made_run("s0", made_config(**config), metrics)


def found(value: float, control: float) -> dict[str, Any]:
    majority = made_metric("majority", 0.12, unit=Unit.SHARE, better=Better.NEITHER, headline=False)
    return {
        "linear": {
            "pretrained": [made_metric(value=value), majority, made_metric("macro_f1", 0.5, headline=False)],
            "random_start": [made_metric(value=control)],
        }
    }


@pytest.fixture
def runs() -> list[Run]:
    return [run_of(found(value, 0.5), seed=seed) for seed, value in enumerate((0.8, 0.82, 0.84))]


def header_of(page: str) -> dict[str, Any]:
    _, header, _ = page.split("---\n", 2)
    return yaml.safe_load(header)


def test_the_figures_have_intervals_controls_and_baselines(runs: list[Run]) -> None:
    """Student's t for three values: 4.303 * 0.02 / sqrt(3) is 0.0497."""
    assert figures(runs).splitlines() == [
        "|  | pretrained | random start | difference to random start |",
        "| --- | ---: | ---: | ---: |",
        "| linear accuracy | 82.0 ± 5.0 % | 50.0 ± 0.0 % | 32.0 ± 5.0 points |",
        "| linear majority | 12.0 ± 0.0 % | - | - |",
    ]
    assert "| linear accuracy | 80.0 % | 50.0 % | 30.0 points |" in figures(runs[:1])


def test_a_number_that_does_not_beat_its_control_is_marked() -> None:
    assert "linear accuracy (not above random start) | 40.0 %" in figures([run_of(found(0.4, 0.5))])


def test_the_header_is_of_this_network_alone(runs: list[Run]) -> None:
    page = card(runs[0], runs, ABOUT)
    header = header_of(page)
    assert header["pipeline_tag"] == "image-feature-extraction"
    assert header["tags"] == ["self-supervised-learning", "mae", "vit", "mnist", "onnx"]
    assert "license" not in header
    (model,) = header["model-index"]
    (results,) = model["results"]
    assert results["dataset"] == {"type": "mnist", "name": "mnist"}
    assert results["metrics"] == [{"type": "accuracy", "name": "linear accuracy", "value": 0.8}]
    assert "The mean over 3 seeds (0, 1, 2; this network is seed 0)" in page
    assert "One seed (0): the variation over seeds is unknown." in card(runs[0], runs[:1], ABOUT)
    assert "right in 10.0 %" in page


def test_the_hub_reads_it(runs: list[Run], tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    file = tmp_path / "README.md"
    file.write_text(card(runs[0], runs, ABOUT), encoding="utf-8")
    read = hub.ModelCard.load(file)
    (result,) = read.data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("accuracy", 0.8, "mnist")
    assert read.data.tags[-1] == "onnx"


def test_it_says_what_the_weights_began_with() -> None:
    own = run_of(found(0.8, 0.5))
    assert "Pretraining began with random weights." in card(own, [own], ABOUT)
    started = run_of(found(0.8, 0.5), start_from="/home/me/outputs/other")
    assert "Pretraining began with the weights of `.../other` (`start_from`)" in card(started, [started], ABOUT)
    theirs = run_of(
        found(0.8, 0.5), backbone={"_target_": "Timm", "source": "timm", "license": "Apache-2.0", "inner": None}
    )
    page = card(theirs, [theirs], ABOUT)
    assert header_of(page)["license"] == "apache-2.0"
    assert "* license of the weights that it began with: Apache-2.0" in page
    assert "* source of the weights that it began with: timm" in page
    assert "random weights" not in page
    unknown = run_of(found(0.8, 0.5), backbone={"_target_": "Timm", "source": "a friend", "license": "unknown"})
    assert "license" not in header_of(card(unknown, [unknown], ABOUT))


def test_a_supervised_network_is_not_called_self_supervised() -> None:
    own = run_of(found(0.8, 0.5), names={"objective": "supervised"})
    assert header_of(card(own, [own], ABOUT))["tags"][0] == "supervised"


def test_a_run_without_evaluations_has_a_card() -> None:
    own = run_of({})
    page = card(own, [own], ABOUT)
    assert "No evaluation was run." in page
    assert "model-index" not in header_of(page)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("output=/home/me/runs", "output=.../runs"),
        ("'dataset.path=/data/my flowers'", "'dataset.path=.../my flowers'"),
        ("dataset.path=~/flowers,seed=1", "dataset.path=.../flowers,seed=1"),
        ("path=[/a/b,/c/d]", "path=[.../b,.../d]"),
        ("source: https://arxiv.org/abs/1", "source: https://arxiv.org/abs/1"),
        ("objective/views=natural", "objective/views=natural"),
        ("path: C:\\me\\runs", "path: .../runs"),
        ("a ratio of 1/2", "a ratio of 1/2"),
    ],
)
def test_folders_of_this_machine_are_left_out(text: str, expected: str) -> None:
    assert without_folders(text) == expected


def test_seeds_of_the_same_setting_are_found_beside_it(tmp_path: Path) -> None:
    """Not those of another setting, nor what did not finish; a later run of the same seed does not take its place."""
    made = [run_of(found(0.8, 0.5), seed=seed) for seed in (0, 1)]
    made += [run_of(found(0.8, 0.5), seed=2, batch_size=64)]
    for place, each in enumerate(made):
        write_result(tmp_path / f"s{place}", each.result)
    own = made[0]._replace(folder=tmp_path / "s0")
    assert [run.result.seed for run in seeds_of(own)] == [0, 1]
    (tmp_path / "s1" / "result.json").write_text("{")
    assert seeds_of(own) == [own]
