"""The objective's own task on held-out examples."""

from collections import defaultdict
from typing import Any, ClassVar

import torch
from torch import Tensor

from ssl_runner.evaluation.any.subject import TOLD, batches, evaluating, seeded
from ssl_runner.interfaces import Finding, Inspection, Objective, Subject
from ssl_runner.results.metrics import (
    Better,
    Kind,
    Metric,
    Protocol,
    Split,
    Unit,
)


class Pretext(Inspection):
    """Run the task on held-out examples as in training, with a fixed seed; the mean loss and all logs.

    Metrics, on test and val: loss, in the objective's own unit, and what it logs (`Objective.logged` says what that
    is): accuracy beside chance where the task has a right answer, the bound on mutual information where it contrasts.
    They compare where all settings of the objective are the same. In eval mode; a last batch that is not full is left
    out, so that every one of a split has as many negatives.
    """

    task_terms: ClassVar[frozenset[str] | None] = None

    def __init__(self, *, batch_size: int) -> None:
        if batch_size < 2:
            raise ValueError(f"evaluation.pretext.batch_size is {batch_size}; it must be at least 2")
        self.batch_size = batch_size

    def __call__(self, objective: Objective, subject: Subject) -> Finding:  # type: ignore[type-arg]
        metrics: list[Metric] = []
        measured: dict[str, Any] = {}
        for split in TOLD:
            means = self._means(objective, subject, split)
            size = min(self.batch_size, len(subject.data.examples(split).label))
            metrics.append(
                Metric(
                    name="loss",
                    value=means.pop("loss"),
                    unit=Unit.PLAIN,
                    better=Better.LOWER,
                    headline=True,
                    split=split,
                )
            )
            for name, value in means.items():
                unit, better = objective.logged.get(name, Kind())
                metrics.append(Metric(name=name, value=value, unit=unit, better=better, split=split))
            measured |= {
                f"{split} examples": len(subject.data.examples(split).label) // size * size,
                f"{split} examples in a batch": size,
            }
        return Finding(metrics, Protocol(terms={"method": "its own task"}, measured={**measured, "seed": subject.seed}))

    def _means(self, objective: Objective[Any, Any], subject: Subject, split: Split) -> dict[str, float]:
        """Of the loss and of all logs, over batches."""
        task = objective.to(subject.device)
        n = len(subject.data.examples(split).label)
        size = min(self.batch_size, n)
        found: dict[str, list[Tensor]] = defaultdict(list)
        with evaluating(task), seeded(subject.seed), torch.inference_mode():
            order = torch.randperm(n)[: n // size * size]  # as stored, a class may come after another
            for batch in batches(subject, split, order, size):
                loss = task.loss(*task.split(batch))
                for name, value in {"loss": loss.value, **loss.logs}.items():
                    found[name].append(value.float())
        return {name: torch.stack(values).mean().item() for name, values in found.items()}
