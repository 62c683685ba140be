"""Random and guided search: combinations drawn at random, or suggested by Optuna from earlier results."""

import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ssl_runner.assembly.places import finished
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.schema import Config
from ssl_runner.reporting.protocols import numbers
from ssl_runner.results.address import Address, address, read_address
from ssl_runner.results.metrics import Better
from ssl_runner.results.result import METRICS, Result, ResultError, read_metrics
from ssl_runner.sweeps.plan import SEED, Axes, Composer, RunRequest, combinations, plan
from ssl_runner.sweeps.scheduler import Outcome

LOOK = 2.0  # seconds between two looks at a running job's curve
FOUND = "found"  # attribute of a trial: the figure itself, whichever way it is better
AGAIN = "again"  # mark of a trial that takes the place of one that was stopped
STARTUP = 4  # runs that are finished before any is stopped early


def draw(axes: Axes, trials: int, seed: int) -> list[dict[str, str]]:
    """`trials` settings at random, each with every seed that is swept; the same for the same arguments.

    Without intervals they are drawn without replacement, so that there are no more than combinations.
    """
    generator = random.Random(seed)
    seeds = [{SEED: each} for each in axes.choices.get(SEED, [])] or [{}]
    others = axes._replace(choices={key: values for key, values in axes.choices.items() if key != SEED})
    settings = combinations(others)
    if axes.intervals:
        settings = [{**generator.choice(settings), **_sampled(axes, generator)} for _ in range(trials)]
    else:
        settings = generator.sample(settings, min(trials, len(settings)))
    return [{**setting, **each} for each in seeds for setting in settings]


def _sampled(axes: Axes, generator: random.Random) -> dict[str, str]:
    def value(low: float, high: float, log: bool) -> float:
        share = generator.random()
        return low * (high / low) ** share if log else low + (high - low) * share

    return {key: f"{value(*each):.6g}" for key, each in axes.intervals.items()}


class Guided:
    """A `Source` of the runs that Optuna suggests (Akiba et al. 2019, https://arxiv.org/abs/1907.10902), kept in a
    database file, so that the same command goes on with the same search.

    What is searched for is the best figure of the validation split. Raises ConfigError for one that is not, and for
    what a search cannot do.
    """

    def __init__(self, composer: Composer, axes: Axes, config: Config, folder: Path) -> None:
        try:
            import optuna
        except ImportError as error:
            raise ConfigError(
                ["sweep.search=optuna needs the package optuna: pip install 'ssl-runner[optuna]'"]
            ) from error
        self._optuna = optuna
        self._composer, self._axes, self._config = composer, axes, config
        self._check()
        self._folder = folder
        self._distributions = {
            **{key: optuna.distributions.CategoricalDistribution(values) for key, values in axes.choices.items()},
            **{
                key: optuna.distributions.FloatDistribution(each.low, each.high, log=each.log)
                for key, each in axes.intervals.items()
            },
        }
        self._study: Any = None
        self._running: dict[str, Any] = {}  # trials by their run's identity
        self._looked: dict[str, tuple[float, int]] = {}  # when, and rows of the curve that were told

    def _check(self) -> None:
        asked = self._config.sweep.metric
        problems = []
        if SEED in self._axes.choices:
            problems.append("seed: a guided search takes one seed; run the best setting again with several seeds")
        try:
            address = read_address(asked)
        except ValueError as error:
            raise ConfigError([*problems, f"sweep.metric: {error}"]) from error
        if address.condition.get("split") != "val":
            own = Address(address.evaluator, address.metric, {**address.condition, "split": "val"})
            problems.append(
                f"sweep.metric is {asked}; it must be a metric of the validation split, such as {own}, "
                "since selecting by test metrics biases them"
            )
        if address.evaluator not in self._config.evaluation:
            there = ", ".join(self._config.evaluation) or "nothing"
            problems.append(f"sweep.metric is {asked}, and `evaluation` computes {there}")
        if problems:
            raise ConfigError(problems)
        self._address = address

    @property
    def study(self) -> Any:
        """Opened at its first use: a check writes nothing."""
        if self._study is None:
            optuna = self._optuna
            optuna.logging.set_verbosity(optuna.logging.ERROR)
            self._folder.mkdir(parents=True, exist_ok=True)
            prunes = self._config.sweep.pruner == "median"
            self._study = optuna.create_study(
                study_name=self._folder.name,
                storage=f"sqlite:///{self._folder / 'optuna.db'}",
                direction="maximize",
                sampler=optuna.samplers.TPESampler(seed=self._config.seed, n_startup_trials=STARTUP),
                pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP) if prunes else optuna.pruners.NopPruner(),
                load_if_exists=True,
            )
            # What a search that was killed left running is asked for again.
            for trial in self._study.get_trials(states=[optuna.trial.TrialState.RUNNING]):
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                self._study.enqueue_trial(trial.params, user_attrs={AGAIN: True})
        return self._study

    def next(self) -> RunRequest | None:
        while self.waiting() > 0:
            trial = self.study.ask(self._distributions)
            values = {key: f"{v:.6g}" if isinstance(v, float) else str(v) for key, v in trial.params.items()}
            planned = plan(self._composer, self._axes, [values])
            if not planned.jobs or planned.jobs[0].identity in self._running:
                self.study.tell(trial, state=self._optuna.trial.TrialState.PRUNED)
                continue
            (job,) = planned.jobs
            self._running[job.identity] = trial
            if self._config.resume != "never" and (result := finished(job.folder)) is not None:
                self.ended(Outcome(job, "skipped"), result)
                continue
            return job
        return None

    def ended(self, outcome: Outcome, result: Result | None) -> None:
        trial = self._running.pop(outcome.job.identity)
        states = self._optuna.trial.TrialState
        if result is not None:
            found, value = self._value(result)
            trial.set_user_attr(FOUND, found)
            self.study.tell(trial, value)
        elif outcome.state == "pruned":
            self.study.tell(trial, state=states.PRUNED)
        else:
            self.study.tell(trial, state=states.FAIL)
            if outcome.state == "stopped":
                self.study.enqueue_trial(trial.params, user_attrs={AGAIN: True})

    def hopeless(self, job: RunRequest) -> bool:
        when, told = self._looked.get(job.identity, (0.0, 0))
        if self._config.sweep.pruner == "none" or time.monotonic() - when < LOOK:
            return False
        trial = self._running[job.identity]
        rows = list(_curve(job.folder, self._config.sweep.monitor))
        for step, value in rows[told:]:
            trial.report(value, step)
        self._looked[job.identity] = time.monotonic(), len(rows)
        return len(rows) > told and bool(trial.should_prune())

    def waiting(self) -> int:
        states = self._optuna.trial.TrialState
        trials = self.study.get_trials(deepcopy=False)
        ended = sum(trial.state in (states.COMPLETE, states.PRUNED, states.FAIL) for trial in trials)
        again = sum(AGAIN in trial.user_attrs for trial in trials)  # each stands for one that failed
        return max(0, self._config.sweep.trials - (ended - again + len(self._running)))

    def best(self) -> str:
        """The setting with the best value so far, in words; empty where none is finished."""
        done = self.study.get_trials(deepcopy=False, states=[self._optuna.trial.TrialState.COMPLETE])
        if not done:
            return ""
        best = max(done, key=lambda trial: trial.value)
        setting = " ".join(f"{k}={v:.6g}" if isinstance(v, float) else f"{k}={v}" for k, v in best.params.items())
        return f"best {self._config.sweep.metric}: {best.user_attrs.get(FOUND, best.value):.4f} with {setting}"

    def _value(self, result: Result) -> tuple[float, float]:
        """What was found, and what is to be maximized: its negative where lower is better."""
        asked = self._config.sweep.metric
        there = []
        for number in numbers(result):
            found = address(number.evaluator, number.metric)
            if found == self._address:
                if number.metric.better is Better.NEITHER:
                    raise ConfigError(
                        [
                            f"sweep.metric is {asked}, for which neither higher nor lower is better; "
                            "choose another metric"
                        ]
                    )
                return number.metric.value, number.metric.better.sign * number.metric.value
            if number.metric.split == "val" and number.metric.better is not Better.NEITHER:
                there.append(str(found))
        raise ConfigError([f"sweep.metric is {asked}; choose one of: {', '.join(there) or 'none, no metric of val'}"])


def _curve(folder: Path, name: str) -> Iterator[tuple[int, float]]:
    try:
        rows: list[Mapping[str, float]] = list(read_metrics(folder / METRICS))
    except ResultError:
        return
    for row in rows:
        if name in row and "step" in row:
            yield int(row["step"]), row[name]
