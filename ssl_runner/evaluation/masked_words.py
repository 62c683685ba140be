"""How many hidden tokens of held-out text an objective fills in."""

from typing import Any, ClassVar, cast

import torch

from ssl_runner.evaluation.subject import evaluating, seeded
from ssl_runner.evaluation.text import token_counts
from ssl_runner.interfaces import (
    Batch,
    DataSpec,
    FillsIn,
    Finding,
    Inspection,
    Objective,
    Subject,
    TextSpec,
)


class MaskedWords(Inspection):
    """Hide tokens of up to `examples` examples of "test" as in training, always the same ones, and have them filled in.

    Metrics: accuracy, the part of the hidden tokens that is the most probable answer, and accuracy_most_frequent: of
    always answering the most frequent token of "train" (special ones apart), which is to be beaten. What is asked for
    but stays as it was (a tenth, in BERT) does not count: to copy it is no answer. How hard it is depends on what is
    hidden: only figures with the same objective's settings, tokens and vocabulary compare; the protocol says which part
    of the tokens was hidden, and of how many kinds they are.
    """

    reads: ClassVar[type[DataSpec]] = TextSpec
    higher_is_better: ClassVar[bool] = True

    def __init__(self, *, examples: int, batch_size: int, seed: int) -> None:
        for key, value in (("examples", examples), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"evaluation.masked_words.{key} is {value}; it must be at least 1")
        self.examples = examples
        self.batch_size = batch_size
        self.seed = seed

    def __call__(self, objective: FillsIn, subject: Subject) -> Finding:
        task = cast(Objective[Any, Any], objective).to(subject.device)
        spec, test = subject.data.spec, subject.data.examples("test")
        special = cast(TextSpec, spec).special
        ordinary = special.ordinary(cast(TextSpec, spec).vocabulary)
        frequent = int(ordinary[token_counts(subject)[ordinary].argmax()])
        hidden = right = most_frequent = tokens = 0
        with evaluating(task), seeded(self.seed), torch.inference_mode():
            chosen = torch.randperm(len(test.label))[: self.examples]
            for index in chosen.split(self.batch_size):
                data = spec.to_input(test.data[index].to(subject.device))
                x, y = task.split(Batch(data, test.label[index].to(subject.device), index.to(subject.device)))
                truth = objective.hidden(x, y)
                asked = truth != special.pad
                hidden += int(asked.sum())
                right += int(((objective.fill_in(x) == truth) & asked).sum())
                most_frequent += int((truth == frequent).sum())
                tokens += int((data != special.pad).sum())
        if not hidden:
            raise ValueError("no token of test was hidden: it has none but special ones")
        return Finding(
            metrics={"accuracy": right / hidden, "accuracy_most_frequent": most_frequent / hidden},
            protocol={
                "evaluator": "hidden tokens, those that stay apart",
                "split": "test",
                "examples": len(chosen),
                "hidden": f"{100 * hidden / tokens:.0f} %",
                "vocabulary": cast(TextSpec, spec).vocabulary,
                "seed": self.seed,
            },
        )
