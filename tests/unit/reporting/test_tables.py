import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from ssl_runner.reporting.results import Cost, Evaluation, Name, Result, Run
from ssl_runner.reporting.tables import (
    compare,
    comparison_table,
    comparison_tables,
    headlines,
    result_table,
    table_width,
    to_csv,
)


def run(
    name: str,
    accuracy: float,
    *,
    dataset: str = "mnist",
    seed: int = 0,
    control: float = 0.8,
    overrides: tuple[str, ...] = (),
    more: dict[str, float] | None = None,
) -> Run:
    def found(evaluator: str, subject: str, metrics: dict[str, float], up: bool = True) -> Evaluation:
        headline = next(iter(metrics))
        return Evaluation(evaluator=evaluator, subject=subject, metrics=metrics, headline=headline, higher_is_better=up)

    results = [
        found("linear", "pretrained", {"accuracy": accuracy, "val_accuracy": 0.5}),
        found("linear", "random_start", {"accuracy": control, "val_accuracy": 0.5}),
        *(found(name, "pretrained", {"mse": value}, False) for name, value in (more or {}).items()),
    ]
    result = Result(
        identity=f"id-{name}",
        name=Name(dataset=dataset, objective="mae", backbone="vit"),
        seed=seed,
        status="done",
        command="",
        started="2026-11-23T15:41:07",
        results=tuple(results),
        cost=Cost(seconds=1234.5, device="cpu"),
        overrides=overrides,
    )
    return Run(name, Path("out") / name, result)


def cells(table: Table) -> list[list[str]]:
    """A table as rows of text, a row a row."""
    return [list(row) for row in zip(*([str(cell) for cell in column._cells] for column in table.columns), strict=True)]


def text(table: Table, width: int = 200) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(table)
    return console.file.getvalue()


def test_the_table_of_a_run_has_a_control_beside_each_number() -> None:
    table = result_table(run("a", 0.95).result)
    assert [str(column.header) for column in table.columns] == [
        "evaluation",
        "pretrained",
        "random\nstart",
        "difference to\nrandom start",
    ]
    assert cells(table) == [["linear accuracy", "95.0 %", "80.0 %", "+15.0 points"]]
    assert "mae, mnist, vit, seed 0" in text(table)


def test_a_run_no_better_than_its_random_start_says_so_in_words() -> None:
    assert cells(result_table(run("a", 0.79).result)) == [
        ["linear accuracy\n  not above random start", "79.0 %", "80.0 %", "-1.0 points"]
    ]


def test_the_table_of_a_run_without_evaluations_is_empty() -> None:
    assert cells(result_table(replace(run("a", 0.9).result, results=()))) == []


def test_names_are_not_markup() -> None:
    table = comparison_table(compare([run("[red]x[/red]", 0.9, overrides=("a=[1]",)), run("b", 0.9)]))
    assert "[red]x[/red]" in text(table)
    assert "a=[1]" in text(table)


def test_one_row_a_run_by_dataset_then_seed() -> None:
    comparison = compare([run("c", 0.7, seed=1), run("b", 0.95), run("a", 0.6, dataset="cifar10")])
    assert cells(comparison_table(comparison)) == [
        ["cifar10", "mae", "vit", "0", "", "60.0 (80.0)*", "1,234", "a"],
        ["mnist", "mae", "vit", "0", "", "95.0 (80.0)", "1,234", "b"],
        ["mnist", "mae", "vit", "1", "", "70.0 (80.0)*", "1,234", "c"],
    ]
    shown = text(comparison_table(comparison))
    assert "accuracy %" in shown
    assert "in parentheses: the same backbone at its random start" in shown
    assert "* not a number, or not better than random start" in shown


def test_what_differs_is_what_not_all_share() -> None:
    comparison = compare(
        [
            run("a", 0.9, overrides=("objective=mae", "budget.amount=2", "objective.ratio=0.5", "seed=0")),
            run("b", 0.9, overrides=("objective=mae", "budget.amount=2", "+objective.new=1", "logger=csv"), seed=1),
        ]
    )
    assert [line.differs for line in comparison.lines] == ["objective.ratio=0.5", "+objective.new=1"]


def test_numbers_of_different_evaluators_never_share_a_column() -> None:
    comparison = compare([run("a", 0.9, more={"recon": 0.1}), run("b", 0.9, more={"fill": 0.2}, seed=1)])
    assert comparison.columns == ["linear.accuracy", "recon.mse", "fill.mse"]
    assert [row[5:8] for row in cells(comparison_table(comparison))] == [
        ["90.0 (80.0)", "0.100", "-"],
        ["90.0 (80.0)", "-", "0.200"],
    ]


@pytest.mark.parametrize(("sort", "order"), [("linear.accuracy", "bac"), ("linear", "bac"), ("mse", "cab")])
def test_sorting_puts_the_best_first_and_what_is_missing_last(sort: str, order: str) -> None:
    runs = [run("a", 0.7, more={"recon": 0.2}), run("b", 0.9), run("c", 0.6, more={"recon": 0.1})]
    assert "".join(line.run.name for line in compare(runs, sort).lines) == order


def test_sorting_keeps_datasets_together() -> None:
    runs = [run("a", 0.7), run("b", 0.9, dataset="cifar10"), run("c", 0.8), run("d", 0.1, dataset="cifar10")]
    assert [line.run.name for line in compare(runs, "linear").lines] == ["b", "d", "c", "a"]


def test_sorting_by_what_is_no_column_or_several() -> None:
    with pytest.raises(ValueError, match=r"'knn' is no column; choose one of: linear\.accuracy"):
        compare([run("a", 0.9)], "knn")
    with pytest.raises(ValueError, match=r"'mse' is more than one column; choose one of: x\.mse, y\.mse"):
        compare([run("a", 0.9, more={"x": 0.1, "y": 0.1})], "mse")


def test_the_csv_has_every_number_in_full() -> None:
    comparison = compare([run("a", 0.123456789, more={"recon": 0.1}), run("b", 0.9, seed=1, overrides=("k=[1,2]",))])
    first, second = csv.DictReader(io.StringIO(to_csv(comparison)))
    assert first["run"] == str(Path("out/a"))
    assert float(first["linear.accuracy"]) == 0.123456789
    assert float(first["linear.accuracy:random_start"]) == 0.8
    assert first["recon.mse"] == "0.1"
    assert "recon.mse:random_start" not in first
    assert second["recon.mse"] == ""
    assert second["differs"] == "k=[1,2]"
    assert second["seconds"] == "1234.5"
    assert second["peak_memory_mb"] == ""


def test_a_narrow_terminal_gets_several_tables_that_fit() -> None:
    more = {f"evaluator_{i}": 0.1 for i in range(6)}
    comparison = compare([run("a-run-with-a-long-name", 0.9, more=more)])
    whole = table_width(comparison_table(comparison)).maximum
    assert len(comparison_tables(comparison, whole)) == 1
    parts = comparison_tables(comparison, 70)
    assert len(parts) > 1
    assert all(len(line) <= 70 for part in parts for line in text(part, 70).splitlines())
    assert [bool(part.caption) for part in parts] == [False] * (len(parts) - 1) + [True]
    shown = [str(column.header) for part in parts for column in part.columns if "\n" in str(column.header)]
    assert len(shown) == len(headlines(comparison)) == 7
