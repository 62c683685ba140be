"""What the bound of a latent variable model leaves: log p = ELBO + KL, each part by itself."""

from functools import partial
from typing import Any, cast

import torch

from ssl_runner.evaluation.any.subject import TOLD, batches, evaluating, seeded
from ssl_runner.interfaces import Decomposes, Finding, Inspection, Objective, Parts, Subject, VectorSpec
from ssl_runner.nn.linear_gaussian import log_density
from ssl_runner.results.metrics import Better, Metric, Protocol, Split, Unit


class Gap(Inspection):
    """Decompose log p of up to `examples` seeded examples of a split: log p = ELBO + KL(q || posterior), nats.

        elbo = E_q[log p(y, z) - log q(z)],   kl_to_posterior = E_q[log q(z) - log p(z | y)]

    Both by the same draws of z, `samples` an example, or exactly where z takes few values; `error` is the largest
    difference between log p and their sum. `log_p_data` is the mean log density of the distribution that the data are
    from, where it is known (`dataset=linear_gaussian`): no model is above it but by chance. Neal, Hinton 1998, "A View
    of the EM Algorithm", https://doi.org/10.1007/978-94-011-5014-9_12.
    """

    def __init__(self, *, samples: int, examples: int, batch_size: int) -> None:
        for key, value in (("samples", samples), ("examples", examples), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"evaluation.gap.{key} is {value}; it must be at least 1")
        self.samples = samples
        self.examples = examples
        self.batch_size = batch_size

    def __call__(self, objective: Decomposes, subject: Subject) -> Finding:
        metrics: list[Metric] = []
        measured: dict[str, Any] = {"seed": subject.seed, "q": objective.family()}
        for split in TOLD:
            parts, data = self._parts(objective, subject, split)
            nats = partial(Metric, unit=Unit.NATS, split=split)
            metrics += [
                nats(name="log_p", value=parts.log_p.mean().item(), better=Better.HIGHER, headline=True),
                nats(name="elbo", value=parts.elbo.mean().item(), better=Better.HIGHER, headline=True),
                nats(name="kl_to_posterior", value=parts.kl.mean().item(), better=Better.LOWER),
            ]
            if data is not None:
                metrics.append(nats(name="log_p_data", value=data, better=Better.NEITHER))
            measured |= {
                f"{split} examples": len(parts.log_p),
                f"{split} error": round((parts.log_p - parts.elbo - parts.kl).abs().max().item(), 6),
            }
        return Finding(metrics, Protocol(terms={"method": "log p = ELBO + KL"}, measured=measured))

    def _parts(self, objective: Decomposes, subject: Subject, split: Split) -> tuple[Parts, float | None]:
        """Of the chosen examples; and the mean of log p of what the data are from."""
        task = cast(Objective[Any, Any], objective).to(subject.device)
        spec = subject.data.spec
        known = spec.linear if isinstance(spec, VectorSpec) else None
        found, truth = [], []
        with evaluating(task), seeded(subject.seed), torch.inference_mode():
            chosen = torch.randperm(len(subject.data.examples(split).label))[: self.examples]
            for batch in batches(subject, split, chosen, self.batch_size):
                found.append(
                    Parts(*(each.cpu().double() for each in objective.decompose(*task.split(batch), self.samples)))
                )
                if known is not None:
                    values = batch.data.flatten(1).cpu().double()
                    loadings, mean = (torch.tensor(each).double() for each in (known.loadings, known.mean))
                    truth.append(log_density(values, loadings, mean, known.deviation))
        whole = Parts(*(torch.cat(each) for each in zip(*found, strict=True)))
        return whole, torch.cat(truth).mean().item() if truth else None
