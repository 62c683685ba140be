"""How long runs will take on this machine, from a few steps of each kind; nothing is written."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from ssl_runner.assembly import check, construct
from ssl_runner.assembly.load import load_data
from ssl_runner.commands.run import fresh
from ssl_runner.config.request import RunRequest
from ssl_runner.config.schema import Budget, Config
from ssl_runner.data.any.module import DataModule
from ssl_runner.evaluation.any.few_label_finetune import FewLabelFineTune
from ssl_runner.evaluation.any.few_label_fixmatch import FewLabelFixMatch
from ssl_runner.evaluation.any.subject import FrozenSubject
from ssl_runner.interfaces import Encoder, Evaluator, Objective, Subject
from ssl_runner.loggers.interface import Loggers
from ssl_runner.results.result import INITIAL, PIXELS, RANDOM_START
from ssl_runner.runtime.devices import device_of
from ssl_runner.runtime.progress import duration
from ssl_runner.runtime.terminal import Terminal

STEPS = 3, 13  # of pretraining, twice: what starts it takes time once
BY_STEPS = (FewLabelFineTune, FewLabelFixMatch)  # evaluations that take longer in proportion to their steps
TUNED = 5  # steps of fine-tuning, and twice as many
ALIKE = ("seed", "output", "sweep", "yes", "names", "contents")  # change no run's duration


class Estimate(NamedTuple):
    """What runs will cost."""

    runs: int
    seconds: float  # of all runs, one after the other
    slots: int  # runs at a time
    sample: float  # seconds that the estimate took

    @property
    def hours(self) -> float:
        return self.seconds / self.slots / 3600

    def __str__(self) -> str:
        return (
            f"{self.runs} runs, {self.slots} at a time: about {duration(self.seconds / self.slots)} on this machine, "
            f"from a few steps of each kind ({duration(self.sample)})"
        )


def estimate(jobs: Sequence[RunRequest], runs: int, slots: int, threads: int) -> Estimate:
    """The cost of `runs` runs, of which `jobs` are known, on a machine that does `slots` at a time.

    Of each setting a few steps are done, with as many threads as a run will have. Raises ConfigError for damaged data.
    """
    begun = time.monotonic()
    known: dict[str, float] = {}
    judged: dict[str, float] = {}
    total = 0.0
    with _threads(threads):
        for job in jobs:
            kind = _kind(job)
            if kind not in known:
                known[kind] = seconds_of(job.config, judged)
            total += known[kind]
    return Estimate(runs, total / len(jobs) * runs, slots, time.monotonic() - begun)


def _kind(job: RunRequest) -> str:
    """Equal for runs that take as long: of how many examples there are, epochs alone depend."""
    alike = ALIKE if job.config.budget.unit == "epochs" else (*ALIKE, "pretrain_examples")
    return json.dumps({k: v for k, v in job.plain.items() if k not in alike}, sort_keys=True, default=str)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seconds_of(config: Config, judged: dict[str, float]) -> float:
    """Of a whole run: loading, pretraining, evaluations of the encoder and its controls. `judged`: seconds of the
    latter by what they follow from, which runs of several objectives share; a new one is added."""
    begun = time.monotonic()
    source, _ = construct.source(config)
    data = load_data(config, source)
    model = fresh(config, data)
    loading = time.monotonic() - begun
    training = _pretraining(config, data, model) if model.trains else 0.0
    same = json.dumps([config.dataset, config.backbone, config.evaluation, config.controls], default=str)
    if same not in judged:
        judged[same] = _evaluating(config, data, model.encoder)
    return loading + training + judged[same]


def _pretraining(config: Config, data: DataModule, model: Objective) -> float:
    """Seconds of pretraining, from two short ones."""
    from ssl_runner.training.pretrainer import total_steps

    if config.budget.unit == "minutes":
        return 60 * config.budget.amount
    first, second = (_timed(partial(_trained, config, data, steps)) for steps in STEPS)
    each = max(second - first, 0.0) / (STEPS[1] - STEPS[0])
    steps = total_steps(config.budget, len(data.train_dataloader()), config.batch_size, config.trainer.accumulate)
    assert steps is not None
    return first + each * (steps - STEPS[0])


def _trained(config: Config, data: DataModule, steps: int) -> None:
    """Pretrain for so many steps; what is written goes with its folder."""
    from ssl_runner.training import fit

    trainer = replace(config.trainer, validations=0, monitor_examples=0)
    short = replace(config, budget=Budget("steps", steps), trainer=trainer)
    model = fresh(config, data)
    with tempfile.TemporaryDirectory() as folder:
        fit.pretrain(
            short, model, partial(construct.optimizer, config), construct.schedule(config), data, Loggers([]),
            Path(folder), None, Terminal(quiet=True),
        )  # fmt: skip


def _evaluating(config: Config, data: DataModule, encoder: Encoder) -> float:
    """Seconds of all evaluations of all subjects."""
    evaluators = check.evaluations(config, data.spec).evaluators
    device = device_of(config.trainer.accelerator)
    subject = FrozenSubject(
        encoder.to(device),
        data,
        seed=config.seed,
        device=device,
        batch_size=config.batch_size,
        blocks=any(each.reads_blocks for each in evaluators.values()),
    )
    networks = 1 + (RANDOM_START in config.controls) + (INITIAL in config.controls and _begins_elsewhere(config, data))
    return sum(
        (networks + (PIXELS in config.controls and each.pixels_are_control)) * _asking(each, subject)
        for each in evaluators.values()
    )


def _begins_elsewhere(config: Config, data: DataModule) -> bool:
    return construct.initial(config, data.spec) is not None


def _asking(evaluator: Evaluator, subject: Subject) -> float:
    """Seconds of an evaluation: of fine-tuning on few labels from a few steps, of any other by doing it."""
    if type(evaluator) not in BY_STEPS:
        return _timed(partial(evaluator, subject))
    assert isinstance(evaluator, FewLabelFineTune)
    n = len(subject.data.examples("train").label)
    few = min(evaluator.recipe.batch_size, n) / n
    more = min(few + 1 / n, 1.0)
    short, longer, twice = (
        _timed(partial(_tuned(evaluator, fractions, steps), subject))
        for fractions, steps in (([few], TUNED), ([few], 2 * TUNED), ([few, more], TUNED))
    )
    step = max(longer - short, 0.0) / TUNED
    subset = max(twice - short - TUNED * step, 0.0)  # of which each is evaluated
    rest = max(short - TUNED * step - subset, 0.0)
    steps = sum(evaluator.recipe.steps(max(2, round(fraction * n))) for fraction in evaluator.fractions)
    return rest + len(evaluator.fractions) * subset + steps * step


def _tuned(evaluator: FewLabelFineTune, fractions: list[float], steps: int) -> FewLabelFineTune:
    """The same with other subsets, and so many steps on each."""
    shorter = copy(evaluator)
    shorter.fractions = fractions
    shorter.recipe = replace(evaluator.recipe, epochs=1, least_steps=steps)
    return shorter


def _timed(call: Callable[[], object]) -> float:
    begun = time.monotonic()
    call()
    return time.monotonic() - begun
