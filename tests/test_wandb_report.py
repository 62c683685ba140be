"""scripts/wandb_report.py, against the stand-in for wandb's server."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb_server import KEY, WandbServer, serve

SCRIPT = Path(__file__).parents[1] / "scripts" / "wandb_report.py"
HAS_PACKAGE = importlib.util.find_spec("wandb_workspaces") is not None
GROUP = """ratios of "mae", it's"""
ACCURACY = "pretrained/linear.accuracy"


@pytest.fixture
def server() -> Iterator[WandbServer]:
    """With a sweep of two ratios and two seeds, its comparison, and a run that is none of it."""
    with serve() as server:
        for i, (ratio, seed) in enumerate([(0.5, 0), (0.5, 1), (0.75, 0), (0.75, 1)]):
            config = {"objective": {"ratio": ratio, "dim": 8}, "seed": seed, "output": f"o{i}", "names": {}}
            put(server, f"run{i}", GROUP, "pretrain", config, {"train/loss": 0.5, ACCURACY: i / 10})
        put(server, "table", GROUP, "comparison", {}, {"runs": {"_type": "table-file"}, "figures/f": {}})
        put(server, "other", "another", "pretrain", {}, {"val/loss": 1.0})
        yield server


def put(server: WandbServer, run: str, group: str, job: str, config: dict[str, Any], summary: dict[str, Any]) -> None:
    stored = json.dumps({key: {"value": value} for key, value in config.items()})
    server.runs[run] = {"project": "tests", "groupName": group, "jobType": job, "config": stored}
    server.summary[run] = summary


def report(server: WandbServer, home: Path, *arguments: str, key: str = KEY) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {"HOME": str(home), "WANDB_BASE_URL": server.url, "WANDB_API_KEY": key, "NETRC": ""}
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(
        command, env=environment, cwd=home, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100
    )


def grids(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [block["metadata"] for block in spec["blocks"] if block["type"] == "panel-grid"]


def drawn(grid: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(panel["viewType"], panel["config"]) for panel in grid["panelBankSectionConfig"]["panels"]]


@pytest.mark.skipif(not HAS_PACKAGE, reason="needs wandb-workspaces")
def test_a_report_shows_the_runs_of_the_group_against_what_was_swept(server: WandbServer, tmp_path: Path) -> None:
    done = report(server, tmp_path, "somebody/tests", GROUP)
    assert (done.returncode, done.stderr) == (0, "")
    ((view_id, view),) = server.views.items()
    assert done.stdout.startswith(f"{server.url}/somebody/tests/reports/")
    assert done.stdout.endswith(f"--{view_id}\n")
    assert KEY not in done.stdout + json.dumps(view)
    assert (view["entityName"], view["projectName"], view["displayName"]) == ("somebody", "tests", f"Sweep {GROUP}")
    assert view["description"].startswith("4 runs")

    results, curves, comparison, differences = grids(json.loads(view["spec"]))
    for grid, compares in ((results, "!="), (curves, "!="), (comparison, "="), (differences, "!=")):
        (runset,) = grid["runSets"]
        only = [(f["key"]["name"], f["op"], f["value"]) for f in runset["filters"]["filters"]]
        assert only == [("group", "=", GROUP), ("jobType", compares, "comparison")]
    (scatter, scattered), (bars, barred) = drawn(results)  # one key was swept, one result was logged
    assert (scatter, bars) == ("Scatter Plot", "Bar Chart")
    assert scattered["xAxis"] == "config:objective.value.ratio"
    assert scattered["yAxis"] == f"summary:{ACCURACY}"
    assert (barred["metrics"], barred["groupBy"], barred["groupAgg"]) == ([ACCURACY], "objective.value.ratio", "mean")
    assert curves["runSets"][0]["grouping"] == [{"section": "config", "name": "objective.value.ratio"}]
    ((line, lines),) = drawn(curves)  # val/loss is of another group
    assert (line, lines["xAxis"], lines["metrics"]) == ("Run History Line Plot", "trainer/step", ["train/loss"])
    assert [kind for kind, _ in drawn(comparison)] == ["Weave", "Media Browser"]
    assert [kind for kind, _ in drawn(differences)] == ["Run Comparer"]


@pytest.mark.skipif(not HAS_PACKAGE, reason="needs wandb-workspaces")
def test_a_view_of_the_workspace_opens_with_the_panels_of_a_report(server: WandbServer, tmp_path: Path) -> None:
    done = report(server, tmp_path, "somebody/tests", GROUP, "--workspace")
    assert done.returncode == 0, done.stderr
    (view,) = server.views.values()
    assert view["displayName"] == f"Sweep {GROUP}"
    section = json.loads(view["spec"])["section"]
    (runset,) = section["runSets"]
    assert [(f["key"]["name"], f["value"]) for f in runset["filters"]["filters"]] == [("group", GROUP)]
    sections = section["panelBankConfig"]["sections"]
    assert [(each["name"], each["isOpen"], [p["viewType"] for p in each["panels"]]) for each in sections[:3]] == [
        ("Results", True, ["Scatter Plot", "Bar Chart"]),
        ("Curves", True, ["Run History Line Plot"]),
        ("Comparison", True, ["Weave", "Media Browser"]),
    ]


@pytest.mark.skipif(not HAS_PACKAGE, reason="needs wandb-workspaces")
@pytest.mark.parametrize(
    ("project", "group", "key", "message"),
    [
        ("somebody/tests", "nobody", KEY, "error: somebody/tests has no run in a group 'nobody'\n"),
        ("somebody/none", GROUP, KEY, "error: cannot read somebody/none: Could not find project none\n"),
        ("somebody/tests", GROUP, "", "error: wandb finds no key: set WANDB_API_KEY, or run `wandb login`\n"),
    ],
)
def test_refusals(server: WandbServer, tmp_path: Path, project: str, group: str, key: str, message: str) -> None:
    done = report(server, tmp_path, project, group, key=key)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)
    assert server.views == {}


@pytest.mark.slow  # wandb asks again for 20 s
@pytest.mark.skipif(not HAS_PACKAGE, reason="needs wandb-workspaces")
def test_a_server_that_fails_is_named_in_one_line(server: WandbServer, tmp_path: Path) -> None:
    server.failing.set()
    done = report(server, tmp_path, "somebody/tests", GROUP)
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot read somebody/tests: ")
    assert done.stderr.count("\n") == 1


def script() -> Any:
    spec = importlib.util.spec_from_file_location("wandb_report", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_project_and_no_package_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script().main(["tests", GROUP]) == 2
    assert capsys.readouterr().err == "error: 'tests' is no project; it must be ENTITY/PROJECT\n"
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports", None)
    assert script().main(["somebody/tests", GROUP]) == 2
    assert capsys.readouterr().err.endswith("is not installed: pip install 'ssl-runner[wandb-report]'\n")


@pytest.mark.parametrize(
    ("configs", "keys"),
    [
        ([{"a": {"b": 1, "c": 2}, "seed": 0}, {"a": {"b": 1, "c": 3}, "seed": 1}], ["a.c"]),
        ([{"a": 1, "output": "x", "logger": {"g": 1}}, {"a": 1, "output": "y", "logger": {"g": 2}}], []),
        ([{"a": 1}], []),
        ([{"b": 1, "a": 1}, {"b": 2, "a": 2}, {"b": 2, "a": 2, "extra": 1}], ["a", "b"]),
        (  # what follows from the choice of an objective is not swept; what has a similar name is
            [
                {"objective": {"t": 1}, "objectives": 1, "names": {"objective": "mae"}},
                {"objective": {"t": 2}, "objectives": 2, "names": {"objective": "rotation"}},
            ],
            ["names.objective", "objectives"],
        ),
    ],
)
def test_what_was_swept(configs: list[dict[str, Any]], keys: list[str]) -> None:
    assert script().swept(configs) == keys
