"""How much does the gradient of a step vary with what the task draws?"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ssl_runner.evaluation.any.subject import TOLD, batches, evaluating, seeded
from ssl_runner.interfaces import Finding, Inspection, Objective, Subject
from ssl_runner.results.metrics import Better, Metric, Protocol, Split, Unit


class GradientVariance(Inspection):
    """The variance of the gradient of the loss over the draws of `Objective.split`, on one batch of a split.

        variance = E |g - E g|^2,   norm = |E g|,   g: by the encoder's weights, E over `draws` draws of x, y

    The batch stays, so that what varies is the task's own: which latents, masks or views are drawn. Unbiased, in eval
    mode and float32, at the end of training. It compares objectives whose losses estimate the same number, as those of
    the families of q of one ELBO do. Ranganath, Gerrish, Blei 2014, "Black Box Variational Inference",
    https://arxiv.org/abs/1401.0118, section 3.
    """

    def __init__(self, *, draws: int, batch_size: int) -> None:
        if draws < 2:
            raise ValueError(f"evaluation.gradient_variance.draws is {draws}; it must be at least 2")
        if batch_size < 2:
            raise ValueError(f"evaluation.gradient_variance.batch_size is {batch_size}; it must be at least 2")
        self.draws = draws
        self.batch_size = batch_size

    def __call__(self, objective: Objective, subject: Subject) -> Finding:  # type: ignore[type-arg]
        if not objective.trains:
            raise ValueError(
                "this objective follows no gradient, which gradient_variance measures; omit that evaluation"
            )
        metrics: list[Metric] = []
        measured: dict[str, Any] = {"seed": subject.seed}
        for split in TOLD:
            variance, norm = self._moments(objective, subject, split)
            plain = partial(Metric, unit=Unit.PLAIN, split=split)
            metrics.append(plain(name="variance", value=variance, better=Better.LOWER, headline=True))
            metrics.append(plain(name="norm", value=norm, better=Better.NEITHER))
            measured[f"{split} examples"] = min(self.batch_size, len(subject.data.examples(split).label))
        return Finding(metrics, Protocol(terms={"method": "gradients of one batch"}, measured=measured))

    def _moments(self, objective: Objective[Any, Any], subject: Subject, split: Split) -> tuple[float, float]:
        """The variance of the gradient, and the norm of its mean."""
        task = objective.to(subject.device)
        weights = [each for each in task.encoder.parameters() if each.requires_grad]
        if not weights:
            raise ValueError("no weight of the encoder is trained; omit gradient_variance")
        with evaluating(task), seeded(subject.seed), torch.enable_grad():
            chosen = torch.randperm(len(subject.data.examples(split).label))[: self.batch_size]
            batch = next(iter(batches(subject, split, chosen, self.batch_size)))
            mean = torch.zeros(sum(each.numel() for each in weights), device=subject.device)
            squares = torch.zeros((), device=subject.device)
            for place in range(1, self.draws + 1):  # Welford 1962: each draw moves the mean and the sum of squares
                found = _gradient(task, *task.split(batch), weights)
                apart = found - mean
                mean = mean + apart / place
                squares = squares + (apart * (found - mean)).sum()
        return squares.item() / (self.draws - 1), mean.norm().item()


def _gradient(task: Objective[Any, Any], x: Any, y: Any, weights: Sequence[Tensor]) -> Tensor:
    """(P,): the gradient of the loss by all weights, 0 by those that it does not depend on."""
    found = torch.autograd.grad(task.loss(x, y).value, weights, allow_unused=True)
    parts = [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]
    return torch.cat([each.flatten() for each in parts]).float()
