"""Runs in two processes on the CPU, from the command line: what one process leaves, once."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import made_text
import pytest
import torch
from composed import composed
from pair import fork_server
from safetensors.torch import load_file

from ssl_runner.assembly import construct
from ssl_runner.commands import job
from ssl_runner.commands.cli import refusals
from ssl_runner.commands.launch import passed_on, watch
from ssl_runner.commands.run import run
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.identity import run_folder
from ssl_runner.config.request import RunRequest
from ssl_runner.config.schema import typed
from ssl_runner.data.any.tensors import EpochOrder, Share
from ssl_runner.interfaces import Batch, Objective
from ssl_runner.results.result import read_result
from ssl_runner.runtime.job_file import BUSY, LOST
from ssl_runner.runtime.locks import locked
from ssl_runner.training.pretrainer import Pretrainer

SMALL = [
    "dataset=fake_images", "dataset.examples=100", "dataset.test_examples=20", "dataset.height=8", "dataset.width=8",
    "backbone.widths=[4,8]", "batch_size=16", "logger=csv", "budget.unit=steps", "budget.amount=7", "evaluation=[knn]",
    "controls=[]", "trainer.log_every_n_steps=2", "trainer.validations=2", "trainer.precision=float32",
    "trainer.accelerator=cpu", "objective=autoencoder", "objective.corruption=none", "trainer.watch_every=3",
]  # fmt: skip
WHOLE, SHARED, ONE = ["trainer.devices=2"], ["trainer.devices=2", "trainer.strategy=fsdp"], ["trainer.devices=1"]
ROOT = Path(__file__).parents[2]


def command(output: Path, *more: str, launcher: tuple[str, ...] = ()) -> list[str]:
    start = [sys.executable, "-m", *launcher, "ssl_runner"] if not launcher else [sys.executable, *launcher]
    return [*start, *SMALL, f"output={output}", *more]


def call(words: list[str]) -> "subprocess.CompletedProcess[str]":
    env: Mapping[str, str] = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, env=env, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT)


class Fault(NamedTuple):
    """What the process of a rank does in its third step."""

    rank: int
    act: Callable[[], None]


def fails() -> None:
    raise ArithmeticError("made to fail")


def asks_to_stop(process: int) -> None:
    os.kill(process, signal.SIGTERM)
    time.sleep(1)


class Forked:
    """In place of a `subprocess.Popen` of `launch`: the same job, forked from a process that has its imports done."""

    def __init__(self, command: list[str], env: Mapping[str, str], log: Path, fault: Fault | None) -> None:
        module, *words = command[command.index("-m") + 1 :]
        assert module == job.__name__
        self._process = fork_server().Process(target=as_command, args=(words, dict(env), str(log), fault))
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("forked", timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid or 0, number)

    def kill(self) -> None:
        self._process.kill()


def as_command(words: list[str], env: dict[str, str], log: str, fault: Fault | None) -> None:
    """`python -m ssl_runner.commands.job WORDS`, with `env`, and what it says in `log`."""
    os.setsid()
    os.environ.clear()
    os.environ.update(env)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    if fault is not None and int(env["RANK"]) == fault.rank:
        step = Pretrainer.training_step

        def training_step(self: Pretrainer, batch: Batch, batch_idx: int) -> torch.Tensor:
            if self.batches == 3:
                fault.act()
            return step(self, batch, batch_idx)

        Pretrainer.training_step = training_step  # type: ignore[method-assign]
    sys.exit(job.main(words))


def launched(output: Path, log: Path, *more: str, fault: Fault | None = None) -> int | str | None:
    """`ssl-run` in this process, and forked what it starts, which write to `log`. Returns what it exits with."""

    def popen(command: list[str], env: Mapping[str, str], start_new_session: bool) -> Forked:
        assert start_new_session
        return Forked(command, env, log, fault)

    plain = composed([*SMALL, *more], output=str(output))
    with pytest.MonkeyPatch.context() as patched:
        stand_in = SimpleNamespace(Popen=popen, TimeoutExpired=subprocess.TimeoutExpired)
        patched.setattr("ssl_runner.commands.launch.subprocess", stand_in)
        try:
            with refusals():
                run(RunRequest.of(plain, list(more)))
        except SystemExit as ended:
            return ended.code
    return 0


def folder_of(output: Path) -> Path:
    plain = compose([*SMALL, f"output={output}"])
    return run_folder(typed(plain), plain)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "encoder" / "encoder.safetensors")


def curves(folder: Path) -> dict[tuple[int, str], float]:
    rows = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    names = ("train/loss", "train/temperature", "val/loss", "val/knn_accuracy", "watch/spread", "epoch")
    return {(int(row["step"]), name): float(row[name]) for row in rows for name in names if row.get(name)}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run in two processes, and what was printed."""
    output = tmp_path_factory.mktemp("two")
    done = call(command(output, "trainer.devices=2"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder_of(output), done.stdout


@pytest.mark.thorough
def test_two_processes_leave_what_one_does(two: tuple[Path, str], tmp_path: Path) -> None:
    folder, said = two
    plain = compose([*SMALL, f"output={tmp_path}"])
    alone = run(RunRequest.of(plain))
    assert alone.name == folder.name  # devices are no part of what a run is
    files = [sorted(str(path.relative_to(each)) for path in each.rglob("*")) for each in (alone, folder)]
    assert files[0] == files[1]
    ours, theirs = read_result(alone), read_result(folder)
    assert (theirs.pretraining.steps, theirs.pretraining.examples) == (7, 7 * 16)
    assert theirs.pretraining.epochs == ours.pretraining.epochs
    assert curves(folder).keys() == curves(alone).keys()
    for key, value in curves(alone).items():
        assert curves(folder)[key] == pytest.approx(value, rel=1e-4), key
    for name, weight in weights(alone).items():
        torch.testing.assert_close(weights(folder)[name], weight, rtol=1e-3, atol=1e-5, msg=name)
    assert [each.metrics for each in theirs.results] == [each.metrics for each in ours.results]
    assert said.count(": knn") == 1
    assert said.count("pretraining 100%") == 1


@pytest.mark.slow
def test_torchrun_does_the_same(two: tuple[Path, str], tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "ssl_runner")
    done = call(command(tmp_path, launcher=launcher))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": knn") == 1
    for name, value in weights(folder_of(tmp_path)).items():
        torch.testing.assert_close(value, weights(two[0])[name], rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("way", [WHOLE, pytest.param(SHARED, marks=pytest.mark.slow)])
def test_a_process_that_fails_ends_the_run_with_its_message(way: list[str], tmp_path: Path) -> None:
    ended = launched(tmp_path / "out", tmp_path / "log.txt", *way, fault=Fault(1, fails))
    assert "ArithmeticError: made to fail" in (tmp_path / "log.txt").read_text()
    assert isinstance(ended, str)  # which Python prints, to end with 1
    assert ended.startswith("error: process 1 of 2 ended with exit code 1")
    assert not list((tmp_path / "out").rglob("result.json"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (SHARED, ONE),
        pytest.param(WHOLE, WHOLE, marks=pytest.mark.slow),
        pytest.param(WHOLE, SHARED, marks=pytest.mark.slow),
    ],
)
@pytest.mark.thorough
def test_a_run_asked_to_stop_goes_on_to_the_same_weights(
    before: list[str], after: list[str], two: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With weights whole or shared out, and on another number of devices."""
    log = tmp_path / "log.txt"
    stopped_by = Fault(0, partial(asks_to_stop, os.getpid()))
    assert launched(tmp_path / "out", log, *before, fault=stopped_by) == 143, log.read_text()
    assert "stopped by SIGTERM" in capsys.readouterr().err
    folder = folder_of(tmp_path / "out")
    stopped = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert stopped["global_step"] < 7
    assert not (folder / "result.json").exists()
    assert launched(tmp_path / "out", log, *after) == 0, log.read_text()
    near = {"rtol": 0.0, "atol": 0.0} if before == after else {"rtol": 1e-3, "atol": 1e-5}
    for name, value in weights(folder).items():
        torch.testing.assert_close(value, weights(two[0])[name], **near, msg=name)
    ends = [torch.load(each / "checkpoints" / "last.ckpt", weights_only=True) for each in (folder, two[0])]
    assert list(ends[0]["state_dict"]) == list(ends[1]["state_dict"])
    for number, state in ends[1]["optimizer_states"][0]["state"].items():
        for name, value in state.items():
            torch.testing.assert_close(ends[0]["optimizer_states"][0]["state"][number][name], value, **near, msg=name)


@pytest.mark.slow
def test_shared_weights_leave_what_whole_ones_do(tmp_path: Path) -> None:
    """With a learned temperature, a clipped gradient of two batches, k-NN and the collapse watched meanwhile."""
    words = [
        *SMALL[:-3], "objective=simclr", "objective.ranks=all", "objective/loss=soft_nn", "optimizer=sgd",
        "trainer.accumulate=2", "trainer.clip_norm=0.5", "trainer.monitor_examples=20", "trainer.watch_every=2",
    ]  # fmt: skip
    folders = []
    for number, way in enumerate((WHOLE, SHARED)):
        done = call([sys.executable, "-m", "ssl_runner", *words, f"output={tmp_path / str(number)}", *way])
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        folders += [path.parent for path in (tmp_path / str(number)).rglob("result.json")]
    whole, shared = map(curves, folders)
    assert {name for _, name in whole} >= {"train/loss", "train/temperature", "val/knn_accuracy", "watch/spread"}
    assert whole.keys() == shared.keys()
    for key, value in whole.items():
        assert shared[key] == pytest.approx(value, rel=1e-4), key
    for name, weight in weights(folders[0]).items():
        torch.testing.assert_close(weights(folders[1])[name], weight, rtol=1e-3, atol=1e-5, msg=name)
    found = [[each.metrics for each in read_result(folder).results] for folder in folders]
    assert found[0] == found[1]


def test_a_folder_in_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked(folder_of(tmp_path / "out")):
        assert launched(tmp_path / "out", tmp_path / "log.txt", "trainer.devices=2") == BUSY
    said = capsys.readouterr()
    assert "".join([said.out, said.err, *(path.read_text() for path in tmp_path.glob("*.txt"))]).count("is in use") == 1


@pytest.mark.parametrize(("words", "message"), [
    (["batch_size=15"], "batch_size is 15; it is split over 2 devices: set a multiple of 2, such as 14"),
    (["budget.unit=minutes"], "budget.unit is minutes, and the clocks of 2 processes differ"),
    (["trainer.strategy=fsdp", "trainer.compile=true"], "strategy is fsdp, which is not supported with torch.compile"),
    (["objective=simclr"], "objective.ranks is own; .* set objective.ranks=all"),
])  # fmt: skip
def test_what_two_devices_cannot_do_is_refused(tmp_path: Path, words: list[str], message: str) -> None:
    plain = compose([*SMALL[:-3], f"output={tmp_path}", "trainer.devices=2", *words])
    with pytest.raises(ConfigError, match=message):
        run(RunRequest.of(plain))


def test_tables_of_counts_are_not_shared_out(tmp_path: Path) -> None:
    words = ["objective=ngram", "backbone=ngram", "trainer.accelerator=cpu", "evaluation=[]", *made_text.overrides()]
    plain = compose([*words, f"output={tmp_path}", *SHARED])
    with pytest.raises(ConfigError, match=r"strategy is fsdp, and backbone=ngram holds tables of counts"):
        run(RunRequest.of(plain))


def test_parameters_that_cannot_be_shared_out_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = construct.objective

    def with_a_number(*given: Any) -> Objective:
        objective = built(*given)
        objective.register_parameter("scale", torch.nn.Parameter(torch.ones(())))
        return objective

    monkeypatch.setattr(construct, "objective", with_a_number)
    plain = compose([*SMALL, f"output={tmp_path}", *SHARED])
    with pytest.raises(ConfigError, match=r"fsdp, and scale of objective=autoencoder has no dimension"):
        run(RunRequest.of(plain))


def test_devices_that_are_not_there_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssl_runner.commands.run.device_of", lambda accelerator: torch.device("cuda", 0))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    plain = compose([*SMALL, f"output={tmp_path}", "trainer.devices=2", "trainer.accelerator=auto"])
    with pytest.raises(ConfigError, match=r"trainer.devices is 2, and this machine has 1 \(cuda\)"):
        run(RunRequest.of(plain))


def test_another_number_than_was_started_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": 0, "WORLD_SIZE": 4, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 4}.items():
        monkeypatch.setenv(name, str(value))
    plain = compose([*SMALL, f"output={tmp_path}", "trainer.devices=2"])
    with pytest.raises(ConfigError, match=r"trainer\.devices is 2, and 4 processes were started"):
        run(RunRequest.of(plain))


def started(*programs: str) -> list["subprocess.Popen[bytes]"]:
    return [subprocess.Popen([sys.executable, "-c", program]) for program in programs]


LONG = "import time; time.sleep(60)"


@pytest.mark.parametrize(("programs", "ended"), [
    (("", ""), (0, 0)),
    (("", LONG), (0, 0)),
    ((LONG, "raise SystemExit(3)"), (1, 3)),
    ((f"raise SystemExit({LOST})", "import time; time.sleep(1); raise SystemExit(3)"), (1, 3)),
    ((f"raise SystemExit({LOST})", LONG), (0, LOST)),
    (("raise SystemExit(2)", LONG), (0, 2)),
    ((LONG, "import os; os.kill(os.getpid(), 9)"), (1, -9)),
])  # fmt: skip
def test_the_first_to_fail_ends_all_within_seconds(
    programs: tuple[str, ...], ended: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssl_runner.commands.launch.GRACE", 3.0)
    begun, processes = time.monotonic(), started(*programs)
    assert watch(processes) == ended
    assert time.monotonic() - begun < 20
    assert all(process.poll() is not None for process in processes)


def test_a_request_to_stop_is_passed_on(tmp_path: Path) -> None:
    """Ctrl-C comes once this process heeds it: before, it would end the tests."""
    heeded = tmp_path / "heeded"
    tells = (
        f"import os, signal, time\nwhile not os.path.exists({str(heeded)!r}):\n    time.sleep(0.01)\n"
        f"os.kill({os.getpid()}, signal.SIGINT)\ntime.sleep(60)"
    )
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        processes = started(tells, LONG)
        with passed_on(processes[0]) as asked:
            heeded.touch()
            assert watch(processes) == (0, -signal.SIGTERM)
        assert asked == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("skip", [0, 4, 8])
def test_shares_are_the_batches_of_one_process(skip: int) -> None:
    orders = [EpochOrder(23, seed=3, skip=skip) for _ in range(3)]
    whole, parts = list(orders[0]), [list(Share(order, 4, rank, 2)) for rank, order in enumerate(orders[1:])]
    assert len(Share(EpochOrder(23, seed=3), 4, 0, 2)) == 10
    together = [[*parts[0][i : i + 2], *parts[1][i : i + 2]] for i in range(0, len(parts[0]), 2)]
    assert together == [whole[i : i + 4] for i in range(0, len(whole) - 3, 4)]
    share = Share(EpochOrder(23, seed=3), 4, 1, 2)
    share.set_epoch(5)
    other = EpochOrder(23, seed=3)
    other.set_epoch(5)
    assert list(share)[:2] == list(other)[2:4]
    with pytest.raises(ValueError, match="a batch of 5 examples cannot be split among 2"):
        Share(range(9), 5, 0, 2)
