"""Bounds on the likelihood of test examples under a latent variable model."""

import math
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from ssl_runner.evaluation.any.subject import TOLD, batches, evaluating, seeded
from ssl_runner.figures import Lines
from ssl_runner.interfaces import Bounds, Finding, Inspection, Objective, Subject, TextSpec
from ssl_runner.nn.tokens import word_begins
from ssl_runner.results.metrics import (
    Better,
    Metric,
    Protocol,
    Split,
    Unit,
    description,
)

ACTIVE = 0.01  # Burda et al. 2016: the variance of a latent's mean over examples above which it is in use


class Bounded(NamedTuple):
    """Results for m examples of a split."""

    chosen: Tensor  # (m,) their places
    elbo: float  # nats per example
    weighted: Tensor  # (m,) nats
    kl: Tensor  # (L,) nats per example of each latent
    active: int  # latents


class Likelihood(Inspection):
    """Bound log p(y) of up to `examples` seeded examples of a split from below, in nats per example.

        elbo = E_q[log w],   importance_weighted = E_q[log (w_1 + ... + w_K) / K],   w = p(y, z) / q(z | x)

    Burda, Grosse, Salakhutdinov 2016, "Importance Weighted Autoencoders", https://arxiv.org/abs/1509.00519; K is
    `samples`. Both are estimated by the same draws. Metrics, on test and val: elbo, importance_weighted, kl (of all
    latents), and active_units: the latents whose mean varies over the examples by more than 0.01. For densities of
    continuous pixels the numbers may be above 0; only those of one dataset and one density compare, which is a term.

    Of text, whose first token is given: also perplexity_bound, e to the nats per token by importance_weighted, which is
    above what `perplexity` would say of this model; and perplexity_bound_word, the same nats shared out among the
    tokens that begin a word.
    """

    def __init__(self, *, samples: int, examples: int, batch_size: int) -> None:
        for key, value, least in (("samples", samples, 1), ("examples", examples, 2), ("batch_size", batch_size, 1)):
            if value < least:
                raise ValueError(f"evaluation.likelihood.{key} is {value}; it must be at least {least}")
        self.samples = samples
        self.examples = examples
        self.batch_size = batch_size

    def __call__(self, objective: Bounds, subject: Subject) -> Finding:
        spec = subject.data.spec
        metrics: list[Metric] = []
        bounded = {split: self._bound(objective, subject, split) for split in TOLD}
        for split, found in bounded.items():
            nats = partial(Metric, unit=Unit.NATS, split=split)
            metrics += [
                nats(name="elbo", value=found.elbo, better=Better.HIGHER, headline=True),
                nats(name="importance_weighted", value=found.weighted.mean().item(), better=Better.HIGHER),
                nats(name="kl", value=found.kl.sum().item(), better=Better.NEITHER),
                description("active_units", float(found.active), split=split),
            ]
            if isinstance(spec, TextSpec):
                texts = subject.data.examples(split).data[found.chosen].long()
                of_text = perplexities(-found.weighted.sum().item(), texts, spec)
                lower = partial(Metric, unit=Unit.PLAIN, better=Better.LOWER, split=split)
                metrics += [lower(name=name, value=value) for name, value in of_text.items()]
        per_latent = bounded["test"].kl
        return Finding(
            metrics,
            Protocol(
                terms={"method": "bounds on log p(y)", "density": dict(objective.density())},
                measured={
                    **{f"{split} examples": len(found.chosen) for split, found in bounded.items()},
                    "latents": len(per_latent),
                    "seed": subject.seed,
                },
            ),
            {
                "KL by latent": Lines(
                    x=range(1, len(per_latent) + 1),
                    y={"KL": per_latent.sort(descending=True).values.tolist()},
                    x_label="latent, the most used first",
                    y_label="nats per example",
                    note="Information of each latent dimension about the example; a dimension at 0 carries none.",
                )
            },
        )

    def _bound(self, objective: Bounds, subject: Subject, split: Split) -> Bounded:
        task = cast(Objective[Any, Any], objective).to(subject.device)
        elbo, weighted, means, kl = [], [], [], []
        with evaluating(task), seeded(subject.seed), torch.inference_mode():
            chosen = torch.randperm(len(subject.data.examples(split).label))[: self.examples]
            for batch in batches(subject, split, chosen, self.batch_size):
                x, y = task.split(batch)
                log_weights = objective.log_weights(x, y, self.samples).cpu().double()
                elbo.append(log_weights.mean(dim=0))
                weighted.append(importance_weighted(log_weights))
                mean, deviation = objective.posterior(x)
                means.append(mean)
                kl.append(kl_divergence(Normal(mean, deviation), Normal(torch.zeros_like(mean), torch.ones_like(mean))))
        active = torch.cat(means).var(dim=0, correction=0) > ACTIVE
        return Bounded(
            chosen=chosen,
            elbo=torch.cat(elbo).mean().item(),
            weighted=torch.cat(weighted),
            kl=torch.cat(kl).mean(dim=0),
            active=int(active.sum()),
        )


def importance_weighted(log_weights: Tensor) -> Tensor:
    """log of the mean of K weights, (K, B) -> (B,): with K = 1 the weight itself, never below the mean of the logs."""
    return log_weights.logsumexp(dim=0) - math.log(len(log_weights))


def perplexities(nats: float, texts: Tensor, spec: TextSpec) -> dict[str, float]:
    """e^(nats / tokens) and e^(nats / words) of texts (n, T); the first token of each is given, padding is none."""
    following = texts[:, 1:]
    found = {"perplexity_bound": math.exp(nats / max(int((following != spec.special.pad).sum()), 1))}
    if spec.starts:
        word = ~spec.special.among(following) | (following == spec.special.unk)
        ends = torch.tensor(spec.ends) if spec.ends else torch.zeros(spec.vocabulary).bool()
        ends[list(spec.special.ids)] = True
        begins = word_begins(texts, torch.tensor(spec.starts), ends)[:, 1:] & word
        found["perplexity_bound_word"] = math.exp(nats / max(int(begins.sum()), 1))
    return found
