"""A weighted sum of objectives on one encoder."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, DataSpec, Encoder, Loss, Objective
from ssl_runner.losses.precision import wide
from ssl_runner.results import metrics

Parts = tuple[Any, ...]  # an entry for each part, in the order of their names


class Sum(Objective[Parts, Parts]):
    """Learn several tasks of one example at once: each part is an objective with its own split and its own head.

        x = (x_1, ..., x_P),   y = (y_1, ..., y_P),   (x_p, y_p) = split_p(t)
        fixed:         loss = sum_p w_p loss_p
        uncertainty:   loss = sum_p exp(-s_p) loss_p + s_p / 2,   s_p learned, from -log w_p

    Doersch, Zisserman 2017, "Multi-task Self-Supervised Visual Learning", https://arxiv.org/abs/1708.07860, for the
    sum. Kendall, Gal, Cipolla 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
    Semantics", https://arxiv.org/abs/1705.07115, for weights that are learned, where s_p is the logarithm of a part's
    variance: at the minimum over s_p every part has the weight 1 / (2 loss_p), so that none outweighs another by its
    unit. That exists where the loss is positive, which -log p(y | x) of continuous y (`vae`) need not be.
    All parts train `encoder`, which is exported; a teacher that a part keeps is that part's alone. One backward pass
    is made of the sum, and a step costs as many passes through the encoder as the parts make together. Logs of a part
    carry its name (`rotation_accuracy`); `<part>_loss` is unweighted, `<part>_weight` of learned weights.
    Differs from the papers: parts see the same examples in each step, not each its own; one weight formula for all
    parts, not another one for regression, whose factor of 1/2 only shifts s_p.
    """

    def __init__(
        self,
        encoder: Encoder,
        spec: DataSpec,
        *,
        parts: Mapping[str, Objective[Any, Any]],
        weights: Mapping[str, float],
        weighting: Literal["fixed", "uncertainty"],
    ) -> None:
        super().__init__()
        check_parts(parts, weights)
        self.encoder = encoder
        self.parts = nn.ModuleDict(dict(parts))
        self.weights = {name: float(weights[name]) for name in parts}
        self.log_variance = None
        if weighting == "uncertainty":
            self.log_variance = nn.Parameter(torch.tensor([-math.log(weight) for weight in self.weights.values()]))
        tasks = self.combined().items()
        # What is a class's own of other objectives follows from the parts here.
        logged = {f"{name}_{log}": kind for name, task in tasks for log, kind in task.logged.items()}
        floors = {f"{name}_{log}": floor for name, task in tasks for log, floor in task.floors.items()}
        losses = {f"{name}_loss": metrics.Kind(better=metrics.Better.LOWER) for name in parts}
        self.logged = logged | losses  # type: ignore[misc]
        self.floors = floors  # type: ignore[misc]
        self.collapse = "; or ".join(f"of {name}, {task.collapse}" for name, task in tasks)  # type: ignore[misc]
        self.counts_examples = any(task.counts_examples for _, task in tasks)  # type: ignore[misc]

    def combined(self) -> Mapping[str, Objective[Any, Any]]:
        """The parts, in the order of x and y."""
        return {name: cast(Objective[Any, Any], task) for name, task in self.parts.items()}

    @property
    def second(self) -> Encoder | None:
        return next((task.second for task in self.combined().values() if task.second is not None), None)

    def split(self, batch: Batch) -> tuple[Parts, Parts]:
        drawn = [task.split(batch) for task in self.combined().values()]
        return tuple(x for x, _ in drawn), tuple(y for _, y in drawn)

    def shuffle(self, x: Parts, y: Parts) -> tuple[Parts, Parts]:
        """Each part's own, by a draw of its own."""
        drawn = [task.shuffle(*each) for task, *each in zip(self.combined().values(), x, y, strict=True)]
        return tuple(each for each, _ in drawn), tuple(each for _, each in drawn)

    def loss(self, x: Parts, y: Parts) -> Loss:
        tasks = self.combined()
        found = {name: task.loss(*each) for (name, task), *each in zip(tasks.items(), x, y, strict=True)}
        losses = torch.stack([wide(each.value) for each in found.values()])
        weights = self._weights(losses)
        value = (weights * losses).sum()
        logs: dict[str, Tensor] = {f"{name}_loss": each.value.detach() for name, each in found.items()}
        logs |= {f"{name}_{log}": each for name, part in found.items() for log, each in part.logs.items()}
        if self.log_variance is not None:
            value = value + self.log_variance.sum() / 2
            logs |= {f"{name}_weight": each for name, each in zip(tasks, weights.detach(), strict=True)}
        return Loss(value, logs, tuple(each.carry for each in found.values()))

    def after_step(self, carries: Sequence[Parts], progress: float) -> None:
        for place, task in enumerate(self.combined().values()):
            task.after_step([each[place] for each in carries], progress)

    def groups(self) -> list[dict[str, Any]]:
        """Those of all parts, one for each scale of the learning rate; the encoder is in the first that names it."""
        own = [] if self.log_variance is None else [self.log_variance]
        found: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): own}
        known: set[int] = set()
        for task in self.combined().values():
            for group in task.groups():
                new = [each for each in group["params"] if id(each) not in known]
                known |= {id(each) for each in new}
                found.setdefault((group.get("lr_scale", 1.0), group.get("scheduled", True)), []).extend(new)
        made = [
            {"params": params, "lr_scale": scale} | ({} if scheduled else {"scheduled": False})
            for (scale, scheduled), params in found.items()
        ]
        return [group for group in made if group["params"]]

    def frozen(self, progress: float) -> Sequence[nn.Parameter]:
        return [each for task in self.combined().values() for each in task.frozen(progress)]

    def _weights(self, losses: Tensor) -> Tensor:
        """(P,): of the parts, as learned or as set."""
        if self.log_variance is not None:
            return torch.exp(-self.log_variance.to(losses.dtype))
        return losses.new_tensor(list(self.weights.values()))


def check_parts(parts: Mapping[str, Objective[Any, Any]], weights: Mapping[str, Any]) -> None:
    """Raise ValueError unless there are parts that can be trained together, each with a weight above 0."""
    if not parts:
        raise ValueError('objective.parts is empty; choose the parts of the sum: "objective/parts=[rotation,simclr]"')
    if set(parts) != set(weights):
        raise ValueError(
            f"objective.weights is of {', '.join(weights) or 'no part'}; it must have a number for each part, and no "
            f"other: {', '.join(parts)} (+objective.weights.{next(iter(parts))}=1 adds one)"
        )
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise ValueError(
                f"objective.weights.{name} is {weight}; it must be a number above 0. A part without weight is left "
                "out of objective/parts"
            )
    for name, task in parts.items():
        if isinstance(task, Sum):
            raise ValueError(f"objective.parts.{name} is a sum itself; list its parts in objective/parts")
        if not task.trains:
            raise ValueError(f"objective.parts.{name} trains nothing; leave it out of objective/parts")
