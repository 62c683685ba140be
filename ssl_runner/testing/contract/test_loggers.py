"""The loggers of plugins."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ssl_runner.assembly.construct import construct
from ssl_runner.config.compose import compose
from ssl_runner.loggers.interface import Loggers, RunContext, RunLogger
from ssl_runner.testing import cases
from ssl_runner.testing.loggers import *  # noqa: F403
from ssl_runner.testing.loggers import Made


@pytest.fixture(params=cases.options("logger"))
def logger_of(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    nodes: Mapping[str, Any] = compose([f"logger={request.param}"])["logger"]
    context = RunContext(tmp_path / "run", tmp_path, "contract", ("a", "b", "c"), "0123456789", 0)

    def make() -> RunLogger:
        return Loggers([construct(node, context=context) for node in nodes.values()])

    return make
