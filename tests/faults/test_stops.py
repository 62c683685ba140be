"""A run that was stopped, in whatever way and wherever, ends as one that was not."""

import signal
from pathlib import Path

import pytest
import torch
from composed import composed
from small_runs import SMALL, do, folder_of, in_batch, rows, weights
from undrawn import undrawn

from ssl_runner.commands.run import run
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.request import RunRequest
from ssl_runner.results.result import read_result
from ssl_runner.runtime import checkpoint_files
from ssl_runner.runtime.signals import Stopped
from ssl_runner.training.pretrainer import Pretrainer

TWO = ["trainer.accumulate=2", "budget.amount=4"]  # steps of two batches; the last of an epoch is of one


def same(ours: Path, theirs: Path) -> None:
    assert weights(ours) == weights(theirs)
    assert rows(ours) == rows(theirs)
    assert read_result(ours).pretraining == read_result(theirs).pretraining
    assert not [path for path in ours.rglob("*") if path.suffix in (".part", ".tmp")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return do(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def accumulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return do(tmp_path_factory.mktemp("accumulated"), *TWO)


@pytest.mark.parametrize("more", [[], TWO], ids=["whole", "accumulated"])
def test_stopped_after_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, more: list[str]
) -> None:
    """Each session makes one step and is stopped in it: at an epoch's first and last batch, where validation falls, in
    the middle of a step of two batches."""
    sessions = 0
    while not list(tmp_path.rglob("result.json")):
        sessions += 1
        with in_batch(1, lambda _: signal.raise_signal(signal.SIGTERM)), pytest.raises(Stopped) as stop:
            do(tmp_path, *more)
        assert stop.value.step == sessions
        if sessions == (4 if more else 8):
            break
    same(do(tmp_path, *more), request.getfixturevalue("accumulated" if more else "whole"))


@pytest.mark.parametrize("more", [[], TWO], ids=["whole", "accumulated"])
def test_an_exception_saves_the_state_before_the_failing_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, more: list[str]
) -> None:
    """In the second batch of a step of two, after batch normalization has moved in both."""

    def fail(module: Pretrainer) -> None:
        module.objective.encoder(torch.rand(4, 3, 8, 8))  # moves the running statistics
        raise ArithmeticError("made to fail")

    with in_batch(5, fail), pytest.raises(ArithmeticError, match="made to fail") as failure:
        do(tmp_path, *more)
    step = 2 if more else 4  # the third step is of batches 4 and 5
    assert failure.value.__notes__ == [f"step {step} is saved; the same command resumes from there"]
    assert checkpoint_files.find(folder_of(tmp_path, *more)).newest.step == step
    same(do(tmp_path, *more), request.getfixturevalue("accumulated" if more else "whole"))


def test_an_exception_while_weights_move_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    def fail(*given: object) -> None:
        raise ArithmeticError("made to fail")

    with (
        in_batch(5, lambda module: monkeypatch.setattr(module.objective, "after_step", fail)),
        pytest.raises(ArithmeticError) as failure,
    ):
        do(tmp_path, "trainer.checkpoint_steps=3")
    assert failure.value.__notes__ == ["step 3 is saved; the same command resumes from there"]
    assert checkpoint_files.find(folder_of(tmp_path)).newest.step == 3
    same(do(tmp_path), whole)


def test_checkpoints_are_written_every_so_many_steps_and_the_last_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    with in_batch(8, lambda _: 1 / 0), pytest.raises(ZeroDivisionError):
        do(tmp_path, "trainer.checkpoint_steps=2", "trainer.checkpoints=3")
    folder = folder_of(tmp_path)
    found = {path.name: checkpoint_files.verify(path) for path in checkpoint_files.files(folder)}
    assert [(name, reached.step) for name, reached in found.items()] == [
        ("last.ckpt", 7), ("last-1.ckpt", 6), ("last-2.ckpt", 4),
    ]  # fmt: skip
    same(do(tmp_path), whole)
    assert len(checkpoint_files.files(folder)) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_newest_checkpoint_is_said_and_the_one_before_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], whole: Path, damage: str
) -> None:
    with in_batch(5, lambda _: signal.raise_signal(signal.SIGTERM)), pytest.raises(Stopped):
        do(tmp_path, "trainer.checkpoint_steps=2")
    newest = checkpoint_files.files(folder_of(tmp_path))[0]
    content = bytearray(newest.read_bytes())
    weight = torch.load(newest, weights_only=True)["state_dict"]["objective.head.weight"]
    content[content.index(weight.numpy().tobytes()) + 2] ^= 1
    newest.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    capsys.readouterr()
    again = do(tmp_path)
    said = " ".join(capsys.readouterr().out.split())
    why = "its checksum does not match" if damage == "flipped" else "its end is missing or damaged"
    assert "warning: last.ckpt is damaged (" in said
    assert why in said
    assert "resuming from step 4 (last-1.ckpt)" in said
    same(again, whole)


BASE = [word for word in SMALL if not word.startswith(("dataset", "objective", "trainer.watch"))]
SEVERAL = {  # objectives of more than one network, or of more than one loss
    "clip": [
        *BASE, "dataset=halves", "dataset@dataset.images=fake_images", "dataset.images.examples=110",
        "dataset.images.test_examples=20", "dataset.kept=top", "domain=natural", "objective=clip",
        "objective.other.widths=[4,8]",
    ],
    "sum": [
        *SMALL[:5], *BASE, "objective=sum", "objective/parts=[rotation,moco]", "objective.parts.moco.queue=64",
        "objective.weighting=uncertainty",
    ],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("words", SEVERAL.values(), ids=SEVERAL)
def test_every_part_of_an_objective_goes_on(tmp_path: Path, words: list[str]) -> None:
    """The second encoder and its statistics; momentum copies, queues and weights of a sum's parts."""

    def go(output: Path) -> Path:
        with undrawn():
            return run(RunRequest.of(composed(words, output=str(output)), words))

    for batch in (5, 2):  # in the second epoch, and then once more
        with in_batch(batch, lambda _: signal.raise_signal(signal.SIGTERM)), pytest.raises(Stopped):
            go(tmp_path / "stopped")
    same(go(tmp_path / "stopped"), go(tmp_path / "whole"))


def test_must_refuses_where_there_is_nothing_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Path
) -> None:
    with pytest.raises(ConfigError, match=r"resume is must, and '.*' has no checkpoint to resume from; .* resume=auto"):
        do(tmp_path, "resume=must")
    assert not list(tmp_path.iterdir())
    with in_batch(2, lambda _: signal.raise_signal(signal.SIGUSR1)), pytest.raises(Stopped):
        do(tmp_path)
    again = do(tmp_path, "resume=must")
    assert do(tmp_path, "resume=must") == again
    same(again, whole)
