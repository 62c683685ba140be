"""Sweeps: plan runs, skip finished ones, execute the others in separate processes, compare all.

`ssl-run` calls `sweep` for `-m` and for the presets of conf/sweep/.
"""

import hashlib
import json
import shlex
import signal
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from hydra.core.config_loader import ConfigLoader
from rich.console import Console

from ssl_runner.assembly.places import check_resumes, finished
from ssl_runner.commands import job as one
from ssl_runner.config import plugins
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.identity import NOT_IDENTITY
from ssl_runner.config.paths import file_name
from ssl_runner.config.request import RunRequest
from ssl_runner.config.schema import Config
from ssl_runner.reporting.comparison import Comparison, compare
from ssl_runner.reporting.exports import summary, table
from ssl_runner.reporting.payoff import payoffs, sentence
from ssl_runner.reporting.tables import headlines, print_comparison
from ssl_runner.results.result import Run, write_atomically
from ssl_runner.runtime.locks import locked
from ssl_runner.runtime.signals import STOPPED, requeue
from ssl_runner.runtime.terminal import Terminal, write_line
from ssl_runner.sweeps.board import Board, print_outcomes
from ssl_runner.sweeps.engines.choose import engine
from ssl_runner.sweeps.engines.interface import Work
from ssl_runner.sweeps.engines.local import Local
from ssl_runner.sweeps.engines.settings import check_settings
from ssl_runner.sweeps.live import LivePage, Watchers
from ssl_runner.sweeps.plan import Axes, Composer, combinations, plan, read_axes, short_names
from ssl_runner.sweeps.scheduler import Interrupted, Listed, Outcome, Source, run_jobs
from ssl_runner.sweeps.search import Guided, draw

if TYPE_CHECKING:  # importing torch takes seconds
    from ssl_runner.commands.estimate import Estimate

MOST_REHEARSED = 100  # settings that are checked on fake examples in advance; others when they start
SWEEPS = "sweeps"  # folder of all sweeps, in `output`
SWEEP = "sweep.yaml"
PAGE = "compare.html"
WORK = Work(one.__name__, one.forked, "ssl_runner.commands.preload")


class Swept(NamedTuple):
    """What became of a sweep."""

    folder: Path
    code: int  # exit code; 0: all runs are finished; 1: some failed; 130 or 143: stopped
    outcomes: Sequence[Outcome] = ()  # of all runs that are not waiting, with those that were finished before
    comparison: Comparison | None = None  # of the finished runs, if there are any
    planned: int = 0
    checked: bool = False  # with `check`, or before `yes`, nothing was run
    hours: float | None = None  # that the remaining runs would take, where that was asked

    def answer(self) -> dict[str, Any]:
        """What --json says of it."""
        if self.checked:
            hours = {} if self.hours is None else {"hours": round(self.hours, 3)}
            return {"valid": True, "planned": self.planned, "finished": len(self.outcomes), **hours}
        runs = [
            {
                "label": each.job.label,
                "folder": str(each.job.folder),
                "identity": each.job.identity,
                "seed": each.job.config.seed,
                "state": each.state,
                "why": each.why,
                "log": None if each.log is None else str(each.log),
            }
            for each in self.outcomes
        ]
        failed = [f"{each.job.label}: {each.why}" for each in self.outcomes if each.state == "failed"]
        finished = sum(each.state in ("done", "skipped") for each in self.outcomes)
        stopped = [f"stopped: {self.planned - finished} runs remain; the same command resumes them"]
        return {
            "exit_code": self.code,
            "error": failed + (stopped if self.code > 1 else []),
            "sweep": str(self.folder),
            "page": None if self.comparison is None else str(self.folder / PAGE),
            "planned": self.planned,
            "runs": runs,
            "comparison": None if self.comparison is None else summary(self.comparison),
        }


def sweep(loader: ConfigLoader, name: str, hydra: Sequence[str], arguments: Sequence[str]) -> Swept:
    """Run a sweep.

    Raises ConfigError and Hydra's exceptions before anything is executed or written.
    """
    console = Terminal()
    axes = read_axes(Composer(loader, name, hydra, []), arguments)
    composer = Composer(loader, name, hydra, axes.fixed)
    example = first(composer, axes)
    config = example.config
    check_settings(config.sweep.engine, config.sweep.settings, arguments)
    folder = folder_of(config, axes)
    jobs: list[RunRequest] = []
    if config.sweep.search == "optuna":
        source: Source = Guided(composer, axes, config, folder)
        done: list[RunRequest] = []
        missing = []
        for label, problem in rehearse([example]).values():
            raise ConfigError([f"{label}: {problem}"])
    else:
        random = config.sweep.search == "random"
        chosen = draw(axes, config.sweep.trials, config.seed) if random else combinations(axes)
        planned = plan(composer, axes, chosen)
        for why in planned.left_out:
            write_line(console, f"skipped: {why}")
        jobs = planned.jobs
        ended = {job.identity for job in jobs if config.resume != "never" and finished(job.folder)}
        done = [job for job in jobs if job.identity in ended]
        missing = [job for job in jobs if job.identity not in ended]
        refused = rehearse(missing)
        if refused and not axes.fitting:
            raise ConfigError([f"{label}: {problem}" for label, problem in refused.values()])
        for label, problem in refused.values():
            write_line(console, f"skipped: {label}: {problem}")
        missing = [job for job in missing if job.setting not in refused]
        jobs = [*done, *missing]
        source = Listed(missing)
    if config.check:
        console.print(f"valid: {len(jobs) or config.sweep.trials} runs, {len(done)} of them finished")
        return Swept(folder, 0, before(done), planned=len(jobs) or config.sweep.trials, checked=True)
    if config.sweep.ask and not config.yes and source.waiting():
        cost = estimated(config, missing or [example], source, console)
        return Swept(folder, 0, before(done), planned=len(jobs) or config.sweep.trials, checked=True, hours=cost.hours)
    with locked(folder) if config.sweep.search == "optuna" else nullcontext():
        swept = work(config, axes, source, jobs, done, arguments, console)
    if swept.code == STOPPED and (queued := requeue()):
        console.print(queued)
    return swept


def estimated(config: Config, jobs: Sequence[RunRequest], source: Source, console: Console) -> "Estimate":
    """Print what the remaining runs will cost, and how they are begun."""
    from ssl_runner.commands.estimate import estimate

    console.print("estimating: a few steps of each kind of run")
    here = Local(WORK, config.sweep.jobs, source.waiting(), config.trainer.accelerator)  # whatever engine is set
    found = estimate(jobs, source.waiting(), here.slots, here.threads)
    write_line(console, f"{found}; nothing was begun: add yes=true")
    return found


def before(done: Sequence[RunRequest]) -> list[Outcome]:
    """Of runs that were finished before the sweep began."""
    return [Outcome(job, "skipped", "finished before") for job in done]


def first(composer: Composer, axes: Axes) -> RunRequest:
    """One valid run, for the settings that all runs share. Raises ConfigError if no combination is valid."""
    if axes.intervals:
        middle = {key: str((interval.low + interval.high) / 2) for key, interval in axes.intervals.items()}
    else:
        middle = {}
    tried = plan(composer, axes, ({**each, **middle} for each in combinations(axes)[:1]))
    if not tried.jobs:
        tried = plan(composer, axes, ({**each, **middle} for each in combinations(axes)))
    if not tried.jobs:
        raise ConfigError([f"no combination of the sweep is valid: {why}" for why in tried.left_out])
    if axes.intervals and tried.jobs[0].config.sweep.search == "grid":
        keys = ", ".join(axes.intervals)
        raise ConfigError([f"{keys}: interval(...) is continuous; set sweep.search=random or sweep.search=optuna"])
    return tried.jobs[0]


def rehearse(jobs: Sequence[RunRequest]) -> dict[str, tuple[str, str]]:
    """Run the later checks once per setting, not per seed. Returns label and reason of each setting that fails."""
    from ssl_runner.assembly import check

    settings = {job.setting: job for job in reversed(jobs)}
    refused = {}
    for setting, job in list(settings.items())[:MOST_REHEARSED]:
        try:
            check.validate(job.config)
            check_resumes(job)
        except ConfigError as error:
            refused[setting] = (job.label, "; ".join(error.problems))
    return refused


def work(
    config: Config,
    axes: Axes,
    source: Source,
    jobs: Sequence[RunRequest],
    done: Sequence[RunRequest],
    arguments: Sequence[str],
    console: Console,
) -> Swept:
    """Execute the missing runs and compare all finished ones."""
    folder = folder_of(config, axes)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    total = len(jobs) or config.sweep.trials
    write_sweep(folder, config, axes, arguments, started, jobs)
    settings = config.sweep
    outcomes: list[Outcome] = []
    left, code = 0, 0
    if source.waiting():
        runner = engine(
            settings.engine,
            WORK,
            settings.jobs,
            source.waiting(),
            config.trainer.accelerator,
            settings.settings or {},
            folder,
        )
        write_line(
            console,
            f"sweep {folder.name}: {total} runs, {len(done)} finished before, {runner.slots} at once; "
            f"{folder / PAGE} shows how far they are",
        )
        page = LivePage(folder / PAGE, folder.name, done, runner.slots)
        try:
            with Board(console, total, len(done), runner.slots) as board:
                outcomes = run_jobs(source, runner, Watchers(board, page), folder, folder.name)
        except Interrupted as stop:
            outcomes, left, code = stop.outcomes, stop.left, 128 + stop.signal
        finally:
            runner.close()
            page.close()
    else:
        console.print(f"sweep {folder.name}: all {total} runs are finished; resume=never runs them again")
    if not jobs:
        write_sweep(folder, config, axes, arguments, started, [outcome.job for outcome in outcomes])
    lost = [f"{o.job.label}: {o.state}, {o.why}".rstrip(", ") for o in outcomes if o.state in ("failed", "pruned")]
    comparison = summarize(folder, [*done, *(each.job for each in outcomes)], lost, config, console)
    print_outcomes(console, outcomes, len(done))
    if isinstance(source, Guided):
        console.print(source.best())
    if code:
        how = "interrupted" if code == 128 + signal.SIGINT else "stopped"
        console.print(f"{how}: {left} runs remain; the same command resumes them")
    elif any(outcome.state == "failed" for outcome in outcomes):
        console.print("the same command repeats the failed runs only")
        code = 1
    return Swept(folder, code, [*before(done), *outcomes], comparison, total)


def folder_of(config: Config, axes: Axes) -> Path:
    """<output>/sweeps/<name>-<hash>, independent of the values of axes, so that a sweep can be extended."""
    keys = [key for key in (*axes.choices, *axes.intervals) if len(axes.choices.get(key, "**")) > 1]
    title = config.sweep.name or "-".join(short_names(keys).values()) or "run"
    held = {  # files that all runs share enter by their contents
        key: found
        for key, found in sorted(config.contents.items())
        if not _never_matters(key) and not any(f"{key}.".startswith(f"{each}.") for each in keys)
    }
    fixed = {each: each.lstrip("+~").split("=")[0] for each in axes.fixed}
    shared: list[Any] = sorted(each for each, key in fixed.items() if not _never_matters(key) and key not in held)
    known = [shared, sorted(keys), *([held] if held else [])]
    digest = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:6]
    return Path(config.output) / SWEEPS / f"{file_name(title)}-{digest}"


def _never_matters(key: str) -> bool:
    return any(key == each or key.startswith(f"{each}.") for each in NOT_IDENTITY if each != "sweep" or "." in key)


def write_sweep(
    folder: Path, config: Config, axes: Axes, arguments: Sequence[str], started: str, jobs: Sequence[RunRequest]
) -> None:
    """Write the file that `ssl-compare` reads: command, axes, and runs relative to the output folder."""
    output = Path(config.output)
    about = {
        "name": folder.name,
        "command": shlex.join(["ssl-run", *plugins.words(), "-m", *arguments]),
        "started": started,
        "axes": {key: list(values) for key, values in axes.choices.items()}
        | {key: f"interval({each.low},{each.high})" for key, each in axes.intervals.items()},
        "runs": [job.folder.relative_to(output).as_posix() for job in jobs],
    }
    write_atomically(folder / SWEEP, yaml.safe_dump(about, sort_keys=False, width=120))


def summarize(
    folder: Path, jobs: Sequence[RunRequest], lost: Sequence[str], config: Config, console: Console
) -> Comparison | None:
    """Compare all finished runs, if there are any: in the terminal, as a page, and as a separate run in wandb."""
    from ssl_runner.loggers.interface import RunContext
    from ssl_runner.loggers.wandb_sweep import log_comparison
    from ssl_runner.reporting.comparison_figures import save_comparison_figures
    from ssl_runner.reporting.page import write_comparison

    runs = [Run(job.label, job.folder, result) for job in jobs if (result := finished(job.folder)) is not None]
    if not runs:
        return None
    comparison = compare(runs)
    print_comparison(console, comparison)
    for dataset, found in payoffs(comparison).items():
        write_line(console, sentence(dataset, found))
    write_comparison(folder / PAGE, comparison, folder.name, lost)
    console.print(f"comparison: {folder / PAGE}", soft_wrap=True)
    if "wandb" in config.logger:
        pictures = save_comparison_figures(folder / "figures", comparison)
        settings = {key: value for key, value in config.logger["wandb"].items() if key != "_target_"}
        context = RunContext(folder, Path(config.output), folder.name, (), "", config.seed, folder.name)
        columns, rows = table(comparison, headlines(comparison))
        figures = {path.stem: path for path in pictures}
        log_comparison(context, settings, columns=columns, rows=rows, figures=figures)
    return comparison
