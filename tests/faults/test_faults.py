"""What goes wrong while a run is at work: what is said, what is left, and that the same command goes on."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from small_runs import do, folder_of, in_batch, rows, weights

from ssl_runner.commands.cli import refusals
from ssl_runner.config.errors import ConfigError
from ssl_runner.interfaces import Batch, Loss
from ssl_runner.runtime import checkpoint_files
from ssl_runner.training.pretrainer import Pretrainer

OFTEN = "trainer.checkpoint_steps=2"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return do(tmp_path_factory.mktemp("whole"))


def said(
    capsys: pytest.CaptureFixture[str], output: Path, act: Callable[[Pretrainer], object], *more: str
) -> tuple[int, str]:
    """The exit code of a run in whose fifth batch something happens, and what it says then."""
    with in_batch(5, act), pytest.raises(SystemExit) as ended, refusals():
        do(output, *more)
    return int(str(ended.value.code)), capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------ requests


@pytest.mark.parametrize(
    ("number", "code", "how"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "stopped by SIGTERM"),
        (signal.SIGUSR1, 143, "stopped by SIGUSR1"),
    ],
)
def test_a_request_to_stop_saves_and_says_how_to_go_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    code: int,
    how: str,
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    ended = said(capsys, tmp_path, lambda _: signal.raise_signal(number))
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
    assert ended == (code, f"{how} after step 5, which is saved; the same command resumes from there\n")


def test_ctrl_c_twice_does_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def twice(_: Pretrainer) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    ended = said(capsys, tmp_path, twice, OFTEN)
    signal.signal(signal.SIGINT, before)
    assert ended == (130, "interrupted after step 4, which is saved; the same command resumes from there\n")
    assert checkpoint_files.find(folder_of(tmp_path)).newest.step == 4


def test_a_request_outside_of_pretraining_is_heeded_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], whole: Path
) -> None:
    with monkeypatch.context() as once:
        once.setattr("ssl_runner.commands.evaluations.evaluate", lambda *_: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(SystemExit, match="143"), refusals():
            do(tmp_path)
    assert capsys.readouterr().err == (
        "stopped by SIGTERM after step 8, which is saved; the same command resumes from there\n"
    )
    assert weights(do(tmp_path)) == weights(whole)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ('echo "$@" > {log}', "SLURM requeues job 4711"),
        (
            'echo "$@" > {log}; echo no such job >&2; exit 1',
            "SLURM did not requeue job 4711 (no such job); submit it again",
        ),
        (None, "SLURM did not requeue job 4711 ([Errno 2] No such file or directory: 'scontrol'); submit it again"),
    ],
)
def test_under_slurm_the_job_is_queued_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    script: str | None,
    message: str,
) -> None:
    """By a stand-in for scontrol."""
    bin_, log = tmp_path / "bin", tmp_path / "log"
    bin_.mkdir()
    if script is not None:
        (bin_ / "scontrol").write_text("#!/bin/sh\n" + script.format(log=log))
        (bin_ / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}" if script is None else f"{bin_}:{os.environ['PATH']}")
    for name, value in {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "run"}.items():
        monkeypatch.setenv(name, value)
    code, error = said(capsys, tmp_path / "out", lambda _: signal.raise_signal(signal.SIGUSR1))
    assert code == 143
    assert error.splitlines()[1] == message
    if script is not None:
        assert log.read_text() == "requeue 4711\n"


# ---------------------------------------------------------------------------------------------------------------- disk


def test_a_file_that_may_not_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], whole: Path
) -> None:
    """By the system's limit on the size of files: the checkpoint before stays, and nothing of the failed one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        code, error = said(capsys, tmp_path, lambda _: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard)), OFTEN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    folder = folder_of(tmp_path)
    assert code == 2
    part = folder / "checkpoints" / "last.part"
    assert error == f"error: File too large: {part}; step 4 is saved; the same command resumes from there\n"
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"last.ckpt", "last-1.ckpt"}
    assert checkpoint_files.find(folder).newest.step == 4
    assert weights(do(tmp_path)) == weights(whole)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], check=False).returncode:
        pytest.skip("only root may mount a file system")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], whole: Path
) -> None:
    filler = small_disk / "filler"

    def fill(_: Pretrainer) -> None:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    code, error = said(capsys, small_disk / "out", fill, OFTEN)
    folder = folder_of(small_disk / "out")
    assert code == 2
    file = re.escape(f"{folder}/") + r"(metrics.csv|checkpoints/last.part)"
    assert re.fullmatch(
        f"error: No space left on device: {file}; step 4 is saved; the same command resumes from there\n", error
    ), error
    assert checkpoint_files.find(folder).newest.step == 4
    assert not [path for path in folder.rglob("*") if path.suffix in (".part", ".tmp")]
    filler.unlink()
    again = do(small_disk / "out")
    assert weights(again) == weights(whole)
    assert rows(again) == rows(whole)


@pytest.mark.parametrize("in_place", ["nothing", "a file"])
def test_a_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], in_place: str
) -> None:
    folder = folder_of(tmp_path)

    def remove(_: Pretrainer) -> None:
        shutil.rmtree(folder)
        if in_place == "a file":
            folder.write_text("")

    code, error = said(capsys, tmp_path, remove)
    why = "No such file or directory" if in_place == "nothing" else "Not a directory"
    assert (code, error) == (2, f"error: {why}: {folder / 'metrics.csv'}\n")


# ------------------------------------------------------------------------------------------------------ memory, numbers


def test_out_of_memory_names_what_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], whole: Path
) -> None:
    """More than there is, asked for in earnest."""
    code, error = said(capsys, tmp_path, lambda _: torch.empty(2**46))
    assert code == 2
    assert error.startswith("error: out of memory at step 5: ")
    assert "DefaultCPUAllocator: can't allocate memory" in error
    assert error.endswith(
        "step 4 is saved; the same command resumes from there. Lower batch_size (32), and raise "
        "trainer.accumulate (1) by the same factor to keep the examples per step; trainer.precision=bfloat16 "
        "(now float32) halves the memory of activations, and trainer.recompute=blocks keeps few of them\n"
    )
    assert weights(do(tmp_path)) == weights(whole)


def test_out_of_memory_of_a_gpu_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Pretrainer) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    _, error = said(capsys, tmp_path, fail)
    assert error.startswith("error: out of memory at step 5: CUDA out of memory. Tried to allocate 20.00 GiB.; ")


def without_number(patched: pytest.MonkeyPatch, batches: set[int], part: str) -> None:
    """Make the loss of some batches, counted over all epochs, or its gradient alone, no number."""
    loss = Pretrainer._loss

    def spoilt(self: Pretrainer, batch: Batch) -> Loss:
        found = loss(self, batch)
        if not self.training or self.batches not in batches:
            return found
        if part == "loss":
            return found._replace(value=found.value * float("nan"))
        weight = next(self.objective.parameters())
        return found._replace(value=found.value + (weight * 0).sum().sqrt())  # 0, whose slope is 0 times infinity

    patched.setattr(Pretrainer, "_loss", spoilt)


@pytest.mark.parametrize("part", ["loss", "gradient"])
def test_a_loss_that_is_no_number_ends_the_run_with_the_batch_and_the_likely_causes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """The checkpoint that was due after the step is not written."""
    seen: list[int] = []
    take = Pretrainer.on_train_batch_start

    def note(self: Pretrainer, batch: Batch, batch_idx: int) -> None:
        take(self, batch, batch_idx)
        if self.batches == 5:
            seen.extend(batch.index.tolist())

    monkeypatch.setattr(Pretrainer, "on_train_batch_start", note)
    without_number(monkeypatch, {5}, part)
    with pytest.raises(ConfigError) as refused:
        do(tmp_path, "trainer.checkpoint_steps=1")
    (message,) = refused.value.problems
    first = ", ".join(map(str, seen[:8]))
    what = "the loss is nan at step 5" if part == "loss" else "weights are no longer finite after step 5"
    assert message == (
        f"{what}, batch 5 (epoch 1; of pretrain the examples {first} and 24 more). Likely causes: a "
        "learning rate that is too high (lower optimizer.lr, or set trainer.clip_norm=1), too low a "
        "precision (set trainer.precision=float32; now float32), or a damaged example (nonfinite.json "
        "lists the examples); the last good checkpoint is of step 4; set trainer.skip_nonfinite=10 to "
        "resume from it and skip up to 10 such steps"
    )
    assert json.loads((folder_of(tmp_path) / "nonfinite.json").read_text())["examples"] == seen


@pytest.mark.parametrize("part", ["loss", "gradient"])
@pytest.mark.parametrize("more", [[], ["trainer.accumulate=2", "budget.amount=4"]], ids=["whole", "accumulated"])
def test_steps_without_a_number_are_left_out_where_that_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], part: str, more: list[str]
) -> None:
    """Nothing moves in such a step; a run that ended for it goes on in the same folder."""
    states: dict[int, dict[str, torch.Tensor]] = {}
    take = Pretrainer.on_train_batch_start

    def note(self: Pretrainer, batch: Batch, batch_idx: int) -> None:
        states[self.batches] = {name: value.clone() for name, value in self.objective.state_dict().items()}
        take(self, batch, batch_idx)

    monkeypatch.setattr(Pretrainer, "on_train_batch_start", note)
    without_number(monkeypatch, {5}, part)
    with pytest.raises(ConfigError):
        do(tmp_path, *more)
    folder = do(tmp_path, "trainer.skip_nonfinite=1", *more)
    begins, ends = (3, 5) if more else (4, 5)
    assert all(torch.equal(value, states[ends][name]) for name, value in states[begins].items())
    assert not all(torch.equal(value, states[begins][name]) for name, value in states[0].items())
    assert f"warning: step {3 if more else 5} is skipped: its loss or gradient is not finite (1 of at most 1)" in (
        " ".join(capsys.readouterr().out.split())
    )
    assert "nan" not in (folder / "metrics.csv").read_text().splitlines()[-1]


def test_too_many_steps_without_a_number_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_number(monkeypatch, {3, 5}, "loss")
    with pytest.raises(
        ConfigError,
        match=r"the loss is nan, or its gradient is not finite, at step 5, after 1 such steps were skipped",
    ):
        do(tmp_path, "trainer.skip_nonfinite=1")


# --------------------------------------------------------------------------------------------------------------- clocks


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By years, back and forth, each time that it is read; a budget in minutes too."""
    real, jump = time.time, [1e8]

    def jumps() -> float:
        jump[0] *= -1
        return real() + jump[0]

    monkeypatch.setattr(time, "time", jumps)
    begun = time.monotonic()
    folder = do(tmp_path, "budget.unit=minutes", "budget.amount=0.01", "trainer.checkpoint_minutes=0.001")
    assert 0.6 <= json.loads((folder / "result.json").read_text())["cost"]["seconds"] <= time.monotonic() - begun
