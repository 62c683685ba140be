"""--json: one object on standard output, whatever happens, and stable exit codes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from made_runs import made_run
from small_runs import SMALL, in_batch
from undrawn import undrawn

from ssl_runner.__main__ import main
from ssl_runner.commands import compare, evaluate, preview, run
from ssl_runner.commands.answers import answering, asked
from ssl_runner.config.errors import ConfigError
from ssl_runner.results.result import write_result
from ssl_runner.runtime.locks import locked

Captured = pytest.CaptureFixture[str]
WORDS = [*[word for word in SMALL if word != "evaluation=[]"], "evaluation=[knn]", "trainer.watch_every=0"]


def answered(capfd: Captured, command: Any, *words: str) -> tuple[dict[str, Any], str]:
    """The one object that a command prints, whose exit code is that of the process; and what it says beside it."""
    with pytest.MonkeyPatch.context() as patched, undrawn():
        patched.setattr(sys, "argv", ["command", *words])
        try:
            code = command() or 0
        except SystemExit as end:
            code = end.code or 0
    out, err = capfd.readouterr()
    found = json.loads(out)
    assert out.isascii()
    assert found["exit_code"] == code
    assert isinstance(found["error"], list)
    assert bool(found["error"]) == bool(code)
    assert {"command", "version"} <= set(found)
    assert "Traceback" not in err
    return found, err


def test_a_run_and_another_evaluation(tmp_path: Path, capfd: Captured) -> None:
    words = [*WORDS, f"output={tmp_path}"]
    valid, said = answered(capfd, main, *words, "check=true", "--json")
    assert valid["valid"]
    assert valid["config"]["batch_size"] == 32
    assert "valid: dataset=fake_images" in said
    assert not list(tmp_path.iterdir())
    found, said = answered(capfd, main, *words, "--json")
    folder = Path(found["folder"])
    assert found["result"] == json.loads((folder / "result.json").read_text())
    assert Path(found["report"]).is_file()
    assert Path(found["encoder"]).is_dir()
    assert "pretraining" in said
    assert "knn accuracy" in said
    again, said = answered(capfd, main, "--json", *words)
    assert again == found
    assert "finished before" in said
    more, _ = answered(capfd, evaluate.main, f"run={folder}", "evaluation=[geometry]", "--json")
    assert more["folder"] == found["folder"]
    assert {each["evaluator"] for each in more["result"]["results"]} == {"knn", "geometry"}


def test_a_preview(tmp_path: Path, capfd: Captured) -> None:
    found, _ = answered(capfd, preview.main, *WORDS, f"output={tmp_path}", "--json")
    assert Path(found["picture"]).read_bytes()[:4] == b"\x89PNG"
    assert found["note"].startswith("From above: ")
    assert found["text"] is None


def test_a_preview_of_text(tmp_path: Path, capfd: Captured) -> None:
    (tmp_path / "a.txt").write_text("A cat sees a dog. The dog likes a song.\n\nThe moon rises.\n" * 60)
    words = ["objective=bert", "backbone=bert_tiny", "dataset=text_file", f"dataset.path={tmp_path / 'a.txt'}"]
    found, _ = answered(capfd, preview.main, *words, "dataset.length=16", f"output={tmp_path}", "--json")
    assert "y, in their gaps: " in found["text"]
    assert Path(found["picture"]).read_text() == found["text"]


def test_a_comparison(tmp_path: Path, capfd: Captured) -> None:
    write_result(tmp_path / "one", made_run("r").result)
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "result.json").write_text("{")

    for words in ([str(tmp_path), "--json"], [str(tmp_path), "--json", "-"], ["--json=-", str(tmp_path)]):
        found, _ = answered(capfd, compare.main, *words)
        assert len(found["settings"]) == 1
        assert "two" in found["problems"][0]
    found, _ = answered(capfd, compare.main, str(tmp_path), "--json", "--where", "x")
    assert found["error"] == ["--where: 'x' is not a condition; write key=value, or use != < > <= >= in place of ="]
    assert "settings" not in found
    found, _ = answered(capfd, compare.main, str(tmp_path / "two"), "--json")
    assert "no finished run in" in found["error"][0]
    found, _ = answered(capfd, compare.main, str(tmp_path), "--json", "--csv", "-")
    assert "only one of" in found["error"][0]
    assert compare.main([str(tmp_path), "--json", str(tmp_path / "all.json")]) == 0
    assert "accuracy" in capfd.readouterr().out  # the table, as ever
    assert "command" not in json.loads((tmp_path / "all.json").read_text())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["objective=simclr2"], "objective=simclr2: no such option; did you mean simclr?"),
        (["objective.x=1"], "objective.x: no such key"),
        (["batch_size=0"], "batch_size is 0"),
        (["seed=[1"], "write key=value"),
        (["dataset=arrays"], "dataset.path: it must be set"),
        (["-m", "seed=0,1", "batch_size=0"], "batch_size is 0"),
        (["--cfg", "job"], "omit --json"),
        (["--explain", "seed"], "omit --json"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--config-dir", "nowhere"], "--config-dir is 'nowhere'"),
    ],
)
def test_a_refusal_is_an_object_too(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    found, err = answered(capfd, main, *words, "--json")
    assert found["exit_code"] == 2
    assert any(said in line for line in found["error"])
    assert all(f"error: {line}" in err for line in found["error"])
    assert not list(tmp_path.iterdir())


def test_version_and_help_leave_the_object_alone(capfd: Captured) -> None:
    for flag, said in (("--version", "ssl-run 0."), ("--help", "Usage: ssl-run")):
        found, err = answered(capfd, main, flag, "--json")
        assert said in err
        assert found["exit_code"] == 0


def test_a_run_in_use_has_a_code_of_its_own(tmp_path: Path, capfd: Captured) -> None:
    words = [*WORDS, f"output={tmp_path}", "--json"]
    found, _ = answered(capfd, main, *words)
    with locked(Path(found["folder"])):
        busy, _ = answered(capfd, main, *words, "resume=never")
        assert busy["exit_code"] == 75
        assert "is in use" in busy["error"][0]
        busy, _ = answered(capfd, evaluate.main, f"run={found['folder']}", "evaluation=[geometry]", "--json")
        assert busy["exit_code"] == 75


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)])
def test_a_request_to_stop(number: int, code: int, tmp_path: Path, capfd: Captured) -> None:
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with in_batch(4, lambda _: signal.raise_signal(number)):
            found, _ = answered(capfd, main, *WORDS, f"output={tmp_path}", "--json")
    finally:
        signal.signal(signal.SIGINT, usual)
    assert found["exit_code"] == code
    assert "after step 4, which is saved; the same command resumes from there" in found["error"][0]


def test_an_evaluation_that_fails_leaves_the_others_in_the_answer(
    tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = run.judge

    def failing(*about: Any) -> Any:
        result, _ = judge(*about)
        return result, ["evaluation=linear, pretrained: made to fail"]

    monkeypatch.setattr(run, "judge", failing)
    found, _ = answered(capfd, main, *WORDS, f"output={tmp_path}", "--json")
    assert found["exit_code"] == 2
    assert found["error"] == ["evaluation=linear, pretrained: made to fail"]
    assert found["result"]["results"][0]["evaluator"] == "knn"


def test_an_error_of_the_program_is_said_beside_its_traceback(
    tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(request: object) -> None:
        raise ArithmeticError("made to fail")

    monkeypatch.setattr(run, "run", wrong)
    monkeypatch.setattr(sys, "argv", ["ssl-run", *WORDS, f"output={tmp_path}", "--json"])
    with pytest.raises(ArithmeticError):
        main()
    found = json.loads(capfd.readouterr().out)
    assert found["exit_code"] == 1
    assert found["error"] == ["ArithmeticError: made to fail"]


def test_what_a_process_prints_goes_to_stderr_too(capfd: Captured) -> None:
    with answering("x", True) as answer:
        print("printed")
        subprocess.run([sys.executable, "-c", "print('by another process')"], check=True)
        answer["found"] = float("nan")
    out, err = capfd.readouterr()
    assert json.loads(out)["found"] == "NaN"
    assert "printed" in err
    assert "by another process" in err
    print("back")
    assert capfd.readouterr().out == "back\n"


def test_only_one_process_of_a_run_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(["a=1", "--json"])
    assert asked(["--js"])
    assert not asked(["--", "a=--json"])
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert not asked(["--json"])


@pytest.mark.thorough
def test_a_sweep_as_a_process(tmp_path: Path) -> None:
    """One of whose runs fails: exit code 1. And a reader that closes the pipe: 141, without a traceback."""
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-m", "ssl_runner", "-m", *WORDS, "seed=0,1", "sweep.jobs=1", "--json"]
    done = subprocess.run([*command, "check=true"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (json.loads(done.stdout)["planned"], json.loads(done.stdout)["finished"]) == (2, 0)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert done.returncode == found["exit_code"] == 0, done.stderr
    assert [(each["label"], each["state"]) for each in found["runs"]] == [("s0", "done"), ("s1", "done")]
    assert len(found["comparison"]["settings"][0]["runs"]) == 2
    assert (tmp_path / found["page"]).is_file()
    assert all((tmp_path / each["log"]).is_file() for each in found["runs"])
    assert "started  s1" in done.stderr
    folder = tmp_path / found["runs"][1]["folder"]
    (folder / "result.json").unlink()
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"cut off")
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert done.returncode == found["exit_code"] == 1
    assert [(each["label"], each["state"]) for each in found["runs"]] == [("s0", "skipped"), ("s1", "failed")]
    assert "s1: " in found["error"][0]
    assert "is damaged" in found["error"][0]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        words = [sys.executable, "-m", "ssl_runner.commands.compare", "outputs", "--json"]
        done = subprocess.run(words, cwd=tmp_path, env=environment, stdout=closed, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 141
    assert "Traceback" not in done.stderr


def test_a_config_error_names_the_run_that_stands(tmp_path: Path) -> None:
    assert ConfigError(["x"]).folder is None
    assert ConfigError(["x"], tmp_path).folder == tmp_path
