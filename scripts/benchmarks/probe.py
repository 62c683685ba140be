"""the linear probe's whole grid, beside scikit-learn setting after setting

60,000 training features of width 256, ten overlapping classes, 24 settings.
"""

import argparse
import time
from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from ssl_runner.config.compose import compose
from ssl_runner.evaluation.any.logistic import Grid, fit_linear

from .shared import print_rates, rates

OURS, THEIRS = "ssl_runner, the grid", "scikit-learn, one by one"
CLASSES, WIDTH = 10, 256
SIZES = {"train": 60_000, "val": 6_000, "test": 6_000}


class Part(NamedTuple):
    """Features (n, WIDTH) and their classes (n,)."""

    x: Tensor
    y: Tensor


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3)


def measure(arguments: argparse.Namespace) -> None:
    parts = made_features()
    settings = compose(["evaluation=linear"])["evaluation"]["linear"]["grid"]
    grid = Grid(**{key: value for key, value in settings.items() if key != "_target_"})
    accuracy: dict[str, float] = {}

    def ours() -> float:
        seconds, accuracy[OURS] = whole_grid(parts, grid)
        return seconds

    def theirs() -> float:
        seconds, accuracy[THEIRS] = one_by_one(parts, grid)
        return seconds

    found = rates({OURS: ours, THEIRS: theirs}, arguments.rounds, warm=0)
    print_rates(f"linear probe, {len(grid.settings)} settings, 60,000 x {WIDTH}; seconds", found, OURS)
    for name, value in accuracy.items():
        print(f"{name}: {100 * value:.2f} % on {SIZES['test']:,} test features")


def made_features() -> dict[str, Part]:
    """Normal features around a center for each class, mixed by one matrix: train, val and test."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(CLASSES, (sum(SIZES.values()),), generator=generator)
    center = torch.randn(CLASSES, WIDTH, generator=generator) * 0.16
    mix = torch.randn(WIDTH, WIDTH, generator=generator) / WIDTH**0.5
    x = (center[label] + torch.randn(len(label), WIDTH, generator=generator)) @ mix
    sizes = list(SIZES.values())
    return {name: Part(*both) for name, *both in zip(SIZES, x.split(sizes), label.split(sizes), strict=True)}


def whole_grid(parts: dict[str, Part], grid: Grid) -> tuple[float, float]:
    """Seconds and test accuracy of all settings at once."""
    train, val, test = parts.values()
    begun = time.monotonic()
    fit = fit_linear(*train, *val, CLASSES, grid, seed=0)
    return time.monotonic() - begun, fit.accuracy(*test)


def one_by_one(parts: dict[str, Part], grid: Grid) -> tuple[float, float]:
    """Seconds and test accuracy of as many settings of scikit-learn, one after another.

    It has no learning rate: its settings are as many weight decays, over the same range.
    """
    mean, std = parts["train"].x.mean(0), parts["train"].x.std(0)
    train, val, test = ((((part.x - mean) / std).numpy(), part.y.numpy()) for part in parts.values())
    begun = time.monotonic()
    decays = np.geomspace(min(grid.weight_decays), max(grid.weight_decays), len(grid.settings))
    fits = [LogisticRegression(C=1 / (SIZES["train"] * decay), max_iter=1000).fit(*train) for decay in decays]
    best = max(fits, key=lambda fit: fit.score(*val))
    return time.monotonic() - begun, best.score(*test)
