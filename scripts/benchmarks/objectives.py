"""each image objective's whole step, beside its encoder's forward and backward alone

On made images of 3 x 32 x 32.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch
from rich.console import Console
from rich.table import Table

from ssl_runner.assembly.check import validate
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.fit import option_classes
from ssl_runner.config.schema import typed

from .shared import MACHINE, counted, machine_rate, rates, share
from .step import Step

BATCH = 256


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=100, help="training steps a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="objectives whose names hold this")


def measure(arguments: argparse.Namespace) -> None:
    steps, rounds = arguments.steps, arguments.rounds
    shown = Table(
        "objective", "backbone", "examples/s", "encoder alone", "ratio", "encoder's FLOPs",
        "share of the machine's rate", "of the encoder alone",
        title=f"batches of {BATCH} of 3 x 32 x 32, {steps} steps, median of {rounds} rounds",
    )  # fmt: skip
    for name, cls in option_classes("objective").items():
        found = _step_of(name) if arguments.only in name and cls.trains else None
        if found is None:
            continue
        backbone, step = found
        what: dict[str, Callable[[int], float]] = {"whole": step.whole, "encoder": step.encoder}
        both = rates(
            {**{key: partial(act, steps) for key, act in what.items()}, MACHINE: partial(machine_rate, torch.float32)},
            rounds,
        )
        whole, alone = (statistics.median(both[key]) for key in ("whole", "encoder"))
        ratio = statistics.median(a / b for a, b in zip(both["whole"], both["encoder"], strict=True))
        flops = {key: counted(partial(act, 1)) / step.count for key, act in what.items()}
        shares = (f"{share(both[key], flops[key], both[MACHINE]):.2f}" for key in what)
        part = flops["encoder"] / flops["whole"]
        shown.add_row(name, backbone, f"{whole:,.0f}", f"{alone:,.0f}", f"{ratio:.2f}", f"{part:.2f}", *shares)
    Console().print(shown)


def _step_of(objective: str) -> tuple[str, Step] | None:
    """The step with the first backbone that suits the objective; None: it is none of images."""
    words = ["dataset=fake_images", "domain=natural", f"objective={objective}", f"batch_size={BATCH}"]
    words += ["evaluation=[]", "controls=[]", "logger=none"]
    for backbone in ("convnet", "vit_micro"):
        config = typed(compose([*words, f"backbone={backbone}"]))
        try:
            _, spec = validate(config)
        except ConfigError:
            continue  # they do not go together
        return backbone, Step(config, spec)
    return None
