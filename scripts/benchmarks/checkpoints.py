"""examples/s with and without checkpoints, in one run

At the default interval, unless an override sets another. The run's seconds with and without those in which it wrote;
the checkpoint at its end, which every run has, is in neither.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ssl_runner.commands.run import fresh
from ssl_runner.config.compose import compose
from ssl_runner.config.schema import Config, typed
from ssl_runner.runtime.checkpoint_files import FOLDER, LAST
from ssl_runner.training.checkpointing import Checkpoint

from .shared import loaded, pretrained


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=11.0, help="of the run")
    parser.add_argument("overrides", nargs="*", help="of the config: trainer.checkpoint_minutes=1")


def measure(arguments: argparse.Namespace) -> None:
    config = _config(arguments.minutes, arguments.overrides)
    data = loaded(config)
    with tempfile.TemporaryDirectory() as folder, timed_writes() as taken:
        trained = pretrained(config, fresh(config, data), data, folder)
        megabytes = (Path(folder) / FOLDER / LAST).stat().st_size / 2**20
    *between, last = taken
    if not between:
        raise SystemExit(f"no checkpoint was written in {arguments.minutes:g} minutes; let it run longer: --minutes")
    seconds = trained.seconds - last
    ratio = (seconds - sum(between)) / seconds
    every = config.trainer.checkpoint_minutes
    print(f"checkpoints of {megabytes:.0f} MB every {every:g} minutes, {len(between)} in {seconds:.0f} s")
    rate = trained.examples / seconds
    print(f"{rate:.1f} examples/s, {rate / ratio:.1f} without")
    print(f"ratio {ratio:.5f}; a checkpoint takes {statistics.median(between):.2f} s (median)")


@contextmanager
def timed_writes() -> Iterator[list[float]]:
    """The seconds that each checkpoint takes, in a list that grows as they are written."""
    taken: list[float] = []
    write = Checkpoint.write

    def timed(self: Checkpoint, trainer: Any) -> None:
        begun = time.monotonic()
        write(self, trainer)
        taken.append(time.monotonic() - begun)

    with patch.object(Checkpoint, "write", timed):
        yield taken


def _config(minutes: float, overrides: Sequence[str]) -> Config:
    words = [
        "dataset=fake_images", "dataset.examples=2000", "dataset.height=32", "dataset.width=32", "backbone=resnet18",
        "batch_size=64", "budget.unit=minutes", f"budget.amount={minutes}", "trainer.validations=0", "evaluation=[]",
        "logger=none", *overrides,
    ]  # fmt: skip
    return typed(compose(words))
