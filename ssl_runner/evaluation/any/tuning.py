"""Train a copy of an encoder, with a linear head, on labels.

n examples, D features, K classes, B batch.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from ssl_runner.data.any.progress import tracked
from ssl_runner.evaluation.any.accuracies import accuracies
from ssl_runner.evaluation.any.subject import (
    TOLD,
    batches,
    evaluating,
    extract,
    seeded,
    within_reach,
)
from ssl_runner.interfaces import DataSpec, Encoder, Examples, Subject, Views
from ssl_runner.nn.depth import rate_scales
from ssl_runner.results.metrics import Metric, Split

WARMUP = 0.1  # of the steps, linear


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hyperparameters of fine-tuning."""

    epochs: int
    least_steps: int  # batches; more epochs where these have fewer
    batch_size: int  # examples; all where there are fewer
    learning_rate: float  # at its peak
    weight_decay: float
    layer_decay: float  # learning rate of each block of the encoder, as a multiple of the next one's

    def check(self, key: str) -> None:
        """Raise ValueError for numbers out of range; `key`: that of the recipe, "evaluation.glue.recipe"."""
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
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"{key}.layer_decay is {self.layer_decay}; it must lie in (0, 1]; 1: all layers alike")

    def steps(self, n: int) -> int:
        """Batches in all, of `n` examples. Whole batches only: BatchNorm cannot train on one example."""
        return max(self.least_steps, self.epochs * (n // min(self.batch_size, n)))


class ReadPooled(nn.Module):
    """The input of a head: the pooled features of an example, (B, ...) -> (B, D)."""

    def forward(self, encoder: Encoder, x: Tensor) -> Tensor:
        return encoder(within_reach(encoder, x)).pooled


class Classifier(nn.Module):
    """An encoder, standardization by statistics of `frozen` features (n, D), a linear head that starts at zero.

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


class Start(NamedTuple):
    """The starting point of fine-tuning."""

    encoder: Encoder
    features: Tensor  # (n, D): `pooled` of "train", by which the head's input is standardized


def calibrated(subject: Subject, recipe: Recipe) -> Start:
    """A copy of the subject's encoder whose batch normalization has the statistics of all of "train", and its features.

    No label is read. A random start has means 0 and variances 1 instead, by which its features are of another size than
    those that it has in training: a head standardized by them would learn at another pace. One pass in train mode gives
    each batch the same weight. An encoder without batch normalization is taken as it is.
    """
    if not any(isinstance(part, _BatchNorm) and part.track_running_stats for part in subject.encoder.modules()):
        return Start(subject.encoder, subject.features("train").data)
    spec, data = subject.data.spec, subject.data.examples("train").data
    encoder = copy.deepcopy(subject.encoder)
    size = min(recipe.batch_size, len(data))
    with seeded(subject.seed):
        order = torch.randperm(len(data))[: len(data) // size * size]
        update_bn((spec.to_input(data[chosen].to(subject.device)) for chosen in order.split(size)), encoder)
    features = extract(encoder, spec, data, device=subject.device, batch_size=recipe.batch_size)
    return Start(encoder, features["pooled"])


def fine_tune(
    subject: Subject, start: Start, examples: Examples, recipe: Recipe, views: Views | None = None
) -> Classifier:
    """Train a copy of the encoder that is started from, with a linear head, on `examples`, labeled ones of "train".

    AdamW (no decay of biases and norms), warm-up over a tenth of the steps, cosine decay to 0; float32. The head reads
    `pooled`, standardized by the start's statistics, and starts at zero. With `views` a batch is all views of its
    examples. All draws follow from the subject's seed. Raises ValueError for fewer than two examples, and where the
    loss is no longer a number.
    """
    if len(examples.label) < 2:
        raise ValueError(f"{len(examples.label)} labeled example is too few for fine-tuning; at least two are needed")
    spec = subject.data.spec
    with seeded(subject.seed):
        network = Classifier(copy.deepcopy(start.encoder), start.features, spec.classes).to(subject.device)
        train(network, spec, examples, recipe, subject.device, views=views)
    return network


def train(
    network: nn.Module,
    spec: DataSpec,
    examples: Examples,
    recipe: Recipe,
    device: torch.device,
    loss_of: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    views: Views | None = None,
    also: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Minimize the loss of a network's outputs and the labels, in place: the cross-entropy, or another.

    `views`: what the network reads of the examples, each view with the label of its example; None: themselves.
    `also`: input (B, ...) -> a loss that is added, ().
    """

    def loss_at(chosen: Tensor) -> Tensor:
        x, y = spec.to_input(examples.data[chosen].to(device)), examples.label[chosen].to(device)
        if views is not None:
            drawn = views(x)
            x, y = drawn.flatten(0, 1), y.repeat(len(drawn))
        value = loss_of(network(x), y)
        return value if also is None else value + also(x)

    minimize(network, recipe, len(examples.label), loss_at)


def minimize(network: nn.Module, recipe: Recipe, n: int, loss_at: Callable[[Tensor], Tensor]) -> None:
    """Minimize a loss over `n` examples, in place.

    `loss_at`: the places of a batch's examples, (B,) int64 on the CPU, -> the loss, (). AdamW (no decay of biases and
    norms), each epoch in an order of its own, warm-up over a tenth of the steps, cosine decay to 0. Raises ValueError
    where the loss is no longer a number.
    """
    optimizer = torch.optim.AdamW(_groups(network, recipe), lr=recipe.learning_rate)
    size, steps = min(recipe.batch_size, n), recipe.steps(n)
    network.train()
    for step in tracked(range(steps), "training"):
        place = step % (n // size)
        if place == 0:
            order = torch.randperm(n)
        for group in optimizer.param_groups:
            group["lr"] = group["scale"] * recipe.learning_rate * pace((step + 1) / steps)
        loss = loss_at(order[place * size : (place + 1) * size])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if not loss.isfinite():
        raise ValueError(
            f"fine-tuning diverged (the loss is {loss.item()}); set a learning_rate below {recipe.learning_rate}"
        )


def _groups(network: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """The parameters that learn, by the scale of their learning rate and whether they are decayed. Raises ValueError
    where layers cannot be told apart."""
    scales: dict[nn.Parameter, float] = {}
    if recipe.layer_decay != 1:
        try:
            scales = rate_scales(getattr(network, "encoder", network), recipe.layer_decay)
        except ValueError as error:
            raise ValueError(f"the recipe's layer_decay is {recipe.layer_decay}, and {error}: set it to 1") from error
    found: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            found.setdefault((parameter.ndim <= 1, scales.get(parameter, 1.0)), []).append(parameter)
    decay = recipe.weight_decay
    return [
        {"params": found[plain, scale], "weight_decay": 0.0 if plain else decay, "scale": scale}
        for plain, scale in sorted(found)
    ]


def pace(progress: float) -> float:
    """The share of the learning rate at `progress` in (0, 1]."""
    if progress < WARMUP:
        return progress / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (progress - WARMUP) / (1 - WARMUP)))


def tuned_logits(network: nn.Module, subject: Subject, batch_size: int) -> dict[Split, Tensor]:
    """A network's logits (n, K) on the CPU, of test and val, in eval mode."""
    logits: dict[Split, Tensor] = {}
    for split in TOLD:
        places = torch.arange(len(subject.data.examples(split).label))
        with evaluating(network), torch.inference_mode():
            parts = [network(batch.data).cpu() for batch in batches(subject, split, places, batch_size)]
        logits[split] = torch.cat(parts)
    return logits


def tuned_accuracies(network: nn.Module, subject: Subject, batch_size: int, **fields: Any) -> list[Metric]:
    """`accuracies.accuracies` of a network's logits, on test and val, in eval mode. `fields`: others of `Metric`."""
    logits = tuned_logits(network, subject, batch_size)
    return [each for split in TOLD for each in accuracies(subject.data, split, logits[split], **fields)]


def check_views(views: Views | None, spec: DataSpec, key: str) -> None:
    """Raise ValueError, with the evaluator's key, for views that do not suit such data."""
    if views is None:
        return
    with torch.random.fork_rng(devices=[]):
        try:
            views(spec.to_input(spec.fake(2)))
        except ValueError as error:
            raise ValueError(str(error).replace("objective.views", f"{key}.views")) from error
