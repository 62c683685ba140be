"""The views of plugins."""

from functools import cache

import pytest
from torch import Tensor

from ssl_runner.config.compose import compose
from ssl_runner.config.schema import typed
from ssl_runner.interfaces import Views
from ssl_runner.testing import cases
from ssl_runner.testing.views import *  # noqa: F403


@cache
def batches() -> tuple[Tensor, ...]:
    """Of images, clips, vectors and texts."""
    data = (cases.IMAGES, cases.CLIPS, cases.VECTORS, cases.texts())
    return tuple(cases.loaded(typed(compose([*cases.REST, *words]))).batch.data for words in data)


@pytest.fixture(params=cases.options("objective/views"))
def views(request: pytest.FixtureRequest) -> Views:
    made: Views = cases.made("objective/views", request.param)
    return made


@pytest.fixture
def shown(views: Views) -> Tensor:
    """A batch of the first kind of data that these views read."""
    problems = []
    for batch in batches():
        try:
            views(batch)
        except (ValueError, RuntimeError) as error:
            problems.append(str(error))
        else:
            return batch
    raise AssertionError(f"{type(views).__name__} reads neither images, clips, vectors nor texts: {problems}")
