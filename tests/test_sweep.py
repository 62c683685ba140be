"""Sweeps from end to end: real runs in real processes, some of which are made to end badly."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import faulty
import pytest
import yaml

from ssl_runner.commands import sweep as sweep_command
from ssl_runner.commands.sweep import sweep
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.identity import run_folder
from ssl_runner.config.loader import Loader
from ssl_runner.config.paths import conf_dir
from ssl_runner.config.request import RunRequest
from ssl_runner.config.schema import typed
from ssl_runner.results.result import read_result
from ssl_runner.runtime import checkpoint_files
from ssl_runner.runtime.locks import is_held
from ssl_runner.sweeps import scheduler
from ssl_runner.sweeps.engines.choose import engine

SMALL = [
    "dataset=fake_images", "dataset.examples=80", "dataset.test_examples=40", "dataset.height=8", "dataset.width=8",
    "backbone.widths=[4,8]", "batch_size=16", "logger=csv", "budget.unit=steps", "budget.amount=3",
    "trainer.validations=0", "evaluation=[knn]", "controls=[]", "trainer.accelerator=cpu",
]  # fmt: skip


def run_sweep(output: Path, *arguments: str) -> int:
    """As `ssl-run -m` does; returns the exit code."""
    return sweep(Loader(), "config", [], [*SMALL, f"output={output}", *arguments]).code


def started(output: Path) -> Counter[str]:
    path = output / "started.txt"
    return Counter(path.read_text().split("\n")[:-1]) if path.exists() else Counter()


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that says which jobs are to fail."""
    monkeypatch.setattr(sweep_command, "WORK", sweep_command.WORK._replace(forked=faulty.forked))
    return tmp_path / "faults.json"


def test_a_sweep_survives_its_failures_and_goes_on(
    tmp_path: Path, faults: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """9 runs of which one raises, one exits, one is killed: 6 are done, and the next call runs those three alone."""
    words = ["objective.loss.temperature=0.1,0.2,0.3", "seed=0,1,2", "sweep.jobs=3"]
    wrong = {"temperature=0.2 s0": "raise", "temperature=0.3 s1": "exit", "temperature=0.3 s2": "kill"}
    faults.write_text(json.dumps(wrong))
    assert run_sweep(tmp_path, *words) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "6 done 3 failed" in said
    assert "ArithmeticError: made to fail" in said
    assert "ended with exit code 3" in said
    assert "killed by SIGKILL; possibly out of memory: lower sweep.jobs or batch_size" in said
    assert sum(started(tmp_path).values()) == 9
    assert len(list(tmp_path.rglob("result.json"))) == 6
    (folder,) = (tmp_path / "sweeps").iterdir()
    about = yaml.safe_load((folder / "sweep.yaml").read_text())
    assert len(about["runs"]) == 9
    assert about["axes"]["seed"] == ["0", "1", "2"]
    assert sum((tmp_path / run / "result.json").exists() for run in about["runs"]) == 6
    assert "<svg" in (folder / "compare.html").read_text()

    faults.write_text("{}")
    (tmp_path / "started.txt").unlink()
    assert run_sweep(tmp_path, *words) == 0
    assert "3 done 6 skipped" in " ".join(capsys.readouterr().out.split())
    assert started(tmp_path) == Counter(wrong.keys())
    assert read_result(tmp_path / about["runs"][0]).sweep == folder.name

    (tmp_path / "started.txt").unlink()
    assert run_sweep(tmp_path, *words) == 0
    assert "all 9 runs are finished" in capsys.readouterr().out
    assert not started(tmp_path)


HOLD = "import sys; from pathlib import Path; from ssl_runner.runtime.locks import locked\n"
HOLD += "with locked(Path(sys.argv[1])):\n    print(flush=True)\n    sys.stdin.read()\n"
COMMAND = (
    "import faulty\nfrom ssl_runner.commands import sweep\nsweep.WORK = sweep.WORK._replace(forked=faulty.forked)\n"
)
COMMAND += "if __name__ == '__main__':\n    from ssl_runner.__main__ import main\n    main()\n"


def command(script: Path, output: Path, *words: str) -> subprocess.Popen[str]:
    """`ssl-run -m` as a process, with jobs that note their start."""
    script.write_text(COMMAND)
    path = os.pathsep.join([str(Path(faulty.__file__).parent), str(Path(__file__).parents[1])])
    return subprocess.Popen(
        [sys.executable, str(script), "-m", *SMALL, f"output={output}", *words],
        cwd=script.parent, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def wait_for(count: int, output: Path, seconds: float = 300) -> None:
    """Until so many results are there."""
    end = time.monotonic() + seconds
    while len(list(output.rglob("result.json"))) < count:
        assert time.monotonic() < end, "no results came"
        time.sleep(0.05)


@pytest.mark.thorough
def test_a_sweep_killed_half_way_is_finished_by_the_same_command(tmp_path: Path) -> None:
    """SIGKILL to the sweep: nothing is run twice to the end, nothing is lost."""
    words = ["seed=0,1,2,3,4,5", "sweep.jobs=2"]
    first = command(tmp_path / "first.py", tmp_path / "out", *words)
    wait_for(2, tmp_path / "out")
    first.kill()
    first.communicate(timeout=60)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("result.json")}
    second = command(tmp_path / "second.py", tmp_path / "out", *words)
    said, _ = second.communicate(timeout=300)
    assert second.returncode == 0, said
    results = list((tmp_path / "out").rglob("result.json"))
    assert sorted(read_result(path.parent).seed for path in results) == [0, 1, 2, 3, 4, 5]
    assert all(path.stat().st_mtime_ns == time_ for path, time_ in before.items())
    assert all(count <= 2 for count in started(tmp_path / "out").values())
    assert not [path for path in (tmp_path / "out").rglob("*") if path.suffix in (".part", ".tmp")]


def test_the_jobs_of_a_killed_sweep_end_within_seconds_with_their_state_saved(tmp_path: Path) -> None:
    """The fork server, which is their parent to the system, does not: it waits for them."""
    words = ["seed=0,1", "sweep.jobs=2", "budget.amount=1000000", "trainer.log_every_n_steps=1"]
    killed = command(tmp_path / "first.py", tmp_path / "out", *words)
    end = time.monotonic() + 300
    while sum(path.read_text().count("\n") > 2 for path in (tmp_path / "out").rglob("metrics.csv")) < 2:
        assert time.monotonic() < end, "no run began"
        time.sleep(0.05)
    killed.kill()
    killed.wait(60)
    assert killed.stdout is not None
    killed.stdout.close()
    folders = [path.parent for path in (tmp_path / "out").rglob("metrics.csv")]
    end = time.monotonic() + 20
    try:
        while any(map(is_held, folders)):
            assert time.monotonic() < end, "jobs of a sweep that is gone go on"
            time.sleep(0.05)
    finally:
        for folder in filter(is_held, folders):
            os.kill(int((folder / ".lock").read_text()), signal.SIGKILL)
    assert all(checkpoint_files.find(folder).newest for folder in folders)
    for log in (tmp_path / "out" / "sweeps").rglob("*.log"):
        assert "stopped by SIGTERM after step" in log.read_text()


@pytest.mark.slow
def test_two_sweeps_at_once_share_the_work(tmp_path: Path) -> None:
    words = ["seed=0,1,2,3", "sweep.jobs=2", "budget.amount=30"]
    both = [command(tmp_path / f"{name}.py", tmp_path / "out", *words) for name in ("a", "b")]
    said = [each.communicate(timeout=300)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    results = list((tmp_path / "out").rglob("result.json"))
    assert sorted(read_result(path.parent).seed for path in results) == [0, 1, 2, 3]


def test_a_run_that_is_busy_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While another process does it, it is looked at again and again, and started and said once; then it is done."""
    monkeypatch.setattr(scheduler, "RETRY", 0.2)
    plain = compose([*SMALL, f"output={tmp_path}", "seed=1"])
    words = [sys.executable, "-c", HOLD, str(run_folder(typed(plain), plain))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()

        def release() -> None:
            end = time.monotonic() + 100
            while not any("is in use" in log.read_text() for log in tmp_path.rglob("s1-*.log")):
                if time.monotonic() > end:
                    break
                time.sleep(0.05)
            time.sleep(1.5)
            holder.stdin.close()

        thread = threading.Thread(target=release)
        thread.start()
        assert run_sweep(tmp_path, "seed=1,2", "sweep.jobs=1") == 0
        thread.join()
    assert capsys.readouterr().out.count("started  s1") == 2  # refused, and done once it was free
    (log,) = (tmp_path / "sweeps").rglob("s1-*.log")
    assert log.read_text().count("is in use") == 1


@pytest.mark.thorough
def test_ctrl_c_saves_says_what_is_left_and_goes_on(tmp_path: Path) -> None:
    """Stopped in training, each run goes on from its checkpoint to the end that it would have had."""
    slow = ["seed=0,1,2", "sweep.jobs=2", "budget.amount=3000", "trainer.log_every_n_steps=1"]
    first = command(tmp_path / "first.py", tmp_path / "out", *slow)
    end = time.monotonic() + 300
    while len(list((tmp_path / "out").rglob("status.json"))) < 2:
        assert time.monotonic() < end, "no run began"
        time.sleep(0.05)
    first.send_signal(signal.SIGINT)
    said, _ = first.communicate(timeout=120)
    assert first.returncode == 130, said
    assert "interrupted: 3 runs remain; the same command resumes them" in said
    assert "Traceback" not in said
    assert len(list((tmp_path / "out").rglob("last.ckpt"))) == 2


def test_what_is_wrong_is_refused_before_anything_runs(tmp_path: Path) -> None:
    for words, said in (
        (["objective.loss.temperature=0.1,0"], "temperature=0: objective.loss.temperature is 0"),
        (["backbone=convnet,vit_micro", "objective=mae", "~backbone.widths"], "backbone"),
        (["optimizer.lr=interval(0.001,0.1)"], "set sweep.search=random or sweep.search=optuna"),
        (["sweep.jobs=0", "seed=0,1"], "sweep.jobs is 0"),
    ):
        with pytest.raises((ConfigError, Exception)) as refused:
            run_sweep(tmp_path / "out", *words)
        assert said in str(refused.value), words
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("package", "words"),
    [
        pytest.param(
            "submitit",
            ["sweep.engine=submitit", "sweep.settings={cluster: local, timeout_min: 5}"],
            marks=pytest.mark.slow,
        ),
        pytest.param(  # it starts a cluster of its own; how jobs are started, watched and judged is tested by submitit
            "ray", ["sweep.engine=ray", "sweep.settings={num_cpus: 3}"], marks=pytest.mark.slow
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")  # of the engines' own
def test_engines_of_clusters_leave_the_same_folders(
    package: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(package)
    bad = tmp_path / "out" / "fake_images-simclr-convnet"
    plain = compose([*SMALL, f"output={tmp_path / 'out'}", "seed=1"])
    checkpoint = run_folder(typed(plain), plain) / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"cut off")
    assert run_sweep(tmp_path / "out", "seed=0,1", "sweep.jobs=2", *words) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "1 done 1 failed" in said
    assert "is damaged" in said
    checkpoint.unlink()
    assert run_sweep(tmp_path / "out", "seed=0,1", "sweep.jobs=2", *words) == 0
    assert "1 done 1 skipped" in " ".join(capsys.readouterr().out.split())
    assert sorted(read_result(path.parent).seed for path in bad.glob("*/result.json")) == [0, 1]


def test_an_engine_that_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("submitit", "ray"):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ConfigError, match=rf"pip install 'ssl-runner\[{package}\]'"):
            engine(package, sweep_command.WORK, 1, 1, "cpu", {}, tmp_path)


@pytest.mark.parametrize(
    "preset",
    [
        pytest.param(path.stem, marks=[pytest.mark.slow] * (path.stem == "objectives"))  # it composes all of them
        for path in sorted((conf_dir() / "sweep").glob("*.yaml"))
    ],
)
@pytest.mark.sampled(5)
def test_every_preset_is_valid(preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"sweep={preset}", "check=true", f"output={tmp_path}"]
    if "override /dataset" not in (conf_dir() / "sweep" / f"{preset}.yaml").read_text():
        words += ["dataset=fake_images", "dataset.examples=3000"]
    assert sweep(Loader(), "config", [], words + ["backbone=convnet"] * (preset == "backbones")).code == 0
    assert "valid: " in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.thorough
def test_a_job_is_a_file_and_a_command(tmp_path: Path) -> None:
    from ssl_runner.runtime.job_file import write_job

    plain = compose([*SMALL, f"output={tmp_path / 'out'}"])
    write_job(tmp_path / "job.yaml", RunRequest.of(plain, SMALL, "alone", "by-hand"))
    done = subprocess.run(
        [sys.executable, "-m", "ssl_runner.commands.job", "job.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert read_result(run_folder(typed(plain), plain)).sweep == "by-hand"
