"""The backbones of plugins that read text."""

import pytest
import torch
from torch import Tensor

from ssl_runner.assembly import construct
from ssl_runner.config.signatures import locate
from ssl_runner.interfaces import TextEncoder
from ssl_runner.testing import cases
from ssl_runner.testing.text_encoders import *  # noqa: F403
from ssl_runner.testing.text_encoders import SPEC, texts


@pytest.fixture(params=cases.options("backbone"))
def encoder(request: pytest.FixtureRequest) -> TextEncoder:
    node = cases.config_for("backbone", request.param).backbone
    if not issubclass(locate(node["_target_"]), TextEncoder):
        pytest.skip("it reads no text")
    torch.manual_seed(0)
    made = construct.encoder(node, SPEC)
    assert isinstance(made, TextEncoder)
    return made.eval()


@pytest.fixture
def x() -> Tensor:
    return texts()
