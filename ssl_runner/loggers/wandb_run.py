"""Weights & Biases as a logger of a run."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ssl_runner.loggers.interface import RunContext, RunLogger
from ssl_runner.results.metrics import Metric
from ssl_runner.results.result import read_about
from ssl_runner.runtime.terminal import say

STEP = "trainer/step"  # the horizontal axis of every curve
TAG_LENGTH = 64  # characters; wandb refuses longer ones
NAME_LENGTH = 128  # characters of a project, group or name; likewise
OF_EXAMPLES = ("pictures", "clips", "passages")  # kinds of figures (ssl_runner/figures.py)
ALSO_LOGGED = ("epoch", "seconds")  # beside each figure; panels of them would come first, and say nothing
NOT_IN_PROJECT = "/\\#?%:"


class WandbRun(RunLogger):
    """Mirror a run to wandb, https://docs.wandb.ai: online with an account, else in files that can be sent later.

    project, entity, name, group, tags: how wandb files the run. entity None: the account's own; name None: the run's;
    group None: the sweep's, outside sweeps none.
    mode: "auto" does as WANDB_MODE or `wandb offline` say; else it is online if wandb finds a key (WANDB_API_KEY,
    netrc) and its server answers within `init_timeout` seconds, and offline otherwise; it never asks and never stops
    a run. "online" insists: no key or no answer is a ValueError.
    dir: the parent of the folder `wandb`. None: the outputs of all runs: `wandb leet outputs/wandb` compares them.
    finish_timeout: seconds to wait for the upload at the end; `wandb sync` can send what is left.
    examples: also send figures that show examples of the data; False: only figures of numbers. Predictions of single
    examples are never sent.

    A run resumed online goes on in the same wandb run; offline, wandb can only begin another.
    """

    def __init__(
        self,
        context: RunContext,
        *,
        project: str,
        entity: str | None,
        name: str | None,
        group: str | None,
        tags: list[str],
        mode: Literal["auto", "online", "offline", "disabled"],
        dir: str | None,
        init_timeout: float,
        examples: bool,
        finish_timeout: float,
    ) -> None:
        if not 1 <= len(project) <= NAME_LENGTH or set(project) & set(NOT_IN_PROJECT):
            rule = f"it must have 1 to {NAME_LENGTH} characters, none of {' '.join(NOT_IN_PROJECT)}"
            raise ValueError(f"logger.wandb.project is {project!r}; {rule}")
        for key, text in (("name", name), ("group", group)):
            if text is not None and len(text) > NAME_LENGTH:
                raise ValueError(f"logger.wandb.{key} is {text!r}; it must have at most {NAME_LENGTH} characters")
        for tag in tags:
            if not 1 <= len(tag) <= TAG_LENGTH:
                raise ValueError(f"logger.wandb.tags has {tag!r}; a tag must have 1 to {TAG_LENGTH} characters")
        for key, seconds in (("init_timeout", init_timeout), ("finish_timeout", finish_timeout)):
            if seconds <= 0:
                raise ValueError(f"logger.wandb.{key} is {seconds:g}; it must be a number of seconds above 0")
        self._mode = mode
        self._dir = context.outputs if dir is None else Path(dir).expanduser()
        self._id_file = context.folder / "wandb_id"
        self._project, self._entity, self._job_type = project, entity, context.job_type
        self._name, self._group = name or _shortened(context.name), group or _shortened(context.group) or None
        self._tags = list(dict.fromkeys([*(tag[:TAG_LENGTH] for tag in context.tags if tag), *tags]))
        self._init_timeout, self._finish_timeout = init_timeout, finish_timeout
        self._examples = examples
        self._run: Any = None

    def open(self, resume_step: int | None = None) -> None:
        """Raises ValueError where mode "online" cannot be had, or wandb refuses a setting of the environment."""
        resumes = resume_step is not None and self._id_file.exists()
        run_id = self._id_file.read_text(encoding="utf-8").strip() if resumes else secrets.token_hex(4)
        self.begin(run_id, resumes=resumes, offline_id=secrets.token_hex(4))

    def begin(self, run_id: str, *, resumes: bool, offline_id: str) -> None:
        """`open` with ids of one's own. `resumes`: online, go on with the run `run_id` if the server has it."""
        if self._mode == "disabled":
            return
        # wandb reports on itself to its server, even when offline, and waits 20 s at exit if that does not answer.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        # It names its process to those that are started or forked later, where it may be long gone: each has its own.
        os.environ.pop("WANDB_SERVICE", None)
        import wandb

        try:
            session = wandb.setup(wandb.Settings(silent=True, console="off"))  # silent: nor can it prompt
        except ValueError as error:
            where = "a variable WANDB_* of the environment, or wandb's settings file"
            raise ValueError(f"wandb refuses {where}: {_line(error, 1)}: {_line(error, 2)}") from error
        mode = session.settings.mode if self._mode == "auto" else self._mode
        if mode in ("offline", "dryrun"):
            self._go_offline(offline_id)
        elif mode != "disabled":
            self._go_online(run_id, resumes=resumes, offline_id=offline_id)

    def _go_offline(self, run_id: str) -> None:
        try:
            self._run = self._start("offline", run_id)
        except Exception as error:  # as in `_mirror`
            say(f"warning: this run is not logged to wandb: {_line(error)}")

    def _go_online(self, run_id: str, *, resumes: bool, offline_id: str) -> None:
        import wandb

        earlier = self.folders(run_id)
        try:
            self._run = self._start("online", run_id, "allow" if resumes else None)
        except Exception as error:  # as in `_mirror`
            if self._mode == "online":
                raise ValueError(
                    f"logger.wandb.mode is online, but {_line(error)} Set it to auto or offline"
                ) from error
            for nothing in self.folders(run_id) - earlier:  # it would be listed beside the runs
                shutil.rmtree(nothing, ignore_errors=True)
            # Without an account offline is what is expected, and nothing to warn of, unless WANDB_MODE says otherwise.
            if not isinstance(error, wandb.errors.UsageError) or os.environ.get("WANDB_MODE"):
                say(f"warning: this run is logged offline, because wandb cannot go online: {_line(error)}")
            self._go_offline(offline_id)
        else:
            self._id_file.parent.mkdir(parents=True, exist_ok=True)
            self._id_file.write_text(run_id + "\n", encoding="utf-8")
            say(f"wandb: {self._run.url}")

    def folders(self, run_id: str) -> set[Path]:
        """Where wandb has written runs whose id begins like this, one for each time that they were begun."""
        return set((self._dir / "wandb").glob(f"*run-*-{run_id}*"))

    def _start(self, mode: Literal["online", "offline"], run_id: str, resume: Literal["allow"] | None = None) -> Any:
        import wandb

        self._dir.mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            project=self._project,
            entity=self._entity,
            name=self._name,
            group=self._group,
            job_type=self._job_type,
            tags=self._tags,
            mode=mode,
            dir=str(self._dir),
            id=run_id,
            resume=resume,
            reinit="create_new",  # the default returns the run that is still open, and so merges two
            settings=wandb.Settings(
                init_timeout=self._init_timeout, finish_timeout=self._finish_timeout, finish_timeout_raises=True
            ),
        )
        for name in (STEP, *ALSO_LOGGED):
            run.define_metric(name, hidden=True)
        run.define_metric("*", step_metric=STEP)
        return run

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        # The step is a metric like others: wandb drops what comes with a lower step of its own kind.
        self._mirror(lambda run: run.log({**metrics, STEP: step}))

    def log_config(self, config: Mapping[str, Any]) -> None:
        self._mirror(lambda run: run.config.update(dict(config), allow_val_change=True))

    def log_summary(self, summary: Mapping[str, Metric]) -> None:
        def write(run: Any) -> None:
            for name, metric in summary.items():
                if metric.better.sign:
                    best = "max" if metric.better.sign > 0 else "min"
                    run.define_metric(_escaped(name), step_metric=STEP, summary=best)
            # Afterwards: the value given stands, not the best of the curve.
            run.summary.update({name: metric.value for name, metric in summary.items()})

        self._mirror(write)

    def log_table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str | float | None]]) -> None:
        """Show a table."""

        def write(run: Any) -> None:
            import wandb

            table = wandb.Table(columns=list(columns), data=[list(row) for row in rows], allow_mixed_types=True)
            run.log({name: table})

        self._mirror(write)

    def log_figures(self, figures: Mapping[str, Path]) -> None:
        def write(run: Any) -> None:
            import wandb

            run.log({f"figures/{name}": wandb.Image(str(path)) for name, path in figures.items()})

        figures = {name: path for name, path in figures.items() if self._examples or not shows_examples(path)}
        if figures:
            self._mirror(write)

    def finish(self, success: bool) -> None:
        def write(run: Any) -> None:
            try:
                run.finish(exit_code=0 if success else 1)
            except TimeoutError:
                late = f"wandb had not finished its upload after {self._finish_timeout:g} s"
                say(f"warning: {late}; `wandb sync --include-online {Path(run.dir).parent}` sends the rest")

        self._mirror(write)
        self._run = None

    def _mirror(self, write: Callable[[Any], object]) -> None:
        """Do something with the run. If that fails, say so once and go on without: it is a mirror."""
        if self._run is None:
            return
        try:
            write(self._run)
        except Exception as error:
            # Not wandb.Error: if its process is gone, wandb raises what has no base class and no public name.
            say(f"warning: wandb stopped; nothing more is logged to it: {_line(error)}")
            self._run = None


def shows_examples(figure: Path) -> bool:
    """Whether a picture shows examples of the data, by the JSON beside it."""
    return read_about(figure.with_suffix(".json")).get("kind") in OF_EXAMPLES


def _line(error: Exception, number: int = 0) -> str:
    return [*str(error).strip().split("\n"), "", ""][number].strip() or type(error).__name__


def _escaped(name: str) -> str:
    """A name for `define_metric`, to which a dot means a key within a key."""
    return name.replace(".", r"\.")


def _shortened(text: str) -> str:
    """`text`; where wandb would refuse its length, the end replaced by a hash of all of it."""
    if len(text) <= NAME_LENGTH:
        return text
    return f"{text[: NAME_LENGTH - 9]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
