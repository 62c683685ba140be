"""The main job, end to end, on made images: what a run leaves, and that it can be trusted."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import made_text
import pytest
import torch
import yaml
from composed import composed
from safetensors.torch import load_file
from undrawn import undrawn

from ssl_runner import load_encoder
from ssl_runner.__main__ import main
from ssl_runner.commands import evaluate, preview
from ssl_runner.commands.run import run
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.identity import run_folder
from ssl_runner.config.request import RunRequest
from ssl_runner.config.schema import typed
from ssl_runner.reporting.protocols import elsewhere
from ssl_runner.results.metrics import Metric
from ssl_runner.results.result import Result, read_result
from ssl_runner.runtime.locks import BusyError, locked

SMALL = [
    "dataset=fake_images", "dataset.examples=200", "dataset.test_examples=80", "dataset.height=16", "dataset.width=16",
    "backbone.widths=[8,16]", "batch_size=32", "logger=csv", "budget.unit=steps", "budget.amount=12",
    "trainer.log_every_n_steps=4", "trainer.validations=2", "evaluation=[linear,knn]",
    "trainer.precision=float32", "dataset.noise=0.6", "trainer.accelerator=cpu",
]  # fmt: skip


def do(output: Path, *overrides: str) -> Path:
    return run(RunRequest.of(composed([*SMALL, *overrides], output=str(output)), list(overrides)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, alone in its output; not to be changed."""
    return do(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def finished(whole: Path, tmp_path: Path) -> Path:
    """The same in `tmp_path`, which is its output."""
    shutil.copytree(whole.parents[1], tmp_path, dirs_exist_ok=True)
    return tmp_path / whole.relative_to(whole.parents[1])


@pytest.fixture(autouse=True)
def _undrawn() -> Iterator[None]:
    with undrawn():
        yield


def figures(result: Result) -> dict[tuple[Any, ...], tuple[Metric, ...]]:
    """By evaluator and subject; of data that are not the run's own, by what is said of them too."""
    return {(each.evaluator, each.subject, *elsewhere(each.on).items()): each.metrics for each in result.results}


def test_a_run_leaves_all_of_it(whole: Path) -> None:
    folder = whole
    result = read_result(folder)
    assert result.status == "done"
    assert set(figures(result)) == {
        (evaluator, subject) for evaluator in ("linear", "knn") for subject in ("pretrained", "random_start", "pixels")
    }
    assert result.pretraining is not None
    assert result.pretraining.steps == 12
    assert result.pretraining.examples == 12 * 32
    assert result.data["pretrain"] == 180
    assert result.cost.examples_per_second
    assert result.cost.flops == 12 * result.cost.flops_per_step > 0
    assert yaml.safe_load((folder / "config.yaml").read_text())["batch_size"] == 32
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows if row["train/loss"]] == [4, 8, 12]
    assert [int(row["step"]) for row in rows if row["val/loss"]] == [6, 12]
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    html = (folder / "report.html").read_text()
    assert "simclr" in html
    assert not re.search(r'(src|href)="https?:', html)
    assert load_encoder(folder)(torch.rand(2, 3, 16, 16)).pooled.shape == (2, 16)
    assert not [path for path in whole.parents[1].rglob("*") if path.suffix in (".part", ".tmp")]


def test_the_same_seed_gives_the_same_figures_and_another_gives_others(tmp_path: Path, whole: Path) -> None:
    first, second, other = whole, do(tmp_path / "b", "seed=0"), do(tmp_path / "c", "seed=1")
    assert figures(read_result(first)) == figures(read_result(second))
    assert (first / "encoder" / "encoder.safetensors").read_bytes() == (
        second / "encoder" / "encoder.safetensors"
    ).read_bytes()
    assert first.name == second.name != other.name
    assert figures(read_result(first)) != figures(read_result(other))


def test_a_finished_run_is_shown_and_not_repeated(
    tmp_path: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = finished
    written = (folder / "result.json").stat().st_mtime_ns
    capsys.readouterr()
    do(tmp_path)
    assert "finished before" in capsys.readouterr().out
    assert (folder / "result.json").stat().st_mtime_ns == written
    do(tmp_path, "resume=never")
    assert (folder / "result.json").stat().st_mtime_ns > written


def test_one_process_at_a_time_works_in_a_run(tmp_path: Path) -> None:
    plain = compose([*SMALL, "evaluation=[]", f"output={tmp_path}"])
    with locked(run_folder(typed(plain), plain)), pytest.raises(BusyError, match=f"process {os.getpid()} is doing"):
        do(tmp_path, "evaluation=[]")
    assert read_result(do(tmp_path, "evaluation=[]")).status == "done"


def test_a_damaged_checkpoint_is_refused(tmp_path: Path, finished: Path) -> None:
    folder = finished
    (folder / "result.json").unlink()
    checkpoint = folder / "checkpoints" / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="is damaged"):
        do(tmp_path)


def test_check_writes_nothing(tmp_path: Path) -> None:
    do(tmp_path / "out", "check=true")
    assert not (tmp_path / "out").exists()


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the loss is nan"):
        do(tmp_path, "optimizer.lr=1e30", "schedule=constant", "objective=autoencoder")
    assert not list(tmp_path.rglob("result.json"))


def test_watching_changes_no_weight_and_is_written(tmp_path: Path) -> None:
    watched, alone = (
        do(tmp_path / every, f"trainer.watch_every={every}", "objective=vae", "evaluation=[]") for every in ("3", "0")
    )
    first, second = (f / "encoder" / "encoder.safetensors" for f in (watched, alone))
    assert first.read_bytes() == second.read_bytes()
    assert watched.name == alone.name
    rows = list(csv.DictReader((watched / "metrics.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows if row["watch/spread"]] == [3, 6, 9, 12]
    assert {name for name in rows[0] if name.startswith("watch/")} == {
        "watch/spread", "watch/effective_rank", "watch/uniformity", "watch/kl",
    }  # fmt: skip
    assert "watch" not in (alone / "metrics.csv").read_text()


def test_a_collapse_is_said_once_and_stops_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under a floor that no features reach."""
    monkeypatch.setattr("ssl_runner.training.collapse.FLOORS", {"spread": 100.0})
    do(tmp_path / "warned", "trainer.watch_every=2", "evaluation=[]")
    said = capsys.readouterr().out
    assert said.count("warning: collapse at step 4: spread is ") == 1
    assert "lower objective.loss.temperature" in said
    with pytest.raises(ConfigError, match=r"collapse at step 4: spread is .* lower objective\.loss\.temperature"):
        do(tmp_path / "stopped", "trainer.watch_every=2", "evaluation=[]", "trainer.early_stop=collapse")
    assert not list((tmp_path / "stopped").rglob("result.json"))


def test_the_shuffled_control_is_a_run_of_its_own(tmp_path: Path) -> None:
    """Trained for so long that true labels are learned, and shuffled ones are not."""
    common = ["objective=supervised", "budget.amount=40", "dataset.noise=0.2", "evaluation=[]"]
    true, shuffled = (do(tmp_path, *common, f"control={control}") for control in ("none", "shuffled_target"))
    assert shuffled.parent.name == f"{true.parent.name}-shuffled"
    assert shuffled.name != true.name
    right, chance = (
        float([row["train/accuracy"] for row in csv.DictReader(file) if row["train/accuracy"]][-1])
        for file in ((folder / "metrics.csv").read_text().splitlines() for folder in (true, shuffled))
    )
    assert right > 0.75
    assert chance < 0.5


@pytest.mark.parametrize(("unit", "amount", "steps"), [("epochs", 2, 10), ("steps", 7, 7), ("samples", 100, 4)])
def test_budgets(tmp_path: Path, unit: str, amount: int, steps: int) -> None:
    folder = do(tmp_path, f"budget.unit={unit}", f"budget.amount={amount}", "evaluation=[]")
    assert read_result(folder).pretraining.steps == steps


def test_a_budget_in_minutes_ends_in_time(tmp_path: Path) -> None:
    folder = do(tmp_path, "budget.unit=minutes", "budget.amount=0.02", "evaluation=[]")
    assert 1.2 <= read_result(folder).cost.seconds < 3


def test_accumulation_makes_one_step_of_several_batches(tmp_path: Path) -> None:
    folder = do(tmp_path, "trainer.accumulate=2", "evaluation=[]")
    assert read_result(folder).pretraining.examples == 4 * 5 * 32  # 5 batches an epoch: 3 steps, the last of one


def test_gradients_are_clipped_in_bfloat16_too(tmp_path: Path) -> None:
    """At a norm of nearly nothing the weights hardly move, whichever precision; SGD, whose step is no quotient."""
    moved = {}
    for norm in (1e-9, 10):
        words = [
            "objective=rotation", "optimizer=sgd", "optimizer.weight_decay=0", "trainer.precision=bfloat16",
            f"trainer.clip_norm={norm}", "evaluation=[]",
        ]  # fmt: skip
        folder = do(tmp_path, *words)
        trained = load_file(folder / "encoder" / "encoder.safetensors")
        start = load_file(do(tmp_path, *words, "optimizer.lr=1e-12") / "encoder" / "encoder.safetensors")
        moved[norm] = max(float((trained[n] - start[n]).abs().max()) for n in trained if n.endswith("weight"))
    assert moved[1e-9] < 1e-6 < 1e-4 < moved[10]


def test_a_finished_run_is_evaluated_again_and_elsewhere(tmp_path: Path, finished: Path) -> None:
    folder = finished
    evaluate.again(compose([f"run={folder}", "evaluation=[geometry]"], "evaluate"))
    found = figures(read_result(folder))
    assert ("geometry", "pretrained") in found
    assert ("linear", "pretrained") in found
    other = [
        "dataset=fake_images",
        "dataset.classes=3",
        "dataset.height=16",
        "dataset.width=16",
        "dataset.examples=200",
    ]
    evaluate.again(compose([f"run={folder}", "evaluation=[knn]", *other], "evaluate"))
    theirs = ("on", "fake_images"), ("test_examples", 200), ("classes", 3), ("noise", 0.1)
    assert ("knn", "random_start", *theirs) in figures(read_result(folder))
    evaluate.again(compose([f"run={folder}", "evaluation=[knn]", *other, "dataset.seed=5"], "evaluate"))
    asked = {("knn", "random_start", *theirs), ("knn", "random_start", *theirs, ("seed", 5))}
    assert asked <= figures(read_result(folder)).keys()
    with pytest.raises(ConfigError, match="does not suit this encoder"):
        evaluate.again(compose([f"run={folder}", "evaluation=[knn]", *other, "dataset.channels=1"], "evaluate"))
    with pytest.raises(ConfigError, match=r"has no config\.yaml"):
        evaluate.again(compose([f"run={tmp_path / 'nowhere'}"], "evaluate"))


def test_texts_are_read_no_further_than_pretraining_has_shown_positions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A language model reads all but the last of 24 tokens; so do its controls, here and in `ssl-evaluate`."""
    text = made_text.overrides()
    asked = ["objective=language_model", "backbone=gpt_tiny", "backbone.depth=1", "backbone.dim=16", "backbone.heads=2"]
    rest = [each for each in SMALL if not each.startswith(("dataset", "backbone", "evaluation"))]
    plain = compose([*rest, *text, *asked, "backbone.positions=100", "evaluation=[geometry]", f"output={tmp_path}"])
    folder = run(RunRequest.of(plain))
    (tmp_path / "sts-dev.csv").write_text("x\tx\tx\tx\t1\tthe moon\ta song\nx\tx\tx\tx\t0\ta mouse\the moon\n")
    long = " ".join(["the moon"] * 20)
    (tmp_path / "sts-test.csv").write_text(f"x\tx\tx\tx\t1\t{long}\ta song\nx\tx\tx\tx\t0\ta mouse\the moon\n")
    sts = ["evaluation=[sts]", f"evaluation.sts.path={tmp_path}"]
    evaluate.again(compose([f"run={folder}", *sts], "evaluate"))
    assert "evaluation.sts.length is 128: 23 tokens of a text are read" in capsys.readouterr().out.replace("\n", " ")
    found = [each.protocol for each in read_result(folder).results if each.evaluator == "sts"]
    assert [each.terms["length"] for each in found] == [128] * 3
    assert [(each.measured["read"], each.measured["cut"]) for each in found] == [(23, 0.25)] * 3
    with pytest.raises(
        ConfigError, match=r"dataset\.length is 25, and this encoder was pretrained on no positions beyond 24"
    ):
        evaluate.again(compose([f"run={folder}", "evaluation=[geometry]", *text, "dataset.length=25"], "evaluate"))


def test_evaluating_again_gives_the_same_figures(finished: Path) -> None:
    folder = finished
    before = figures(read_result(folder))
    evaluate.again(
        compose([f"run={folder}", "evaluation=[linear,knn]"], "evaluate") | {"trainer": compose(SMALL)["trainer"]}
    )
    assert figures(read_result(folder)) == before


def test_reconstruction_is_inspected(tmp_path: Path) -> None:
    folder = do(tmp_path, "objective=autoencoder", "evaluation=[reconstruction]", "objective.decoder_widths=[16,8]")
    assert figures(read_result(folder)).keys() == {("reconstruction", "pretrained")}


def test_unlabeled_data_are_evaluated_by_what_needs_no_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = do(tmp_path, "dataset.classes=0", "evaluation=image")
    assert {evaluator for evaluator, _ in figures(read_result(folder))} == {"geometry", "projection"}
    assert "skipped: linear, " in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["objective=simclr2"], "objective=simclr2: no such option; did you mean simclr?"),
        (["objectiv=simclr"], "objectiv: no such key; did you mean objective?"),
        (["lr=0.1"], "lr: no such key; did you mean optimizer.lr?"),
        (["image_size=32", "dataset=image_folder"], "image_size: no such key; did you mean dataset.size?"),
        (["seed=0,1"], "seed=0,1 are several values: add -m to run each of them"),
        (["objective.rati=1", "objective=mae", "backbone=vit_micro"], "did you mean objective.ratio?"),
        (["+backbone.dept=3", "backbone=vit_micro"], "backbone.dept: no such parameter; did you mean depth?"),
        (["objective=mae", "objective/loss=info_nce"], "objective/loss"),
        (["objective.loss.temperature=0"], "objective.loss.temperature is 0"),
        (["dataset=arrays"], "dataset.path: it must be set"),
        (["seed=[1"], "write key=value"),
    ],
)
def test_a_refusal_is_one_line_without_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ssl-run", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    plainly_refused(capfd.readouterr().err, said, tmp_path)


def test_a_refusal_ends_the_command_with_exit_code_2(tmp_path: Path) -> None:
    """As a process of its own."""
    words = [sys.executable, "-m", "ssl_runner", "objective=simclr2"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    plainly_refused(done.stderr, "objective=simclr2: no such option; did you mean simclr?", tmp_path)


def plainly_refused(error: str, said: str, place: Path) -> None:
    assert said in error
    assert "Traceback" not in error
    assert all(line.startswith("error: ") for line in error.splitlines())
    assert list(place.iterdir()) == []


def test_help_and_hydras_errors_import_no_torch(tmp_path: Path) -> None:
    for words in (["--help"], ["objective.rati=1"], ["objective=nothing"]):
        code = f"import sys; sys.argv[1:] = {words!r}\nfrom ssl_runner.__main__ import main\n"
        code += "try:\n    main()\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "False", words


COMPILER = "torch._dynamo"  # a second, which torch needs for an optimizer
TRAINING = ("pytorch_lightning", "lightning_fabric", "torchmetrics", "torchvision", "wandb", "matplotlib", "jinja2")


REFUSED = [
    ["objective=mae", "backbone=resnet18"],  # do not go together
    ["objective.loss.temperature=0"],  # a constructor
    ["trainer.devices=3"],
]
CHECKED = [
    ["check=true", "dataset=cifar10", "objective=mae", "backbone=vit_micro"],
    ["check=true", "dataset=wiki_sample", "objective=bert", "backbone=bert_tiny", "evaluation=text"],
    ["check=true", "dataset=moving_digits", "objective=arrow_of_time", "backbone=vivit_micro"],
]


@pytest.mark.parametrize(
    ("lines", "asked", "without"),
    [(REFUSED, 2, (COMPILER, *TRAINING)), (CHECKED, 0, TRAINING)],
    ids=["refused", "checked"],
)
@pytest.mark.sampled(1)
def test_no_refusal_and_no_check_imports_what_trains(
    lines: list[list[str]], asked: int, without: tuple[str, ...], tmp_path: Path
) -> None:
    """One line after the other in a process: what any of them imports is seen after it."""
    code = "import sys\nfrom ssl_runner.__main__ import main\n"
    for words in lines:
        code += f"sys.argv[1:] = {words!r}\ncode = 0\ntry:\n    main()\nexcept SystemExit as end: code = end.code\n"
        code += f"print('found', code, sorted(set({without!r}) & set(sys.modules)))\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    found = [line for line in done.stdout.splitlines() if line.startswith("found")]
    assert found == [f"found {asked} []"] * len(lines), done.stderr


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("evaluate", ["run={run}", "evaluation.knn.k=0"]),
        ("evaluate", ["run={run}", "dataset=arrays", "dataset.path=nowhere.npz"]),
        ("preview", ["objective.loss.temperature=0"]),
    ],
)
@pytest.mark.sampled(1)
def test_refusals_of_other_commands_import_nothing_that_computes_or_draws(
    command: str, words: list[str], whole: Path, tmp_path: Path
) -> None:
    words = [word.format(run=whole) for word in words]
    code = f"import sys; sys.argv[1:] = {words!r}\nfrom ssl_runner.commands.{command} import main\ncode = 0\n"
    code += "try:\n    main()\nexcept SystemExit as end: code = end.code\n"
    code += f"print(code, sorted(set({(COMPILER, *TRAINING)!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "2 []", done.stderr


def test_the_preview_is_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ssl-preview", "objective=rotation", *SMALL[:5]])
    preview.main()
    said = capsys.readouterr().out
    answers, picture = said.splitlines()[:2]
    assert answers.startswith("from left to right: ")
    assert answers.endswith(" degrees")
    assert (tmp_path / picture.split(":")[0]).read_bytes().startswith(b"\x89PNG")


def test_result_json_is_plain_json(whole: Path) -> None:
    plain = json.loads((whole / "result.json").read_text())
    assert plain["name"] == {"dataset": "fake_images", "objective": "simclr", "backbone": "convnet"}
    assert str(whole.parents[1]) not in json.dumps({key: plain[key] for key in ("results", "versions", "cost", "data")})
