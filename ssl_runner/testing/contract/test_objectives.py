"""The objectives of plugins."""

import copy
from functools import cache

import pytest

from ssl_runner.assembly import construct
from ssl_runner.testing import cases
from ssl_runner.testing.objectives import *  # noqa: F403
from ssl_runner.testing.objectives import Task


@cache
def original(name: str) -> Task:
    config = cases.config_for("objective", name)
    data = cases.loaded(config)
    return construct.objective(config, data.spec), data.batch


@pytest.fixture(params=cases.options("objective"))
def task(request: pytest.FixtureRequest) -> Task:
    return copy.deepcopy(original(request.param))
