"""The commands as functions, for notebooks and programs: `ssl_runner.run` and its kin (docs/python.md).

Overrides are those of the command line. What a command refuses raises ConfigError with the same message. Nothing heavy
is imported before it is needed, and the process is left as it was (`runtime/guest.py`).
"""

import contextlib
import io
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ssl_runner.config.errors import ConfigError
from ssl_runner.results.address import address
from ssl_runner.results.result import PRETRAINED, Result, ResultError, read_result

if TYPE_CHECKING:  # they take seconds, and pandas is optional
    from omegaconf import DictConfig
    from pandas import DataFrame

    from ssl_runner.assembly.loaded import LoadedEncoder
    from ssl_runner.commands.cli import Answer, Task
    from ssl_runner.data.any.module import DataModule
    from ssl_runner.evaluation.any.subject import FrozenSubject
    from ssl_runner.interfaces import Examples, SplitName


CHECK = "check=true runs nothing: call ssl_runner.check with the other overrides"


class Predictions(NamedTuple):
    """What an objective asked of some examples, and what it answered. The three have the form that it defines."""

    x: Any
    y: Any
    predicted: Any


class Run:
    """A finished run. What it holds is read when it is first asked for, and then kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __repr__(self) -> str:
        name = self.result.name
        return f"<Run {name.objective} of {name.backbone} on {name.dataset}, seed {self.result.seed}: {self.folder}>"

    @cached_property
    def result(self) -> Result:
        """All that `result.json` says. Raises ConfigError where it cannot be read."""
        try:
            return read_result(self.folder)
        except ResultError as error:
            raise ConfigError([str(error)]) from error

    @cached_property
    def config(self) -> dict[str, Any]:
        """The config, composed and resolved, in the names of this version. Raises ConfigError where it is damaged."""
        from ssl_runner.commands.evaluate import finished_run

        return finished_run(str(self.folder))[1]

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers of the pretrained encoder by address: "linear.accuracy", "linear.accuracy[split=val]"."""
        return self.metrics_of(PRETRAINED)

    def metrics_of(self, subject: str) -> dict[str, float]:
        """The numbers of a subject: "pretrained", or a control as "random_start"; {} for one that was not evaluated."""
        return {
            str(address(each.evaluator, metric)): metric.value
            for each in self.result.results
            for metric in each.metrics
            if each.subject == subject and each.on.own
        }

    @cached_property
    def encoder(self) -> "LoadedEncoder":
        """The encoder, as `load_encoder` gives it. Raises ConfigError where a file is missing or damaged."""
        from ssl_runner.assembly.load import load_encoder

        with _as_guest(), _value_errors():
            return load_encoder(self.folder)

    def features(self, split: "SplitName" = "test", layer: str = "pooled") -> "Examples":
        """Features of a split of the run's own data, (n, D) float32 on the CPU, and its labels, (n,) int64.

        `layer`: "pooled", or a block counted from the end, as "-2". Raises ConfigError where the data are not there, or
        for a block that is not.
        """
        with _as_guest(), _value_errors():
            return self._subject.features(split, layer)

    def predictions(self, count: int = 8, split: "SplitName" = "val") -> Predictions | None:
        """What the objective asks of examples from evenly over a split, and answers; None where it predicts nothing.

        Drawn from the run's seed. Raises ConfigError where the checkpoint or the data are not there.
        """
        import torch

        from ssl_runner.assembly import construct, load
        from ssl_runner.config.schema import typed
        from ssl_runner.interfaces import Predicts
        from ssl_runner.runtime.checkpoint_files import FOLDER, LAST
        from ssl_runner.training.task_figures import spread

        with _as_guest(), _value_errors():
            model = construct.objective(typed(self.config), self._data.spec)
            if not isinstance(model, Predicts):
                return None
            load.read_checkpoint(self.folder / FOLDER / LAST, model)
            torch.manual_seed(self.result.seed)
            model.eval()
            batch = spread(self._data, split, count, torch.device("cpu"))
            with torch.no_grad():
                x, y = model.split(batch)
                return Predictions(x, y, model.predict(x))

    @cached_property
    def _data(self) -> "DataModule":
        from ssl_runner.assembly import construct, load
        from ssl_runner.config.schema import typed

        config = typed(self.config)
        return load.load_data(config, construct.source(config)[0])

    @cached_property
    def _subject(self) -> "FrozenSubject":
        import copy

        from ssl_runner.evaluation.any.subject import FrozenSubject
        from ssl_runner.runtime.devices import device_of

        device = device_of("auto")
        encoder = copy.deepcopy(self.encoder.encoder).to(device)
        batch_size = int(self.config["batch_size"])
        return FrozenSubject(encoder, self._data, seed=self.result.seed, device=device, batch_size=batch_size)


@dataclass(frozen=True)
class Sweep:
    """What became of a sweep."""

    folder: Path
    runs: tuple[Run, ...]  # the finished ones
    failed: Mapping[str, str]  # label of a run that is not finished -> why

    def compare(self, **options: Any) -> "DataFrame":
        """A comparison of the finished runs; `options` as those of `compare`."""
        return compare(*(run.folder for run in self.runs), **options)


@dataclass(frozen=True)
class Preview:
    """A picture of the inputs x and targets y that an objective makes; a notebook shows it."""

    path: Path  # a PNG, or of text a text file
    note: str
    text: str | None  # of text, what the file holds

    def _repr_png_(self) -> bytes | None:
        return self.path.read_bytes() if self.text is None else None

    def __repr__(self) -> str:
        return f"{self.path}: {self.note}" if self.text is None else self.text


def run(*overrides: str, config_dir: str | Path | None = None, quiet: bool = False) -> Run:
    """Pretrain and evaluate, as `ssl-run` with the same overrides does; a run that is finished is not done again.

    `config_dir`: a folder of configs beside conf/. `quiet`: print nothing but warnings. Raises ConfigError for what the
    command refuses, and KeyboardInterrupt where it is interrupted: the same call then resumes.

    >>> run("objective=mae", "backbone=vit_micro", "budget.amount=10").metrics["linear.accuracy"]  # doctest: +SKIP
    """
    return Run(Path(_do(_run, "config", overrides, config_dir, quiet)["folder"]))


def check(*overrides: str, config_dir: str | Path | None = None) -> None:
    """Check a config and one step on made-up examples, as `ssl-run check=true` does. Raises ConfigError."""
    _do(_checked, "config", [*overrides, "check=true"], config_dir, True)


def _run(cfg: "DictConfig") -> "Answer":
    from ssl_runner.commands.cli import announce, request_of

    announce(cfg, "ssl_runner.run")
    request = request_of(cfg)
    from ssl_runner.commands.run import run

    if request.config.check:
        raise ConfigError([CHECK])
    return {"folder": run(request)}


def _checked(cfg: "DictConfig") -> "Answer":
    from ssl_runner.commands.cli import request_of
    from ssl_runner.commands.run import run

    run(request_of(cfg))
    return {}


def _several(*about: object) -> "Answer":
    raise ConfigError(["these overrides ask for several runs: call ssl_runner.sweep with them"])


def evaluate(run: Run | str | Path, *overrides: str, config_dir: str | Path | None = None, quiet: bool = False) -> Run:
    """Evaluate a finished run again, as `ssl-evaluate` does; its results are added to those of the run.

    `run`: a run, or its folder. Otherwise as `run`.
    """
    from ssl_runner.commands.evaluate import task

    words = [f"run={quoted(_folder(run))}", *overrides]
    return Run(Path(_do(task, "evaluate", words, config_dir, quiet)["folder"]))


def preview(*overrides: str, config_dir: str | Path | None = None, quiet: bool = True) -> Preview:
    """Draw what an objective makes of a dataset, as `ssl-preview` does. Raises as `run` does."""
    from ssl_runner.commands.preview import task

    found = _do(task, "config", overrides, config_dir, quiet)
    return Preview(Path(found["picture"]), found["note"], found["text"])


def load_run(folder: str | Path) -> Run:
    """A finished run from its folder. Raises ConfigError for any other."""
    found = Run(Path(folder))
    if found.result.status != "done":
        raise ConfigError([f"{str(folder)!r} holds no finished run: it ended as {found.result.status!r}"])
    return found


def compare(
    *paths: Run | str | Path,
    where: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    columns: Sequence[str] | None = None,
    all: bool = False,
    runs: bool = False,
    sort: str | None = None,
) -> "DataFrame":
    """Compare finished runs, as `ssl-compare` does: a row a setting, and of each column the mean over seeds, its 95 %
    interval (`low`, `high`; NaN for a single seed), and the mean of the random start.

    `paths`: runs, their folders, or folders with runs below them. The other parameters are the options of the command,
    with a list where it takes several. What was left out, and why, is in `attrs["problems"]`. Imports no torch. Raises
    ConfigError, also where pandas is missing.
    """
    from ssl_runner.commands.compare import AskedError, chosen
    from ssl_runner.reporting.exports import table
    from ssl_runner.reporting.runs import find_runs
    from ssl_runner.reporting.tables import headlines

    try:
        import pandas
    except ImportError as error:
        raise ConfigError(["compare gives a DataFrame: pip install 'ssl-runner[notebook]'"]) from error
    found, problems = find_runs([_folder(path) for path in paths])
    if not found:
        raise ConfigError([*problems, f"no finished run in {', '.join(str(_folder(path)) for path in paths)}"])
    try:
        comparison = chosen(found, where=where, seeds=seeds, columns=columns, every=all, apart=runs, by=sort)
    except AskedError as error:
        raise ConfigError([str(error)]) from error
    shown = comparison.columns if columns or all else headlines(comparison)
    names, rows = table(comparison, shown)
    frame = pandas.DataFrame(rows, columns=names)
    frame.attrs["problems"] = [*problems, *comparison.problems]
    return frame


def sweep(*overrides: str, config_dir: str | Path | None = None, quiet: bool = False) -> Sweep:
    """Execute many runs, as `ssl-run -m` with the same overrides does, in processes of their own.

    A run that fails does not end the sweep: it is in `failed`. Raises ConfigError for what the command refuses, and
    KeyboardInterrupt where it is interrupted, once all runs have saved: the same call then resumes them.
    """
    _check_words(overrides)
    flags = [] if config_dir is None else ["--config-dir", str(config_dir)]
    code, found = _command(["-m", *flags, "--json", *overrides], quiet)
    if "sweep" not in found:
        raise ConfigError(found["error"] or [CHECK])
    if code > 1:
        raise KeyboardInterrupt("; ".join(found["error"]))
    done = [each for each in found["runs"] if each["state"] in ("done", "skipped")]
    failed = {each["label"]: each["why"] for each in found["runs"] if each not in done}
    return Sweep(Path(found["sweep"]), tuple(Run(Path(each["folder"])) for each in done), failed)


def _command(words: Sequence[str], quiet: bool) -> tuple[int, dict[str, Any]]:
    """`ssl-run` as a process: its exit code and its answer. Its messages are printed as they come.

    Ctrl-C reaches this process alone, which asks the other one to save and end.
    """
    command = [sys.executable, "-m", "ssl_runner", *words]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as output,
        subprocess.Popen(
            command, stdout=output, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
        ) as process,
    ):
        try:
            while not _heard(process, quiet):
                process.send_signal(signal.SIGINT)
        except BaseException:
            process.kill()
            raise
        code = process.wait()
        output.seek(0)
        try:
            found: dict[str, Any] = json.load(output)
        except ValueError as error:
            raise ConfigError([f"the sweep's process ended with exit code {code} and without an answer"]) from error
    return code, found


def _heard(process: "subprocess.Popen[str]", quiet: bool) -> bool:
    """Print what a process says until it ends; False where that was interrupted."""
    try:
        for line in process.stderr or ():
            if not quiet:
                print(line, end="", flush=True)
    except KeyboardInterrupt:
        return False
    return True


def _do(task: "Task", root: str, overrides: Sequence[str], config_dir: str | Path | None, quiet: bool) -> "Answer":
    """Do a command's task in this process. Raises ConfigError, and KeyboardInterrupt after a request to stop."""
    from ssl_runner.commands.cli import perform
    from ssl_runner.config.loader import Loader

    _check_words(overrides)
    silent = contextlib.redirect_stdout(io.StringIO()) if quiet else contextlib.nullcontext()
    with _as_guest(overrides, root), silent:
        loader = Loader(None if config_dir is None else str(config_dir))
        words, notes = loader.words_now(root, overrides)
        for note in notes:
            print(f"note: {note}")
        return perform(loader, root, words, False, task, _several)


def _check_words(overrides: Sequence[str]) -> None:
    """Raise ConfigError for what is no override, and for secrets, which messages and files would repeat."""
    from ssl_runner.config.secrets import secrets_in

    problems = [
        f"{word}: an override is key=value; flags of the command line are parameters"
        for word in overrides
        if word[:1] == "-"
    ]
    if problems := secrets_in(list(overrides)) or problems:
        raise ConfigError(problems)


@contextlib.contextmanager
def _as_guest(overrides: Sequence[str] = (), root: str = "config") -> Iterator[None]:
    """As `guest`, for Hydra too; what a command refuses raises ConfigError with the command's message."""
    from hydra.errors import HydraException

    from ssl_runner.commands.cli import explain, of_system
    from ssl_runner.config.loader import apart
    from ssl_runner.runtime.guest import guest
    from ssl_runner.runtime.locks import BusyError
    from ssl_runner.runtime.signals import Stopped

    stopped: Stopped | None = None
    with guest(), apart():
        try:
            yield
        except Stopped as stop:
            stopped = stop
        except SystemExit as end:  # of a run in several processes, one of which ended by itself
            raise ConfigError([str(end.code).removeprefix("error: ")]) from end
        except ConfigError as error:
            if error.problems:
                raise
            raise ConfigError(["a process of this run has said why"]) from error
        except HydraException as error:
            raise ConfigError([explain(error, overrides, root)]) from error
        except BusyError as error:
            raise ConfigError([str(error)]) from error
        except OSError as error:
            raise ConfigError([of_system(error)]) from error
    if stopped is not None:
        if stopped.number != signal.SIGINT:  # to whoever handles it in this process, which may be its end
            signal.raise_signal(stopped.number)
        raise KeyboardInterrupt(str(stopped))


@contextlib.contextmanager
def _value_errors() -> Iterator[None]:
    """ValueError, which says what is wrong with a file or a request, as ConfigError."""
    try:
        yield
    except ValueError as error:
        raise ConfigError([str(error)]) from error


def _folder(run: Run | str | Path) -> Path:
    return run.folder if isinstance(run, Run) else Path(run)


def quoted(value: object) -> str:
    """A value as the command line quotes it, whatever it holds.

    >>> quoted('a "b",c')
    '"a \\\\"b\\\\",c"'
    """
    escaped = re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + (r"\"" if found[2] else ""), str(value))
    return '"' + escaped.replace("${", r"\${") + '"'
