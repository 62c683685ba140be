"""Evaluation shared by `ssl-run` and `ssl-evaluate`: every evaluator on every subject, and the figures."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

from ssl_runner.assembly import check
from ssl_runner.commands.waiting import waiting
from ssl_runner.config.schema import Config
from ssl_runner.config.terms import class_name, settings_of
from ssl_runner.data.any.module import DataModule
from ssl_runner.evaluation.any.controls import BagOfWords, Pixels, PixelsOfClips
from ssl_runner.evaluation.any.mistakes import MISTAKES, figures_of
from ssl_runner.evaluation.any.subject import PRECISION, FrozenSubject
from ssl_runner.figures import Figure, Lines
from ssl_runner.interfaces import (
    Encoder,
    Evaluator,
    Finding,
    ImageSpec,
    Inspection,
    Objective,
    ReadsTexts,
    TextEncoder,
    TextSpec,
    VideoSpec,
)
from ssl_runner.reporting.plots import LEAST_DRAWN, save_figure
from ssl_runner.results.metrics import DataRef, Precision
from ssl_runner.results.predictions import FOLDER as PREDICTIONS
from ssl_runner.results.predictions import write_answers, write_predictions
from ssl_runner.results.result import BAG_OF_WORDS, PIXELS, PRETRAINED, Evaluation
from ssl_runner.results.status import Status, write_status
from ssl_runner.runtime.devices import device_of
from ssl_runner.runtime.terminal import write_line
from ssl_runner.training import precision
from ssl_runner.training.pretrainer import step_seed
from ssl_runner.training.task_figures import spread, task_figure


def bare(config: Config, data: DataModule) -> dict[str, Encoder]:
    """The controls without a backbone (pixels, bag of words) that are configured and fit the data."""
    if PIXELS in config.controls and isinstance(data.spec, ImageSpec):
        return {PIXELS: Pixels(data.spec)}
    if PIXELS in config.controls and isinstance(data.spec, VideoSpec):
        return {PIXELS: PixelsOfClips(data.spec)}
    if BAG_OF_WORDS in config.controls and isinstance(data.spec, TextSpec):
        return {BAG_OF_WORDS: BagOfWords(data.spec)}
    return {}


class Findings(NamedTuple):
    evaluations: list[Evaluation]
    failures: list[str]  # of evaluations that could not be done; the others stand


def evaluate(
    config: Config,
    subjects: Mapping[str, Encoder],
    objective: Objective | None,
    data: DataModule,
    folder: Path,
    console: Console,
    on: DataRef,
    pretraining: str,
) -> Findings:
    """Every evaluator on every subject, every inspection on the objective.

    Figures go to `folder`/figures, predictions and answers to `folder`/predictions.

    `objective`: the pretrained one; None where there is only an encoder. `on`: what `data` are to the run.
    `pretraining`: the precision that the encoder was trained in.
    """
    evaluators, inspections, left_out = check.evaluations(config, data.spec)
    for line in (*said_of(left_out), *same_reach(subjects, evaluators)):
        write_line(console, line)
    device = device_of(config.trainer.accelerator)
    frozen = {
        name: FrozenSubject(
            encoder.to(device),
            data,
            seed=config.seed,
            device=device,
            batch_size=config.batch_size,
            blocks=any(each.reads_blocks for each in evaluators.values()),
        )
        for name, encoder in subjects.items()
    }
    computed = Precision(pretraining=pretraining, evaluation=precision.name(PRECISION))
    questions = [
        (name, subject, evaluator, each)
        for name, evaluator in evaluators.items()
        for subject, each in frozen.items()
        if subject not in (PIXELS, BAG_OF_WORDS) or evaluator.pixels_are_control
    ]
    count = len(questions) + len(inspections) * (objective is not None)
    asked = Asked(config, folder, console, data, on, computed, count)
    for name, subject, evaluator, each in questions:
        asked.ask(name, subject, evaluator, partial(evaluator, each))
    if objective is not None:
        for name, inspection in inspections.items():
            asked.ask(name, PRETRAINED, inspection, partial(inspection, objective, frozen[PRETRAINED]))
    for order, ((name, owner, title), drawn) in enumerate(asked.figures.items(), start=1):
        draw(folder / "figures", name, owner, title, drawn, order)
    return Findings(asked.evaluations, asked.failures)


@dataclass
class Asked:
    """The evaluations of a run as they are asked for, one after the other; one that fails does not stop the others."""

    config: Config
    folder: Path
    console: Console
    data: DataModule
    on: DataRef
    computed: Precision
    count: int  # of what is asked in all
    begun: int = 0
    evaluations: list[Evaluation] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    figures: dict[tuple[str, str, str], dict[str, Figure]] = field(default_factory=dict)
    """(evaluator, owner, title) -> subject -> figure"""

    def ask(self, name: str, subject: str, asked: Evaluator | Inspection, call: Callable[[], Finding]) -> None:
        """Ask `name` of a subject: `call` does it."""
        self.begun += 1
        what = f"evaluating {self.begun} of {self.count}: {name}, {subject.replace('_', ' ')}"
        write_line(self.console, what, style="dim")
        write_status(self.folder, Status(what, 1.0))
        begun = time.monotonic()
        try:
            with waiting(self.console, what, self.folder):
                finding = call()
        except ValueError as error:
            self.failures.append(f"evaluation={name}, {subject.replace('_', ' ')}: {error}")
            return
        settings = terms_of(self.config.evaluation[name], asked.presentation)
        if isinstance(asked, Inspection):
            settings |= task_terms(self.config.objective, asked.task_terms)
        evaluation = Evaluation(
            evaluator=name,
            subject=subject,
            metrics=tuple(finding.metrics),
            on=self.on,
            protocol=replace(finding.protocol, terms={**settings, **finding.protocol.terms}),
            precision=self.computed,
            seconds=round(time.monotonic() - begun, 2),
        )
        self.evaluations.append(evaluation)
        drawn = {title: each for title, each in finding.figures.items() if subject == PRETRAINED or title != MISTAKES}
        if finding.predictions:
            write_predictions(self.folder / PREDICTIONS, f"{name}-{subject}", finding.predictions, evaluation.owner)
        if finding.answers:
            write_answers(self.folder / PREDICTIONS, f"{name}-{subject}", finding.answers, evaluation.owner)
        for found in finding.predictions:
            if subject == PRETRAINED and found.split == "test" and not found.condition:
                drawn |= figures_of(found, self.data)
        for title, figure in drawn.items():
            self.figures.setdefault((name, evaluation.owner, title), {})[subject] = figure


def said_of(left_out: Mapping[str, str]) -> Iterator[str]:
    """A line for each reason why evaluations are left out (name -> reason)."""
    reasons: dict[str, list[str]] = {}
    for name, why in left_out.items():
        reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        yield f"skipped: {', '.join(names)}: {why}"


def terms_of(node: Mapping[str, Any], presentation: frozenset[str]) -> dict[str, Any]:
    """The settings of an evaluator's config that its numbers depend on, inner nodes by dotted key."""
    return settings_of(node, without=presentation)


def task_terms(node: Mapping[str, Any], chosen: frozenset[str] | None) -> dict[str, Any]:
    """The settings of an objective that an inspection's numbers depend on; None: all, with its class."""
    if chosen is None:
        return {"objective": class_name(node), **settings_of(node, "objective.")}
    return settings_of({key: value for key, value in node.items() if key in chosen}, "objective.")


def same_reach(subjects: Mapping[str, Encoder], evaluators: Mapping[str, Evaluator]) -> list[str]:
    """Limit controls to the tokens that the encoder reads, and list the evaluations that this shortens."""
    encoder = subjects[PRETRAINED]
    if not isinstance(encoder, TextEncoder):
        return []
    for control in subjects.values():
        if isinstance(control, TextEncoder | BagOfWords):
            control.reach = encoder.reach
    reach = encoder.reach
    return [
        f"evaluation.{name}.length is {each.length}: {reach} tokens of a text are read, the most that the "
        "encoder was pretrained on"
        for name, each in evaluators.items()
        if reach is not None and isinstance(each, ReadsTexts) and each.length > reach
    ]


def draw(folder: Path, name: str, owner: str, title: str, drawn: Mapping[str, Figure], order: int) -> None:
    """Save the figures of one evaluator: curves of all subjects in one, any other a picture a subject. Curves of fewer
    points than make a line are not drawn: their numbers are metrics."""
    drawn = {
        subject: figure
        for subject, figure in drawn.items()
        if not isinstance(figure, Lines) or len(figure.x) >= LEAST_DRAWN
    }
    lines = {subject: figure for subject, figure in drawn.items() if isinstance(figure, Lines)}
    if len(lines) > 1:
        first = next(iter(lines.values()))
        curves = {s.replace("_", " "): values for s, line in lines.items() for values in line.y.values()}
        drawn = {PRETRAINED: first._replace(y=curves)}
    for subject, figure in drawn.items():
        whose = "" if len(drawn) == 1 else f", {subject.replace('_', ' ')}"
        file = f"{name}-{title}-{subject}".replace(" ", "-")
        save_figure(folder, file, figure, f"{name.replace('_', ' ')}: {title}{whose}", order, owner, subject)


def draw_task(model: Objective, data: DataModule, figures: Path) -> None:
    """Draw the pretext task and the predictions on eight held-out examples."""
    batch = spread(data, "val", 8, next(model.parameters()).device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(step_seed("pictures"))
        figure = task_figure(model, batch, data.spec, predict=True)
    save_figure(figures, "task", figure, "What the objective asked", 0)
