import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from made_runs import made_config, made_metric, made_run

import ssl_runner.reporting.page
from ssl_runner.commands.compare import main
from ssl_runner.reporting.comparison import Comparison
from ssl_runner.results.result import write_result

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Two seeds of two ratios, a run of another objective, and one that broke."""
    folder = tmp_path / "outputs"
    for ratio, accuracies in ((0.5, (0.40, 0.42)), (0.75, (0.90, 0.92))):
        for seed, accuracy in enumerate(accuracies):
            metrics = {
                "linear": {
                    "pretrained": [made_metric(value=accuracy), made_metric(value=0.6, split="val", headline=False)],
                    "random_start": [made_metric(value=0.5), made_metric(value=0.5, split="val", headline=False)],
                },
                "knn": {"pretrained": {"accuracy": 0.7}},
            }
            made = made_run("r", made_config(objective__ratio=ratio, seed=seed), metrics)
            write_result(folder / f"mae-{ratio}-s{seed}", made.result)
    write_result(folder / "rotation", made_run("r", made_config("rotation")).result)
    (folder / "broken").mkdir()
    (folder / "broken" / "result.json").write_text('{"schema": 1, "iden')
    return folder


def rows(out: str) -> list[list[str]]:
    """Of the printed table, beneath its rule."""
    lines = iter(out.splitlines())
    next(line for line in lines if "───" in line)
    return [line.split() for line in iter(lambda: next(lines).strip(), "")]


def test_one_table_of_the_good_runs_and_a_line_for_each_other(outputs: Path, capsys: Captured) -> None:
    assert main([str(outputs)]) == 0
    out, err = capsys.readouterr()
    # Half the width is 12.706 * 1 point (s / sqrt(2)); of equal numbers it is 0.
    assert rows(out) == [
        ["mae", "0.5", "2", "41.0", "±", "12.7", "(50.0)*", "70.0", "±", "0.0=", "100"],
        ["mae", "0.75", "2", "91.0", "±", "12.7", "(50.0)=", "70.0", "±", "0.0=", "100"],
        ["rotation", "-", "1", "90.0¹", "-", "100"],
    ]
    assert "5 runs, 3 settings of mnist, vit" in out
    assert "¹ one seed: the variation over seeds is unknown" in out
    (line,) = err.splitlines()
    assert line.startswith(f"skipped: {outputs / 'broken' / 'result.json'} is not a complete JSON file")


def test_choosing_and_sorting(outputs: Path, capsys: Captured) -> None:
    chosen = ["--where", "objective=mae", "--where", "ratio>0", "--columns", "linear", "--sort", "linear:desc"]
    assert main([str(outputs), *chosen, "--seeds", "1"]) == 0
    assert rows(capsys.readouterr().out) == [
        ["0.75", "92.0", "(50.0)", "100", "mae-0.75-s1"],
        ["0.5", "42.0", "(50.0)*", "100", "mae-0.5-s1"],
    ]


def test_every_metric(outputs: Path, capsys: Captured) -> None:
    assert main([str(outputs), "--all"]) == 0
    assert "split=val" in capsys.readouterr().out


def test_single_runs(outputs: Path, capsys: Captured) -> None:
    assert main([str(outputs), "--runs", "--columns", "linear", "--where", "objective=mae", "--sort", "linear"]) == 0
    assert rows(capsys.readouterr().out) == [
        ["0.75", "1", "92.0", "(50.0)", "100", "mae-0.75-s1"],
        ["0.75", "0", "90.0", "(50.0)", "100", "mae-0.75-s0"],
        ["0.5", "1", "42.0", "(50.0)*", "100", "mae-0.5-s1"],
        ["0.5", "0", "40.0", "(50.0)*", "100", "mae-0.5-s0"],
    ]


def test_a_terminal_gets_what_fits(outputs: Path) -> None:
    wide = subprocess.run(
        [sys.executable, "-m", "ssl_runner.commands.compare", str(outputs)],
        env={"FORCE_COLOR": "1", "COLUMNS": "40", "TERM": "dumb", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert wide.returncode == 0
    assert wide.stdout.count("───") > 1


def test_nothing_to_compare(tmp_path: Path, capsys: Captured) -> None:
    assert main([str(tmp_path), str(tmp_path / "nowhere")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"skipped: {tmp_path / 'nowhere'} does not exist" in err
    assert f"error: no finished run in {tmp_path}" in err


def test_a_run_that_is_there_twice_is_noted(outputs: Path, capsys: Captured) -> None:
    later = replace(made_run("r", made_config("rotation")).result, started="2027-01-01T00:00:00")
    write_result(outputs / "again", later)
    assert main([str(outputs)]) == 0
    assert f"note: {outputs / 'rotation'} is skipped: {outputs / 'again'} has the same" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "begins"),
    [
        (["--csv", "-"], "objective,objective.ratio,column,"),
        (["--runs", "--csv", "-"], "run,identity,dataset,"),
        (["--json", "-"], "{\n"),
        (["--markdown", "-"], "5 runs, 3 settings of mnist, vit\n\n| objective | ratio | seeds | linear accuracy % |"),
        (["--latex", "-"], "% 5 runs, 3 settings of mnist, vit\n"),
    ],
)
def test_standard_output_has_it_alone(outputs: Path, capsys: Captured, options: list[str], begins: str) -> None:
    assert main([str(outputs), *options]) == 0
    out = capsys.readouterr().out
    assert out.startswith(begins)
    assert "───" not in out


def test_files_beside_the_table(outputs: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(
        ssl_runner.reporting.page, "write_comparison", lambda path, what, **_: drawn.append((path, what))
    )
    names = ["csv", "json", "markdown", "latex", "html"]
    options = [word for name in names for word in (f"--{name}", str(outputs / f"all.{name}"))]
    assert main([str(outputs), *options]) == 0
    assert "accuracy %" in capsys.readouterr().out
    table = list(csv.DictReader(io.StringIO((outputs / "all.csv").read_text())))
    assert len(table) == 2 * 3 + 1
    (problem,) = json.loads((outputs / "all.json").read_text())["problems"]
    assert "is not a complete JSON file" in problem
    assert (outputs / "all.markdown").read_text().count("\n|") == 5
    assert r"\end{tabular}" in (outputs / "all.latex").read_text()
    ((path, comparison),) = drawn
    assert path == outputs / "all.html"
    assert isinstance(comparison, Comparison)
    assert comparison.problems == (problem,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--where", "ratio"], "--where: 'ratio' is not a condition"),
        (["--where", "foo=1"], "--where: 'foo' is no key"),
        (["--where", "ratio>1"], "no run matches --where and --seeds"),
        (["--seeds", "7"], "no run matches --where and --seeds"),
        (
            ["--columns", "nmi"],
            "--columns: 'nmi' is not a column; choose one of: linear.accuracy, linear.accuracy[split=val]",
        ),
        (["--sort", "nmi"], "--sort: 'nmi' is not a column; choose one of: linear.accuracy"),
        (["--html", "-"], "--html needs a file"),
        (["--csv", "-", "--latex", "-"], "only one of --csv, --json, --markdown and --latex can go to standard output"),
    ],
)
def test_what_cannot_be_had_is_refused_in_a_line(
    outputs: Path, capsys: Captured, options: list[str], message: str
) -> None:
    assert main([str(outputs), *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith(f"error: {message}")


def test_a_file_that_cannot_be_written_is_named(outputs: Path, capsys: Captured) -> None:
    assert main([str(outputs), "--csv", str(outputs)]) == 2
    assert "error: cannot write" in capsys.readouterr().err


def test_comparing_imports_neither_torch_nor_matplotlib_nor_scipy() -> None:
    code = (
        "import ssl_runner.commands.compare, sys; print({'torch', 'matplotlib', 'jinja2', 'scipy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
