"""ssl-evaluate: the control that it makes anew, and the data that it is asked about, as a shell asks."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import libraries
import made_text
import pytest
import torch
import yaml
from backbones import each_backbone
from torch import Tensor
from undrawn import undrawn

from ssl_runner.assembly import check, construct, export
from ssl_runner.assembly.load import load_data
from ssl_runner.commands import evaluate, evaluations
from ssl_runner.commands.run import run
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.paths import conf_dir
from ssl_runner.config.request import RunRequest
from ssl_runner.config.schema import typed
from ssl_runner.config.signatures import locate
from ssl_runner.interfaces import Encoder, ImageSpec, NumericSpec, TextSpec, VectorSpec, VideoSpec
from ssl_runner.reporting.protocols import elsewhere
from ssl_runner.results.address import Address
from ssl_runner.results.result import (
    RANDOM_START,
    Evaluation,
    Name,
    Result,
    read_result,
    write_result,
)

SHALLOWER = {
    "vit_tiny": 1,
    "vit_small": 1,
    "vivit_tiny": 1,
    "bert_small": 1,
    "gpt_small": 1,
    "resnet34": 18,
    "resnet50_v2": 14,
    "revnet50": 14,
}
DATA = {
    ImageSpec: ["dataset=fake_images", "dataset.height=16", "dataset.width=16", "dataset.examples=40"],
    VideoSpec: ["dataset=moving_digits", "dataset.clips=20", "dataset.val_clips=8", "dataset.test_clips=8"],
    VectorSpec: ["dataset=correlated_gaussians"],
    NumericSpec: ["dataset=correlated_gaussians"],
}


def class_of(backbone: str) -> type[Encoder]:
    node = yaml.safe_load((conf_dir() / "backbone" / f"{backbone}.yaml").read_text())
    return locate(node["_target_"])


def data_for(backbone: str) -> list[str]:
    reads = get_type_hints(class_of(backbone).__init__)["spec"]
    return made_text.overrides() if reads is TextSpec else DATA[reads]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Encoder]:
    """Who is evaluated, in place of the evaluation."""
    seen: dict[str, Encoder] = {}

    def look(config: Any, subjects: Mapping[str, Encoder], *_: Any) -> evaluations.Findings:
        seen.update(subjects)
        return evaluations.Findings([], [])

    monkeypatch.setattr(evaluations, "evaluate", look)
    return seen


def state(encoder: Encoder) -> dict[str, Tensor]:
    return {name: value.cpu() for name, value in encoder.state_dict().items()}


@pytest.mark.parametrize("backbone", each_backbone())
@pytest.mark.sampled(5)
def test_the_random_start_is_that_of_the_run(backbone: str, tmp_path: Path, asked: dict[str, Encoder]) -> None:
    """Weights and statistics: against the objective's encoder before its first step, given the data's statistics."""
    libraries.needs(backbone)
    words = [f"backbone={backbone}", *data_for(backbone), "seed=3", "batch_size=4", "logger=none", "evaluation=[]"]
    words += libraries.words(backbone)
    if backbone in SHALLOWER:
        words.append(f"backbone.depth={SHALLOWER[backbone]}")
    plain = compose(words)
    config = typed(plain)
    source, _ = construct.source(config)
    data = load_data(config, source)
    start = construct.random_start(config, data.spec)
    if not isinstance(data.spec, TextSpec):
        construct.fit_statistics(start, data.statistics)
    trained = construct.random_start(config, data.spec)
    trained.load_state_dict(
        {n: v + 1 if v.is_floating_point() and v.ndim > 1 else v for n, v in start.state_dict().items()}
    )
    export.export_encoder(tmp_path / "encoder", trained, config.backbone, data.spec)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain))
    about = Name(dataset="d", objective="o", backbone=backbone)
    write_result(tmp_path, Result(identity="i", name=about, seed=3, status="done", command="", started="2026-01-01"))
    evaluate.again(compose([f"run={tmp_path}", "evaluation=[]"], "evaluate"))
    found, expected = state(asked[RANDOM_START]), state(start)
    assert found.keys() == expected.keys()
    differ = [name for name in expected if not torch.equal(found[name], expected[name])]
    assert differ == []


def test_the_two_commands_evaluate_the_same_random_start(tmp_path: Path, asked: dict[str, Encoder]) -> None:
    plain = compose([*SMALL, "evaluation=[]", f"output={tmp_path}"])
    folder = run(RunRequest.of(plain))
    before = state(asked.pop(RANDOM_START))
    evaluate.again(compose([f"run={folder}", "evaluation=[]"], "evaluate"))
    after = state(asked[RANDOM_START])
    assert before["image.normalize.std"].tolist() != [1.0]
    assert before.keys() == after.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


SMALL = [
    "dataset=moving_digits", "dataset.clips=40", "dataset.val_clips=16", "dataset.test_clips=16", "dataset.side=16",
    "dataset.digit_side=8", "dataset.frames=4", "dataset.label=place", "objective=next_frame", "objective.past=2",
    "objective.ahead=1", "objective.width=8", "objective.decoder_widths=[8,8]", "backbone=per_frame",
    "backbone.image.widths=[4,8]", "batch_size=8", "budget.unit=steps", "budget.amount=2", "trainer.validations=1",
    "trainer.precision=float32", "trainer.accelerator=cpu", "logger=csv", "controls=[random_start]",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _undrawn() -> Iterator[None]:
    with undrawn():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plain = compose([*SMALL, "evaluation=[geometry]", f"output={tmp_path_factory.mktemp('outputs')}"])
    return run(RunRequest.of(plain))


def told(folder: Path, act: Callable[[], object]) -> dict[str, Evaluation]:
    """What is new of the pretrained encoder once `act` is done, by evaluator, and data that are not the run's own."""
    before = {each.owner for each in read_result(folder).results}
    act()
    new = [each for each in read_result(folder).results if each.owner not in before and each.subject == "pretrained"]
    return {str(Address(each.evaluator, "", {}, elsewhere(each.on))): each for each in new}


@pytest.fixture
def command(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Evaluation]]:
    """`ssl-evaluate ... run=<folder>` in this process, under Hydra; what it found."""

    def call(*words: str) -> dict[str, Evaluation]:
        monkeypatch.setattr(sys, "argv", ["ssl-evaluate", *words, "trainer.accelerator=cpu", f"run={finished}"])
        return told(finished, evaluate.main)

    return call


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["evaluation=[finetune]", "evaluation.finetune.recipe.epochs=1"], ["finetune."]),
        (
            ["dataset=moving_digits", "dataset.label=direction", "evaluation=[knn]"],
            ["knn.{on=moving_digits,label=direction}"],
        ),
    ],
    ids=["other evaluators", "another label"],
)
@pytest.mark.sampled(1)
def test_the_examples_of_the_readme_in_a_process_of_their_own(
    finished: Path, words: list[str], expected: list[str]
) -> None:
    def shell() -> None:
        begun = [sys.executable, "-m", "ssl_runner.commands.evaluate", f"run={finished}", "trainer.accelerator=cpu"]
        done = subprocess.run([*begun, *words], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr

    assert list(told(finished, shell)) == expected


def test_what_suits_the_data_is_asked_where_nothing_is_named(command: Callable[..., dict[str, Evaluation]]) -> None:
    assert {"linear.", "knn.", "prediction."} <= command("controls=[]").keys()


def test_the_runs_own_data_are_as_the_run_had_them(command: Callable[..., dict[str, Evaluation]]) -> None:
    """Named alone, they are its own, and its objective is asked of them; with a label, all but the label is."""
    assert list(command("dataset=moving_digits", "evaluation=[pretext]")) == ["pretext."]
    assert list(command("dataset=moving_digits", "dataset.label=speed", "evaluation=[knn]")) == [
        "knn.{on=moving_digits,label=speed}"
    ]
    assert list(command("dataset=moving_digits", "dataset.label=digit", "evaluation=[knn]")) == [  # as in the file
        "knn.{on=moving_digits,label=digit}"
    ]


def test_other_data_are_as_their_file_and_the_words_say(
    command: Callable[..., dict[str, Evaluation]], tmp_path: Path
) -> None:
    """Those of a user's folder too, and those whose file leaves a setting to the user."""
    (tmp_path / "dataset").mkdir()
    text = (conf_dir() / "dataset" / "moving_digits.yaml").read_text()
    small = text.replace("clips: 3600", "clips: 30").replace("val_clips: 400", "val_clips: 9")
    small = small.replace("test_clips: 1000", "test_clips: 9").replace("frames: 16 ", "frames: 4 ")
    (tmp_path / "dataset" / "mine.yaml").write_text(small.replace("\nseed: 0", "\nseed: ???"))
    words = ["--config-dir", str(tmp_path), "dataset=mine", "dataset.seed=5", "dataset.side=24", "evaluation=[knn]"]
    assert list(command(*words)) == ["knn.{on=mine,side=24,seed=5}"]


def test_a_setting_of_the_runs_own_data_is_not_taken_away(
    command: Callable[..., dict[str, Evaluation]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command("dataset=moving_digits", "~dataset.label")
    assert capsys.readouterr().err.startswith("error: ~dataset.label: ")


def merged(*words: str, domain: str = "digits") -> Mapping[str, Any]:
    """The evaluations of a run on such data, asked for by words of a command line."""
    plain = compose(["dataset=fake_images", f"domain={domain}"])
    config, _ = evaluate.merge(plain, compose([*words, "run=folder"], "evaluate"), Path("folder"))
    return {"unfit": config.unfit, **config.evaluation}


@pytest.mark.thorough
def test_settings_of_the_default_evaluations_hold_where_the_data_have_a_set_of_their_own() -> None:
    plain = merged()
    assert plain == merged("evaluation=image")
    assert merged("evaluation.knn.k=3") == {**plain, "knn": {**plain["knn"], "k": 3}}
    assert merged("unfit=refuse") == {**plain, "unfit": "refuse"}
    assert merged("~evaluation.knn") == {name: node for name, node in plain.items() if name != "knn"}
    with pytest.raises(ConfigError, match=r"evaluation\.projection: it is not among those of .* data: choose"):
        evaluate.suited(compose(["evaluation.projection.layer=-1"], "evaluate"), "words")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluation.knn.k=0"], "evaluation.knn.k is 0; it must be at least 1"),
        (["evaluation.linear.grid.learning_rates=[]"], "evaluation.linear.grid.learning_rates"),
        (["trainer.devices=2"], "trainer.devices is 2; ssl-evaluate computes on one device: leave it out"),
        (["trainer.log_every_n_steps=0"], "trainer.log_every_n_steps is 0"),
    ],
)
def test_what_is_out_of_range_is_refused_with_the_default_evaluations(words: list[str], said: str) -> None:
    plain = compose(["dataset=fake_images"])

    def asked() -> None:
        config, _ = evaluate.merge(plain, compose([*words, "run=folder"], "evaluate"), Path("folder"))
        check.evaluations(config, construct.source(config)[1])

    with pytest.raises(ConfigError, match=re.escape(said)):
        asked()
