import csv
import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ssl_runner.commands.compare import find_runs, main
from ssl_runner.reporting.results import Cost, Evaluation, Name, Result, write_result


def result(accuracy: float, objective: str = "mae", status: str = "done") -> Result:
    found = Evaluation(
        evaluator="linear",
        subject="pretrained",
        metrics={"accuracy": accuracy},
        headline="accuracy",
        higher_is_better=True,
    )
    return Result(
        identity="i",
        name=Name(dataset="mnist", objective=objective, backbone="vit"),
        seed=0,
        status=status,
        command="",
        started="",
        results=(found, replace(found, subject="random_start", metrics={"accuracy": 0.5})),
        cost=Cost(seconds=3.0),
    )


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Two good runs, one broken, one half-written, one stopped, and a hidden copy."""
    folder = tmp_path / "outputs"
    write_result(folder / "deep" / "mae", result(0.9))
    write_result(folder / "simclr", result(0.4, "simclr"))
    write_result(folder / "stopped", result(0.4, status="stopped"))
    write_result(folder / ".cache" / "old", result(0.1))
    (folder / "broken").mkdir()
    (folder / "broken" / "result.json").write_text('{"schema": 1, "iden')
    (folder / "half").mkdir()
    (folder / "half" / "metrics.csv").write_text("step\n")
    (folder / "deep" / "mae" / "encoder").mkdir()
    (folder / "deep" / "mae" / "encoder" / "config.yaml").write_text("")
    return folder


def test_one_table_of_the_good_runs_and_a_line_for_each_other(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(outputs)]) == 0
    out, err = capsys.readouterr()
    assert [line.split() for line in out.splitlines() if "vit" in line] == [
        ["mnist", "mae", "vit", "0", "90.0", "(50.0)", "3", "deep/mae"],
        ["mnist", "simclr", "vit", "0", "40.0", "(50.0)*", "3", "simclr"],
    ]
    assert "not better than random start" in out
    lines = err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("left out: ") for line in lines)
    assert f"{outputs / 'broken' / 'result.json'} is not a whole JSON file" in err
    assert f"{outputs / 'half'} has no result.json: the run did not finish, or is still running" in err
    assert f"{outputs / 'stopped'}: the run ended as 'stopped'" in err


def test_a_run_is_found_once_and_by_its_file_too(outputs: Path) -> None:
    runs, _ = find_runs([outputs / "simclr", outputs / "simclr" / "result.json", outputs])
    assert [run.name for run in runs] == ["simclr", "deep/mae"]
    runs, problems = find_runs([outputs / "simclr"])
    assert [run.name for run in runs] == ["simclr"]
    assert problems == []


def test_nothing_to_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), str(tmp_path / "nowhere")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"left out: {tmp_path / 'nowhere'} does not exist" in err
    assert f"error: no finished run in {tmp_path}" in err


def test_csv_alone_on_standard_output(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(outputs), "--csv", "-"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["objective"], row["linear.accuracy"]) for row in rows] == [("mae", "0.9"), ("simclr", "0.4")]


def test_csv_and_html_files_beside_the_table(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(outputs), "--csv", str(outputs / "all.csv"), "--html", str(outputs / "all.html")]) == 0
    assert "accuracy %" in capsys.readouterr().out
    assert len((outputs / "all.csv").read_text().splitlines()) == 3
    assert "2 runs" in (outputs / "all.html").read_text()


def test_sorting(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_result(outputs / "best", result(0.99, "z"))
    assert main([str(outputs), "--sort", "linear"]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines() if "vit" in line] == ["z", "mae", "simclr"]
    assert main([str(outputs), "--sort", "nmi"]) == 2
    assert "error: --sort: 'nmi' is no column; choose one of: linear.accuracy" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_named(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(outputs), "--csv", str(outputs)]) == 2
    assert "error: cannot write" in capsys.readouterr().err


def test_comparing_imports_neither_torch_nor_matplotlib() -> None:
    code = "import ssl_runner.commands.compare, sys; print({'torch', 'matplotlib', 'jinja2'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
