"""Train a copy of an encoder, with a linear head, on labels.

n examples, D features, K classes, B batch.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_runner.evaluation.subject import evaluating, seeded, within_reach
from ssl_runner.interfaces import DataSpec, Encoder, Examples, SplitName, Subject

WARMUP = 0.1  # of the steps, linear


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long and how fast a network is trained."""

    epochs: int
    least_steps: int  # batches; more epochs where these have fewer
    batch_size: int  # examples; all where there are fewer
    learning_rate: float  # at its peak
    weight_decay: float

    def check(self, key: str) -> None:
        """Raise ValueError for numbers out of range; `key` is the evaluator's in the config: "evaluation.finetune"."""
        for name, value, least in (
            ("epochs", self.epochs, 1),
            ("least_steps", self.least_steps, 1),
            ("batch_size", self.batch_size, 2),
            ("weight_decay", self.weight_decay, 0),
        ):
            if value < least:
                raise ValueError(f"{key}.{name} is {value}; it must be at least {least}")
        if self.learning_rate <= 0:
            raise ValueError(f"{key}.learning_rate is {self.learning_rate}; it must be above 0")

    def steps(self, n: int) -> int:
        """Batches in all, of `n` examples. Whole batches only: BatchNorm cannot train on one example."""
        return max(self.least_steps, self.epochs * (n // min(self.batch_size, n)))


class ReadPooled(nn.Module):
    """What a head reads of an encoder: the features of an example, (B, ...) -> (B, D)."""

    def forward(self, encoder: Encoder, x: Tensor) -> Tensor:
        return encoder(within_reach(encoder, x)).pooled


class Classifier(nn.Module):
    """An encoder, standardisation by statistics of `frozen` features (n, D), a linear head that starts at zero.

    `read`: what the head reads of the encoder, as `ReadPooled` does: (B, D), or (B, T, D) of its tokens; what it learns
    is trained too.
    """

    def __init__(self, encoder: nn.Module, frozen: Tensor, classes: int, read: nn.Module | None = None) -> None:
        super().__init__()
        std, mean = torch.std_mean(frozen, dim=0, correction=0)
        self.encoder = encoder.requires_grad_(True)
        self.read = ReadPooled() if read is None else read
        self.register_buffer("mean", mean)
        self.register_buffer("std", torch.where(std > 1e-6 * mean.abs(), std, 1.0))
        self.head = nn.Linear(frozen.shape[1], classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) as input -> (B, K) logits, or (B, T, K) of tokens"""
        return self.head((self.read(self.encoder, x) - self.mean) / self.std)


def fine_tune(subject: Subject, examples: Examples, recipe: Recipe) -> Classifier:
    """Train a copy of the subject's encoder with a linear head on `examples`, labelled ones of "train".

    AdamW (no decay of biases and norms), warm-up over a tenth of the steps, cosine decay to 0; float32; no
    augmentation. The head reads `pooled`, standardised by the frozen encoder's statistics on all of "train", for which
    no label is read, and starts at zero. All draws follow from the subject's seed. Raises ValueError for fewer than two
    examples, and where the loss is no longer a number.
    """
    if len(examples.label) < 2:
        raise ValueError(f"{len(examples.label)} labelled example is too few to fine-tune on; it takes two at least")
    spec, frozen = subject.data.spec, subject.features("train").data
    with seeded(subject.seed):
        network = Classifier(copy.deepcopy(subject.encoder), frozen, spec.classes).to(subject.device)
        train(network, spec, examples, recipe, subject.device)
    return network


def train(
    network: nn.Module,
    spec: DataSpec,
    examples: Examples,
    recipe: Recipe,
    device: torch.device,
    loss_of: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> None:
    """Minimise the loss of a network's outputs and the labels, in place: the cross-entropy, or another."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
    n = len(examples.label)
    size, steps = min(recipe.batch_size, n), recipe.steps(n)
    network.train()
    for step in range(steps):
        place = step % (n // size)
        if place == 0:
            order = torch.randperm(n)
        chosen = order[place * size : (place + 1) * size]
        x, y = spec.to_input(examples.data[chosen].to(device)), examples.label[chosen].to(device)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * pace((step + 1) / steps)
        loss = loss_of(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if not loss.isfinite():
        raise ValueError(
            f"fine-tuning diverged (the loss is {loss.item()}); set a learning_rate below {recipe.learning_rate}"
        )


def pace(progress: float) -> float:
    """The share of the learning rate at `progress` in (0, 1]."""
    if progress < WARMUP:
        return progress / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (progress - WARMUP) / (1 - WARMUP)))


def accuracy(network: nn.Module, subject: Subject, split: SplitName, batch_size: int) -> float:
    """The share of a split's examples that a network's logits name, in eval mode."""
    examples = subject.data.examples(split)
    right = 0
    with evaluating(network), torch.inference_mode():
        for data, label in zip(examples.data.split(batch_size), examples.label.split(batch_size), strict=True):
            logits = network(subject.data.spec.to_input(data.to(subject.device)))
            right += int((logits.argmax(dim=1).cpu() == label).sum())
    return right / len(examples.label)
