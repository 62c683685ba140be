import errno
import fcntl
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssl_runner.results.metrics import DataRef, Precision, Protocol, share
from ssl_runner.results.result import (
    Cost,
    Evaluation,
    Git,
    Name,
    Pretraining,
    Result,
    ResultError,
    read_metrics,
    read_result,
    write_atomically,
    write_result,
)

LINEAR = Evaluation(
    evaluator="linear",
    subject="pretrained",
    metrics=(
        share("accuracy", 0.97, headline=True, condition={"labels": 0.01, "layer": -2, "file": "a"}),
        share("accuracy", 0.98, split="val", terms={"file": "f00"}),
    ),
    on=DataRef(dataset="mnist_5k", fingerprint="e3b0"),
    protocol=Protocol(
        terms={"layer": "pooled", "grid": [0.1, 1.0], "edge": False, "note": None},
        chosen={"1 %": {"learning_rate": 0.1}},
        measured={"width": 128},
    ),
    precision=Precision(pretraining="bfloat16", evaluation="float32"),
    seconds=1.25,
)
RESULT = Result(
    identity="5b1f0c9a",
    name=Name(dataset="mnist_5k", objective="simclr", backbone="convnet"),
    seed=3,
    status="done",
    command="ssl-run seed=3",
    started="2026-11-23T15:41:07+00:00",
    results=(LINEAR,),
    pretraining=Pretraining(epochs=2.5, steps=10, examples=2560, loss_first=5.25, loss_last=math.nan),
    cost=Cost(seconds=12.5, device="cpu", precision="float32", parameters=1000),
    versions={"python": "3.11.2"},
    git=Git(commit="da1f340", dirty=True),
    data={"fingerprint": "e3b0", "pretrain": 4000},
    overrides=("seed=3",),
)


def test_a_result_reads_back_as_it_was(tmp_path: Path) -> None:
    whole = replace(RESULT, pretraining=replace(RESULT.pretraining, loss_last=2.5))
    assert write_result(tmp_path, whole) == tmp_path / "result.json"
    assert read_result(tmp_path) == whole
    bare = replace(whole, pretraining=None, git=None, cost=Cost(), results=())
    write_result(tmp_path, bare)
    assert read_result(tmp_path) == bare


def test_the_file_is_what_the_schema_says(tmp_path: Path) -> None:
    plain = json.loads(write_result(tmp_path, RESULT).read_text())
    assert plain["schema"] == 2
    assert plain["name"] == {"dataset": "mnist_5k", "objective": "simclr", "backbone": "convnet"}
    assert plain["results"][0]["metrics"][1] == {
        "name": "accuracy",
        "value": 0.98,
        "unit": "share",
        "better": "higher",
        "headline": False,
        "split": "val",
        "condition": {},
        "terms": {"file": "f00"},
    }
    assert plain["cost"]["peak_memory_mb"] is None
    assert plain["overrides"] == ["seed=3"]


def test_numbers_that_json_lacks_survive_in_valid_json(tmp_path: Path) -> None:
    values = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": float(np.float32(0.5))}
    metrics = tuple(share(name, value) for name, value in values.items())
    found = replace(LINEAR, metrics=metrics, protocol=Protocol(terms={"lr": math.inf, "n": np.int64(3)}))
    path = write_result(tmp_path, replace(RESULT, results=(found,)))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    json.loads(path.read_text(), parse_constant=refuse)
    read = read_result(tmp_path)
    a, b, c, d = (metric.value for metric in read.results[0].metrics)
    assert math.isnan(a)
    assert (b, c, d) == (math.inf, -math.inf, 0.5)
    assert read.results[0].protocol.terms == {"lr": "Infinity", "n": 3}
    assert math.isnan(read.pretraining.loss_last)


def test_a_value_without_a_json_form_is_refused_and_leaves_the_old_file(tmp_path: Path) -> None:
    write_result(tmp_path, RESULT)
    before = (tmp_path / "result.json").read_bytes()
    with pytest.raises(TypeError, match="a result holds numbers"):
        write_result(tmp_path, replace(RESULT, data={"path": Path("x")}))
    assert (tmp_path / "result.json").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plain: plain.pop("identity"), "identity is missing"),
        (lambda plain: plain.update(schema=3), "has schema 3; this version reads schemas 1 and 2"),
        (lambda plain: plain.pop("schema"), "has schema null"),
        (lambda plain: plain.update(seed="zero"), 'seed is "zero"; a whole number is needed'),
        (lambda plain: plain.update(seed=True), "seed is true; a whole number is needed"),
        (lambda plain: plain.update(name=[]), r"name is \[\]; an object is needed"),
        (lambda plain: plain.update(results={}), r"results is \{\}; a list is needed"),
        (lambda plain: plain["cost"].update(seconds="long"), 'cost.seconds is "long"; a number is needed'),
        (
            lambda plain: plain["results"][0]["metrics"][0].update(value=None),
            r"results\[0\].metrics\[0\].value is null",
        ),
        (lambda plain: plain["results"][0]["metrics"][0].update(unit="km"), 'unit is "km"; one of share, nats'),
        (
            lambda plain: plain["results"][0]["metrics"][0].update(split="all"),
            'split is "all"; one of train, val, test',
        ),
        (lambda plain: plain["results"][0]["metrics"][0].update(condition={"k": []}), r"condition.k is \[\]; a number"),
        (lambda plain: plain["results"][0]["on"].update(own=1), "on.own is 1; true or false is needed"),
        (lambda plain: plain.update(data=3), "data is 3; an object is needed"),
    ],
)
def test_a_damaged_result_is_named_with_the_reason(tmp_path: Path, change, message: str) -> None:
    path = write_result(tmp_path, RESULT)
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))
    with pytest.raises(ResultError, match=message) as error:
        read_result(tmp_path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [b"", b'{"schema": 1, "iden', b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_a_half_written_result_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(content)
    with pytest.raises(ResultError, match=str(path)):
        read_result(tmp_path)


def test_a_missing_result_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"result\.json does not exist"):
        read_result(tmp_path)


def test_keys_of_a_later_version_are_ignored(tmp_path: Path) -> None:
    path = write_result(tmp_path, RESULT)
    path.write_text(path.read_text().replace('"schema"', '"later": 1, "schema"'))
    assert read_result(tmp_path).identity == RESULT.identity


def test_writing_makes_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_atomically(path, "é")
    assert path.read_bytes() == "é".encode()
    write_atomically(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]


def test_a_write_that_fails_midway_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_atomically(tmp_path / "file", "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


HANGING = """
import os, sys
from pathlib import Path
from ssl_runner.results import result

def hang(descriptor):
    print("writing", flush=True)
    sys.stdin.read()

os.fsync = hang
result.write_atomically(Path(sys.argv[1]), "theirs")
"""


def test_what_a_killed_process_had_begun_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    path = write_atomically(tmp_path / "page[1].html", "old")
    other = tmp_path / ".page1.html.0.tmp"  # of a file that a pattern of the same name would match
    other.touch()
    with subprocess.Popen(
        [sys.executable, "-c", HANGING, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        write_atomically(path, "ours")
        assert len(list(tmp_path.glob(".page[[]1].html.*.tmp"))) == 1
        process.kill()
    assert path.read_text() == "ours"
    write_atomically(path, "new")
    assert sorted(p.name for p in tmp_path.iterdir()) == [other.name, path.name]


def test_a_file_system_without_locks_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: Any, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    begun = tmp_path / ".file.0.tmp"
    begun.touch()
    assert write_atomically(tmp_path / "file", "new").read_text() == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == [begun.name, "file"]


def test_processes_that_write_one_file_at_once_do_not_remove_each_others(tmp_path: Path) -> None:
    """Between the making of a temporary file and its lock another may find it abandoned."""
    path = tmp_path / "file"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: write_atomically(path, str(k)), range(400)))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_metrics_are_read_without_their_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,epoch,seconds,train/loss,val/loss\n1,0.5,0.1,2.5,\n2,,0.2,,nan\n")
    first, second = read_metrics(path)
    assert first == {"step": 1, "epoch": 0.5, "seconds": 0.1, "train/loss": 2.5}
    assert list(second) == ["step", "seconds", "val/loss"]
    assert math.isnan(second["val/loss"])


@pytest.mark.parametrize("tail", ["2,1", "2,1.2", "2"])
def test_a_last_row_cut_off_by_a_kill_is_left_out(tmp_path: Path, tail: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,train/loss\n1,2.5\n" + tail)
    assert read_metrics(path) == [{"step": 1, "train/loss": 2.5}]


@pytest.mark.parametrize("content", ["", "step,train/loss\n", "step,tr"])
def test_metrics_without_rows(tmp_path: Path, content: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(content)
    assert read_metrics(path) == []


@pytest.mark.parametrize(
    ("row", "message"), [("1,2,3", "line 3: 3 cells; the header names 2"), ("1,x", "line 3: could not convert")]
)
def test_damaged_metrics_are_named(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(f"step,train/loss\n0,1\n{row}\n2,2\n")
    with pytest.raises(ResultError, match=message):
        read_metrics(path)
