"""How well an objective does its own task on examples that it was not pretrained on."""

from collections import defaultdict
from typing import Any, ClassVar

import torch

from ssl_runner.evaluation.subject import evaluating, seeded
from ssl_runner.interfaces import Batch, Finding, Inspection, Objective, Subject


class Pretext(Inspection):
    """Split "test" as in training, under a fixed seed, and take the mean of the loss and of all that is logged with it.

    Metrics: loss, in the objective's own unit, and what it logs: accuracy beside chance where the task has a right
    answer, the bound on mutual information where it contrasts. In eval mode; a last batch that is not full is left out,
    so that every one has as many negatives.
    """

    higher_is_better: ClassVar[bool] = False

    def __init__(self, *, batch_size: int) -> None:
        if batch_size < 2:
            raise ValueError(f"evaluation.pretext.batch_size is {batch_size}; it must be at least 2")
        self.batch_size = batch_size

    def __call__(self, objective: Objective, subject: Subject) -> Finding:  # type: ignore[type-arg]
        task = objective.to(subject.device)
        spec, test = subject.data.spec, subject.data.examples("test")
        size = min(self.batch_size, len(test.label))
        found: dict[str, list[torch.Tensor]] = defaultdict(list)
        with evaluating(task), seeded(subject.seed), torch.inference_mode():
            order = torch.randperm(len(test.label))  # as stored, a class may come after another
            for index in order[: len(order) // size * size].split(size):
                data = spec.to_input(test.data[index].to(subject.device))
                batch: Any = Batch(data, test.label[index].to(subject.device), index.to(subject.device))
                loss = task.loss(*task.split(batch))
                for name, value in {"loss": loss.value, **loss.logs}.items():
                    found[name].append(value.float())
        return Finding(
            metrics={name: torch.stack(values).mean().item() for name, values in found.items()},
            protocol={
                "evaluator": "its own task",
                "split": "test",
                "examples": len(order) // size * size,
                "batch_size": size,
                "seed": subject.seed,
            },
        )
