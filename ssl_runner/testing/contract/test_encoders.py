"""The backbones of plugins that read images, vectors or clips."""

import copy
from functools import cache

import pytest
import torch
from torch import Tensor

from ssl_runner.assembly import construct
from ssl_runner.config.fit import reads
from ssl_runner.config.signatures import locate
from ssl_runner.interfaces import DataSpec, Encoder, ImageSpec, TextEncoder, VectorSpec, VideoSpec
from ssl_runner.testing import cases
from ssl_runner.testing.encoders import *  # noqa: F403

SPECS: tuple[tuple[DataSpec, tuple[int, ...]], ...] = (
    (ImageSpec(channels=3, height=32, width=32), (3, 32, 32)),
    (VideoSpec(frames=4, channels=3, height=16, width=16), (4, 3, 16, 16)),
    (VectorSpec(count=2, width=8), (2, 8)),
)


@cache
def original(name: str) -> tuple[Encoder, tuple[int, ...]]:
    """An encoder whose running statistics are of a few batches, in eval mode, and the shape of an example."""
    node = cases.config_for("backbone", name).backbone
    read = locate(node["_target_"])
    if issubclass(read, TextEncoder):
        pytest.skip("it reads text")
    spec, shape = next(each for each in SPECS if isinstance(each[0], reads(read)))
    torch.manual_seed(0)
    encoder = construct.encoder(node, spec)
    if not isinstance(spec, VectorSpec):
        construct.fit_statistics(encoder, lambda: (torch.full((3,), 0.4), torch.full((3,), 0.3)))
    with torch.no_grad():
        encoder(torch.rand(4, *shape))
    return encoder.eval(), shape


@pytest.fixture(params=cases.options("backbone"))
def made(request: pytest.FixtureRequest) -> tuple[Encoder, tuple[int, ...]]:
    return original(request.param)


@pytest.fixture
def encoder(made: tuple[Encoder, tuple[int, ...]]) -> Encoder:
    return copy.deepcopy(made[0])


@pytest.fixture
def x(made: tuple[Encoder, tuple[int, ...]]) -> Tensor:
    return torch.rand(3, *made[1], generator=torch.Generator().manual_seed(1))
