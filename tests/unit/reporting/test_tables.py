import io
import math
from dataclasses import replace

from made_runs import made_config, made_metric, made_run, seeds
from rich.console import Console
from rich.table import Table

from ssl_runner.reporting.comparison import compare, each_run, sort
from ssl_runner.reporting.tables import (
    as_table,
    comparison_tables,
    headlines,
    print_comparison,
    result_table,
    sheet,
    table_width,
)
from ssl_runner.results.result import Cost, Run
from ssl_runner.runtime.terminal import Terminal

GOOD, CLOSE, BAD = [0.90, 0.91, 0.92], [0.91, 0.90, 0.92], [0.70, 0.72, 0.71]
STARTS = [0.80, 0.81, 0.81]


def cells(table: Table) -> list[list[str]]:
    """A table as rows of text, a row a row."""
    return [list(row) for row in zip(*([str(cell) for cell in column._cells] for column in table.columns), strict=True)]


def text(table: Table, width: int = 200) -> str:
    written = io.StringIO()
    Console(width=width, file=written, color_system=None).print(table)
    return written.getvalue()


def one(accuracy: float, control: float = 0.8) -> Run:
    metrics = {"pretrained": {"accuracy": accuracy}, "random_start": {"accuracy": control}}
    return made_run("a", metrics={"linear": metrics})


def test_the_table_of_a_run_has_a_control_beside_each_number() -> None:
    table = result_table(one(0.95).result)
    assert [str(column.header) for column in table.columns] == [
        "evaluation",
        "pretrained",
        "random\nstart",
        "difference to\nrandom start",
    ]
    assert cells(table) == [["linear accuracy", "95.0 %", "80.0 %", "+15.0 points"]]
    assert "mae, mnist, vit, seed 0" in text(table)


def test_a_run_no_better_than_its_random_start_says_so_in_words() -> None:
    assert cells(result_table(one(0.79).result)) == [
        ["linear accuracy\n  not above random start", "79.0 %", "80.0 %", "-1.0 points"]
    ]


def test_the_table_of_a_run_without_evaluations_is_empty() -> None:
    assert cells(result_table(replace(one(0.9).result, results=()))) == []


def test_one_row_a_setting_with_marks_and_what_they_mean() -> None:
    runs = [
        *seeds(GOOD, STARTS, objective__ratio=0.5),
        *seeds(CLOSE, STARTS, objective__ratio=0.75),
        *seeds(BAD, STARTS, objective__ratio=0.9),
    ]
    shown = sheet(compare(runs))
    assert shown.title == "9 runs, 3 settings of mnist, mae, vit"
    assert shown.headers == ["ratio", "seeds", "linear\naccuracy %", "pretraining\nseconds"]
    assert shown.right == [True] * 4
    # Half the width is 4.303 s / sqrt(3), s = 0.01.
    assert shown.rows == [
        ["0.5", "3", "91.0 ± 2.5 (80.7)=", "100"],
        ["0.75", "3", "91.0 ± 2.5 (80.7)=", "100"],
        ["0.9", "3", "71.0 ± 2.5 (80.7)*", "100"],
    ]
    assert shown.strong == {(0, 2), (1, 2)}
    assert shown.legend == [
        "± half of the 95 % confidence interval of the mean over seeds (Student's t)",
        "(in parentheses: the same backbone, randomly initialized)",
        "* not a number, or not better than random start: the interval of the paired differences contains 0",
        "= the best of its column, or not significantly different from it (paired t-test over common seeds, Holm's "
        "correction, 5 %)",
    ]


def test_single_runs_have_no_marks_of_rank_and_say_where_they_lie() -> None:
    shown = sheet(compare([*seeds([0.9], objective__ratio=0.5), *seeds([math.nan], objective__ratio=0.75)]))
    assert shown.title == "2 runs of mnist, mae, vit"
    assert shown.headers == ["ratio", "linear\naccuracy %", "pretraining\nseconds", "run"]
    assert shown.rows == [["0.5", "90.0", "100", "0.5-0"], ["0.75", "not a number*", "100", "0.75-0"]]
    assert shown.legend == [
        "* not a number",
        "one seed: the variation over seeds is unknown, so the number is not tested",
    ]
    shown = sheet(each_run(compare(seeds(GOOD))))
    assert shown.headers[0] == "seed"
    assert [row[:2] for row in shown.rows] == [["0", "90.0"], ["1", "91.0"], ["2", "92.0"]]


def test_datasets_are_sections_each_with_its_best() -> None:
    runs = [
        run for data in ("cifar", "mnist") for size in (8, 16) for run in seeds(GOOD, dataset=data, batch_size=size)
    ]
    shown = sheet(
        compare([*runs, made_run("x", made_config("rotation", "mnist"), {"knn": {"pretrained": {"nmi": 1}}})])
    )
    assert [row[0] for row in shown.rows] == ["cifar", "cifar", "mnist", "mnist", "mnist"]
    assert shown.ends == {1}
    assert shown.rows[-1][-3:-1] == ["-", "1.00¹"]  # one seed is no best
    assert any(line.startswith("= the best of its column on its data, or not") for line in shown.legend)
    alone = sheet(compare([*seeds(GOOD, dataset="cifar"), *seeds(GOOD, dataset="mnist")]))
    assert [row[2] for row in alone.rows] == ["91.0 ± 2.5", "91.0 ± 2.5"]  # nothing to be better than
    assert alone.ends == {0}


def test_headlines_are_shown_or_what_is_asked_for() -> None:
    val = made_metric(value=0.8, split="val", headline=False)
    comparison = compare([made_run("a", metrics={"linear": {"pretrained": [made_metric(), val]}})])
    assert [column.key for column in headlines(comparison)] == ["linear.accuracy"]
    shown = sheet(comparison, comparison.columns)
    assert shown.headers[:2] == ["linear\naccuracy %", "linear\naccuracy %\nsplit=val"]
    assert shown.rows[0][:2] == ["90.0", "80.0"]


def test_costs_that_were_measured_are_means_over_seeds() -> None:
    runs = [
        run._replace(result=replace(run.result, cost=Cost(seconds=1000.0 * n, peak_memory_mb=1.0)))
        for n, run in enumerate(seeds(GOOD))
    ]
    shown = sheet(compare(runs))
    assert shown.headers[-2:] == ["pretraining\nseconds", "peak\nMB"]
    assert shown.rows[0][-2:] == ["1,000", "1"]


def test_names_are_not_markup() -> None:
    runs = [made_run(f"[red]{ratio}[/red]", made_config(objective__ratio=f"[b]{ratio}")) for ratio in "xy"]
    shown = text(as_table(sheet(compare(runs))))
    assert "[red]x[/red]" in shown
    assert "[b]x" in shown


def test_an_empty_comparison_is_an_empty_table() -> None:
    assert sheet(compare([])).rows == []
    assert len(comparison_tables(compare([]), 80)) == 1


def test_a_narrow_terminal_gets_several_tables_that_fit() -> None:
    metrics = {f"evaluator_{i}": {"pretrained": {"accuracy": 0.9}} for i in range(7)}
    runs = [made_run("a-run", made_config(objective__ratio=ratio), metrics) for ratio in (0.5, 0.75)]
    comparison = compare(runs)
    whole = table_width(as_table(sheet(comparison))).maximum
    assert len(comparison_tables(comparison, whole)) == 1
    parts = comparison_tables(comparison, 60)
    assert len(parts) > 1
    assert all(len(line) <= 60 for part in parts for line in text(part, 60).splitlines())
    assert [bool(part.title) for part in parts] == [True] + [False] * (len(parts) - 1)
    assert all(cells(part)[0][0] == "0.5" for part in parts)
    shown = [str(column.header) for part in parts for column in part.columns if "evaluator" in str(column.header)]
    assert len(shown) == len(headlines(comparison)) == 7


def test_a_legend_takes_the_width_of_the_terminal_below_all_parts() -> None:
    metrics = {f"evaluator_{i}": {"pretrained": {"accuracy": 0.9}, "random_start": {"accuracy": 0.8}} for i in range(7)}
    comparison = compare([made_run("a-run", made_config(objective__ratio=ratio), metrics) for ratio in (0.5, 0.75)])
    written = io.StringIO()
    print_comparison(Terminal(width=60, force_terminal=True, color_system=None, file=written), comparison)
    lines = [line.rstrip() for line in written.getvalue().splitlines()]
    assert max(map(len, lines)) <= 60
    assert lines.count("(in parentheses: the same backbone, randomly initialized)") == 1
    assert lines.index("(in parentheses: the same backbone, randomly initialized)") > len(lines) - 6


def test_rows_follow_the_order_of_the_comparison() -> None:
    comparison = compare([*seeds(GOOD, objective__ratio=0.75), *seeds(BAD, objective__ratio=0.5)])
    assert [row[0] for row in sheet(comparison).rows] == ["0.5", "0.75"]
    assert [row[0] for row in sheet(sort(comparison, "linear")).rows] == ["0.75", "0.5"]


def test_numbers_with_a_unit_each_are_left_out_and_named() -> None:
    def run(place: int, seed: int) -> Run:
        found = {"linear": {"pretrained": [made_metric()]}, "pretext": {"pretrained": [made_metric("loss", 1.0)]}}
        config = made_config(objective__ratio=0.1 * place, seed=seed)
        return made_run(f"{place}-{seed}", config, found, terms={"pretext": {"objective.ratio": 0.1 * place}})

    comparison = compare([run(place, seed) for place in (1, 2, 3) for seed in (0, 1)])
    assert [column.key for column in headlines(comparison)] == ["linear.accuracy"]
    assert len([column for column in comparison.columns if column.address.evaluator == "pretext"]) == 3
    said = "not shown, since each setting has its own unit or task: pretext.loss (--all shows them)"
    assert sheet(comparison).legend[-1] == said
    assert len(headlines(compare([run(1, seed) for seed in (0, 1)]))) == 2  # one setting: nothing to compare


def test_a_long_heading_is_folded() -> None:
    value = {"knn": {"views": "x" * 50}}
    metrics = {"knn": {"pretrained": {"accuracy": 0.5}}}
    runs = [made_run("a", made_config(seed=0), metrics, terms=value)]
    runs.append(made_run("b", made_config(seed=1), metrics, terms={"knn": {"views": "y" * 50}}))
    for header in sheet(compare(runs)).headers:
        assert max(map(len, header.splitlines())) <= 25
