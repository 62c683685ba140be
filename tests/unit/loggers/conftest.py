import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb_server import WandbServer, serve

from ssl_runner.loggers.interface import RunContext


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    outputs = tmp_path / "outputs"
    return RunContext(outputs / "run", outputs, "simclr-digits", ("simclr", "digits"), "abc123", 0)


@pytest.fixture
def server() -> Iterator[WandbServer]:
    with serve() as server:
        yield server


@pytest.fixture
def fresh_wandb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """wandb as in a new process of somebody who never used it; call it with the environment that it should see."""
    for name in [*(name for name in os.environ if name.startswith("WANDB_")), "WANDB_ERROR_REPORTING", "NETRC"]:
        monkeypatch.setenv(name, "")  # so that it is as before afterwards, whatever wandb sets
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()

    import wandb

    def start(**environment: str) -> None:
        wandb.teardown()  # it reads the environment once a session
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    start()
    yield start
    wandb.teardown()
