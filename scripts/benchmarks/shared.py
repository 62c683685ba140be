"""What several topics use: rounds, tables, the whole trainer, a plain training loop."""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ssl_runner.assembly import construct
from ssl_runner.commands.run import fresh
from ssl_runner.config.schema import Config
from ssl_runner.data.any.module import DataModule
from ssl_runner.interfaces import Objective
from ssl_runner.loggers.interface import Loggers
from ssl_runner.training import fit

WARM = 3  # steps of a plain loop that are not counted


class Trained(NamedTuple):
    """What a run of the trainer took."""

    examples: int
    seconds: float
    rate: float  # examples/s


def rates(what: Mapping[str, Callable[[], float]], rounds: int, warm: int = 1) -> dict[str, list[float]]:
    """What each measurement gives in each round.

    A round takes them in turn, so that what slows the machine slows all. `warm` rounds come before and do not count.
    """
    found: dict[str, list[float]] = {name: [] for name in what}
    for turn in range(-warm, rounds):
        for name, measure in what.items():
            value = measure()
            if turn >= 0:
                found[name].append(value)
    return found


def print_rates(title: str, found: Mapping[str, list[float]], base: str) -> None:
    """A table of `found`, with the ratio of `base` over each."""
    shown = Table("", "median", "least", "most", f"{base} / this, median of rounds", title=title)
    for name, values in found.items():
        ratio = statistics.median(a / b for a, b in zip(found[base], values, strict=True))
        shown.add_row(name, *(f"{f(values):,.2f}" for f in (statistics.median, min, max)), f"{ratio:.2f}")
    Console().print(shown)


def loaded(config: Config) -> DataModule:
    """The data of a config, in memory."""
    data = DataModule(construct.construct(config.dataset), batch_size=config.batch_size, seed=config.seed)
    data.setup()
    return data


def pretrained(config: Config, model: Objective, data: DataModule, folder: str) -> Trained:
    """Train through the whole trainer, as `ssl-run` does, and print nothing."""
    optimizer_of = partial(construct.optimizer, config)
    schedule, quiet = construct.schedule(config), Console(quiet=True)
    pretraining, cost = fit.pretrain(
        config, model, optimizer_of, schedule, data, Loggers([]), Path(folder), None, quiet
    )
    assert cost.seconds is not None  # it is None only in results that are read
    assert cost.examples_per_second is not None  # steps were taken
    return Trained(pretraining.examples, cost.seconds, cost.examples_per_second)


def trainer_rate(config: Config, data: DataModule) -> float:
    """Examples/s through the whole trainer."""
    with tempfile.TemporaryDirectory() as folder:
        return pretrained(config, fresh(config, data), data, folder).rate


def loop_rate(loss_of: Callable[[], Tensor], optimizer: torch.optim.Optimizer, steps: int) -> float:
    """Steps/s of a plain loop in which `loss_of` draws a batch and gives its loss. `WARM` steps come first."""
    begun = time.monotonic()
    for done in range(1, WARM + steps + 1):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if done in (WARM, WARM + steps):
            loss.item()  # waits for the device
            begun, spent = time.monotonic(), time.monotonic() - begun
    return steps / spent
