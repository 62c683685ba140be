"""what a sweep adds to its runs; seconds to plan a thousand

20 jobs, two at a time: of a second each, and real runs with a second of training each.
"""

import argparse
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console
from rich.table import Table

from ssl_runner.commands import preload  # noqa: F401
from ssl_runner.commands.job import forked
from ssl_runner.commands.sweep import WORK
from ssl_runner.config.compose import version_base
from ssl_runner.config.paths import conf_dir
from ssl_runner.config.request import RunRequest
from ssl_runner.results.result import Name, Result, write_result
from ssl_runner.runtime.job_file import read_job
from ssl_runner.sweeps.engines.local import Local
from ssl_runner.sweeps.plan import Composer, combinations, plan, read_axes
from ssl_runner.sweeps.scheduler import Listed, Outcome, Running, run_jobs

JOBS, AT_ONCE = 20, 2
IDEAL = JOBS / AT_ONCE  # seconds, for jobs of a second


class Watch:
    """Notes when the first job ended, and shows nothing."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.first = math.inf

    def show(self, running: Sequence[Running], outcomes: Sequence[Outcome], waiting: int) -> None:
        pass

    def started(self, job: RunRequest) -> None:
        pass

    def ended(self, outcome: Outcome) -> None:
        self.first = min(self.first, time.monotonic())

    def stopping(self) -> None:
        pass


def options(parser: argparse.ArgumentParser) -> None:
    """There are none."""


def measure(arguments: argparse.Namespace) -> None:
    shown = Table(
        f"{JOBS} jobs, two at a time", "done", "seconds", "to the first end", f"beside the ideal {IDEAL:g} s",
        "fastest job",
    )  # fmt: skip
    for title, target in (("a second of sleep", second_long), ("a second of training, and all else of a run", forked)):
        shown.add_row(title, *swept(target))
    Console().print(shown)
    for count in (10, 1000):
        Console().print(f"{count} runs planned and looked up in {planned(count):.1f} s, Python's start included")


def swept(target: Callable[[str, str, str | None], None]) -> list[str]:
    """The row of a sweep whose jobs are done by `target`."""
    words = ["dataset=fake_images", "budget.unit=minutes", "budget.amount=0.0166667", "evaluation=[]", "controls=[]"]
    words += ["logger=none", "trainer.validations=0", f"seed=range(0,{JOBS})"]
    # A job finds `target` imported with this module, as it does `forked` with the preload of sweeps.
    work = WORK._replace(forked=target, preload=__name__)
    with tempfile.TemporaryDirectory() as folder, initialize_config_dir(str(conf_dir()), version_base=version_base()):
        loader = GlobalHydra.instance().config_loader()
        axes = read_axes(Composer(loader, "config", [], []), [*words, f"output={folder}"])
        jobs = plan(Composer(loader, "config", [], axes.fixed), axes, combinations(axes)).jobs
        watch = Watch()
        outcomes = run_jobs(Listed(jobs), Local(work, AT_ONCE, JOBS, "cpu"), watch, Path(folder), "benchmark")
        total = time.monotonic() - watch.begun
    start, done = watch.first - watch.begun, sum(outcome.state == "done" for outcome in outcomes)
    ratio = (total - (start - 1)) / IDEAL  # the first job's start is not the scheduler's
    fastest = min(outcome.seconds for outcome in outcomes)
    return [str(done), f"{total:.1f}", f"{start:.1f}", f"{ratio:.2f}", f"{fastest:.2f}"]


def second_long(file: str, log: str, gpu: str | None) -> None:
    """A job that takes a second and finishes its run, and nothing more."""
    time.sleep(1)
    job = read_job(Path(file))
    name = Name(dataset="fake_images", objective="simclr", backbone="convnet")
    result = Result(identity="", name=name, seed=job.config.seed, status="done", command="", started="")
    write_result(job.folder, result)


def planned(count: int) -> float:
    """Seconds of a sweep of `count` runs that are checked and not done."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", f"seed=range(0,{count})", "check=true", f"output={folder}"]
        begun = time.monotonic()
        subprocess.run([sys.executable, "-m", "ssl_runner", *words], capture_output=True, check=True)
        return time.monotonic() - begun
