"""The pages for programs: every command of docs/scripting.md and every line of docs/python.md, as they stand there."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
MODULES = {
    "ssl-run": "ssl_runner",
    "ssl-evaluate": "ssl_runner.commands.evaluate",
    "ssl-compare": "ssl_runner.commands.compare",
    "ssl-preview": "ssl_runner.commands.preview",
    "ssl-runs": "ssl_runner.commands.runs",
    "python": None,
}


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [textwrap.dedent(found) for found in re.findall(rf"(?ms)^ *```{language}\n(.*?)^ *```$", text)]


@pytest.fixture
def commands(tmp_path: Path) -> dict[str, str]:
    """An environment in which the console scripts are those of this checkout."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, module in MODULES.items():
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {f"-m {module} " if module else ""}"$@"\n')
        script.chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is missing")
def test_ten_commands(tmp_path: Path, commands: dict[str, str]) -> None:
    place = tmp_path / "place"
    place.mkdir()
    script = blocks("scripting.md", "sh")
    assert len(script) == 11
    done = subprocess.run(["sh"], input="".join(script), cwd=place, env=commands, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    found: dict[str, Any] = {path.stem: json.loads(path.read_text()) for path in place.glob("*.json")}
    assert len(found) == 10
    assert all(each["exit_code"] == 0 and each["error"] == [] for each in found.values())
    assert found["check"]["valid"]
    assert found["run"] == found["again"]
    assert [each["state"] for each in found["sweep"]["runs"]] == ["skipped", "done"]
    assert len(found["evaluate"]["result"]["results"]) > len(found["run"]["result"]["results"])
    assert Path(place, found["preview"]["picture"]).is_file()
    assert len(found["compare"]["settings"][0]["runs"]) == 2
    folders = sorted(each["folder"] for each in found["finished"]["runs"])
    assert (place / "folders.txt").read_text() == "".join(f"{folder}\tfinished\n" for folder in folders)
    assert found["delete"]["deleted"] == [found["run"]["folder"]]
    again = subprocess.run(  # what was restored is the run
        ["sh", "-c", f"{script[0]}ssl-run $small --json"], cwd=place, env=commands, capture_output=True, text=True
    )
    assert json.loads(again.stdout)["result"] == found["evaluate"]["result"]
    assert "finished before" in again.stderr


def test_the_page_names_every_key_and_code() -> None:
    text = (ROOT / "docs" / "scripting.md").read_text(encoding="utf-8")
    from ssl_runner.commands.sweep import Swept
    from ssl_runner.reporting.inventory import STATUSES, Entry

    for word in (*Entry._fields, *STATUSES, *Swept(Path("x"), 0).answer(), *Swept(Path("x"), 0, checked=True).answer()):
        assert f"`{word}`" in text, word
    for code in (0, 1, 2, 75, 130, 141, 143):
        assert f"\n| {code} | " in text


@pytest.mark.slow
def test_the_page_about_python(tmp_path: Path) -> None:
    """In a process of its own, as a script without a guard of `__main__`, and with two of its runs in a sweep."""
    pytest.importorskip("pandas")
    (tmp_path / "page.py").write_text("\n".join(blocks("python.md", "python")) + "\nprint(len(table), len(labels))\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "page.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1 40"
