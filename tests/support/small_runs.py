"""Runs of seconds, and what of them can be compared to the last bit."""

import csv
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from composed import composed
from torch import Tensor
from undrawn import undrawn

from ssl_runner.assembly import construct
from ssl_runner.assembly.places import with_contents
from ssl_runner.commands.job import forked
from ssl_runner.commands.run import run
from ssl_runner.config.request import RunRequest
from ssl_runner.interfaces import Batch
from ssl_runner.training.pretrainer import Pretrainer

SMALL = [  # three batches an epoch
    "dataset=fake_images", "dataset.examples=110", "dataset.test_examples=20", "dataset.height=8", "dataset.width=8",
    "backbone.widths=[4,8]", "batch_size=32", "logger=csv", "objective=rotation", "budget.unit=steps",
    "budget.amount=8", "evaluation=[]", "controls=[]", "trainer.log_every_n_steps=2", "trainer.validations=3",
    "trainer.val_batches=1", "trainer.precision=float32", "trainer.accelerator=cpu", "trainer.watch_every=3",
]  # fmt: skip


def do(output: Path, *overrides: str) -> Path:
    """Run in this process; the run's folder."""
    plain = composed([*SMALL, *overrides], output=str(output))
    with undrawn():
        return run(RunRequest.of(plain, list(overrides)))


def folder_of(output: Path, *overrides: str) -> Path:
    return place_of(composed([*SMALL, *overrides], output=str(output)))


def place_of(plain: Mapping[str, Any]) -> Path:
    """The folder of a run on the files that there are now."""
    request = RunRequest.of(plain)
    return with_contents(request, *construct.source(request.config)).folder


def weights(folder: Path) -> bytes:
    return (folder / "encoder" / "encoder.safetensors").read_bytes()


def rows(folder: Path) -> list[dict[str, str]]:
    """metrics.csv, as it is but for the clock."""
    table = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    return [{name: value for name, value in row.items() if name != "seconds"} for row in table]


@contextmanager
def in_batch(number: int, act: Callable[[Pretrainer], object]) -> Iterator[pytest.MonkeyPatch]:
    """Have `act` done in a batch of a session, counted from 1, before its loss is taken."""
    step, begun = Pretrainer.training_step, itertools.count(1)

    def training_step(self: Pretrainer, batch: Batch, batch_idx: int) -> Tensor:
        if next(begun) == number:
            act(self)
        return step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Pretrainer, "training_step", training_step)
        yield patched


def job_that_loses(file: str, log: str, cache: str, vanish: bool) -> None:
    """`ssl_runner.commands.job.forked`, whose fourth batch finds the tokens in the cache gone, or cut."""

    def lose(_: Pretrainer) -> None:
        for path in Path(cache).rglob("*.int32"):
            if vanish:
                path.unlink()
            else:
                os.truncate(path, 0)

    with in_batch(4, lose):
        forked(file, log, None)
