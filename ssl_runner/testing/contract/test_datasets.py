"""The datasets of plugins."""

import pytest

from ssl_runner.assembly import construct
from ssl_runner.interfaces import DataSource
from ssl_runner.testing import cases
from ssl_runner.testing.datasets import *  # noqa: F403
from ssl_runner.testing.datasets import Splits


@pytest.fixture(scope="module", params=cases.options("dataset"))
def source(request: pytest.FixtureRequest) -> DataSource:
    return construct.source(cases.config_for("dataset", request.param))[0]


@pytest.fixture(scope="module")
def examples(source: DataSource) -> Splits:
    return source.load()
