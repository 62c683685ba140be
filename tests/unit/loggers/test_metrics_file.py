import csv
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssl_runner.loggers.interface import RunContext
from ssl_runner.loggers.metrics_file import MetricsFile


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def written(context: RunContext) -> MetricsFile:
    """Rows at steps 10, 20 (training), 20 (validation) and 30."""
    file = MetricsFile(context)
    file.open()
    file.log_metrics({"epoch": 0, "seconds": 1.5, "train/loss": 2.0}, 10)
    file.log_metrics({"epoch": 1, "seconds": 2.5, "train/loss": 1.0}, 20)
    file.log_metrics({"epoch": 1, "seconds": 3.0, "val/loss": 0.1 + 0.2, "val/a,b": -1.0}, 20)
    file.log_metrics({"epoch": 2, "seconds": 4.0, "train/loss": float("nan")}, 30)
    return file


def test_the_text_is_as_said_with_columns_in_order_of_coming(written: MetricsFile) -> None:
    assert written.path.read_bytes().decode() == (  # nothing was closed: each row was flushed
        'step,epoch,seconds,train/loss,val/loss,"val/a,b"\n'
        "10,0,1.5,2.0,,\n"
        "20,1,2.5,1.0,,\n"
        "20,1,3.0,,0.30000000000000004,-1.0\n"
        "30,2,4.0,nan,,\n"
    )
    assert [p.name for p in written.path.parent.iterdir()] == ["metrics.csv"]


def test_seconds_are_measured_where_they_are_not_given(context: RunContext) -> None:
    file = MetricsFile(context)
    file.open()
    file.log_metrics({"a": 1.0}, 1)
    assert 0 <= float(rows(file.path)[0]["seconds"]) < 10
    assert rows(file.path)[0]["epoch"] == ""


def test_a_resumed_run_drops_later_rows_and_goes_on(written: MetricsFile, context: RunContext) -> None:
    written.finish(success=False)
    again = MetricsFile(context)
    again.open(resume_step=20)
    again.log_metrics({"train/loss": 0.5, "new": 7.0}, 25)
    again.finish(success=True)
    found = rows(again.path)
    assert [row["step"] for row in found] == ["10", "20", "20", "25"]
    assert [row["new"] for row in found] == ["", "", "", "7.0"]
    assert found[2]["val/loss"] == "0.30000000000000004"
    assert 3.0 <= float(found[3]["seconds"]) < 13.0  # time goes on from the last row that is kept


def test_half_a_row_of_a_killed_run_is_dropped(written: MetricsFile, context: RunContext) -> None:
    written.finish(success=False)
    with written.path.open("a") as file:
        file.write("30,2,4.5,0.1")  # may have been 0.123
    again = MetricsFile(context)
    again.open(resume_step=30)
    again.log_metrics({"train/loss": 3.0}, 31)
    assert [(row["step"], row["train/loss"]) for row in rows(again.path)][-2:] == [("30", "nan"), ("31", "3.0")]


def test_a_new_start_replaces_the_file(written: MetricsFile, context: RunContext) -> None:
    written.finish(success=True)
    MetricsFile(context).open()
    assert written.path.read_text() == "step,epoch,seconds\n"


def test_resuming_without_a_file_begins_one(context: RunContext) -> None:
    file = MetricsFile(context)
    file.open(resume_step=5)
    file.log_metrics({"a": 1.0}, 6)
    assert [row["step"] for row in rows(file.path)] == ["6"]


def test_a_file_of_another_kind_is_not_overwritten(context: RunContext) -> None:
    context.folder.mkdir(parents=True)
    (context.folder / "metrics.csv").write_text("time,loss\n1,2\n")
    with pytest.raises(ValueError, match=r"begins with the columns \['time', 'loss'\]"):
        MetricsFile(context).open(resume_step=3)
    assert (context.folder / "metrics.csv").read_text() == "time,loss\n1,2\n"


def test_order_of_calls(context: RunContext) -> None:
    file = MetricsFile(context)
    assert not context.outputs.exists()  # a constructor touches nothing
    with pytest.raises(RuntimeError, match="before open"):
        file.log_metrics({"a": 1.0}, 1)
    file.finish(success=True)  # without effect
    file.open()
    file.finish(success=True)
    file.finish(success=True)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**9),
            st.dictionaries(
                st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1), st.floats(), max_size=3
            ),
        ),
        max_size=6,
    )
)
def test_what_is_written_reads_back(context: RunContext, logged: list[tuple[int, dict[str, float]]]) -> None:
    file = MetricsFile(context)
    file.open()
    logged = [(step, {f"m/{name}": value for name, value in metrics.items()}) for step, metrics in logged]
    for step, metrics in logged:
        file.log_metrics(metrics, step)
    file.finish(success=True)
    found = rows(file.path)
    assert [int(row["step"]) for row in found] == [step for step, _ in logged]
    for row, (_, metrics) in zip(found, logged, strict=True):
        read = {name: float(text) for name, text in row.items() if name.startswith("m/") and text}
        assert read.keys() == metrics.keys()
        for name, value in metrics.items():
            assert read[name] == value or (math.isnan(read[name]) and math.isnan(value))
