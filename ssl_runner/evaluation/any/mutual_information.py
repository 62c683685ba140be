"""A bound on the mutual information of two views, with the true value where it is known."""

import math
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from ssl_runner.evaluation.any.subject import TOLD, batches, evaluating, seeded
from ssl_runner.figures import Lines
from ssl_runner.interfaces import Contrasts, Finding, Inspection, Objective, Subject, VectorSpec
from ssl_runner.results.metrics import Better, Metric, Protocol, Split, Unit


class MutualInformation(Inspection):
    """Bound I(view 1; view 2) from below on pairs of a split, with each given number of candidates N.

        bound_N = mean over examples i of  log( N e^{f(i, i)} / sum_{j of N, i among them} e^{f(i, j)} )       nats

    f is the objective's critic, as it is after training. van den Oord, Li, Vinyals 2018,
    https://arxiv.org/abs/1807.03748, section 2.3; Poole et al. 2019, https://arxiv.org/abs/1905.06922, section 2.3. In
    expectation at most I, and always at most log N. Metrics: bound, with each N, on test, and on val as far as it has
    so many examples; and truth, where the data's is known. Views are drawn as in training, under a fixed seed.
    """

    task_terms: ClassVar[frozenset[str] | None] = frozenset({"views"})  # which define the pair of variables

    def __init__(self, *, candidates: list[int]) -> None:
        if not candidates or min(candidates) < 2 or sorted(set(candidates)) != list(candidates):
            raise ValueError(
                f"evaluation.mutual_information.candidates is {list(candidates)}; it must ascend, from 2 or more"
            )
        self.candidates = candidates

    def __call__(self, objective: Contrasts, subject: Subject) -> Finding:
        spec, held = subject.data.spec, len(subject.data.examples("test").label)
        most = self.candidates[-1]
        if most > held:
            raise ValueError(
                f"evaluation.mutual_information.candidates has {most}; it must be at most the {held} examples of test"
            )
        metrics: list[Metric] = []
        measured: dict[str, Any] = {}
        for split in TOLD:
            found, measured[f"{split} examples"] = self._bounds(objective, subject, split)
            metrics += [
                Metric(
                    name="bound",
                    value=value,
                    unit=Unit.NATS,
                    better=Better.HIGHER,
                    headline=candidates == most,
                    split=split,
                    condition={"candidates": candidates},
                )
                for candidates, value in found.items()
            ]
        of_test = [each.value for each in metrics if each.split == "test"]
        lines = {"bound": of_test, "log N": [math.log(n) for n in self.candidates]}
        truth = spec.information if isinstance(spec, VectorSpec) else None
        if truth is not None:
            metrics.append(Metric(name="truth", value=truth, unit=Unit.NATS, better=Better.NEITHER))
            lines["truth"] = [truth] * len(of_test)
        return Finding(
            metrics,
            Protocol(
                terms={"method": "InfoNCE bound on mutual information"}, measured={**measured, "seed": subject.seed}
            ),
            {
                "bound": Lines(
                    self.candidates,
                    lines,
                    "candidates N",
                    "mutual information, nats",
                    log_x=True,
                    note="The critic's bound on the mutual information of two views, by the number of "
                    "candidates N; at most log N.",
                )
            },
        )

    def _bounds(self, objective: Contrasts, subject: Subject, split: Split) -> tuple[dict[int, float], int]:
        """By candidates, as far as the split has so many examples; and on how many examples."""
        task = cast(Objective[Any, Any], objective).to(subject.device)
        n = len(subject.data.examples(split).label)
        candidates = [each for each in self.candidates if each <= n]
        if not candidates:
            return {}, 0
        whole = n // candidates[-1] * candidates[-1]
        bounds = []
        with evaluating(task), seeded(subject.seed), torch.inference_mode():
            order = torch.randperm(n)[:whole]  # as stored, a class may come after another
            for batch in batches(subject, split, order, candidates[-1]):
                scores = objective.critic(task.split(batch)[0])
                bounds.append(torch.stack([bound(scores, each) for each in candidates]))
        return dict(zip(candidates, torch.stack(bounds).mean(dim=0).tolist(), strict=True)), whole


def bound(scores: Tensor, candidates: int) -> Tensor:
    """(B, B) scores of each first view with each second one -> (): the bound, B cut in groups of `candidates`."""
    whole = len(scores) // candidates * candidates
    groups = scores[:whole, :whole].double().unflatten(0, (-1, candidates)).unflatten(2, (-1, candidates))
    own = groups.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # (groups, N, N)
    return math.log(candidates) + (own.diagonal(dim1=1, dim2=2) - own.logsumexp(dim=2)).mean()
