"""Texts decoded from latent codes: reconstructions, interpolations, and samples from the prior."""

from typing import Any, ClassVar, cast

import torch
from tokenizers import Tokenizer
from torch import Tensor

from ssl_runner.evaluation.any.subject import batches, evaluating, seeded
from ssl_runner.evaluation.text.tokens import readable
from ssl_runner.figures import Passages
from ssl_runner.interfaces import (
    Bounds,
    DataSpec,
    Finding,
    Inspection,
    Objective,
    Subject,
    TextSpec,
    Writes,
)
from ssl_runner.nn.tokens import tokenizer_fingerprint
from ssl_runner.results.metrics import Better, Metric, Protocol, Split, share


class TextInterpolation(Inspection):
    """Encode up to `examples` seeded examples of a split and decode each from its code, greedily.

    Metrics, on test and val: token_accuracy, the part of the tokens (after the first, padding apart) at whose place
    stands the same in the text that was written; token_accuracy_of_another, of texts that were written from the code of
    the example before it: what a decoder reaches that does not read the code, and to be beaten. Once, where codes have
    a prior: distinct_samples, the part of texts written from draws of it that no other one equals, 0 if all codes say
    the same. Text: `steps` texts on the straight line from code to code, for `pairs` pairs of examples, and `samples`
    of the prior. `batch_size` is a term of the protocol: what an objective hides is drawn batch by batch. Bowman et al.
    2016, "Generating Sentences from a Continuous Space", https://arxiv.org/abs/1511.06349, section 5.3; there the texts
    between are the sign by which a variational autoencoder differs from one without a prior.
    """

    reads: ClassVar[type[DataSpec]] = TextSpec
    presentation: ClassVar[frozenset[str]] = frozenset({"pairs", "steps", "samples"})  # what is shown

    def __init__(self, *, examples: int, pairs: int, steps: int, samples: int, batch_size: int) -> None:
        least = (("examples", examples, 2), ("pairs", pairs, 1), ("steps", steps, 2), ("samples", samples, 2))
        for key, value, low in (*least, ("batch_size", batch_size, 1)):
            if value < low:
                raise ValueError(f"evaluation.text_interpolation.{key} is {value}; it must be at least {low}")
        self.examples = examples
        self.pairs = pairs
        self.steps = steps
        self.samples = samples
        self.batch_size = batch_size

    def __call__(self, objective: Writes, subject: Subject) -> Finding:
        task = cast(Objective[Any, Any], objective).to(subject.device)
        spec = cast(TextSpec, subject.data.spec)
        metrics: list[Metric] = []
        counts = {}
        for split in ("val", "test"):  # the last one's texts are shown
            with evaluating(task), seeded(subject.seed), torch.inference_mode():
                truth, z = self._codes(task, objective, subject, split)
                written = self._write(objective, z)
            counts[f"{split} examples"] = len(z)
            another = token_accuracy(written.roll(1, 0), truth, spec.special.pad)
            metrics += [
                share("token_accuracy", token_accuracy(written, truth, spec.special.pad), split=split, headline=True),
                share("token_accuracy_of_another", another, split=split, better=Better.NEITHER),
            ]
        with evaluating(task), seeded(subject.seed), torch.inference_mode():
            pairs = min(self.pairs, len(z) // 2)
            part = torch.linspace(0, 1, self.steps, device=z.device)[:, None, None]
            between = ((1 - part) * z[:pairs] + part * z[pairs : 2 * pairs]).flatten(0, 1)
            lines = self._write(objective, between).unflatten(0, (self.steps, pairs))
            drawn = self._write(objective, torch.randn_like(z)) if isinstance(objective, Bounds) else None
        tokenizer = Tokenizer.from_str(spec.tokenizer)

        def read(texts: Tensor) -> list[str]:
            return [readable(tokenizer, text, spec.special) for text in texts.tolist()]

        figures = {
            "between two sentences": Passages(
                {
                    "one": read(truth[:pairs]),
                    **{f"{100 * i / (self.steps - 1):.0f} %": read(step) for i, step in enumerate(lines)},
                    "the other": read(truth[pairs : 2 * pairs]),
                },
                note="Two test sentences, and texts decoded along the straight line between their codes.",
            )
        }
        if drawn is not None:
            metrics.append(share("distinct_samples", distinct(drawn)))
            figures["samples from the prior"] = Passages(
                {"sample": read(drawn[: self.samples])},
                note="Texts decoded from codes drawn from the prior.",
            )
        return Finding(
            metrics,
            Protocol(
                terms={
                    "method": "texts written from codes",
                    "compared": "tokens by their places",
                    "tokenizer": tokenizer_fingerprint(spec),
                },
                measured={**counts, "seed": subject.seed},
            ),
            figures,
        )

    def _codes(
        self, task: Objective[Any, Any], objective: Writes, subject: Subject, split: Split
    ) -> tuple[Tensor, Tensor]:
        """(n, T) texts of a split and (n, L) their codes."""
        tokens, codes = [], []
        chosen = torch.randperm(len(subject.data.examples(split).label))[: self.examples]
        for batch in batches(subject, split, chosen, self.batch_size):
            x, _ = task.split(batch)
            tokens.append(batch.data)
            codes.append(objective.encode(x).float())
        return torch.cat(tokens), torch.cat(codes)

    def _write(self, objective: Writes, codes: Tensor) -> Tensor:
        return torch.cat([objective.write(part) for part in codes.split(self.batch_size)])


def token_accuracy(written: Tensor, truth: Tensor, pad: int) -> float:
    """(n, T) each: the part of the truth's tokens, the first and padding apart, that are written at their places."""
    asked = truth[:, 1:] != pad
    return ((written[:, 1:] == truth[:, 1:]) & asked).sum().item() / max(asked.sum().item(), 1)


def distinct(texts: Tensor) -> float:
    """(n, T): the share of texts that equal no other one."""
    _, count = texts.unique(dim=0, return_counts=True)
    return (count == 1).sum().item() / len(texts)
