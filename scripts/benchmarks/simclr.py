"""images/s of ssl_runner, of a bare PyTorch loop, and of lightly with two workers

SimCLR with a convolutional network on MNIST as three channels, with crops and changes of color.
"""

import argparse
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ssl_runner.assembly import construct
from ssl_runner.commands.run import fresh
from ssl_runner.config.compose import compose
from ssl_runner.config.schema import Config, typed
from ssl_runner.data.any.module import DataModule
from ssl_runner.interfaces import Batch, Contents, DataSource, Examples, ImageSpec, SplitName
from ssl_runner.runtime.devices import device_of
from ssl_runner.training import precision

from .shared import loop_rate, print_rates, rates, trainer_rate

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
        "bare loop": partial(bare, config, data),
    }
    if importlib.util.find_spec("lightly") is None:
        print("lightly is not installed, and left out: pip install 'ssl-runner[benchmark]'")
    else:
        what["lightly, 2 workers"] = partial(lightly, slower, data, torch.contiguous_format)
        what["lightly, and our layout"] = partial(lightly, slower, data, torch.channels_last)
    title = f"SimCLR, convnet {WIDTHS}, batch {BATCH}, MNIST as 3 channels, crop and color; images/s"
    print_rates(f"{title}, {arguments.rounds} rounds", rates(what, arguments.rounds), "ssl_runner")


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


def bare(config: Config, data: DataModule) -> float:
    """Images/s of a plain loop over the same objective, with the data in the device's memory."""
    device = device_of("auto")
    model = fresh(config, data).to(device)
    images = data.examples("pretrain").data.to(device)
    dtype = precision.decide(config.trainer.precision, device, model).dtype
    label = torch.zeros(BATCH, dtype=torch.int64, device=device)

    def loss_of() -> Tensor:
        index = torch.randint(len(images), (BATCH,), device=device)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            x, y = model.split(Batch(images[index].float().div_(255), label, index))
            return model.loss(x, y).value

    return BATCH * loop_rate(loss_of, construct.optimizer(config, model), int(config.budget.amount))


def lightly(config: Config, data: DataModule, layout: torch.memory_format) -> float:
    """Images/s of lightly's SimCLR: its transform in two workers, its head and loss, the same encoder.

    `layout` of the convolutions: torch's default, or channels last as ssl_runner lays them out.
    """
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead

    device = device_of("auto")
    encoder = fresh(config, data).encoder.to(device).to(memory_format=layout)
    head = SimCLRProjectionHead(encoder.dim, 128, 64).to(device)
    criterion = NTXentLoss(temperature=0.2)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=2e-3, fused=True)
    dtype = precision.decide(config.trainer.precision, device, encoder).dtype
    batches = _lightly_batches(data)

    def loss_of() -> Tensor:
        views = torch.cat(next(batches)).to(device)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            z = head(encoder(views).pooled)
            return criterion(*z.float().chunk(2))

    return BATCH * loop_rate(loss_of, optimizer, int(config.budget.amount))


def _lightly_batches(data: DataModule) -> Iterator[list[Tensor]]:
    """Batches of both views, drawn by two workers, without end."""
    from lightly.transforms import SimCLRTransform
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms.functional import to_pil_image

    images = data.examples("pretrain").data
    transform = SimCLRTransform(input_size=images.shape[2], cj_strength=0.5, gaussian_blur=0.0, normalize=None)

    class Views(Dataset):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, i: int) -> list[Tensor]:
            views: list[Any] = transform(to_pil_image(images[i]))  # tensors
            return views

    loader = DataLoader(Views(), BATCH, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True)
    while True:
        yield from loader


def _config(root: str, steps: int) -> Config:
    words = [
        "dataset=mnist", f"dataset.root={root}", "objective=simclr", "objective/views=natural",
        f"backbone.widths={WIDTHS}", f"batch_size={BATCH}", "budget.unit=steps", f"budget.amount={steps}",
        "trainer.validations=0", "evaluation=[]", "logger=none",
    ]  # fmt: skip
    return typed(compose(words))
