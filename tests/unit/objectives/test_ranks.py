"""Two processes with half a batch each, against one with all of it: statistics over the batch are over all ranks."""

import socket
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.interfaces import ImageSpec, Objective, Views
from ssl_runner.losses.rules import InfoNCE
from ssl_runner.objectives.momentum_contrast import MomentumContrast
from ssl_runner.objectives.redundancy_reduction import RedundancyReduction
from ssl_runner.objectives.self_distillation import SelfDistillation
from ssl_runner.objectives.swapped_assignment import SwappedAssignment
from ssl_runner.objectives.variance_covariance import VarianceCovariance

SPEC = ImageSpec(channels=1, height=8, width=8)
NAMES = ("barlow_twins", "vicreg", "swav", "dino", "moco")


class NoViews(Views):
    def forward(self, x: Tensor) -> Tensor:
        return x[None]


def objective(name: str) -> Objective:
    """In eval mode, in which BatchNorm sees no batch."""
    torch.manual_seed(0)
    encoder = ConvNet(SPEC, widths=[4, 8], norm="batch")
    both = {"views": NoViews(), "projector": [6, 5]}
    crops = both | {"small_views": NoViews(), "prototypes": 3}
    match name:
        case "barlow_twins":
            made: Objective = RedundancyReduction(encoder, SPEC, **both, off_diagonal=0.1)
        case "vicreg":
            made = VarianceCovariance(encoder, SPEC, **both, invariance=25.0, variance=25.0, covariance=1.0)
        case "swav":
            made = SwappedAssignment(encoder, SPEC, **crops, temperature=0.1, epsilon=0.05, iterations=3)
        case "dino":
            made = SelfDistillation(
                encoder, SPEC, **crops, student_temperature=0.1, teacher_temperature=(0.04, 0.07),
                temperature_warmup=0.3, momentum=0.9, centre_momentum=0.9,
            )  # fmt: skip
        case _:
            rule = InfoNCE(temperature=0.2, learn_temperature=False, prior=0.0)
            made = MomentumContrast(encoder, SPEC, **both, loss=rule, queue=16, momentum=0.9)
    return made.eval()


def drawn(name: str, part: slice) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    if name in ("swav", "dino"):
        x, y = (torch.rand(views, 8, 1, 8, 8, generator=generator) for views in (3, 2))
        return x[:, part], y[:, part]
    x, y = torch.rand(2, 8, 1, 8, 8, generator=generator)
    return x[part], y[part]


def step(name: str, part: slice) -> tuple[list[Tensor], dict[str, Tensor]]:
    """The gradients of one step, and the buffers after it."""
    model = objective(name)
    loss = model.loss(*drawn(name, part))
    loss.value.backward()
    model.after_step(loss.carry, 0.5)
    return [p.grad for p in model.parameters() if p.requires_grad], dict(model.named_buffers())


def work(number: int, port: int, folder: str) -> None:
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=number, world_size=2)
    held = {}
    for name in NAMES:
        gradients, buffers = step(name, slice(4 * number, 4 * number + 4))
        for gradient in gradients:
            dist.all_reduce(gradient)  # what DDP does
        held[name] = [gradient / 2 for gradient in gradients], buffers
    torch.save(held, Path(folder) / f"{number}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, tuple[list[Tensor], dict[str, Tensor]]]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(work, args=(port, str(folder)), nprocs=2)
    return [torch.load(folder / f"{number}.pt") for number in range(2)]


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_take_the_step_of_one(
    name: str, held: list[dict[str, tuple[list[Tensor], dict[str, Tensor]]]]
) -> None:
    gradients, buffers = step(name, slice(None))
    for number in range(2):
        theirs, state = held[number][name]
        for ours, other in zip(gradients, theirs, strict=True):
            torch.testing.assert_close(other, ours, rtol=1e-4, atol=1e-5)
        for key, value in buffers.items():
            torch.testing.assert_close(state[key], value, msg=f"rank {number}: {key}")
