"""CPU seconds that a run takes to know its files, and for checksums

Of MNIST at the start, of a checkpoint of 122 MiB each time it is written, of the encoder at the end. Other programs do
not change them.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ssl_runner.assembly import construct, export
from ssl_runner.assembly.places import with_contents
from ssl_runner.config.compose import compose
from ssl_runner.config.request import RunRequest
from ssl_runner.config.schema import typed
from ssl_runner.runtime.checkpoint_files import LAST, check, write


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", default="data", help="folder of MNIST (dataset.root)")


def measure(arguments: argparse.Namespace) -> None:
    words = ["dataset=mnist", f"dataset.root={arguments.root}", "dataset.download=false", "backbone=resnet18"]
    plain = compose([*words, "logger=none"])
    config = typed(plain)
    source, spec = construct.source(config)
    print(f"fingerprint of MNIST: {taken(lambda: with_contents(RunRequest(config, plain), source, spec))}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / LAST
        state = {"state_dict": {str(n): torch.randn(1000, 1000) for n in range(32)}}
        print(f"a checkpoint of {32 * 4e6 / 2**20:.0f} MiB, written: {taken(lambda: write(state, file))}")
        print(f"its checksum compared: {taken(lambda: check(file))}")
        encoder = construct.random_start(config, spec)
        print(f"encoder exported: {taken(lambda: export.export_encoder(Path(folder), encoder, config.backbone, spec))}")
        print(f"its checksums compared: {taken(lambda: export.check_sums(Path(folder)))}")


def taken(act: Callable[[], object]) -> str:
    """The CPU seconds of `act`."""
    begun = time.process_time()
    act()
    return f"{time.process_time() - begun:.3f} s"
