"""ssl-runs: every state is told, and nothing is deleted or archived that should not be."""

import hashlib
import io
import json
import os
import pty
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_runs import made_config, made_run

from ssl_runner.commands import run_files
from ssl_runner.commands.runs import main
from ssl_runner.reporting.runs import find_runs
from ssl_runner.results.result import write_result
from ssl_runner.results.status import Status, write_status
from ssl_runner.runtime.locks import is_held, locked

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """A finished run, one that was killed, one that failed, one whose result is damaged, and what is no run."""
    folder = tmp_path / "outputs"
    write_result(folder / "mnist-mae-vit" / "s0-aa", made_run("r", made_config()).result)
    for name, objective, seed in (("s1-bb", "rotation", 1), ("s2-cc", "simclr", 2)):
        place = folder / "mnist-mae-vit" / name
        (place / "checkpoints").mkdir(parents=True)
        (place / "checkpoints" / "last.ckpt").write_bytes(b"weights")
        (place / "config.yaml").write_text(yaml.safe_dump(made_config(objective, seed=seed)))
        (place / ".lock").touch()
    write_status(folder / "mnist-mae-vit" / "s1-bb", Status("pretraining", 0.4, 1.0, 9.0))
    write_status(folder / "mnist-mae-vit" / "s2-cc", Status("failed", failed="the loss is nan"))
    damaged = folder / "damaged"
    damaged.mkdir()
    (damaged / "result.json").write_text('{"schema": 2, "iden')
    (folder / "sweeps" / "x").mkdir(parents=True)
    (folder / "sweeps" / "x" / "sweep.yaml").write_text("runs: [mnist-mae-vit/s0-aa, mnist-mae-vit/gone]\n")
    (folder / "previews").mkdir()
    (folder / "mnist-mae-vit" / ".s9.tmp").mkdir()
    (folder / "mnist-mae-vit" / ".s9.tmp" / "result.json").write_text("{}")
    return folder


def answered(capfd: Captured, *words: object, code: int = 0) -> dict[str, Any]:
    assert main([*map(str, words), "--json"]) == code
    found: dict[str, Any] = json.loads(capfd.readouterr().out)
    assert found["exit_code"] == code
    assert bool(found["error"]) == bool(code)
    return found


def states(found: dict[str, Any]) -> dict[str, str]:
    return {Path(each["folder"]).name: each["status"] for each in found["runs"]}


ALL = {"s0-aa": "finished", "s1-bb": "unfinished", "s2-cc": "failed", "damaged": "failed"}


def test_every_state_is_told(outputs: Path, capfd: Captured) -> None:
    found = answered(capfd, "list", outputs)
    assert states(found) == ALL
    runs = {Path(each["folder"]).name: each for each in found["runs"]}
    assert runs["s0-aa"]["identity"] == "id-r"
    assert (runs["s0-aa"]["objective"], runs["s1-bb"]["objective"]) == ("mae", "rotation")
    assert (runs["s1-bb"]["progress"], runs["s0-aa"]["progress"], runs["s2-cc"]["progress"]) == (0.4, 1.0, None)
    assert (runs["s1-bb"]["seed"], runs["damaged"]["seed"]) == (1, None)
    assert runs["s2-cc"]["why"] == "the loss is nan"
    assert runs["damaged"]["why"].startswith("result.json cannot be read")
    with locked(outputs / "mnist-mae-vit" / "s1-bb"), locked(outputs / "mnist-mae-vit" / "s0-aa"):
        assert states(answered(capfd, "list", outputs)) == ALL | {"s0-aa": "running", "s1-bb": "running"}


def test_looking_changes_nothing(outputs: Path, capfd: Captured) -> None:
    before = sorted(outputs.rglob("*"))
    answered(capfd, "list", outputs)
    answered(capfd, "show", outputs / "mnist-mae-vit" / "s0-aa")
    assert sorted(outputs.rglob("*")) == before
    assert not is_held(outputs / "previews")
    assert not list((outputs / "previews").iterdir())


def test_a_sweep_and_a_run_are_places_too(outputs: Path, capfd: Captured) -> None:
    assert states(answered(capfd, "list", outputs / "sweeps" / "x")) == {"s0-aa": "finished"}
    assert states(answered(capfd, "list", outputs / "damaged", outputs / "damaged")) == {"damaged": "failed"}
    (outputs / "sweeps" / "x" / "sweep.yaml").write_text("runs: 3\n")
    assert "sweep.yaml cannot be read" in answered(capfd, "list", outputs)["problems"][0]


def test_a_run_that_has_only_begun_is_one(outputs: Path, capfd: Captured) -> None:
    write_status(outputs / "previews", Status("starting"))
    assert "previews" not in states(answered(capfd, "list", outputs))
    (outputs / "previews" / ".lock").touch()
    assert states(answered(capfd, "list", outputs))["previews"] == "unfinished"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--status", "failed,unfinished"], {"s1-bb", "s2-cc", "damaged"}),
        (["--status", "running"], set()),
        (["--objective", "mae,simclr"], {"s0-aa", "s2-cc"}),
        (["--dataset", "mnist", "--backbone", "vit", "--status", "finished"], {"s0-aa"}),
        (["--dataset", "cifar"], set()),
        (["--newer", "1h"], {"s0-aa", "s1-bb", "s2-cc", "damaged"}),
        (["--older", "1h"], set()),
        (["--older", "0s", "--objective", "mae"], {"s0-aa"}),
    ],
)
def test_filters(words: list[str], names: set[str], outputs: Path, capfd: Captured) -> None:
    assert set(states(answered(capfd, "list", outputs, *words))) == names


def test_age_is_that_of_the_last_change(outputs: Path, capfd: Captured) -> None:
    for path in (outputs / "mnist-mae-vit" / "s1-bb").iterdir():
        os.utime(path, (time.time() - 8 * 86400,) * 2)
    assert set(states(answered(capfd, "list", outputs, "--older", "7d"))) == {"s1-bb"}
    write_status(outputs / "mnist-mae-vit" / "s1-bb", Status("pretraining", 0.5))
    assert not answered(capfd, "list", outputs, "--older", "7d")["runs"]


def test_a_line_in_a_pipe_can_be_taken_apart(outputs: Path, capfd: Captured) -> None:
    odd = outputs / "a\tb\nc d"
    shutil.copytree(outputs / "mnist-mae-vit" / "s0-aa", odd)
    long = outputs / ("long" * 50)
    shutil.copytree(outputs / "mnist-mae-vit" / "s0-aa", long)
    assert main(["list", str(outputs)]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) == 6
    cells = [line.split("\t") for line in lines]
    assert all(len(each) == 7 for each in cells)
    assert json.loads(cells[0][0]) == str(odd)
    assert [str(long), "finished", "mnist", "mae", "vit", "0"] in [each[:6] for each in cells]
    assert all(cell == cell.strip() for each in cells for cell in each)


def test_a_terminal_gets_a_table(outputs: Path) -> None:
    leader, follower = pty.openpty()
    words = [sys.executable, "-m", "ssl_runner.commands.runs", "list", str(outputs)]
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path), "COLUMNS": "200", "TERM": "dumb"}
    done = subprocess.run(words, env=environment, stdout=follower, stderr=subprocess.PIPE, text=True)
    os.close(follower)
    shown = os.read(leader, 10**5).decode()
    os.close(leader)
    assert done.returncode == 0, done.stderr
    assert "4 runs" in shown
    assert "40% pretrained" in shown
    assert "the loss is nan" in shown


def test_a_run_is_shown(outputs: Path, capfd: Captured) -> None:
    folder = outputs / "mnist-mae-vit" / "s0-aa"
    found = answered(capfd, "show", folder)
    assert found["result"] == json.loads((folder / "result.json").read_text())
    assert found["bytes"] == (folder / "result.json").stat().st_size
    assert main(["show", str(folder)]) == 0
    said = capfd.readouterr().out
    assert "status:    finished" in said
    assert "linear accuracy" in said
    assert answered(capfd, "show", outputs / "mnist-mae-vit" / "s2-cc")["result"] is None
    assert answered(capfd, "show", outputs / "damaged")["why"].startswith("result.json cannot")


def test_a_run_is_deleted(outputs: Path, capfd: Captured) -> None:
    chosen = [outputs / "mnist-mae-vit" / "s0-aa", outputs / "mnist-mae-vit" / "s1-bb"]
    found = answered(capfd, "delete", *chosen, "--yes")
    assert found["deleted"] == [str(folder) for folder in chosen]
    assert found["bytes"] > 0
    assert states(answered(capfd, "list", outputs)) == {"s2-cc": "failed", "damaged": "failed"}
    assert sorted(path.name for path in (outputs / "mnist-mae-vit").iterdir()) == [".s9.tmp", "s2-cc"]


def test_nothing_is_deleted_that_is_no_run(outputs: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    run = outputs / "mnist-mae-vit" / "s0-aa"
    (outputs / "link").symlink_to(run)
    noted = outputs / "mnist-mae-vit" / "s1-bb"
    (noted / "thesis.tex").write_text("years")
    (outputs / "result.json").write_text("{}")  # makes of the folder of all runs no run
    before = sorted(outputs.rglob("*"))
    for folder, said in (
        (outputs, "holds what is no run's: damaged, link, mnist-mae-vit, previews, sweeps"),
        (outputs / "mnist-mae-vit", "is no run"),
        (outputs / "previews", "is no run"),
        (outputs / "link", "is not a folder but a link to one"),
        (outputs / "nowhere", "is not a folder"),
        (run / "result.json", "is not a folder"),
        (noted, "holds what is no run's: thesis.tex"),
    ):
        found = answered(capfd, "delete", run, folder, "--yes", code=2)
        assert any(said in line for line in found["error"])
        assert sorted(outputs.rglob("*")) == before


def test_a_run_in_use_is_not_deleted_nor_archived(outputs: Path, capfd: Captured, tmp_path: Path) -> None:
    run, other = outputs / "mnist-mae-vit" / "s1-bb", outputs / "mnist-mae-vit" / "s0-aa"
    with locked(run):
        for words in (["delete", other, run, "--yes"], ["archive", other, run, tmp_path / "a.tar.gz"]):
            found = answered(capfd, *words, code=75)
            assert "is in use" in found["error"][0]
            assert other.is_dir()
    assert not (tmp_path / "a.tar.gz").exists()


def test_deleting_asks(outputs: Path, capfd: Captured) -> None:
    run = outputs / "mnist-mae-vit" / "s0-aa"
    words = [sys.executable, "-m", "ssl_runner.commands.runs", "delete", str(run)]
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(words, env=environment, input="y\n", capture_output=True, text=True)
    assert done.returncode == 2  # nobody is there
    assert "add --yes" in done.stderr
    for answer, deleted in ((b"\n", False), (b"no\n", False), (b"y\n", True)):
        leader, follower = pty.openpty()
        with subprocess.Popen(words, env=environment, stdin=follower, stdout=-1, stderr=-1, text=True) as asking:
            os.write(leader, answer)
            out, err = asking.communicate(timeout=60)
        os.close(leader)
        os.close(follower)
        assert "delete 1 run, 0.0 MB? [y/N]" in err
        assert asking.returncode == (0 if deleted else 2)
        assert run.exists() != deleted
        assert (out != "") == deleted


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "SHA256SUMS")
    }


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar", "folder"])
def test_an_archive_is_the_run(name: str, outputs: Path, capfd: Captured, tmp_path: Path) -> None:
    runs = [outputs / "mnist-mae-vit" / "s0-aa", outputs / "mnist-mae-vit" / "s1-bb"]
    (runs[1] / "half.tmp").write_text("begun")
    (runs[1] / "encoder").mkdir()
    (runs[1] / "encoder" / "SHA256SUMS").write_text("of the encoder")
    target = tmp_path / "kept" / name
    found = answered(capfd, "archive", *runs, target)
    assert found["files"] == 5
    (runs[1] / "half.tmp").unlink()
    place = tmp_path / "restored"
    if name == "folder":
        shutil.copytree(target, place)
    else:
        with tarfile.open(target) as tar:
            assert {about.uid for about in tar} == {0}
            tar.extractall(place, filter="data")
    for run in runs:
        again = place / "mnist-mae-vit" / run.name
        written = files(run) | {"encoder/SHA256SUMS": b"of the encoder"} if run == runs[1] else files(run)
        kept = {p: (again / p).read_bytes() for p in written}
        assert kept == written
        listed = dict(line.split("  ")[::-1] for line in (again / "SHA256SUMS").read_text().splitlines())
        assert listed == {path: hashlib.sha256(content).hexdigest() for path, content in written.items()}
    assert states(answered(capfd, "list", place)) == {"s0-aa": "finished", "s1-bb": "unfinished"}
    assert [run.result.identity for run in find_runs([place])[0]] == ["id-r"]
    assert "exists already" in answered(capfd, "archive", *runs, target, code=2)["error"][0]
    assert main(["archive", str(place / "mnist-mae-vit" / "s0-aa"), str(tmp_path / "again.tar")]) == 0
    capfd.readouterr()
    answered(capfd, "delete", place / "mnist-mae-vit" / "s0-aa", "--yes")  # its checksums are no stranger's file


def test_two_runs_of_one_place_are_not_mixed(outputs: Path, capfd: Captured, tmp_path: Path) -> None:
    other = shutil.copytree(outputs, tmp_path / "others")
    runs = [root / "mnist-mae-vit" / "s0-aa" for root in (outputs, other)]
    assert "the same place" in answered(capfd, "archive", *runs, tmp_path / "a.tar", code=2)["error"][0]


@pytest.mark.parametrize("name", ["a.tar.gz", "folder"])
def test_an_archive_that_reads_back_differently_is_not_kept(
    name: str, outputs: Path, capfd: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest, calls = run_files._digest, iter(range(100))
    monkeypatch.setattr(run_files, "_digest", lambda file: digest(file) + str(next(calls)))
    found = answered(capfd, "archive", outputs / "mnist-mae-vit" / "s0-aa", tmp_path / "x" / name, code=2)
    assert "reads back differently" in found["error"][0]
    assert not [path for path in (tmp_path / "x").rglob("*") if path.is_file()]


def test_a_disk_that_refuses_is_said(outputs: Path, capfd: Captured, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = answered(capfd, "archive", outputs / "damaged", tmp_path / "file" / "a.tar", code=2)
    assert str(tmp_path / "file") in found["error"][0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["list", "nowhere"], "'nowhere' does not exist"),
        (["list", "--status", "done"], "done: no such status; choose of finished, unfinished, running, failed"),
        (["list", "--older", "soon"], "'soon' is not an age; write 30m, 12h, 7d or 4w"),
        (["show"], "the following arguments are required: RUN"),
        (["show", "nowhere"], "'nowhere' is not a folder"),
        (["archive", "x"], "the following arguments are required: FILE"),
        (["burn", "x"], "invalid choice: 'burn'"),
    ],
)
def test_refusals(
    words: list[str], said: str, capfd: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in answered(capfd, *words, code=2)["error"][0]
    assert main(words) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err


def test_it_imports_no_torch() -> None:
    code = "import ssl_runner.commands.runs, sys; print({'torch', 'matplotlib', 'jinja2', 'scipy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_files_from_elsewhere_cannot_mislead(outputs: Path, capfd: Captured) -> None:
    """Whatever they hold, each run has a line, and no control character reaches the terminal."""
    for number, content in enumerate(
        (
            "[]",
            "null",
            '{"name": 3, "seed": "x", "status": ["done"]}',
            '{"status": "done\\u001b[2J", "seed": 1.5}',
            "[" * 99999,
        )
    ):
        (outputs / f"odd{number}").mkdir()
        (outputs / f"odd{number}" / "result.json").write_text(content)
    (outputs / "mnist-mae-vit" / "s1-bb" / "config.yaml").write_text(
        'names: {dataset: "a\\tb\\e[2J"}\nx: !!python/x 1\n'
    )
    (outputs / "mnist-mae-vit" / "s2-cc" / "config.yaml").write_text('names: {dataset: "a\\tb\\e[2J"}\n')
    (outputs / "mnist-mae-vit" / "s2-cc" / "status.json").write_text('{"doing": 1, "progress": "much"}')
    found = answered(capfd, "list", outputs)
    assert len(found["runs"]) == 9
    assert states(found)["odd3"] == "failed"
    assert main(["list", str(outputs)]) == 0
    out = capfd.readouterr().out
    assert len(out.splitlines()) == 9
    assert "\x1b" not in out
    assert all(len(line.split("\t")) == 7 for line in out.splitlines())


def test_bytes_that_are_no_text_in_a_name(outputs: Path) -> None:
    odd = os.fsencode(outputs) + b"/\xff\xfe"
    shutil.copytree(outputs / "mnist-mae-vit" / "s0-aa", os.fsdecode(odd))
    words = [sys.executable, "-m", "ssl_runner.commands.runs", "list", str(outputs)]
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path), "LC_ALL": "C", "PYTHONUTF8": "0"}
    for flags in ([], ["--json"]):
        done = subprocess.run([*words, *flags], env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr
        if flags:
            names = [each["folder"] for each in json.load(io.BytesIO(done.stdout))["runs"]]
            assert odd in [os.fsencode(name) for name in names]
