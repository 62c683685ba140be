"""images/s of ssl_runner, a bare PyTorch loop, lightly and stable-pretraining, in the same rounds

SimCLR and MAE on made images of 3 x 32 x 32, with ResNet-18 and ViT-tiny. All have the same batch, precision, optimizer
and sizes of heads, and draw views by SimCLR's recipe for CIFAR; MAE's images are neither cropped nor mirrored. A
library that is not installed is left out, with a line that says so.
"""

import argparse
import importlib.util
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from ssl_runner.commands.run import fresh
from ssl_runner.config.compose import compose
from ssl_runner.config.schema import Config, typed
from ssl_runner.data.any.module import DataModule
from ssl_runner.runtime.devices import device_of
from ssl_runner.training import precision

from . import lightly_loop, stable_pretraining_run
from .networks import network
from .shared import (
    MACHINE,
    bare_rate,
    counted,
    loaded,
    loop_rate,
    machine_rate,
    print_rates,
    rates,
    step_flops,
    trainer_flops,
    trainer_rate,
)

IMAGES = 4000  # made ones, more than a measurement reads
PEERS = {"lightly": "lightly", "timm": "timm", "stable-pretraining": "stable_pretraining"}


class Task(NamedTuple):
    """What is trained."""

    objective: str
    backbone: str
    batch: int


class Runner(NamedTuple):
    """One of those that are compared."""

    rate: Callable[[], float]  # images/s
    flops: Callable[[], int]  # of a batch


TASKS = {
    "simclr-resnet18": Task("simclr", "resnet18", 64),
    "simclr-vit_tiny": Task("simclr", "vit_tiny", 64),
    "mae-vit_tiny": Task("mae", "vit_tiny", 64),
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=5, help="training steps a round, after those that warm up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help=f"of {', '.join(TASKS)}: those whose names hold this")


def measure(arguments: argparse.Namespace) -> None:
    there = {name for name, module in PEERS.items() if importlib.util.find_spec(module)}
    for name in sorted(PEERS.keys() - there):
        print(f"{name} is not installed, and what needs it is left out: pip install {name}")
    for name, task in TASKS.items():
        if arguments.only in name:
            compared(task, there, arguments.steps, arguments.rounds)


def compared(task: Task, there: set[str], steps: int, rounds: int) -> None:
    """Measure all on one task, and print a table."""
    config = _config(task, steps)
    data = loaded(config)
    dtype = precision.decide(config.trainer.precision, device_of("auto"), fresh(config, data)).dtype
    runners = {
        "ssl_runner": Runner(partial(trainer_rate, config, data), partial(trainer_flops, config, data)),
        "bare loop": Runner(partial(bare_rate, config, data), partial(trainer_flops, config, data)),
    }
    if "timm" in there or task.backbone != "vit_tiny":
        runners |= _lightly(task, data, dtype, steps) if "lightly" in there else {}
        runners |= _stable_pretraining(task, data, dtype, steps) if "stable-pretraining" in there else {}
    flops = {name: runner.flops() / task.batch for name, runner in runners.items()}
    found = rates({name: each.rate for name, each in runners.items()} | {MACHINE: partial(machine_rate, dtype)}, rounds)
    kind = precision.name(dtype)
    title = f"{task.objective}, {task.backbone}, batch {task.batch}, {kind}; images/s, {rounds} rounds of {steps} steps"
    print_rates(title, found, "ssl_runner", flops)


def _lightly(task: Task, data: DataModule, dtype: torch.dtype, steps: int) -> dict[str, Runner]:
    images = data.examples("pretrain").data

    def made() -> lightly_loop.Loop:
        if task.objective == "mae":
            return lightly_loop.mae(images, task.batch, dtype)
        return lightly_loop.simclr(images, *network(task.backbone), task.batch, dtype)

    runner = Runner(lambda: task.batch * loop_rate(*made(), steps), lambda: step_flops(made()[0]))
    return {f"lightly, {lightly_loop.WORKERS} workers": runner}


def _stable_pretraining(task: Task, data: DataModule, dtype: torch.dtype, steps: int) -> dict[str, Runner]:
    spt, images = stable_pretraining_run, data.examples("pretrain").data

    def simclr(by_batch: bool) -> spt.Made:
        return spt.simclr(images, *network(task.backbone), task.batch, by_batch=by_batch)

    def runner(made: Callable[[], spt.Made]) -> Runner:
        return Runner(
            lambda: task.batch * spt.rate(made, dtype, steps), lambda: counted(partial(spt.fit, made, dtype, 1))
        )

    if task.objective == "mae":
        return {"stable-pretraining": runner(lambda: spt.mae(images, task.batch))}
    return {
        "stable-pretraining, views by batch": runner(partial(simclr, True)),
        f"stable-pretraining, {spt.WORKERS} workers": runner(partial(simclr, False)),
    }


def _config(task: Task, steps: int) -> Config:
    words = [
        "dataset=fake_images", f"dataset.examples={IMAGES}", "domain=natural", f"objective={task.objective}",
        f"backbone={task.backbone}", f"batch_size={task.batch}", "budget.unit=steps", f"budget.amount={steps}",
        "trainer.validations=0", "trainer.watch_every=0", "evaluation=[]", "controls=[]", "logger=none",
    ]  # fmt: skip
    return typed(compose(words))
