"""Accuracy of masked-token prediction on held-out text."""

from typing import Any, ClassVar, NamedTuple, cast

import torch

from ssl_runner.evaluation.any.subject import TOLD, batches, evaluating, seeded
from ssl_runner.evaluation.text.tokens import token_counts
from ssl_runner.interfaces import (
    DataSpec,
    FillsIn,
    Finding,
    Inspection,
    Objective,
    Subject,
    TextSpec,
)
from ssl_runner.nn.tokens import tokenizer_fingerprint
from ssl_runner.results.metrics import Better, Metric, Protocol, Split, share


class Counts(NamedTuple):
    """Counts of a split: examples, tokens, masked tokens, and correct ones of these."""

    examples: int
    tokens: int
    hidden: int
    right: int
    frequent: int  # the most frequent token of train


class MaskedWords(Inspection):
    """Hide tokens of up to `examples` examples of a split as in training, always the same ones; have them filled in.

    Metrics, on test and val: accuracy, the part of the hidden tokens that is the most probable answer, and
    accuracy_most_frequent: of always answering the most frequent token of "train" (special ones apart), which is to be
    beaten. What is asked for but stays as it was (a tenth, in BERT) does not count: to copy it is no answer. How hard
    it is depends on what is hidden and on the tokens, which are terms of the protocol; it says too which part of the
    tokens was hidden. `batch_size` is one as well: what is hidden is drawn batch by batch.
    """

    reads: ClassVar[type[DataSpec]] = TextSpec

    def __init__(self, *, examples: int, batch_size: int, seed: int) -> None:
        for key, value in (("examples", examples), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"evaluation.masked_words.{key} is {value}; it must be at least 1")
        self.examples = examples
        self.batch_size = batch_size
        self.seed = seed

    def __call__(self, objective: FillsIn, subject: Subject) -> Finding:
        spec = cast(TextSpec, subject.data.spec)
        ordinary = spec.special.ordinary(spec.vocabulary)
        frequent = int(ordinary[token_counts(subject)[ordinary].argmax()])
        counts = {split: self._count(objective, subject, split, frequent) for split in TOLD}
        metrics: list[Metric] = []
        for split, found in counts.items():
            metrics += [
                share("accuracy", found.right / found.hidden, split=split, headline=True),
                share("accuracy_most_frequent", found.frequent / found.hidden, split=split, better=Better.NEITHER),
            ]
        return Finding(
            metrics,
            Protocol(
                terms={
                    "method": "hidden tokens, those that stay apart",
                    "hides": dict(objective.hides()),
                    "tokenizer": tokenizer_fingerprint(spec),
                },
                measured={
                    **{f"{split} examples": found.examples for split, found in counts.items()},
                    "hidden": round(counts["test"].hidden / counts["test"].tokens, 4),
                    "vocabulary": spec.vocabulary,
                },
            ),
        )

    def _count(self, objective: FillsIn, subject: Subject, split: Split, frequent: int) -> Counts:
        """Of one split. `frequent`: the most frequent token. Raises ValueError where nothing can be hidden."""
        task = cast(Objective[Any, Any], objective).to(subject.device)
        special = cast(TextSpec, subject.data.spec).special
        hidden = right = most_frequent = tokens = 0
        with evaluating(task), seeded(self.seed), torch.inference_mode():
            chosen = torch.randperm(len(subject.data.examples(split).label))[: self.examples]
            for batch in batches(subject, split, chosen, self.batch_size):
                x, y = task.split(batch)
                truth = objective.hidden(x, y)
                asked = truth != special.pad
                hidden += int(asked.sum())
                right += int(((objective.fill_in(x) == truth) & asked).sum())
                most_frequent += int((truth == frequent).sum())
                tokens += int((batch.data != special.pad).sum())
        if not hidden:
            raise ValueError(f"no token of {split} was masked: it has only special tokens")
        return Counts(len(chosen), tokens, hidden, right, most_frequent)
