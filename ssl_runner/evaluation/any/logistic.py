"""Linear classifiers for a grid of settings, trained simultaneously.

n examples, D features, r <= D principal axes, K classes, G settings, B batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_runner.data.any.progress import tracked
from ssl_runner.interfaces import Examples, Subject

MOMENTUM = 0.9
RANK = 1e-6  # axes with less than this share of the largest variance are float32's rounding


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The grid of settings, each learning rate with each weight decay, and the number of steps."""

    learning_rates: Sequence[float]
    weight_decays: Sequence[float]
    steps: int  # batches
    batch_size: int  # examples; all where there are fewer

    def check(self, key: str) -> None:
        """Raise ValueError for numbers out of range; `key`: that of the grid, "evaluation.linear.grid"."""
        if not self.learning_rates or min(self.learning_rates) <= 0:
            raise ValueError(f"{key}.learning_rates is {list(self.learning_rates)}; it must list numbers above 0")
        if not self.weight_decays or min(self.weight_decays) < 0:
            raise ValueError(f"{key}.weight_decays is {list(self.weight_decays)}; it must list numbers of 0 or more")
        if self.steps < 1:
            raise ValueError(f"{key}.steps is {self.steps}; it must be at least 1")
        if self.batch_size < 1:
            raise ValueError(f"{key}.batch_size is {self.batch_size}; it must be at least 1")

    @property
    def settings(self) -> list[tuple[float, float]]:
        """(learning rate, weight decay) of each."""
        return [(rate, decay) for rate in self.learning_rates for decay in self.weight_decays]


@dataclass(frozen=True)
class LinearFit:
    """The chosen classifier of a grid: logits = ((x - mean) / std) @ weight + bias."""

    mean: Tensor  # (D,) of the training examples
    std: Tensor  # (D,); infinite for a constant feature, which is thereby left out
    weight: Tensor  # (D, K)
    bias: Tensor  # (K,)
    learning_rate: float
    weight_decay: float
    val_accuracy: float
    grid: Tensor  # (learning rates, weight decays) accuracy on val
    at_edge: tuple[str, ...]  # which of the two choices lies at an end of its grid, so that the best may lie outside

    @property
    def chosen(self) -> dict[str, float]:
        """On val."""
        return {"learning_rate": self.learning_rate, "weight_decay": self.weight_decay}

    def logits(self, x: Tensor) -> Tensor:
        """(n, D) -> (n, K)"""
        return ((x - self.mean) / self.std) @ self.weight + self.bias

    def accuracy(self, x: Tensor, y: Tensor) -> float:
        return int((self.logits(x).argmax(dim=1) == y).sum()) / len(y)


def fit_probe(subject: Subject, layer: str, grid: Grid) -> LinearFit:
    """`fit_linear` on all of a subject's "train", chosen on its "val"; fitted once for all evaluators that need it."""
    train, val = subject.features("train", layer), subject.features("val", layer)
    settings = (*grid.settings, grid.steps, grid.batch_size)
    # The subject keeps its features, so their ids stay theirs; a block that is the pooled features is the same tensor.
    key = ("linear probe", id(train.data), id(val.data), *settings)
    return subject.once(key, lambda: fit_few(subject, train, val, grid))


def fit_few(subject: Subject, train: Examples, val: Examples, grid: Grid) -> LinearFit:
    """`fit_linear` on some features of a subject, (n, D), with its classes, on its device."""
    device = subject.device
    return fit_linear(
        train.data.to(device),
        train.label.to(device),
        val.data.to(device),
        val.label.to(device),
        subject.data.spec.classes,
        grid,
        seed=subject.seed,
    )


def fit_linear(
    x: Tensor,
    y: Tensor,
    x_val: Tensor,
    y_val: Tensor,
    classes: int,
    grid: Grid,
    *,
    seed: int,
) -> LinearFit:
    """Fit softmax regression on features (n, D) for every setting of a grid at once, and choose one on val.

        loss = mean over examples of -log softmax(W z + b)[y]  +  weight_decay / 2 * |W|^2       nats per example

    z: features standardized by the training examples' mean and deviation. The bias is not decayed; weight_decay is 1 /
    (C n) in scikit-learn's LogisticRegression. Nesterov momentum, cosine decay to 0, the same batches for all
    settings. Features are turned to their principal axes, which changes neither loss nor penalty, and the step along
    each axis is divided by its greatest possible curvature (Bohning 1992, https://doi.org/10.1007/BF00048682): half
    its variance plus the decay. Learning rates are therefore without unit; 0.03 to 1 suit all features.

    The choice: the highest accuracy on val, of equals the lowest cross-entropy there. Everything happens on x's device;
    torch's global generator is not used. Raises ValueError where every setting diverged.
    """
    std, mean = torch.std_mean(x, dim=0, correction=0)
    std = torch.where(std > 1e-6 * mean.abs(), std, torch.inf)
    standard = (x - mean) / std
    axes = _principal_axes(standard)
    rates, decays = torch.tensor(grid.settings, device=x.device).unbind(dim=1)  # (G,), (G,)
    weights = _descend(_with_one(standard @ axes), y, classes, rates, decays, grid, seed)
    accuracy, entropy = _score(weights, _with_one((x_val - mean) / std @ axes), y_val)
    if not entropy.isfinite().any():
        raise ValueError(f"every linear classifier diverged; set lower learning_rates than {list(grid.learning_rates)}")
    accuracy = accuracy.where(entropy.isfinite(), -1.0)
    best = int(entropy.where(accuracy == accuracy.max(), torch.inf).argmin())
    rate, decay = grid.settings[best]
    tried = {"learning_rate": (rate, grid.learning_rates), "weight_decay": (decay, grid.weight_decays)}
    return LinearFit(
        mean=mean,
        std=std,
        weight=axes @ weights[:-1, :, best],
        bias=weights[-1, :, best].clone(),
        learning_rate=float(rate),
        weight_decay=float(decay),
        val_accuracy=accuracy[best].item(),
        grid=accuracy.view(len(grid.learning_rates), len(grid.weight_decays)).cpu(),
        at_edge=tuple(k for k, (value, all_) in tried.items() if len(all_) > 1 and value in (min(all_), max(all_))),
    )


def _principal_axes(x: Tensor) -> Tensor:
    """(n, D), centered -> (D, r), orthonormal; from the smaller of the two Gram matrices, in float64: LAPACK's float32
    does not converge where many features are always 0."""
    n, dim = x.shape
    gram = (x.mT @ x if dim <= n else x @ x.mT) / n
    variance, vectors = (part.to(x) for part in torch.linalg.eigh(gram.cpu().double()))  # not every device has it
    kept = variance > RANK * variance[-1].clamp_min(1e-12)
    if dim <= n:
        return vectors[:, kept]
    return x.mT @ vectors[:, kept] / (n * variance[kept]).sqrt()


def _with_one(z: Tensor) -> Tensor:
    """(n, r) -> (n, r + 1): append a constant feature 1, whose weight is the bias."""
    return torch.cat([z, z.new_ones(len(z), 1)], dim=1)


def _descend(z: Tensor, y: Tensor, classes: int, rates: Tensor, decays: Tensor, grid: Grid, seed: int) -> Tensor:
    """Minimize the loss of each setting, starting from zero: (r + 1, K, G).

    The classes are not the last dimension: a softmax over a short last dimension is about ten times slower on a CPU.
    """
    n, width = z.shape
    size = min(grid.batch_size, n)
    decay = decays.expand(width, 1, len(decays)).clone()
    decay[-1] = 0
    curvature = 0.5 * z.square().mean(dim=0)[:, None, None] + decay
    scale = rates / curvature  # (r + 1, 1, G)
    weights = z.new_zeros(width, classes, len(rates))
    velocity = torch.zeros_like(weights)
    rows = torch.arange(size, device=z.device)
    per_epoch = n // size
    generator = torch.Generator().manual_seed(seed)
    for step in tracked(range(grid.steps), "training the classifier"):
        place = step % per_epoch
        if place == 0:
            order = torch.randperm(n, generator=generator).to(z.device)
        chosen = order[place * size : (place + 1) * size]
        batch = z[chosen]
        error = (batch @ weights.view(width, -1)).view(size, classes, -1).softmax(dim=1)  # probabilities, so far
        error[rows, y[chosen]] -= 1
        gradient = (batch.mT @ error.view(size, -1)).view_as(weights).div_(size).addcmul_(decay, weights)
        velocity.mul_(MOMENTUM).add_(gradient)
        pace = 0.5 * (1 + math.cos(math.pi * step / grid.steps))
        weights.sub_(gradient.add_(velocity, alpha=MOMENTUM).mul_(scale).mul_(pace))
    return weights


def _score(weights: Tensor, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Accuracy and cross-entropy of every setting: (G,), (G,)."""
    width, classes, settings = weights.shape
    right, entropy = z.new_zeros(settings), z.new_zeros(settings)
    for part, label in zip(z.split(2048), y.split(2048), strict=True):
        logits = (part @ weights.view(width, -1)).view(-1, classes, settings)
        label = label[:, None].expand(-1, settings)
        right += (logits.argmax(dim=1) == label).sum(dim=0)
        entropy += F.cross_entropy(logits, label, reduction="none").sum(dim=0)
    return right / len(z), entropy / len(z)
