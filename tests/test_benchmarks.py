"""scripts/benchmarks: every topic is offered and named; what is measured is not judged here."""

from pathlib import Path

import pytest
import torch
import yaml
from benchmarks import precision as topic
from benchmarks.__main__ import TOPICS, parser
from benchmarks.growth import Process, process
from benchmarks.shared import MACHINE, WARM, counted, loop_rate, machine_rate, print_rates, rates, share, step_flops

from ssl_runner.training import precision

ROOT = Path(__file__).parents[1]
REQUIRED = {"video": ["--root", "folder"]}


def test_help_and_makefile_name_every_topic() -> None:
    said = parser().format_help()
    (line,) = (line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("benchmark:"))
    assert f"({', '.join(TOPICS)})" in line
    assert all(f"\n    {name}" in said for name in TOPICS)


@pytest.mark.parametrize("name", TOPICS)
def test_each_topic_has_a_file_and_defaults(name: str) -> None:
    assert (ROOT / "scripts" / "benchmarks" / f"{name}.py").is_file()
    arguments = parser().parse_args([name, *REQUIRED.get(name, [])])
    assert arguments.measure == TOPICS[name].measure


def test_rounds_take_turns_and_the_first_does_not_count() -> None:
    calls: list[str] = []

    def one(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    found = rates({"a": lambda: one("a"), "b": lambda: one("b")}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert found == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_a_plain_loop_trains_for_its_steps_and_the_warm_ones() -> None:
    weight = torch.nn.Parameter(torch.ones(()))
    assert loop_rate(lambda: weight.clone(), torch.optim.SGD([weight], lr=1.0), steps=4) > 0
    assert weight.item() == 1 - (WARM + 4)


def test_rows_of_other_processors_and_other_networks_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = topic.NETWORKS[:2]

    def row(case: str, ratio: float, vendor: str = "here") -> precision.Measured:
        return precision.Measured(
            vendor=vendor, feature="amx_tile", network="convolutional", case=case, float32=1.0, bfloat16=ratio,
            ratio=ratio, low=ratio, high=ratio, torch="2",
        )  # fmt: skip

    before = (row(first, 1.0, "elsewhere"), row(first, 2.0), row(second, 3.0))
    monkeypatch.setattr(precision, "table", lambda: before)
    monkeypatch.setattr(precision, "TABLE", tmp_path / "precision.yaml")
    topic.write_rows(precision.Processor("here", "amx_tile"), [row(first, 4.0)])
    text = (tmp_path / "precision.yaml").read_text()
    assert text.startswith(topic.HEAD)
    assert [(each["vendor"], each["ratio"]) for each in yaml.safe_load(text)["rows"]] == [
        ("elsewhere", 1.0), ("here", 4.0), ("here", 3.0),
    ]  # fmt: skip


def test_the_table_begins_as_it_is_written() -> None:
    assert precision.TABLE.read_text().startswith(topic.HEAD)


def test_the_share_of_the_machines_rate_is_by_the_rounds_own_rates(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"ours": [10.0, 20.0, 30.0], "theirs": [5.0, 5.0, 5.0], MACHINE: [100.0, 100.0, 200.0]}
    assert share(found["ours"], 4.0, found[MACHINE]) == 0.6  # 0.4, 0.8, 0.6
    print_rates("", found, "ours", {"ours": 4.0})
    said = capsys.readouterr().out
    assert "0.60" in said
    assert MACHINE not in said


def test_flops_of_a_step_are_those_of_its_products() -> None:
    x, weight = torch.randn(3, 4), torch.nn.Parameter(torch.randn(5, 4))
    assert counted(lambda: x @ weight.T) == 2 * 3 * 4 * 5
    assert step_flops(lambda: (x @ weight.T).sum()) == 2 * (2 * 3 * 4 * 5)  # the data need no gradient


def test_the_machine_is_measured_by_its_best_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.shared.SIDES", (4, 8))
    ticks = iter(range(1000))
    assert (
        machine_rate(torch.float32, seconds=3, clock=lambda: float(next(ticks))) == 2 * 8**3 * 2 / 4
    )  # two within 3 of 4 ticks


def test_a_process_is_measured_in_seconds_and_megabytes(tmp_path: Path) -> None:
    used = process(
        ["timeit", "-n1", "-r1", "-s", "import time", "x = bytearray(2**26); time.sleep(0.1)"], str(tmp_path)
    )
    assert isinstance(used, Process)
    assert used.seconds > 0.1
    assert used.megabytes > 64
    assert used.own == 0 or 64 < used.own < used.megabytes
