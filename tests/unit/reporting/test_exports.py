import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from made_runs import made_config, made_run, seeds

from ssl_runner.reporting.comparison import Comparison, compare, each_run
from ssl_runner.reporting.exports import latex, markdown, runs_csv, settings_csv, summary_json
from ssl_runner.reporting.tables import Sheet


@pytest.fixture
def comparison() -> Comparison:
    control = [0.80, 0.81, 0.81]
    return compare(
        [
            *seeds([0.90, 0.91, 0.92], control, objective__ratio=0.5),
            *seeds([0.7], objective__ratio=0.75),
        ]
    )


def lines(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_a_line_a_setting_and_column(comparison: Comparison) -> None:
    first, second = lines(settings_csv(comparison))
    cell = comparison.cells["ratio=0.5", "linear.accuracy"]
    assert (first["objective.ratio"], first["column"], first["evaluator"], first["metric"]) == (
        "0.5",
        "linear.accuracy",
        "linear",
        "accuracy",
    )
    assert json.loads(first["protocol"]) == {"layer": "pooled", "data": "mnist", "fingerprint": ""}
    assert int(first["n"]) == 3
    for name, interval in (
        ("", cell.interval),
        ("random_start_", cell.controls["random_start"]),
        ("random_start_difference_", cell.differences["random_start"]),
    ):
        mean = first[name.removesuffix("_")] if name else first["mean"]
        assert (float(mean), float(first[f"{name}low"]), float(first[f"{name}high"])) == interval[:3]
    assert (first["verdict"], first["tied"], first["headline"], first["p"]) == ("", "true", "true", "")
    assert first["seconds"] == "100.0"
    assert (second["n"], second["mean"], second["low"], second["random_start"]) == ("1", "0.7", "", "")


def test_csv_of_runs_has_every_number_in_full() -> None:
    metrics: Any = {
        "linear": {"pretrained": {"accuracy": 0.123456789}, "random_start": {"accuracy": 0.8}},
        "recon": {"pretrained": {"mse": 0.1}},
    }
    runs = [made_run("a", None, metrics), *seeds([0.9], objective__projector=[1, 2])]
    for comparison in (compare(runs), each_run(compare(runs))):
        first, second = lines(runs_csv(comparison))
        assert first["run"] == str(Path("out/a"))
        assert float(first["linear.accuracy"]) == 0.123456789
        assert float(first["linear.accuracy:random_start"]) == 0.8
        assert first["recon.mse"] == "0.1"
        assert "recon.mse:random_start" not in first
        assert second["recon.mse"] == second["linear.accuracy:random_start"] == ""
        assert second["differs"].startswith("projector=[1,2]")
        assert (second["seconds"], second["peak_memory_mb"], second["seed"]) == ("100.0", "", "0")


def test_json_has_everything(comparison: Comparison) -> None:
    found = json.loads(summary_json(comparison._replace(problems=("x is left out",))))
    assert found["axes"] == [{"key": "objective.ratio", "short": "ratio", "values": [0.5, 0.75], "numeric": True}]
    assert [setting["label"] for setting in found["settings"]] == ["ratio=0.5", "ratio=0.75"]
    assert [run["seed"] for run in found["settings"][0]["runs"]] == [0, 1, 2]
    assert found["columns"][0]["protocol"] == {"layer": "pooled", "data": "mnist", "fingerprint": ""}
    first, second = found["cells"]
    cell = comparison.cells["ratio=0.5", "linear.accuracy"]
    assert first["values"] == {"0": 0.90, "1": 0.91, "2": 0.92}
    assert (first["mean"], first["low"], first["high"], first["n"]) == cell.interval
    control = first["controls"]["random_start"]
    assert control["values"] == {"0": 0.80, "1": 0.81, "2": 0.81}
    assert control["difference"]["low"] == cell.differences["random_start"].low
    assert (second["low"], second["p"], second["controls"]) == (None, None, {})
    assert found["problems"] == ["x is left out"]


def test_json_says_what_is_not_finite() -> None:
    found = json.loads(summary_json(compare(seeds([math.nan, math.inf]))))
    (cell,) = found["cells"]
    assert cell["values"] == {"0": "NaN", "1": "Infinity"}
    assert cell["mean"] == "NaN"
    assert cell["verdict"] == "not a number in 2 of 2 seeds"


HOSTILE = Sheet(
    title="a_b & c|d",
    headers=["na_me", "linear\naccuracy %"],
    right=[False, True],
    rows=[["[1,2]|<i>", "97.2 ± 0.3 (90.2)*="], [r"\x{} ^ ~ # $", "-"]],
    strong={(0, 1)},
    ends={0},
    legend=["* not a number"],
)


def test_markdown_is_a_pipe_table_in_which_nothing_is_markup() -> None:
    assert markdown(HOSTILE).splitlines() == [
        r"a\_b & c\|d",
        "",
        r"| na\_me | linear accuracy % |",
        "| --- | ---: |",
        r"| \[1,2\]\|\<i\> | **97.2 ± 0.3 (90.2)\*=** |",
        r"| \\x{} ^ \~ \# $ | - |",
        "",
        r"\* not a number",
    ]


def test_latex_is_a_booktabs_tabular_in_which_nothing_is_markup() -> None:
    assert latex(HOSTILE).splitlines() == [
        "% a_b & c|d",
        r"% needs \usepackage{booktabs}",
        "% * not a number",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"na\_me & linear accuracy \% \\",
        r"\midrule",
        r"{[}1,2]|\textless{}i\textgreater{} & \textbf{97.2 $\pm$ 0.3 (90.2)*=} \\",
        r"\midrule",
        r"\textbackslash{}x\{\} \textasciicircum{} \textasciitilde{} \# \$ & - \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_an_axis_that_a_setting_does_not_have_is_empty() -> None:
    runs = [made_run("a", made_config("rotation")), made_run("b"), made_run("c", made_config(objective__ratio=0.5))]
    assert [line["objective.ratio"] for line in lines(settings_csv(compare(runs)))] == ["", "0.5", "0.75"]
