"""Runs killed at random moments, and called again each time, end with the weights of one that was let be.

The jobs are those of sweeps: forked from a process that has imported all they need.
"""

import multiprocessing
import os
import random
import signal
from multiprocessing.process import BaseProcess
from pathlib import Path

import made_text
import pytest
from pair import fork_server
from small_runs import SMALL, place_of, rows, weights

from ssl_runner.commands import job
from ssl_runner.config.compose import compose
from ssl_runner.config.request import RunRequest
from ssl_runner.runtime import checkpoint_files
from ssl_runner.runtime.job_file import write_job

KILLS = 20
OBJECTIVES: dict[str, list[str]] = {
    "rotation": ["objective=rotation", "budget.amount=100"],
    "moco": ["objective=moco", "objective.queue=64", "budget.amount=60"],
    "inpainting": ["objective=inpainting", "objective.adversary=0.1", "objective.decoder_widths=[16,8]",
                   "objective.judge_widths=[4,8]", "budget.amount=80"],
    "bert": [*made_text.overrides(), "objective=bert", "backbone=bert_tiny", "backbone.depth=1", "backbone.dim=32",
             "backbone.heads=2", "budget.amount=80"],
    "sequence_order": ["dataset=moving_digits", "dataset.clips=96", "dataset.val_clips=32", "dataset.test_clips=32",
                       "dataset.frames=8", "dataset.side=16", "dataset.digit_side=8", "objective=sequence_order",
                       "backbone=per_frame", "backbone.image.widths=[4,8]", "budget.amount=40"],
}  # fmt: skip
OFTEN = ["trainer.checkpoint_steps=3", "trainer.checkpoints=2"]


class Jobs:
    """The same run, begun as often as is asked for."""

    def __init__(self, place: Path, overrides: list[str]) -> None:
        common = [word for word in SMALL if not word.startswith(("budget.amount", "objective", *_keys(overrides)))]
        if overrides[0].startswith("dataset="):
            common = [word for word in common if not word.startswith(("dataset", "backbone"))]
        plain = compose([*common, *overrides, *OFTEN, f"output={place / 'out'}"])
        self.folder = place_of(plain)
        self.file, self.log = place / "job.yaml", place / "log.txt"
        write_job(self.file, RunRequest.of(plain, overrides))
        self.context = multiprocessing.get_context("forkserver")

    def begin(self) -> BaseProcess:
        process = self.context.Process(target=job.forked, args=(str(self.file), str(self.log), None))
        process.start()
        return process

    def wait(self, process: BaseProcess, writes: int, seconds: float) -> None:
        """Until so many checkpoints were written, and then for some time; or until the run is done."""
        last = self.folder / "checkpoints" / "last.ckpt"
        seen: set[int] = set()
        while len(seen) <= writes and process.exitcode is None:
            seen.add(last.stat().st_mtime_ns if last.exists() else 0)
            process.join(0.01)
        process.join(seconds)

    def end(self) -> None:
        process = self.begin()
        process.join(600)
        assert process.exitcode == 0, self.log.read_text()


def _keys(overrides: list[str]) -> tuple[str, ...]:
    return tuple(word.split("=")[0] + "=" for word in overrides)


@pytest.fixture(scope="module", autouse=True)
def _server() -> None:
    """Have the process there that jobs are forked from, with its imports done: moments are those of a run."""
    process = fork_server().Process(target=os.getpid)
    process.start()
    process.join()


def stop_often(place: Path, overrides: list[str], number: int, times: int) -> None:
    """Compare runs that are sent a signal at random moments, `times` in all, with one that is not."""
    whole = Jobs(place / "whole", overrides)
    whole.end()
    draw, steps, left = random.Random(0), [], times
    while left:  # a run may come to its end before: then another is begun
        cut = Jobs(place / f"cut{left}", overrides)
        while left:
            process = cut.begin()
            writes = draw.randrange(4)
            cut.wait(process, writes, draw.uniform(0, 1))
            if process.exitcode is not None:
                break
            os.kill(process.pid, number)
            process.join(60)
            codes = {-signal.SIGKILL} if number == signal.SIGKILL else {143, 0}  # 0: it came when all was done
            early = {-number} if not writes else set()  # nobody hears a process that has not begun
            assert process.exitcode in codes | early, cut.log.read_text()
            left -= process.exitcode in (143, -signal.SIGKILL)
            found = checkpoint_files.find(cut.folder)
            assert not found.damaged
            steps.append(0 if found.newest is None else found.newest.step)
        cut.end()
        assert weights(cut.folder) == weights(whole.folder)
        assert rows(cut.folder) == rows(whole.folder)
        names = [{str(path.relative_to(each.folder)) for path in each.folder.rglob("*")} for each in (whole, cut)]
        assert names[0] == names[1]
    print(f"{signal.Signals(number).name}: the newest checkpoint after each is of step {steps}")


def test_killed_three_times(tmp_path: Path) -> None:
    stop_often(tmp_path, ["objective=rotation", "budget.amount=60"], signal.SIGKILL, 3)


def test_told_to_stop_three_times(tmp_path: Path) -> None:
    stop_often(tmp_path, ["objective=rotation", "budget.amount=60"], signal.SIGTERM, 3)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_stopped_at_random_moments(tmp_path: Path, objective: str, number: int) -> None:
    stop_often(tmp_path, OBJECTIVES[objective], number, KILLS)
