"""How likely test examples are under a latent variable model, as far as bounds tell."""

import math
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from ssl_runner.evaluation.subject import evaluating, seeded
from ssl_runner.figures import Lines
from ssl_runner.interfaces import Batch, Bounds, Finding, Inspection, Objective, Subject, TextSpec
from ssl_runner.nn.tokens import word_begins

ACTIVE = 0.01  # Burda et al. 2016: the variance of a latent's mean over examples above which it is in use


class Likelihood(Inspection):
    """Bound log p(y) of up to `examples` seeded examples of "test" from below, in nats per example.

        elbo = E_q[log w],   importance_weighted = E_q[log (w_1 + ... + w_K) / K],   w = p(y, z) / q(z | x)

    Burda, Grosse, Salakhutdinov 2016, "Importance Weighted Autoencoders", https://arxiv.org/abs/1509.00519; K is
    `samples`. Both are estimated by the same draws. Metrics: elbo, importance_weighted, kl (of all latents), and
    active_units: the latents whose mean varies over the examples by more than 0.01. For densities of continuous pixels
    the numbers may be above 0; only those of one dataset and one likelihood compare.

    Of text, whose first token is given: also perplexity_bound, e to the nats per token by importance_weighted, which is
    above what `perplexity` would say of this model; and perplexity_bound_word, the same nats shared out among the
    tokens that begin a word.
    """

    higher_is_better: ClassVar[bool] = True

    def __init__(self, *, samples: int, examples: int, batch_size: int) -> None:
        for key, value, least in (("samples", samples, 1), ("examples", examples, 2), ("batch_size", batch_size, 1)):
            if value < least:
                raise ValueError(f"evaluation.likelihood.{key} is {value}; it must be at least {least}")
        self.samples = samples
        self.examples = examples
        self.batch_size = batch_size

    def __call__(self, objective: Bounds, subject: Subject) -> Finding:
        task = cast(Objective[Any, Any], objective).to(subject.device)
        spec, test = subject.data.spec, subject.data.examples("test")
        elbo, weighted, means, kl = [], [], [], []
        with evaluating(task), seeded(subject.seed), torch.inference_mode():
            chosen = torch.randperm(len(test.label))[: self.examples]
            for index in chosen.split(self.batch_size):
                data = spec.to_input(test.data[index].to(subject.device))
                x, y = task.split(Batch(data, test.label[index].to(subject.device), index.to(subject.device)))
                log_weights = objective.log_weights(x, y, self.samples).cpu().double()
                elbo.append(log_weights.mean(dim=0))
                weighted.append(importance_weighted(log_weights))
                mean, deviation = objective.posterior(x)
                means.append(mean)
                kl.append(kl_divergence(Normal(mean, deviation), Normal(torch.zeros_like(mean), torch.ones_like(mean))))
        per_latent = torch.cat(kl).mean(dim=0)
        active = torch.cat(means).var(dim=0, correction=0) > ACTIVE
        metrics = {
            "elbo": _mean(elbo),
            "importance_weighted": _mean(weighted),
            "kl": per_latent.sum().item(),
            "active_units": float(active.sum()),
        }
        if isinstance(spec, TextSpec):
            metrics |= perplexities(-torch.cat(weighted).sum().item(), test.data[chosen].long(), spec)
        return Finding(
            metrics=metrics,
            protocol={
                "evaluator": "bounds on log p(y)",
                "unit": "nats per example",
                "split": "test",
                "examples": len(chosen),
                "samples": self.samples,
                "latents": len(per_latent),
                "seed": subject.seed,
            },
            figures={
                "KL by latent": Lines(
                    x=range(1, len(per_latent) + 1),
                    y={"KL": per_latent.sort(descending=True).values.tolist()},
                    x_label="latent, the most used first",
                    y_label="nats per example",
                    note="How much each number of the code says of the example; one at 0 says nothing.",
                )
            },
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


def _mean(parts: list[Tensor]) -> float:
    return torch.cat(parts).mean().item()
