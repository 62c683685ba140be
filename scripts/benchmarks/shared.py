"""What several topics use: rounds, tables, the machine's rate, the whole trainer, a plain training loop."""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ssl_runner.assembly import construct
from ssl_runner.commands.run import fresh
from ssl_runner.config.schema import Config
from ssl_runner.data.any.module import DataModule
from ssl_runner.interfaces import Batch, Objective
from ssl_runner.loggers.interface import Loggers
from ssl_runner.runtime.devices import device_of
from ssl_runner.training import fit, precision
from ssl_runner.training.flops import FORMULAS, flops_of_batch

WARM = 3  # steps of a plain loop that are not counted
SIDES = (1024, 2048, 4096)  # of the matrices by which the machine is measured
MACHINE = "matrix products"  # what measures the machine, among what is measured


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


def print_rates(
    title: str, found: Mapping[str, list[float]], base: str, flops: Mapping[str, float] | None = None
) -> None:
    """A table of `found`, with the ratio of `base` over each.

    `flops`: of those that are known, for each of what `found` counts in a second; with them comes the share of what the
    machine can do, which `found[MACHINE]` has measured in the same rounds.
    """
    shown = Table("", "median", "least", "most", f"{base} / this, median of rounds", title=title)
    if flops is not None:
        shown.add_column(f"share of {statistics.median(found[MACHINE]) / 1e9:,.0f} GFLOP/s")
    for name, values in found.items():
        if name == MACHINE:
            continue
        ratio = statistics.median(a / b for a, b in zip(found[base], values, strict=True))
        cells = [*(f"{f(values):,.2f}" for f in (statistics.median, min, max)), f"{ratio:.2f}"]
        if flops is not None:
            cells.append(f"{share(values, flops[name], found[MACHINE]):.2f}" if name in flops else "")
        shown.add_row(name, *cells)
    Console().print(shown)


def share(values: Sequence[float], flops: float, machine: Sequence[float]) -> float:
    """The median share of the machine's rate: `values` a second, with so many FLOPs each."""
    return statistics.median(value * flops / rate for value, rate in zip(values, machine, strict=True))


def machine_rate(dtype: torch.dtype, seconds: float = 0.3, clock: Callable[[], float] = time.monotonic) -> float:
    """FLOP/s of a large product of matrices: the best of some sizes, each for so long."""
    device = device_of("auto")

    def rate_of(side: int) -> float:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        _ = a @ b
        _wait(device)
        begun, done = clock(), 0
        while clock() - begun < seconds:
            _ = a @ b
            _wait(device)
            done += 1
        return 2 * side**3 * done / (clock() - begun)

    return max(map(rate_of, SIDES))


def counted(act: Callable[[], object]) -> int:
    """The FLOPs of `act` by torch's counter, as `training.flops` counts them."""
    with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
        act()
    return counter.get_total_flops()


def step_flops(loss_of: Callable[[], Tensor]) -> int:
    """The FLOPs of a loss and its backward pass."""
    return counted(lambda: loss_of().backward())


def trainer_flops(config: Config, data: DataModule) -> int:
    """The FLOPs of a batch, as the trainer counts them."""
    device = device_of("auto")
    model = fresh(config, data).to(device)
    dtype = precision.decide(config.trainer.precision, device, model).dtype
    examples = data.examples("pretrain")
    first = torch.arange(config.batch_size)
    batch = Batch(data.spec.to_input(examples.data[first].to(device)), examples.label[first].to(device), first)
    return flops_of_batch(model, batch, dtype)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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


def bare_rate(config: Config, data: DataModule) -> float:
    """Images/s of a plain loop over the same objective, with the data in the device's memory."""
    device = device_of("auto")
    model = fresh(config, data).to(device)
    images = data.examples("pretrain").data.to(device)
    dtype = precision.decide(config.trainer.precision, device, model).dtype
    label = torch.zeros(config.batch_size, dtype=torch.int64, device=device)

    def loss_of() -> Tensor:
        index = torch.randint(len(images), (config.batch_size,), device=device)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            x, y = model.split(Batch(images[index].float().div_(255), label, index))
            return model.loss(x, y).value

    return config.batch_size * loop_rate(loss_of, construct.optimizer(config, model), int(config.budget.amount))


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
