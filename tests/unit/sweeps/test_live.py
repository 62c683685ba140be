"""The page of a sweep while it runs."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ssl_runner.results.status import Status, write_status
from ssl_runner.sweeps.live import EVERY, LivePage
from ssl_runner.sweeps.scheduler import Outcome, Running

MARK = "refresh"


def job(folder: Path, label: str) -> Any:
    return SimpleNamespace(label=label, folder=folder)


def test_the_page_shows_what_runs_and_stays_when_it_has_ended(tmp_path: Path) -> None:
    import time

    now = [0.0]
    page = tmp_path / "compare.html"
    live = LivePage(page, "mine", [], 2, clock=lambda: now[0])
    first, second = job(tmp_path / "a", "lr=<1>"), job(tmp_path / "b", "lr=2")
    since = time.monotonic() - 60
    running = [Running(each, None, tmp_path / "log", since) for each in (first, second)]
    first.folder.mkdir()
    write_status(first.folder, Status("pretraining", 0.25, 1.5, 90.0))
    (first.folder / "metrics.csv").write_text("step,epoch,seconds,train/loss\n1,0,1,2.0\n2,0,1,1.75\n3,0,1,1.5\n")
    failed = Outcome(job(tmp_path / "c", "lr=3"), "failed", "out of memory & more")
    live.show(running, [failed], 4)
    text = page.read_text()
    assert 'http-equiv="refresh" content="10"' in text
    assert "0 finished, 2 running, 4 waiting" in text
    assert "lr=&lt;1&gt;" in text
    assert "lr=3: out of memory &amp; more" in text
    assert re.search(r"25&nbsp;%.*1\.5", text, re.DOTALL)
    assert 'points="0.0,2.0 120.0,24.0 240.0,46.0"' in text
    assert "starting" in text  # the second says nothing yet
    assert "<script" not in text
    # 60 s for the first so far, 90 s left: of 150 s each six, less what the two have, two at once
    assert "about 6 min" in text

    page.unlink()
    now[0] += EVERY / 2
    live.show(running, [failed], 4)
    assert not page.exists()  # it is not due
    now[0] += EVERY / 2
    live.show(running, [failed], 4)
    assert page.exists()
    live.close()
    assert MARK not in page.read_text()
    assert "Under way" not in page.read_text()


def test_no_error_of_the_disk_ends_a_sweep(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    live = LivePage(tmp_path / "file" / "compare.html", "mine", [], 1)
    live.show([], [], 1)
    live.close()
