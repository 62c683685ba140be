"""How much one view says of the other: a bound on their mutual information, beside the truth where it is known."""

import math
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from ssl_runner.evaluation.subject import evaluating, seeded
from ssl_runner.figures import Lines
from ssl_runner.interfaces import Batch, Contrasts, Finding, Inspection, Objective, Subject, VectorSpec


class MutualInformation(Inspection):
    """Bound I(view 1; view 2) from below on pairs of "test", with each given number of candidates N.

        bound_N = mean over examples i of  log( N e^{f(i, i)} / sum_{j of N, i among them} e^{f(i, j)} )       nats

    f is the objective's critic, as it is after training. van den Oord, Li, Vinyals 2018,
    https://arxiv.org/abs/1807.03748, section 2.3; Poole et al. 2019, https://arxiv.org/abs/1905.06922, section 2.3. In
    expectation at most I, and always at most log N. Metrics: bound (with the most candidates), truth (where the data's
    is known), and bound_N for each N. Views are drawn as in training, under a fixed seed.
    """

    higher_is_better: ClassVar[bool] = True

    def __init__(self, *, candidates: list[int]) -> None:
        if not candidates or min(candidates) < 2 or sorted(set(candidates)) != list(candidates):
            raise ValueError(
                f"evaluation.mutual_information.candidates is {list(candidates)}; it must ascend, from 2 or more"
            )
        self.candidates = candidates

    def __call__(self, objective: Contrasts, subject: Subject) -> Finding:
        task = cast(Objective[Any, Any], objective).to(subject.device)
        spec, test = subject.data.spec, subject.data.examples("test")
        most = self.candidates[-1]
        if most > len(test.label):
            raise ValueError(
                f"evaluation.mutual_information.candidates has {most}; it must be at most the {len(test.label)} "
                "examples of test"
            )
        bounds = []
        with evaluating(task), seeded(subject.seed), torch.inference_mode():
            order = torch.randperm(len(test.label))  # as stored, a class may come after another
            for index in order[: len(order) // most * most].split(most):
                data = spec.to_input(test.data[index].to(subject.device))
                x, _ = task.split(Batch(data, test.label[index].to(subject.device), index.to(subject.device)))
                scores = objective.critic(x)
                bounds.append(torch.stack([bound(scores, n) for n in self.candidates]))
        mean = torch.stack(bounds).mean(dim=0).tolist()
        truth = spec.information if isinstance(spec, VectorSpec) else None
        known = {} if truth is None else {"truth": truth}
        lines = {"bound": mean, "log N": [math.log(n) for n in self.candidates]}
        if truth is not None:
            lines["truth"] = [truth] * len(mean)
        return Finding(
            metrics={"bound": mean[-1]}
            | known
            | {f"bound_{n}": value for n, value in zip(self.candidates, mean, strict=True)},
            protocol={
                "evaluator": "InfoNCE bound on mutual information, nats",
                "split": "test",
                "examples": len(order) // most * most,
                "candidates": list(self.candidates),
                "seed": subject.seed,
            },
            figures={
                "bound": Lines(
                    self.candidates,
                    lines,
                    "candidates N",
                    "mutual information, nats",
                    log_x=True,
                    note="What the critic shows of one view in the other, among so many candidates; at most log N.",
                )
            },
        )


def bound(scores: Tensor, candidates: int) -> Tensor:
    """(B, B) scores of each first view with each second one -> (): the bound, B cut in groups of `candidates`."""
    whole = len(scores) // candidates * candidates
    groups = scores[:whole, :whole].double().unflatten(0, (-1, candidates)).unflatten(2, (-1, candidates))
    own = groups.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # (groups, N, N)
    return math.log(candidates) + (own.diagonal(dim1=1, dim2=2) - own.logsumexp(dim=2)).mean()
