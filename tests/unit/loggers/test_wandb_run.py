import contextlib
import json
import os
import pty
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from wandb.util import get_core_path
from wandb_server import KEY, WandbServer

from ssl_runner.loggers.interface import RunContext
from ssl_runner.loggers.wandb_run import WandbRun
from ssl_runner.results.metrics import Better, Metric, Unit, share

ACCURACY = "pretrained/knn.accuracy"
SETTINGS: dict[str, Any] = {
    "project": "tests",
    "entity": None,
    "name": None,
    "group": "seeds",
    "tags": ["mine"],
    "mode": "auto",
    "dir": None,
    "init_timeout": 1.0,
    "finish_timeout": 5.0,
    "examples": False,
}


def logger(context: RunContext, **settings: Any) -> WandbRun:
    return WandbRun(context, **SETTINGS | settings)


def runs(context: RunContext, pattern: str = "*run-*") -> list[Path]:
    return sorted((context.outputs / "wandb").glob(pattern))


def inspect(path: Path, *options: str) -> str:
    """`wandb leet inspect`, without the time that it takes to import wandb.

    A run that ended has "exit" as its last record; on a busy machine that is some moments after `finish`.
    """
    (file,) = path.glob("*.wandb")
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--run-file", str(file), str(path)]

    def read(*more: str) -> str:
        done = subprocess.run(
            [*command[:5], *more, *command[5:]], capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    end = time.monotonic() + 30
    while '"type":"exit"' not in read().replace(" ", "") and time.monotonic() < end:
        time.sleep(0.1)
    return read(*options)


def summary(path: Path) -> dict[str, Any]:
    return json.loads(inspect(path, "--summary"))


def records(path: Path, kind: str) -> list[dict[str, Any]]:
    """What wandb wrote of a kind ("run", "metric"), in order."""
    lines = [json.loads(line) for line in inspect(path).splitlines()]
    return [line[kind] for line in lines if line["type"] == kind]


# ------------------------------------------------------------------------------------------------------------- offline


def test_without_a_key_a_run_is_offline_silent_and_complete(
    context: RunContext,
    tmp_path: Path,
    server: WandbServer,
    fresh_wandb: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    fresh_wandb(WANDB_BASE_URL=server.url)
    Image.new("RGB", (5, 7), "red").save(tmp_path / "f.png")
    wandb_run = logger(context)
    assert not context.outputs.exists()  # a constructor touches nothing
    wandb_run.open()
    wandb_run.log_config({"objective": {"ratio": 0.75}, "dims": [1, 2]})
    wandb_run.log_metrics({"train/loss": 0.5}, 20)
    wandb_run.log_metrics({"val/loss": 0.25}, 10)  # a lower step is not dropped
    wandb_run.log_figures({"views": tmp_path / "f.png"})
    wandb_run.log_summary({ACCURACY: share("accuracy", 0.75)})
    wandb_run.finish(success=False)
    wandb_run.finish(success=False)

    (folder,) = runs(context)
    found = summary(folder)
    assert folder.name.startswith("offline-run-")
    assert (found["state"], found["exit_code"]) == ("failed", 1)
    assert (found["name"], found["project"]) == ("simclr-digits", "tests")
    assert sorted(found["tags"]) == ["digits", "mine", "simclr"]
    assert found["config"]["objective"] == {"ratio": 0.75}
    assert {k: v for k, v in found["summary"].items() if "/loss" in k or "acc" in k} == {
        "train/loss": 0.5,
        "val/loss": 0.25,
        ACCURACY: 0.75,
    }
    assert '"trainer/step"' in inspect(folder)
    (picture,) = folder.rglob("*.png")
    assert picture.read_bytes() == (tmp_path / "f.png").read_bytes()
    assert server.paths == []  # offline means offline
    assert capfd.readouterr() == ("", "")


def test_two_runs_of_one_process_stay_apart(context: RunContext, fresh_wandb: Callable[..., None]) -> None:
    first, second = (logger(context, name=name, mode="offline") for name in ("first", "second"))
    first.open()
    second.open()  # while the first is open
    second.log_metrics({"loss": 2.0}, 1)
    first.log_metrics({"loss": 1.0}, 1)
    first.finish(success=True)
    second.finish(success=True)
    found = [summary(folder) for folder in runs(context)]
    assert {f["name"]: (f["summary"]["loss"], f["exit_code"]) for f in found} == {"first": (1, 0), "second": (2, 0)}


class Recorder:
    """Takes the place of wandb's run."""

    def __init__(self) -> None:
        self.sent: dict[str, Any] = {}

    def log(self, values: dict[str, Any]) -> None:
        self.sent |= values


@pytest.mark.parametrize("asked", [False, True])
def test_examples_of_the_data_are_sent_only_where_it_is_asked_for(
    context: RunContext, tmp_path: Path, asked: bool
) -> None:
    figures = {}
    for name, kind in {"task": "pictures", "film": "clips", "text": "passages", "map": "heatmap", "own": ""}.items():
        figures[name] = tmp_path / f"{name}.png"
        Image.new("RGB", (5, 7), "red").save(figures[name])
        if kind:
            figures[name].with_suffix(".json").write_text(json.dumps({"kind": kind}))
    wandb_run = logger(context, examples=asked)
    wandb_run._run = recorder = Recorder()
    wandb_run.log_figures(figures)
    wandb_run.log_figures({"task": figures["task"]})
    shown = {"figures/map", "figures/own"}
    assert recorder.sent.keys() == shown | ({"figures/task", "figures/film", "figures/text"} if asked else set())


def test_disabled_writes_nothing(context: RunContext, fresh_wandb: Callable[..., None]) -> None:
    for settings, environment in (({"mode": "disabled"}, {}), ({}, {"WANDB_MODE": "disabled"})):
        fresh_wandb(**environment)
        wandb_run = logger(context, **settings)
        wandb_run.open()
        wandb_run.log_metrics({"loss": 1.0}, 1)
        wandb_run.log_figures({"views": Path("none.png")})
        wandb_run.finish(success=True)
    assert not context.outputs.exists()


def test_on_a_terminal_nothing_is_asked(context: RunContext, tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\n"
        "from ssl_runner.loggers.interface import RunContext\n"
        "from ssl_runner.loggers.wandb_run import WandbRun\n"
        "from ssl_runner.results.metrics import share\n"
        f"context = RunContext(Path({str(context.folder)!r}), Path({str(context.outputs)!r}), 'n', (), 'i', 0)\n"
        f"run = WandbRun(context, **{SETTINGS!r})\n"
        "run.open(); run.log_metrics({'loss': 1.0}, 1); run.finish(True); print('done')\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_") and k != "NETRC"}
    ours, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environment | {"HOME": str(tmp_path)},
    )
    os.close(terminal)
    try:
        assert process.wait(timeout=30) == 0
        assert os.read(ours, 10_000).decode().split() == ["done"]
    finally:
        process.kill()
        os.close(ours)
    assert len(runs(context, "offline-run-*")) == 1


# -------------------------------------------------------------------------------------------------------------- online


def test_online_all_arrives_and_the_address_is_printed(
    context: RunContext,
    tmp_path: Path,
    server: WandbServer,
    fresh_wandb: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    fresh_wandb(WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY)
    Image.new("RGB", (5, 7), "red").save(tmp_path / "f.png")
    wandb_run = logger(context)
    wandb_run.open()
    wandb_run.log_config({"objective": {"ratio": 0.75}})
    wandb_run.log_metrics({"train/loss": 0.5}, 20)
    wandb_run.log_metrics({"val/loss": 0.25}, 10)
    wandb_run.log_figures({"views": tmp_path / "f.png"})
    wandb_run.log_summary({ACCURACY: share("accuracy", 0.75)})
    wandb_run.finish(success=True)

    ((run_id, run),) = server.runs.items()
    assert (run["project"], run["displayName"], run["groupName"]) == ("tests", "simclr-digits", "seeds")
    assert sorted(run["tags"]) == ["digits", "mine", "simclr"]
    assert json.loads(run["config"])["objective"] == {"value": {"ratio": 0.75}}
    rows = [{k: v for k, v in row.items() if not k.startswith("_")} for row in server.history[run_id]]
    assert rows[:2] == [{"train/loss": 0.5, "trainer/step": 20}, {"val/loss": 0.25, "trainer/step": 10}]
    assert server.summary[run_id][ACCURACY] == 0.75
    assert server.exit_codes == {run_id: 0}
    assert [data for path, data in server.files.items() if "figures/views" in path] == [
        (tmp_path / "f.png").read_bytes()
    ]
    assert capfd.readouterr() == ("", f"wandb: {server.url}/somebody/tests/runs/{run_id}\n")
    assert (context.folder / "wandb_id").read_text().strip() == run_id
    assert not any(KEY.encode() in path.read_bytes() for path in context.outputs.rglob("*") if path.is_file())


def test_a_key_of_netrc_counts_and_a_resumed_run_goes_on_in_the_same_one(
    context: RunContext, tmp_path: Path, server: WandbServer, fresh_wandb: Callable[..., None]
) -> None:
    (tmp_path / "home" / ".netrc").write_text(f"machine {server.url[7:]} login user password {KEY}\n")
    fresh_wandb(WANDB_BASE_URL=server.url)
    for resume_step in (None, 1):
        wandb_run = logger(context)
        wandb_run.open(resume_step)
        wandb_run.log_metrics({"loss": 1.0}, 1 + (resume_step or 0))
        wandb_run.finish(success=resume_step is not None)
    ((run_id, rows),) = server.history.items()
    assert [row["trainer/step"] for row in rows] == [1, 2]
    assert server.exit_codes == {run_id: 0}

    again = logger(context)
    again.open()  # anew in the same folder: another run
    again.finish(success=True)
    assert len(server.runs) == 2


@pytest.mark.parametrize("server_is", ["silent", "away"])
def test_if_the_server_does_not_answer_the_run_is_offline_with_one_warning(
    server_is: str, context: RunContext, fresh_wandb: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        if server_is == "away":
            listening.close()
        fresh_wandb(WANDB_BASE_URL=f"http://127.0.0.1:{port}", WANDB_API_KEY=KEY)
        started = time.monotonic()
        wandb_run = logger(context)
        wandb_run.open()
        wandb_run.log_metrics({"loss": 1.0}, 1)
        wandb_run.finish(success=True)
        fresh_wandb()  # as at exit
        assert time.monotonic() - started < 8  # 1 s to try, the rest to start wandb twice on a busy machine
    (folder,) = runs(context)  # the attempt has left nothing
    assert folder.name.startswith("offline-run-")
    assert summary(folder)["summary"]["loss"] == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("warning: this run is logged offline, because wandb cannot go online: Timed out")
    assert err.count("\n") == 1


def test_a_server_that_falls_silent_costs_no_more_than_the_finish_timeout(
    context: RunContext, server: WandbServer, fresh_wandb: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    fresh_wandb(WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY)
    wandb_run = logger(context, init_timeout=10.0, finish_timeout=1.0)
    wandb_run.open()
    capfd.readouterr()
    server.silent.set()
    wandb_run.log_metrics({"loss": 1.0}, 1)
    started = time.monotonic()
    wandb_run.finish(success=True)
    fresh_wandb()
    assert time.monotonic() - started < 6
    (folder,) = runs(context)
    expected = (
        f"warning: wandb had not finished its upload after 1 s; `wandb sync --include-online {folder}` sends the rest\n"
    )
    assert capfd.readouterr() == ("", expected)
    assert summary(folder)["summary"]["loss"] == 1


def test_mode_online_insists(context: RunContext, fresh_wandb: Callable[..., None]) -> None:
    with pytest.raises(ValueError, match=r"logger.wandb.mode is online, but No API key configured.*Set it to auto"):
        logger(context, mode="online").open()
    fresh_wandb(WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY=KEY)
    with pytest.raises(ValueError, match=r"logger.wandb.mode is online, but Timed out"):
        logger(context, mode="online").open()


def test_if_the_environment_wants_online_and_there_is_no_key_it_is_said(
    context: RunContext, fresh_wandb: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    fresh_wandb(WANDB_MODE="online")
    wandb_run = logger(context)
    wandb_run.open()
    wandb_run.finish(success=True)
    assert "wandb cannot go online: No API key" in capfd.readouterr().err
    assert len(runs(context, "offline-run-*")) == 1


# -------------------------------------------------------------------------------------------------------------- sweeps


SWEEP = """
import multiprocessing, os
from pathlib import Path

def job(i):
    from ssl_runner.loggers.interface import RunContext
    from ssl_runner.loggers.wandb_run import WandbRun
    outputs = Path({outputs!r})
    context = RunContext(outputs / f"run{{i}}", outputs, f"ratio=0.{{i}} s0", ("mae",), f"id{{i}}", 0, "ratios")
    run = WandbRun(context, **{settings!r})
    run.open()
    run.log_config({{"objective": {{"ratio": i / 10}}}})
    for step in (1, 2, 3):
        run.log_metrics({{"val/loss": 1 / (step + i)}}, step)
    from ssl_runner.results.metrics import share
    run.log_summary({{"pretrained/knn.accuracy": share("accuracy", i / 4)}})
    run.finish(success=True)

if __name__ == "__main__":
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["wandb", "ssl_runner.loggers.wandb_run"])
    jobs = [processes.Process(target=job, args=(i,)) for i in range(3)]
    [job.start() for job in jobs]
    [job.join() for job in jobs]
    print(*[job.pid for job in jobs], *[job.exitcode for job in jobs])
"""


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_the_jobs_of_a_sweep_at_once_in_forked_processes_are_as_many_runs(
    mode: str, context: RunContext, tmp_path: Path, server: WandbServer
) -> None:
    program = tmp_path / "sweep.py"
    program.write_text(SWEEP.format(outputs=str(context.outputs), settings=SETTINGS | {"group": None, "mode": mode}))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_") and k != "NETRC"}
    environment |= {"HOME": str(tmp_path), "WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
    # a process of wandb that is gone, as of the sweep before: nobody may wait for it
    environment |= {"WANDB_SERVICE": f"3-1-unix-{tmp_path}/gone"}
    done = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True, timeout=100)
    *pids, first, second, third = done.stdout.split()
    assert [first, second, third] == ["0", "0", "0"], done.stderr

    names = [f"ratio=0.{i} s0" for i in range(3)]
    if mode == "offline":
        assert server.paths == []
        folders = runs(context, "offline-run-*")
        found = {summary(folder)["name"]: (summary(folder), records(folder, "run")[0]) for folder in folders}
        assert sorted(found) == names
        assert len(folders) == 3
        for i, name in enumerate(names):
            read, run = found[name]
            assert (run["run_group"], run["job_type"]) == ("ratios", "pretrain")
            assert read["config"]["objective"] == {"ratio": i / 10}
            assert read["summary"][ACCURACY] == i / 4
            assert read["exit_code"] == 0
    else:
        ids = {run["displayName"]: run_id for run_id, run in server.runs.items()}
        assert sorted(ids) == names
        assert len(server.runs) == 3
        for i, name in enumerate(names):
            run = server.runs[ids[name]]
            assert (run["groupName"], run["jobType"]) == ("ratios", "pretrain")
            assert json.loads(run["config"])["objective"] == {"value": {"ratio": i / 10}}
            assert server.summary[ids[name]][ACCURACY] == i / 4
            assert [row["trainer/step"] for row in server.history[ids[name]]] == [1, 2, 3]
            assert server.exit_codes[ids[name]] == 0
    deadline = time.monotonic() + 10  # it looks after its parent every second or so
    while (left := services(pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


def services(parents: list[str]) -> list[str]:
    """The command lines of wandb's own processes that belong to processes `parents`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            arguments = path.read_text().split("\0")
            if "wandb-core" in arguments[0] and set(arguments) & set(parents):
                found.append(" ".join(arguments))
    return found


def test_a_run_is_filed_under_its_sweep_unless_a_group_is_set(
    context: RunContext, fresh_wandb: Callable[..., None]
) -> None:
    sweep = context._replace(group="a" * 130, job_type="evaluate")
    for group in (None, "paper"):
        wandb_run = logger(sweep, group=group, mode="offline", name=str(group))
        wandb_run.open()
        wandb_run.finish(success=True)
    found = {run["display_name"]: run for folder in runs(context, "off*") for run in records(folder, "run")[:1]}
    assert found["paper"]["run_group"] == "paper"
    cut = found["None"]["run_group"]
    assert len(cut) == 128
    assert cut.startswith("a" * 119 + "-")
    assert {run["job_type"] for run in found.values()} == {"evaluate"}


def test_the_summary_says_which_way_is_better_and_keeps_the_value_given(
    context: RunContext, tmp_path: Path, fresh_wandb: Callable[..., None]
) -> None:
    Image.new("RGB", (5, 7), "red").save(tmp_path / "f.png")
    wandb_run = logger(context, mode="offline")
    wandb_run.open()
    for step, loss in ((1, 0.5), (2, 0.25), (3, 0.375)):
        wandb_run.log_metrics({"train/loss": loss}, step)
    error, rank = (f"pretrained/{name}" for name in ("reconstruction.mse", "geometry.rank[labels=0.1]"))
    found = {
        ACCURACY: share("accuracy", 0.75),
        error: Metric(name="mse", value=0.375, unit=Unit.PLAIN, better=Better.LOWER),
        rank: Metric(name="rank", value=7.0, unit=Unit.PLAIN, better=Better.NEITHER),
    }
    values = {name: metric.value for name, metric in found.items()}
    wandb_run.log_summary(found)
    wandb_run.log_figures({"views": tmp_path / "f.png"})
    wandb_run.finish(success=True)
    (folder,) = runs(context, "off*")
    assert {name: summary(folder)["summary"][name] for name in values} == values
    # A dot that is part of a name is escaped there, since one that is not means a key within a key.
    told = {metric["name"].replace("\\.", "."): metric for metric in records(folder, "metric") if "name" in metric}
    assert told[error]["summary"] == {"min": True}
    assert told[ACCURACY]["summary"] == {"max": True}
    assert told[ACCURACY]["step_metric"] == "trainer/step"
    assert rank not in told


# ------------------------------------------------------------------------------------------- a server that fails midway


@pytest.mark.parametrize("failure", ["failing", "silent"])
def test_if_the_server_fails_midway_nothing_is_lost_and_sync_sends_the_rest(
    failure: str,
    context: RunContext,
    tmp_path: Path,
    server: WandbServer,
    fresh_wandb: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    fresh_wandb(WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY, WANDB__FILE_STREAM_TRANSMIT_INTERVAL="1")
    wandb_run = logger(context._replace(group="ratios"), group=None, init_timeout=10.0, finish_timeout=1.0)
    wandb_run.open()
    wandb_run.log_metrics({"loss": 1.0}, 1)
    (run_id,) = server.runs
    wait_for(lambda: server.history[run_id])
    getattr(server, failure).set()
    for step in range(2, 6):
        wandb_run.log_metrics({"loss": 1 / step}, step)
    wandb_run.log_config({"objective": {"ratio": 0.75}})
    wandb_run.log_summary({ACCURACY: share("accuracy", 0.75)})
    started = time.monotonic()
    wandb_run.finish(success=True)
    fresh_wandb()
    assert time.monotonic() - started < 8
    (folder,) = runs(context)
    said = capfd.readouterr().err.splitlines()
    assert said[1:] == [
        f"warning: wandb had not finished its upload after 1 s; `wandb sync --include-online {folder}` sends the rest"
    ]
    assert summary(folder)["summary"][ACCURACY] == 0.75
    assert ACCURACY not in server.summary[run_id]

    getattr(server, failure).clear()
    command = [sys.executable, "-m", "wandb", "sync", "--include-online", str(folder)]  # as it was said
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    assert {row["trainer/step"]: row["loss"] for row in server.history[run_id]} == {s: 1 / s for s in range(1, 6)}
    assert server.summary[run_id][ACCURACY] == 0.75
    assert json.loads(server.runs[run_id]["config"])["objective"] == {"value": {"ratio": 0.75}}
    assert server.runs[run_id]["groupName"] == "ratios"
    assert server.exit_codes == {run_id: 0}
    assert list(server.runs) == [run_id]


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.05)


def test_a_run_resumed_while_the_server_is_away_keeps_what_it_wrote_before(
    context: RunContext, server: WandbServer, fresh_wandb: Callable[..., None]
) -> None:
    fresh_wandb(WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY)
    wandb_run = logger(context)
    wandb_run.open()
    wandb_run.finish(success=False)
    (before,) = runs(context)
    server.silent.set()
    wandb_run = logger(context)
    wandb_run.open(resume_step=7)
    wandb_run.log_metrics({"loss": 1.0}, 8)
    wandb_run.finish(success=True)
    offline, same = runs(context)
    assert same == before
    assert summary(offline)["summary"]["trainer/step"] == 8


# ------------------------------------------------------------------------------------------------------------ refusals


def test_if_wandb_dies_the_run_goes_on_with_one_warning(context: RunContext, tmp_path: Path) -> None:
    program = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from ssl_runner.loggers.interface import RunContext\n"
        "from ssl_runner.loggers.wandb_run import WandbRun\n"
        "from ssl_runner.results.metrics import share\n"
        f"context = RunContext(Path({str(context.folder)!r}), Path({str(context.outputs)!r}), 'n', (), 'i', 0)\n"
        f"run = WandbRun(context, **{SETTINGS | {'mode': 'offline'}!r})\n"
        "run.open(); run.log_metrics({'loss': 1.0}, 1)\n"
        "children = Path(f'/proc/{os.getpid()}/task/{os.getpid()}/children').read_text().split()\n"
        "[os.kill(int(child), signal.SIGKILL) for child in children]\n"
        "[run.log_metrics({'loss': 1.0}, step) for step in range(2, 200)]\n"
        "run.log_summary({'loss': share('loss', 1.0)}); run.finish(True); print(len(children), 'done', flush=True)\n"
        "os._exit(0)\n"  # wandb's own word on it at exit is not ours
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")} | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "1 done\n"), done.stderr
    assert done.stderr.startswith("warning: wandb stopped; nothing more is logged to it: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("error", [ConnectionResetError("Connection lost"), TimeoutError("Connection lost")])
def test_whatever_a_call_of_wandb_raises_is_said_once(
    error: Exception, context: RunContext, fresh_wandb: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    wandb_run = logger(context, mode="offline")
    wandb_run.open()
    alive = wandb_run._run

    class Dead:
        def log(self, row: object) -> None:
            raise error

    wandb_run._run = Dead()
    wandb_run.log_metrics({"loss": 1.0}, 1)
    wandb_run.log_metrics({"loss": 1.0}, 2)
    wandb_run.finish(success=True)
    alive.finish()
    assert capfd.readouterr().err == "warning: wandb stopped; nothing more is logged to it: Connection lost\n"


def test_a_bad_environment_is_refused(context: RunContext, fresh_wandb: Callable[..., None]) -> None:
    fresh_wandb(WANDB_MODE="sometimes")
    with pytest.raises(ValueError, match=r"wandb refuses a variable.*mode: Input should be 'online', 'offline'"):
        logger(context).open()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"project": "a/b"}, r"logger.wandb.project is 'a/b'; it must have 1 to 128 characters, none of / "),
        ({"project": ""}, r"logger.wandb.project is ''"),
        ({"tags": ["x" * 65]}, r"logger.wandb.tags has 'x+'; a tag must have 1 to 64 characters"),
        ({"group": "x" * 129}, r"logger.wandb.group is 'x+'; it must have at most 128 characters"),
        ({"name": "x" * 129}, r"logger.wandb.name is 'x+';"),
        ({"init_timeout": 0.0}, r"logger.wandb.init_timeout is 0; it must be a number of seconds above 0"),
        ({"finish_timeout": -1.0}, r"logger.wandb.finish_timeout is -1;"),
    ],
)
def test_bad_settings_are_refused(context: RunContext, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        logger(context, **settings)
