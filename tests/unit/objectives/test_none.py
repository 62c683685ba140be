"""`objective=none`: an encoder from elsewhere, by the protocol of all others."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_runs import made_config, made_run

from ssl_runner import load_encoder
from ssl_runner.assembly import check
from ssl_runner.commands import evaluate
from ssl_runner.commands.run import run
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.request import RunRequest
from ssl_runner.config.schema import typed
from ssl_runner.reporting.comparison import beside, compare
from ssl_runner.results.metrics import Precision
from ssl_runner.results.result import INITIAL, PRETRAINED, RANDOM_START, UNTRAINED, Run, read_result

SMALL = [
    "dataset=fake_images", "dataset.examples=40", "dataset.test_examples=20", "dataset.height=8", "dataset.width=8",
    "backbone.widths=[4,8]", "batch_size=8", "budget.unit=steps", "evaluation=[knn]", "logger=csv",
    "trainer.accelerator=cpu", "trainer.precision=bfloat16", "trainer.validations=0", "trainer.watch_every=0",
]  # fmt: skip


def done(folder: Path, *words: str) -> Run:
    overrides = [*SMALL, f"output={folder}", *words]
    place = run(RunRequest.of(compose(overrides), overrides))
    return Run(place.name, place, read_result(place))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return done(tmp_path_factory.mktemp("trained"), "objective=rotation", "budget.amount=2")


def test_the_encoder_is_evaluated_as_it_came(tmp_path: Path, trained: Run) -> None:
    found = done(tmp_path, "objective=none", f"start_from={trained.folder}")
    before, after = (load_encoder(each.folder).state_dict() for each in (trained, found))
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())  # statistics too
    one, other = (
        {each.subject: [metric.value for metric in each.metrics] for each in of.result.results}
        for of in (trained, found)
    )
    assert one == other
    assert found.result.pretraining is not None
    assert (found.result.pretraining.steps, found.result.pretraining.examples) == (0, 0)
    assert found.result.cost.precision == UNTRAINED
    assert not (found.folder / "checkpoints").exists()
    assert (found.folder / "report.html").is_file()

    comparison = compare([trained, found])
    assert comparison.axes[0].key == "objective"
    shown = [column for column in comparison.columns if column.key == "knn.accuracy"]
    assert len(shown) == 1
    assert all((setting.label, "knn.accuracy") in comparison.cells for setting in comparison.settings)


def test_what_concerns_pretraining_is_no_part_of_the_identity() -> None:
    def named(*words: str) -> str:
        return RunRequest.of(compose([*SMALL, *words])).identity

    others = (["budget.amount=7"], ["optimizer=sgd"], ["batch_size=4"], ["trainer.precision=float32"])
    assert {named("objective=none", *words) for words in others} == {named("objective=none")}
    assert named("objective=none", "seed=1") != named("objective=none")
    assert len({named("objective=rotation", *words) for words in others}) == len(others)


def test_it_stands_in_the_column_of_each_precision() -> None:
    def of(objective: str, precision: str) -> Run:
        made = made_run(objective, made_config(objective=objective))
        results = [
            replace(each, precision=Precision(pretraining=precision, evaluation="float32"))
            for each in made.result.results
        ]
        return made._replace(result=replace(made.result, results=tuple(results)))

    def precisions(runs: list[Run]) -> list[list[str]]:
        found = [
            [each.precision.pretraining for each in run.result.results if each.subject == PRETRAINED]
            for run in beside(runs)
        ]
        return [list(dict.fromkeys(each)) for each in found]

    none, half, full = of("mae", UNTRAINED), of("mae", "bfloat16"), of("simclr", "float32")
    assert precisions([none, half]) == [["bfloat16"], ["bfloat16"]]
    assert precisions([none, half, full]) == [["bfloat16", "float32"], ["bfloat16"], ["float32"]]
    assert precisions([none]) == [[UNTRAINED]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["control=shuffled_target"], "control is shuffled_target, and objective=none trains nothing"),
        (["evaluation=[pretext]"], "evaluation=pretext: objective=none does not support it"),
    ],
)
def test_what_needs_an_objective_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check.validate(typed(compose([*SMALL, "objective=none", *words])))


def test_the_short_form_is_a_run_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[RunRequest] = []

    def done(request: RunRequest) -> Path:
        asked.append(request)
        return tmp_path

    monkeypatch.setattr("ssl_runner.commands.run.run", done)
    monkeypatch.setattr("ssl_runner.commands.run.about_run", lambda folder: {"folder": str(folder)})
    monkeypatch.setattr(
        "sys.argv", ["ssl-evaluate", "backbone=convnet", *SMALL, f"output={tmp_path}", "evaluation=[linear]"]
    )
    evaluate.main()
    (request,) = asked
    assert request.config.names["objective"] == "none"
    assert list(request.config.evaluation) == ["linear"]


def test_the_weights_that_a_run_began_with_are_a_control(tmp_path: Path, trained: Run) -> None:
    """Of one that has some, and trains them."""
    words = ("controls=[random_start,initial]", "budget.amount=1")
    none = done(tmp_path, "objective=none", f"start_from={trained.folder}", *words)
    further = done(tmp_path, "objective=rotation", f"start_from={trained.folder}", *words)
    anew = done(tmp_path, "objective=rotation", *words)
    found = [
        {each.subject: [metric.value for metric in each.metrics] for each in run.result.results}
        for run in (trained, none, further, anew)
    ]
    assert [set(each) for each in found[1:]] == [
        {PRETRAINED, RANDOM_START},
        {PRETRAINED, RANDOM_START, INITIAL},
        {PRETRAINED, RANDOM_START},
    ]
    assert found[2][INITIAL] == found[0][PRETRAINED]
