"""seconds to help, to a refusal, and to the first training step, beside torch's and Lightning's imports alone"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from .shared import print_rates, rates

RUN = ("-m", "ssl_runner")
TORCH, LIGHTNING = "import torch", "import torch, pytorch_lightning"
WORDS = {
    TORCH: ("-c", TORCH),
    LIGHTNING: ("-c", LIGHTNING),
    "--help": (*RUN, "--help"),
    "a wrong key": (*RUN, "objective.rati=1"),
    "what does not go together": (*RUN, "objective=mae", "backbone=resnet18"),
    "a value out of range": (*RUN, "objective.loss.temperature=0"),
    "what the devices cannot do": (*RUN, "trainer.devices=3"),
    "check=true": (*RUN, "check=true"),
}
STEP = ("budget.unit=steps", "budget.amount=1000", "trainer.log_every_n_steps=1", "trainer.validations=0")


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--before", type=Path, help="a checkout of an older commit, measured in the same rounds")


def measure(arguments: argparse.Namespace) -> None:
    what: dict[str, Callable[[], float]] = {}
    for suffix, tree in [("", None), (", before", arguments.before)][: 2 if arguments.before else 1]:
        what |= {
            f"{name}{suffix}": partial(seconds, words, tree)
            for name, words in WORDS.items()
            if words[:2] == RUN or not tree
        }
        what[f"to the first training step{suffix}"] = partial(first_step, ("logger=csv",), tree)
        what[f"to the first training step, wandb offline{suffix}"] = partial(first_step, (), tree)
    found = rates(what, arguments.rounds)
    for base in (TORCH, LIGHTNING):
        print_rates(f"seconds, {arguments.rounds} rounds", found, base)


def _environment(tree: Path | None) -> dict[str, str]:
    """The variables with which a process imports `ssl_runner` from another checkout."""
    return dict(os.environ) | ({} if tree is None else {"PYTHONPATH": str(tree.resolve())})


def seconds(words: Sequence[str], tree: Path | None = None) -> float:
    """What a whole process takes."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        subprocess.run([sys.executable, *words], cwd=folder, env=_environment(tree), capture_output=True, check=False)
        return time.monotonic() - begun


def first_step(words: Sequence[str] = (), tree: Path | None = None) -> float:
    """Seconds from the command to the line that follows the first training step."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        command = [sys.executable, "-u", *RUN, *STEP, *words]
        with subprocess.Popen(
            command, cwd=folder, env=_environment(tree), stdout=subprocess.PIPE, text=True
        ) as process:
            for line in process.stdout or ():
                if line.startswith("pretraining"):
                    break
            spent = time.monotonic() - begun
            process.kill()
    return spent
