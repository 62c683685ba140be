"""seconds to help, to a refusal, and to the first training step"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial

from .shared import print_rates, rates

WORDS = {
    "--help": ["--help"],
    "a wrong key": ["objective.rati=1"],
    "a value out of range": ["objective.loss.temperature=0"],
    "what does not go together": ["objective=mae", "backbone=resnet18"],
    "check=true": ["check=true"],
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3)


def measure(arguments: argparse.Namespace) -> None:
    what: dict[str, Callable[[], float]] = {name: partial(seconds, words) for name, words in WORDS.items()}
    what["to the first training step"] = first_step
    print_rates(f"seconds, {arguments.rounds} rounds", rates(what, arguments.rounds), "--help")


def seconds(words: list[str]) -> float:
    """What the whole command takes."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        subprocess.run([sys.executable, "-m", "ssl_runner", *words], cwd=folder, capture_output=True, check=False)
        return time.monotonic() - begun


def first_step() -> float:
    """Seconds from the command to the line that follows the first training step."""
    words = ["budget.unit=steps", "budget.amount=1000", "trainer.log_every_n_steps=1", "trainer.validations=0"]
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        command = [sys.executable, "-u", "-m", "ssl_runner", *words]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                if line.startswith("pretraining"):
                    break
            spent = time.monotonic() - begun
            process.kill()
    return spent
