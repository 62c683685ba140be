import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from wandb_server import KEY, WandbServer

from ssl_runner.loggers.interface import RunContext
from ssl_runner.loggers.wandb_sweep import log_comparison

SETTINGS: dict[str, Any] = {
    "project": "tests",
    "entity": None,
    "name": "a run",
    "group": None,
    "tags": ["mine"],
    "mode": "auto",
    "dir": None,
    "init_timeout": 10.0,
    "finish_timeout": 20.0,
    "examples": False,
}
COLUMNS = ["ratio", "accuracy", "verdict"]


@pytest.fixture
def sweep(context: RunContext, tmp_path: Path) -> RunContext:
    Image.new("RGB", (5, 7), "red").save(tmp_path / "curve.png")
    return context._replace(folder=context.outputs / "sweeps" / "ratios", name="comparison of ratios", group="ratios")


def log(sweep: RunContext, tmp_path: Path, accuracy: float, **settings: Any) -> None:
    rows = [[0.5, accuracy, "best"], [0.75, None, "failed"]]
    figures = {"accuracy": tmp_path / "curve.png"}
    log_comparison(sweep, SETTINGS | settings, columns=COLUMNS, rows=rows, figures=figures)


def test_online_it_is_one_run_however_often_it_is_logged(
    sweep: RunContext, tmp_path: Path, server: WandbServer, fresh_wandb: Callable[..., None]
) -> None:
    fresh_wandb(WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY)
    for accuracy in (0.25, 0.5):
        log(sweep, tmp_path, accuracy)
        ((run_id, run),) = server.runs.items()
        assert (run["groupName"], run["jobType"], run["displayName"]) == (
            "ratios",
            "comparison",
            "comparison of ratios",
        )
        table = json.loads(server.files[f"{run_id}/{server.summary[run_id]['runs']['path']}"])
        assert table == {"columns": COLUMNS, "data": [[0.5, accuracy, "best"], [0.75, None, "failed"]]}
        picture = server.files[f"{run_id}/{server.summary[run_id]['figures/accuracy']['path']}"]
        assert picture == (tmp_path / "curve.png").read_bytes()
        assert server.exit_codes == {run_id: 0}
    log(sweep._replace(group="widths"), tmp_path, 0.5)
    assert len(server.runs) == 2  # another sweep's is another run


def test_offline_the_last_replaces_the_earlier(
    sweep: RunContext, tmp_path: Path, fresh_wandb: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    other = sweep.outputs / "wandb" / "offline-run-20200101_000000-0123abcd"
    other.mkdir(parents=True)
    kept: set[Path] = set()
    for accuracy in (0.25, 0.5):
        log(sweep, tmp_path, accuracy)
        (folder,) = set((sweep.outputs / "wandb").glob("offline-run-*")) - {other}
        assert folder not in kept
        kept.add(folder)
        (table,) = folder.rglob("*.table.json")
        assert json.loads(table.read_text())["data"][0] == [0.5, accuracy, "best"]
        assert len(list(folder.rglob("*.png"))) == 1
    assert other.exists()
    assert capfd.readouterr() == ("", "")


def test_if_the_server_fails_it_is_said_and_kept_for_later(
    sweep: RunContext,
    tmp_path: Path,
    server: WandbServer,
    fresh_wandb: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    server.failing.set()
    fresh_wandb(WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY)
    log(sweep, tmp_path, 0.5, init_timeout=1.0)
    assert capfd.readouterr().err.startswith("warning: this run is logged offline, because wandb cannot go online")
    assert len(list((sweep.outputs / "wandb").glob("offline-run-*/files/media/table/*"))) == 1


def test_what_insists_on_being_online_stops_nothing(
    sweep: RunContext, tmp_path: Path, fresh_wandb: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    log(sweep, tmp_path, 0.5, mode="online")
    error = capfd.readouterr().err
    assert error.startswith(
        "warning: the comparison is not logged to wandb: logger.wandb.mode is online, but No API key"
    )
    assert error.count("\n") == 1
    log(sweep, tmp_path, 0.5, mode="disabled")
    assert capfd.readouterr().err == ""
