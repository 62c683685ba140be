"""Pretrain and evaluate one run, and write its folder."""

import shlex
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from rich.console import Console

from ssl_runner.assembly import check, construct, extension, weights
from ssl_runner.assembly.export import export_encoder
from ssl_runner.assembly.load import load_data
from ssl_runner.assembly.places import (
    CONFIG,
    check_resumes,
    check_unchanged,
    finished,
    placed,
    refuse_changed,
    shorter,
    with_contents,
)
from ssl_runner.commands.answers import about_run
from ssl_runner.commands.launch import check_devices, is_lost, launch
from ssl_runner.commands.waiting import waiting
from ssl_runner.config import plugins
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.names import mentions_older
from ssl_runner.config.request import AXES, CONTENTS, RunRequest
from ssl_runner.config.schema import Config
from ssl_runner.interfaces import DataSource, DataSpec, Encoder, Objective, SplitName
from ssl_runner.loggers.interface import Loggers, RunContext
from ssl_runner.nn.normalize import Normalize
from ssl_runner.results.address import address
from ssl_runner.results.metrics import DataRef, Metric
from ssl_runner.results.result import (
    INITIAL,
    METRICS,
    PRETRAINED,
    RANDOM_START,
    REPORT,
    UNTRAINED,
    Cost,
    Evaluation,
    Name,
    Pretraining,
    Result,
    write_atomically,
    write_result,
)
from ssl_runner.results.status import STATUS, Status, read_status, write_status
from ssl_runner.runtime import checkpoint_files
from ssl_runner.runtime.checkpoint_files import Reached
from ssl_runner.runtime.devices import device_name, device_of
from ssl_runner.runtime.distributed import LostError, joined, leave, meet, world
from ssl_runner.runtime.garbage import begin_collection
from ssl_runner.runtime.locks import LOCK, locked
from ssl_runner.runtime.signals import Stopped
from ssl_runner.runtime.terminal import Terminal, shown, write_line

if TYPE_CHECKING:  # importing Lightning takes seconds, so it is imported after the checks
    from ssl_runner.data.any.module import DataModule


def run(request: RunRequest) -> Path:
    """Execute a run; returns its folder.

    Raises ConfigError for invalid settings, before anything is downloaded or written, and for damaged data, before
    training. Raises BusyError if another process executes the same run, Stopped after a request to stop.
    """
    here = world()
    console = Terminal(quiet=here.rank > 0)

    # Checks, before anything is downloaded or written.
    config = request.config
    device = device_of(config.trainer.accelerator)
    source, spec = check.validate(config, partial(check_here, config, device))
    request = with_contents(request, source, spec)
    if config.check:
        check_resumes(request)
        write_line(console, f"valid: {request.described}")
        return Path(config.output)

    # The folder of the run; whether it is finished, or was started on other data.
    request, note = placed(request, lambda: load_data(request.config, source).fingerprint())
    folder = request.folder
    tell_of_others(request, note, console)
    check_resumes(request)
    if config.resume != "never":
        check_unchanged(request)
    done = finished(folder) if config.resume != "never" else None

    if done is not None:
        console.print(f"finished before ({done.started[:16].replace('T', ' ')}); resume=never runs it again")
        if not (folder / REPORT).exists():  # interrupted before the report was written
            report(folder)
    elif here.size == 1 < config.trainer.devices:
        with locked(folder):  # a run in use is reported once, before other processes are started
            pass
        with naming_step(folder):
            launch(request)
        return folder
    else:
        try:
            with naming_step(folder), nullcontext() if here.rank else locked(folder), joined(device):
                if here.rank:
                    pretrain_along(request, source, console)
                    return folder
                with noting_failure(folder):
                    done = pretrain_and_evaluate(request, source, console)
        except RuntimeError as error:
            if not is_lost(error):
                raise
            raise LostError(
                [f"process {here.rank}: another process of this run has ended; its output says why"]
            ) from error
    show(console, folder, done)
    return folder


def tell_of_others(request: RunRequest, note: str, console: Console) -> None:
    """Print what is to be said of an older run, and of a finished one that differs in its budget alone, which is
    smaller."""
    if note:
        write_line(console, f"note: {note}; this is a separate run")
    if (other := shorter(request)) is not None:
        write_line(
            console,
            f"note: {other} is finished, the same with a smaller budget: extend={other} would go on from it; this run "
            "begins anew",
        )


@contextmanager
def naming_step(folder: Path) -> Iterator[None]:
    """Have a request to stop say which step is saved, also where pretraining did not stop by itself: in an evaluation,
    in other processes, or at once, after a second Ctrl-C."""
    try:
        yield
    except (Stopped, KeyboardInterrupt) as stop:
        if isinstance(stop, Stopped) and stop.step is not None:
            raise
        found = checkpoint_files.find(folder).newest
        number = stop.number if isinstance(stop, Stopped) else signal.SIGINT
        raise Stopped(number, 0 if found is None else found.step) from stop


@contextmanager
def noting_failure(folder: Path) -> Iterator[None]:
    """Have the status of a run say why it failed, if it does; what is said of an attempt before is removed."""
    if (before := read_status(folder)) is not None and before.failed:
        (folder / STATUS).unlink(missing_ok=True)
    try:
        yield
    except Exception as error:
        if finished(folder) is None:
            said = error.problems if isinstance(error, ConfigError) else [f"{type(error).__name__}: {error}"]
            write_status(folder, Status("failed", failed=shown("; ".join(said))))
        raise


def answered(request: RunRequest) -> Mapping[str, Any]:
    """Execute a run; returns what --json says of it. Raises as `run` does."""
    folder = run(request)
    return {"valid": True, "config": request.plain} if request.config.check else about_run(folder)


def check_here(config: Config, device: torch.device, spec: DataSpec) -> None:
    """Raise ConfigError for what this machine, or such data, cannot do."""
    check_devices(config, spec, device)
    check_monitor(config, spec)


def check_monitor(config: Config, spec: DataSpec) -> None:
    """Raise ConfigError if k-NN accuracy is requested during training and the data have no labels."""
    if config.trainer.monitor_examples and spec.classes == 0:
        unlabeled = f"dataset={config.names.get('dataset', '?')} has no labels"
        raise ConfigError([f"trainer.monitor_examples is {config.trainer.monitor_examples}; {unlabeled}: set it to 0"])


def pretrain_along(request: RunRequest, source: DataSource, console: Console) -> None:
    """The work of processes with rank above 0: pretraining only. They write nothing."""
    data = load_data(request.config, source)
    model = fresh(request.config, data)
    meet()
    reached = checkpoint_files.find(request.folder).newest or extension.start(request.config)
    pretrain(request, model, data, Loggers([]), reached, console)


def pretrain_and_evaluate(request: RunRequest, source: DataSource, console: Console) -> Result:
    """Pretrain and evaluate in the run's folder; the result is written last."""
    # The data, and the initial objective.
    started = datetime.now(UTC)
    with waiting(console):
        data = load_data(request.config, source)
    if any(f"dataset.{setting}" not in request.config.contents for setting in source.contents()):  # just downloaded
        begun_in = request.folder
        request = with_contents(request, source, data.spec)
        if request.folder != begun_in:
            request = replace(request, older=begun_in)
        if request.config.resume != "never":
            check_unchanged(request)
    config, folder = request.config, request.folder
    with waiting(console):  # statistics of the data are taken
        model = fresh(config, data)
    introduce(config, model, data, console)

    # The folder, with the checkpoint of an earlier session if there is one.
    if config.resume == "never":
        clear(folder)
    checkpoint_files.tidy(folder)
    reached = going_on(folder, config.contents, console) or extending(config, folder, console)
    write_config(request)
    loggers = construct.loggers(config, context_of(request))
    meet()  # other processes look for the checkpoint after this
    try:
        loggers.open(None if reached is None else reached.step)
    except ValueError as error:
        raise ConfigError([str(error)]) from error

    success = False
    try:
        loggers.log_config(dict(request.plain))
        pretraining, cost = pretrain(request, model, data, loggers, reached, console)
        leave()  # only this process continues
        export_encoder(folder / "encoder", model.exported, config.backbone, data.spec)
        pretraining = replace(pretraining, extends=extension.about(config))
        result, failures = judge(request, model, data, console, started, pretraining, cost)
        loggers.log_summary(summary(result.results))
        loggers.log_figures({path.stem: path for path in sorted((folder / "figures").glob("*.png"))})
        success = True
    finally:
        loggers.finish(success)
    report(folder)
    if failures:  # results are written, failures are raised
        show(console, folder, result)
        raise ConfigError(failures, folder)
    return result


def report(folder: Path) -> None:
    """Write the report of a finished run."""
    from ssl_runner.reporting.page import write_report  # Matplotlib and Jinja: not before training

    write_report(folder)


def judge(
    request: RunRequest,
    model: Objective,
    data: "DataModule",
    console: Console,
    started: datetime,
    pretraining: Pretraining,
    cost: Cost,
) -> tuple[Result, list[str]]:
    """Evaluate the encoder and its controls, and write the result. Returns also one message per failed evaluation."""
    from ssl_runner.commands.evaluations import bare, draw_task, evaluate
    from ssl_runner.reporting.environment import environment

    config, folder = request.config, request.folder
    begun = time.monotonic()
    draw_task(model, data, folder / "figures")
    subjects: dict[str, Encoder] = {PRETRAINED: model.exported}
    if RANDOM_START in config.controls:
        subjects[RANDOM_START] = construct.untrained(config, data.spec, model.encoder)
    if INITIAL in config.controls and (initial := construct.initial(config, data.spec)):
        subjects[INITIAL] = initial
    subjects |= bare(config, data)
    fingerprint, judged = data.fingerprints(None, JUDGED)
    on = DataRef(dataset=config.names.get("dataset", "?"), fingerprint=judged)
    evaluations, failures = evaluate(config, subjects, model, data, folder, console, on, cost.precision)
    versions, git = environment()
    sizes = {split: len(data.examples(split).label) for split in SPLITS}
    result = Result(
        identity=request.identity,
        name=Name(**{axis: config.names.get(axis, "?") for axis in AXES}),
        seed=config.seed,
        status="done",
        command=shlex.join(["ssl-run", *plugins.words(), *request.overrides]),
        started=started.isoformat(timespec="seconds"),
        results=tuple(evaluations),
        pretraining=pretraining,
        cost=replace(cost, evaluation_seconds=round(time.monotonic() - begun, 2)),
        versions=versions,
        git=git,
        data={"fingerprint": fingerprint} | sizes | {"pretrain": data.spec.size},
        overrides=request.overrides,
        config=dict(request.plain),
        sweep=request.sweep,
    )
    write_result(folder, result)
    return result, failures


SPLITS: tuple[SplitName, ...] = ("pretrain", "train", "val", "test")
JUDGED: tuple[SplitName, ...] = ("train", "val", "test")  # what evaluations read


def fresh(config: Config, data: "DataModule") -> Objective:
    """The objective at the start of a run: initialized by the config's seed, with an encoder that normalizes by the
    data's statistics; or with weights from elsewhere (`start_from`, `backbone.weights`), which keep their own."""
    model = construct.objective(config, data.spec, config.start, "all")
    data.moving = not model.counts_examples
    if config.start is None and not weights.parts_with_weights(model.encoder):
        construct.fit_statistics(model, data.statistics, but=model.second)
    if model.second is not None:
        construct.fit_statistics(model.second, partial(data.statistics, other=True))
    return model


def said_of_start(start: Path, model: Objective) -> str:
    """A description of the start of a run from weights of another run, or of another library."""
    normalized = weights.is_exported(start) and any(isinstance(part, Normalize) for part in model.encoder.modules())
    statistics = (
        ", and images are normalized by that run's statistics, not by those of this dataset" if normalized else ""
    )
    return f"the encoder, and every copy of it in the objective, starts from the weights of {start}{statistics}"


def pretrain(
    request: RunRequest,
    model: Objective,
    data: "DataModule",
    loggers: Loggers,
    reached: Reached | None,
    console: Console,
) -> tuple[Pretraining, Cost]:
    """Call `training.fit.pretrain` with the objects of the config; of an objective that trains nothing, the encoder
    stays as it is."""
    config = request.config
    if not model.trains:
        device = device_of(config.trainer.accelerator)
        begin_collection()
        model.to(device)
        parameters = sum(each.numel() for each in model.encoder.parameters())
        cost = Cost(device=device_name(device), precision=UNTRAINED, parameters=parameters)
        return Pretraining(epochs=0, steps=0, examples=0), cost
    from ssl_runner.training import fit

    optimizer_of: Callable[[Objective], torch.optim.Optimizer] = partial(construct.optimizer, config)
    schedule = construct.schedule(config)
    return fit.pretrain(config, model, optimizer_of, schedule, data, loggers, request.folder, reached, console)


def introduce(config: Config, model: Objective, data: "DataModule", console: Console) -> None:
    """Print what the run begins with: the data, the views, the weights."""
    console.print(f"data: {data.spec.size:,} pretraining examples")
    if "views" in config.objective:
        write_line(console, f"views: {views_of(config)}")
    if model.encoder.note:
        write_line(console, f"backbone: {model.encoder.note}")
    if config.start is not None:
        write_line(console, f"start_from: {said_of_start(config.start, model)}")


def write_config(request: RunRequest) -> None:
    """Write the run's config to its folder. In a folder of an older version the config keeps that version's names, or
    has no fingerprints, so that the run is still found as an older one."""
    plain, file = request.plain, request.folder / CONFIG
    if request.older is not None and file.is_file() and mentions_older(file.read_text(encoding="utf-8")):
        return
    kept = plain if request.older is None else {key: value for key, value in plain.items() if key != CONTENTS}
    write_atomically(file, yaml.safe_dump(dict(kept), sort_keys=False))


def context_of(request: RunRequest) -> RunContext:
    """The context of a run for loggers."""
    config = request.config
    return RunContext(
        folder=request.folder,
        outputs=Path(config.output),
        name=request.name,
        tags=tuple(config.names.get(axis, "?") for axis in AXES),
        identity=request.identity,
        seed=config.seed,
        group=request.sweep,
    )


def clear(folder: Path) -> None:
    """Remove everything of an earlier run, except for the lock that this one holds."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def summary(evaluations: Sequence[Evaluation]) -> dict[str, Metric]:
    """The numbers of a run by subject and address: "pretrained/linear.accuracy"."""
    return {
        f"{found.subject}/{address(found.evaluator, metric)}": metric
        for found in evaluations
        for metric in found.metrics
    }


def going_on(folder: Path, contents: Mapping[str, str], console: Console) -> Reached | None:
    """The checkpoint to resume from, which is printed; None if there is none. Damaged ones are reported and removed.

    Raises ConfigError if all are damaged, or if the files that the checkpoint was trained on have changed."""
    found = checkpoint_files.find(folder)
    for path, why in found.damaged.items():
        if found.newest is None:
            raise ConfigError(
                [f"{str(path)!r} is damaged ({why}), and there is no other; set resume=never to start over"]
            )
        write_line(console, f"warning: {path.name} is damaged ({why}); it is removed", style="yellow")
        path.unlink()
    if found.newest is not None:
        whose = f"those of {str(found.newest.path)!r}"
        refuse_changed(found.newest.contents, contents, whose, "restore them, or set resume=never")
        console.print(f"resuming from step {found.newest.step} ({found.newest.path.name})")
    return found.newest


def extending(config: Config, folder: Path, console: Console) -> Reached | None:
    """The checkpoint of the finished run that this one extends, which is printed, and whose curves are copied to the
    folder; None if it extends none. Raises ConfigError if it is damaged, or was trained on other files."""
    found = extension.start(config)
    if found is None or config.extend is None:
        return None
    refuse_changed(found.contents, config.contents, f"those of {config.extend!r}", "restore them to extend it")
    curves = Path(config.extend) / METRICS
    if curves.is_file():
        write_atomically(folder / METRICS, curves.read_bytes())
    about, whole = extension.about(config), f"{config.budget.amount:g} {config.budget.unit}"
    spent = "" if about is None else f" ({about.budget})"
    write_line(
        console, f"extending {config.extend}{spent}: from step {found.step} to {whole}, by the schedule of {whole}"
    )
    return found


def views_of(config: Config) -> str:
    """The views of an objective, and their number per example: "natural, 2 of each example"."""
    views = config.objective["views"]
    if views is None:
        return "none, unaugmented examples"
    count = f", {views['views']} of each example" if "views" in views else ""
    return config.names.get("objective/views", "of the config's own") + count


def show(console: Console, folder: Path, result: Result) -> None:
    """Print the table of results, and the paths of the report and the encoder."""
    from ssl_runner.reporting.tables import result_table

    if result.results:
        console.print(result_table(result))
    extends = None if result.pretraining is None else result.pretraining.extends
    if extends is not None:
        console.print(f"extends: run {extends.identity} of {extends.budget}", soft_wrap=True)
    console.print(f"report:  {folder / 'report.html'}", soft_wrap=True)
    console.print(f"encoder: {folder / 'encoder'}", soft_wrap=True)
