"""images/s of ssl_runner, of a bare PyTorch loop, and of lightly with two workers

SimCLR with a convolutional network on MNIST as three channels, with crops and changes of color.
"""

import argparse
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from ssl_runner.assembly import construct
from ssl_runner.commands.run import fresh
from ssl_runner.config.compose import compose
from ssl_runner.config.schema import Config, typed
from ssl_runner.data.any.module import DataModule
from ssl_runner.interfaces import Contents, DataSource, Encoder, Examples, ImageSpec, SplitName
from ssl_runner.runtime.devices import device_of
from ssl_runner.training import precision

from . import lightly_loop
from .shared import MACHINE, bare_rate, loop_rate, machine_rate, print_rates, rates, trainer_flops, trainer_rate

WIDTHS, BATCH = [32, 64, 128], 256


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", default="data", help="folder of MNIST (dataset.root); it is downloaded if missing")
    parser.add_argument("--steps", type=int, default=100, help="training steps a round")
    parser.add_argument("--rounds", type=int, default=3)


def measure(arguments: argparse.Namespace) -> None:
    config = _config(arguments.root, arguments.steps)
    data = DataModule(ThreeChannels(construct.construct(config.dataset)), batch_size=BATCH, seed=0)
    data.setup()
    # lightly is some ten times slower: fewer steps take as long
    slower = replace(config, budget=replace(config.budget, amount=max(arguments.steps // 5, 5)))
    what: dict[str, Callable[[], float]] = {
        "ssl_runner": partial(trainer_rate, config, data),
        "bare loop": partial(bare_rate, config, data),
    }
    if importlib.util.find_spec("lightly") is None:
        print("lightly is not installed, and left out: pip install 'ssl-runner[benchmark]'")
    else:
        what["lightly, 2 workers"] = partial(lightly, slower, data, torch.contiguous_format)
        what["lightly, and our layout"] = partial(lightly, slower, data, torch.channels_last)
    dtype = precision.decide(config.trainer.precision, device_of("auto"), fresh(config, data)).dtype
    what[MACHINE] = partial(machine_rate, dtype)
    flops = dict.fromkeys(what, trainer_flops(config, data) / BATCH)  # lightly's head has the sizes of ours
    title = f"SimCLR, convnet {WIDTHS}, batch {BATCH}, MNIST as 3 channels, crop and color; images/s"
    print_rates(f"{title}, {arguments.rounds} rounds", rates(what, arguments.rounds), "ssl_runner", flops)


class ThreeChannels(DataSource):
    """A gray dataset with its channel repeated, so that color can be jittered."""

    def __init__(self, source: DataSource) -> None:
        self.source = source

    @property
    def spec(self) -> ImageSpec:
        spec = self.source.spec
        assert isinstance(spec, ImageSpec)
        return replace(spec, channels=3)

    def check(self) -> None:
        self.source.check()

    def contents(self) -> Contents:
        return self.source.contents()

    def load(self) -> Mapping[SplitName, Examples]:
        splits = self.source.load()
        return {name: Examples(e.data.expand(-1, 3, -1, -1).contiguous(), e.label) for name, e in splits.items()}


def lightly(config: Config, data: DataModule, layout: torch.memory_format) -> float:
    """Images/s of lightly's SimCLR on the same encoder.

    `layout` of the convolutions: torch's default, or channels last as ssl_runner lays them out.
    """
    encoder = fresh(config, data).encoder.to(memory_format=layout)
    dtype = precision.decide(config.trainer.precision, device_of("auto"), encoder).dtype
    images = data.examples("pretrain").data
    loss_of, optimizer = lightly_loop.simclr(images, Pooled(encoder), encoder.dim, BATCH, dtype)
    return BATCH * loop_rate(loss_of, optimizer, int(config.budget.amount))


class Pooled(nn.Module):
    """An encoder that gives (B, D) alone."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x).pooled


def _config(root: str, steps: int) -> Config:
    words = [
        "dataset=mnist", f"dataset.root={root}", "objective=simclr", "objective/views=natural",
        f"backbone.widths={WIDTHS}", f"batch_size={BATCH}", "budget.unit=steps", f"budget.amount={steps}",
        "trainer.validations=0", "evaluation=[]", "logger=none",
    ]  # fmt: skip
    return typed(compose(words))
