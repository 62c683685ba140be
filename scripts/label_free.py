"""Do figures without labels rank encoders as labels do? A section of docs/claims.md, from the runs of docs/runs/.

What is asked is scripts/studies/label_free.yaml. Encoders are the settings of the recorded runs: what their seeds have
in common. Only settings of one group of runs are ranked against each other, as they share their data.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from claims_tables import pipes
from records import Record
from study import STUDIES, Column, read_study

from ssl_runner.config.identity import identity
from ssl_runner.reporting.rows import NOTHING
from ssl_runner.results.result import PRETRAINED, Evaluation, Result

LEAST = 5  # settings that are ranked: of four, any correlation's interval is nearly all there is
Z = 1.959964  # of the normal distribution: 95 % lie within


@dataclass(frozen=True, kw_only=True)
class Figure(Column):
    """A figure that needs no labels, and which way it is good."""

    best: float | None = None  # the value that is best; None: the highest, or the lowest
    own_task: bool = False  # compares only within one task of one objective

    def good(self, value: float) -> float:
        """A value such that more is better."""
        if self.best is not None:
            return -abs(value - self.best)
        return -value if self.lower_is_better else value


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The question, and the numbers that it is about."""

    question: str
    said: str
    about: str
    figures: tuple[Figure, ...]
    outcomes: tuple[Column, ...]  # of which the first that a run has is its outcome


class Ranked(NamedTuple):
    """A setting: means over its seeds."""

    group: str
    objective: str
    outcome: str  # title of the outcome
    accuracy: float
    figures: Mapping[str, float]  # by title, more is better
    tasks: Mapping[str, str]  # by title: what the figure compares within, "" for all


class Correlation(NamedTuple):
    """A rank correlation over settings."""

    rank: float
    n: int

    @property
    def z(self) -> float:
        """atanh of it. Ranks that agree wholly are taken as nearly so."""
        return math.atanh(max(-0.999, min(0.999, self.rank)))

    @property
    def bounds(self) -> tuple[float, float]:
        """With 95 % confidence: z is about normal, with variance (1 + rank^2 / 2) / (n - 3); Bonett, Wright 2000,
        https://doi.org/10.1007/BF02294183."""
        half = Z * math.sqrt((1 + self.rank**2 / 2) / (self.n - 3))
        return math.tanh(self.z - half), math.tanh(self.z + half)

    def __str__(self) -> str:
        low, high = self.bounds
        return f"{self.rank:.2f} ({low:.2f} to {high:.2f}, n = {self.n})"


def read_ranking() -> Ranking:
    """Raises StudyError."""
    return read_study(Ranking, STUDIES / "label_free.yaml")


class Recorded(NamedTuple):
    """A recorded run that is no control."""

    group: str
    record: Record
    result: Result | None  # None where it cannot have any of the figures, and was not read


def section(ranking: Ranking, records: Mapping[str, Sequence[Record]], titles: Mapping[str, str]) -> dict[str, Any]:
    """What the page shows. `records`, `titles`: by group. Raises StudyError for a record that is damaged."""
    runs = [
        Recorded(name, record, record.read() if _may_have(ranking, record) else None)
        for name, several in records.items()
        for record in several
        if record.config.get("control", "none") == "none"
    ]
    counts = []
    for figure in ranking.figures:
        having = sum(outcome(ranking, each) is not None and value_of(figure, each) is not None for each in runs)
        counts.append(f"{having} with {figure.title}")
    return {
        "ranking": ranking,
        "runs": len(runs),
        "counts": ", ".join(counts),
        "table": table(ranking, list(settings_of(ranking, runs)), titles),
    }


def _may_have(ranking: Ranking, record: Record) -> bool:
    """Whether a record names an evaluator of the figures: quick, before it is read."""
    said = repr(record.result.get("results"))
    return any(figure.evaluator in said for figure in ranking.figures)


def settings_of(ranking: Ranking, runs: Sequence[Recorded]) -> Iterator[Ranked]:
    """The settings of the runs that have an outcome."""
    seeds: dict[tuple[str, str], list[Recorded]] = defaultdict(list)
    for run in runs:
        if outcome(ranking, run) is not None:
            seeds[run.group, _setting(run.record)].append(run)
    for (group, _), several in seeds.items():
        outcomes = [found for run in several if (found := outcome(ranking, run))]
        figures, tasks = {}, {}
        for figure in ranking.figures:
            values = [each for run in several if (each := value_of(figure, run)) is not None]
            if len(values) == len(several):
                figures[figure.title] = _mean([figure.good(value) for _, value in values])
                tasks[figure.title] = values[0][0] if figure.own_task else ""
        result = several[0].result
        assert result is not None
        accuracy = _mean([value for _, value in outcomes])
        yield Ranked(group, result.name.objective, outcomes[0][0], accuracy, figures, tasks)


def _setting(record: Record) -> str:
    """Equal for the seeds of a setting. What follows from the seed, and what files held, is no part of it."""
    kept = {key: value for key, value in record.config.items() if key not in ("contents", "start_from", "start_file")}
    return identity({**kept, "seed": 0, "evaluation": {}, "controls": []})


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def outcome(ranking: Ranking, run: Recorded) -> tuple[str, float] | None:
    """The title and the value of a run's outcome."""
    found = ((column.title, value_of(column, run)) for column in ranking.outcomes)
    return next(((title, value[1]) for title, value in found if value is not None), None)


def value_of(column: Column, run: Recorded) -> tuple[str, float] | None:
    """A metric of the pretrained encoder on its own test data, after the terms that it is measured under, as text."""
    for found in run.result.results if run.result is not None else ():
        if found.evaluator != column.evaluator or found.subject != PRETRAINED or not found.on.own:
            continue
        for metric in found.metrics:
            if metric.name == column.metric and metric.split == "test" and metric.condition == column.condition:
                return (_terms(found), metric.value) if math.isfinite(metric.value) else None
    return None


def _terms(found: Evaluation) -> str:
    return json.dumps(dict(found.protocol.terms), sort_keys=True, default=str)


# --------------------------------------------------------------------------------------------------------------- table


def table(ranking: Ranking, settings: Sequence[Ranked], titles: Mapping[str, str]) -> str:
    """A row for the settings of each group, for those of each objective in it, and for all of the latter together."""
    rows, within = [], defaultdict[str, list[Correlation]](list)

    def row(words: Sequence[str], several: Sequence[Ranked], alone: bool) -> None:
        found = [_of(figure, several, alone) for figure in ranking.figures]
        if not any(found):
            return
        rows.append([*words, several[0].outcome, *(str(each) if each else NOTHING for each in found)])
        for figure, each in zip(ranking.figures, found, strict=True):
            if alone and each is not None:
                within[figure.title].append(each)

    for group in dict.fromkeys(each.group for each in settings):
        of_group = [each for each in settings if each.group == group]
        for outcome in dict.fromkeys(each.outcome for each in of_group):
            same = [each for each in of_group if each.outcome == outcome]
            objectives = dict.fromkeys(each.objective for each in same)
            row([titles.get(group, group), f"{len(objectives)} objectives"], same, alone=False)
            for objective in objectives:
                row([titles.get(group, group), objective], [e for e in same if e.objective == objective], alone=True)
    if within:
        pooled = [_pooled(within[figure.title]) for figure in ranking.figures]
        rows.append(["all rows of one objective together", "", "", *pooled])
    heads = ["runs", "ranked", "outcome", *(figure.title for figure in ranking.figures)]
    return (
        pipes(heads, [False] * len(heads), rows) if rows else "No recorded group has a figure of enough settings yet."
    )


def _of(figure: Figure, settings: Sequence[Ranked], alone: bool) -> Correlation | None:
    """The correlation of a figure with the outcome; None of too few settings, and where it compares nothing."""
    from scipy.stats import spearmanr

    having = [each for each in settings if figure.title in each.figures]
    if figure.own_task and (not alone or len({each.tasks[figure.title] for each in having}) > 1):
        return None
    if len(having) < LEAST or (not alone and len({each.objective for each in having}) < 2):
        return None
    rank, _ = spearmanr([each.figures[figure.title] for each in having], [each.accuracy for each in having])
    return Correlation(float(rank), len(having)) if math.isfinite(rank) else None


def _pooled(several: Sequence[Correlation]) -> str:
    """The mean of atanh, each weighed by n - 3, and its interval."""
    if not several:
        return NOTHING
    weights = [each.n - 3 for each in several]
    mean = sum(w * each.z for w, each in zip(weights, several, strict=True)) / sum(weights)
    spread = sum(w * (1 + each.rank**2 / 2) for w, each in zip(weights, several, strict=True)) / sum(weights)
    half = Z * math.sqrt(spread / sum(weights))
    low, high = math.tanh(mean - half), math.tanh(mean + half)
    return f"{math.tanh(mean):.2f} ({low:.2f} to {high:.2f}, {len(several)} rows)"
