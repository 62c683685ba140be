"""time and memory of a whole process against how much it is given, with exponents

Images of 3 x 32 x 32 in one file, memory-mapped and in shards, tokens of a text, runs in a comparison, seeds in a
sweep. A process of images or text trains for ten steps. An exponent of 1 says that what comes on top of the smallest
size grows with size. Pages of files that are mapped count as memory, and the system can take them back at any time.
"""

import argparse
import io
import math
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from ssl_runner.config.compose import compose
from ssl_runner.results.metrics import Better, DataRef, Metric, Protocol, Unit
from ssl_runner.results.result import PRETRAINED, Evaluation, Name, Result, write_result

STEPS = [
    "budget.unit=steps",
    "budget.amount=10",
    "trainer.validations=0",
    "evaluation=[]",
    "controls=[]",
    "logger=none",
]
SHARD = 10_000  # images
WORDS = 20_000  # different ones in a made text


class Process(NamedTuple):
    """What a process took."""

    seconds: float
    megabytes: float  # at its peak, with the pages of files that it has mapped
    own: float  # megabytes at their peak without these, as seen every 20 ms; 0 where the system does not say


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--largest", type=int, default=300_000, help="images, at most")
    parser.add_argument("--only", default="", help="kinds of growth whose names hold this")


def measure(arguments: argparse.Namespace) -> None:
    images = [size for size in (10_000, 30_000, 100_000, 300_000) if size <= arguments.largest]
    kinds: dict[str, tuple[Callable[[Path, int], list[str]], Sequence[int]]] = {
        "images in one file, in memory": (arrays, images),
        "images in memory-mapped files": (mapped, images),
        "images in shards": (shards, images),
        "tokens of a text": (text, [100_000, 1_000_000, 10_000_000]),
        "runs in a comparison": (comparison, [10, 100, 1000, 3000]),
        "seeds in a sweep, checked": (seeds, [10, 100, 1000, 3000]),
    }
    shown = Table(
        "", "size", "seconds", "MB", "MB without files", title=f"whole processes, median of {arguments.rounds} rounds"
    )
    for kind, (made, sizes) in kinds.items():
        if arguments.only not in kind:
            continue
        found = {size: taken(made, size, arguments.rounds) for size in sizes}
        for size, each in found.items():
            shown.add_row(kind, f"{size:,}", f"{each.seconds:.1f}", f"{each.megabytes:,.0f}", f"{each.own:,.0f}")
        columns = (dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True))
        shown.add_row(kind, "exponent", *map(exponent, columns))
    Console().print(shown)


def taken(made: Callable[[Path, int], list[str]], size: int, rounds: int) -> Process:
    """The median of what the process took for which `made` writes files of a size and gives the words.

    Each round has a folder of its own: in that of another its run would be finished.
    """
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            found.append(process(made(Path(folder), size), folder))
    return Process(*(statistics.median(values) for values in zip(*found, strict=True)))


# A small process starts the large one: memory at the peak counts what the starting process had when it did.
LAUNCH = """
import os, subprocess, sys, threading, time
begun = time.monotonic()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
ended, own = threading.Event(), [0]
def watch():
    while not ended.wait(0.02):
        try:
            with open(f"/proc/{child.pid}/status") as status:
                own.extend(int(line.split()[1]) for line in status if line.startswith("RssAnon"))
        except OSError:
            pass
watching = threading.Thread(target=watch)
watching.start()
_, status, used = os.wait4(child.pid, 0)
seconds = time.monotonic() - begun
ended.set()
watching.join()
print(os.waitstatus_to_exitcode(status), seconds, used.ru_maxrss / 1024, max(own) / 1024)
"""


def process(words: Sequence[str], folder: str) -> Process:
    """Run `python -m` with words in a folder. Raises CalledProcessError where it fails."""
    command = [sys.executable, "-S", "-c", LAUNCH, sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    code, *used = map(float, done.stdout.split())
    if code:
        raise subprocess.CalledProcessError(int(code), words)
    return Process(*used)


def exponent(found: dict[int, float]) -> str:
    """The slope of log(value - least value) over log(size) by least squares; "0" where nothing grows by a tenth."""
    least = min(found.values())
    grown = {size: value - least for size, value in found.items() if value > 1.1 * least}
    if len(grown) < 2:
        return "0" if not grown else "one size alone has grown"
    x, y = ([math.log(each) for each in values] for values in (grown.keys(), grown.values()))
    return f"{statistics.linear_regression(x, y).slope:.2f}"


def arrays(folder: Path, size: int) -> list[str]:
    draw = np.random.default_rng(0)
    parts = {"train": size, "test": 1000}
    images: dict[str, Any] = {f"x_{name}": draw.integers(0, 256, (n, 32, 32, 3), np.uint8) for name, n in parts.items()}
    images |= {f"y_{name}": np.arange(n) % 10 for name, n in parts.items()}
    np.savez(folder / "images.npz", **images)
    return ["ssl_runner", "dataset=arrays", "dataset.path=images.npz", *STEPS]


def mapped(folder: Path, size: int) -> list[str]:
    draw = np.random.default_rng(0)
    (folder / "images").mkdir()
    for name, count in {"train": size, "val": 1000, "test": 1000}.items():
        np.save(folder / "images" / f"x_{name}.npy", draw.integers(0, 256, (count, 3, 32, 32), np.uint8))
        np.save(folder / "images" / f"y_{name}.npy", np.arange(count) % 10)
    return ["ssl_runner", "dataset=arrays", "dataset.path=images", *STEPS]


def shards(folder: Path, size: int) -> list[str]:
    draw = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(draw.integers(0, 256, (32, 32, 3), np.uint8)).save(buffer, "jpeg")
    content = buffer.getvalue()

    def write(path: Path, first: int, last: int) -> None:
        with tarfile.open(path, "w") as tar:
            for number in range(first, last):
                for name, data in ((f"{number:08d}.jpg", content), (f"{number:08d}.cls", str(number % 10).encode())):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))

    count = max(4, size // SHARD)
    for shard in range(count):
        write(folder / f"train-{shard:03d}.tar", shard * size // count, (shard + 1) * size // count)
    write(folder / "val.tar", 0, 1000)
    write(folder / "test.tar", 0, 1000)
    where = [f'dataset.train="train-{{000..{count - 1:03d}}}.tar"', "dataset.val=val.tar", "dataset.test=test.tar"]
    return ["ssl_runner", "dataset=webdataset", *where, "dataset.size=32", "dataset.classes=10", *STEPS]


def text(folder: Path, size: int) -> list[str]:
    draw = np.random.default_rng(0)
    ranks = np.minimum(draw.zipf(1.2, size), WORDS)
    lines = (" ".join(f"w{rank}" for rank in line) for line in np.array_split(ranks, max(1, size // 20)))
    (folder / "text.txt").write_text(".\n".join(lines), encoding="utf-8")
    words = ["dataset=text_file", "dataset.path=text.txt", "dataset.cache=cache"]
    words += ["dataset.tokens=words", "dataset.documents=lines"]
    return ["ssl_runner", *words, "objective=language_model", "backbone=gpt_tiny", "batch_size=32", *STEPS]


def comparison(folder: Path, size: int) -> list[str]:
    """As many runs, of ten seeds a setting."""
    plain = compose(["objective=rotation"])
    metric = Metric(name="accuracy", value=0.9, unit=Unit.SHARE, better=Better.HIGHER, headline=True)
    protocol = Protocol(terms={"method": "linear probe"})
    linear = Evaluation(
        evaluator="linear", subject=PRETRAINED, metrics=(metric,), on=DataRef(dataset="mnist_5k"), protocol=protocol
    )
    name = Name(dataset="mnist_5k", objective="rotation", backbone="convnet")
    for number in range(size):
        seed, batch = number % 10, 16 + number // 10
        own = replace(linear, metrics=(replace(metric, value=0.8 + 0.001 * seed + 0.0001 * batch),))
        write_result(
            folder / "outputs" / "mnist_5k-rotation-convnet" / f"s{seed}-{number:010d}",
            Result(
                identity=f"{number:010d}", name=name, seed=seed, status="done", command="ssl-run", results=(own,),
                started="2026-01-01T00:00:00+00:00", config={**plain, "seed": seed, "batch_size": batch},
            ),
        )  # fmt: skip
    return ["ssl_runner.commands.compare", "outputs"]


def seeds(folder: Path, size: int) -> list[str]:
    return ["ssl_runner", "-m", f"seed=range(0,{size})", "check=true"]
