"""Comparisons made by hand, of runs that never ran."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from ssl_runner.reporting.axes import Axis
from ssl_runner.reporting.comparison import Cell, Column, Comparison, Setting
from ssl_runner.reporting.statistics import Interval
from ssl_runner.results.address import Address
from ssl_runner.results.metrics import Better, Unit
from ssl_runner.results.result import Cost, Name, Result, Run

LINEAR = Column(Address("linear", "accuracy"), Unit.SHARE, Better.HIGHER, True, {"layer": "pooled"})
KNN = Column(Address("knn", "accuracy"), Unit.SHARE, Better.HIGHER, True, {"k": 20})
ERROR = Column(Address("reconstruction", "mse"), Unit.PLAIN, Better.LOWER, True, {})
RANK = Column(Address("geometry", "effective_rank"), Unit.PLAIN, Better.NEITHER, True, {})


def interval(values: Sequence[float]) -> Interval:
    mean, n = float(np.mean(values)), len(values)
    half = stats.t.ppf(0.975, n - 1) * stats.sem(values) if n > 1 else math.nan
    return Interval(mean, mean - half, mean + half, n)


def compared(
    folder: Path,
    axes: Mapping[str, Sequence[Any]],
    number: Callable[[Mapping[str, Any], Column, int], float | None],
    columns: Sequence[Column] = (LINEAR,),
    seeds: Sequence[int] = (0, 1, 2),
    start: float = 0.5,
) -> Comparison:
    """Every combination of the axes' values whose number is not None for the first column, seeds as given.

    A run lies in `folder`/<label>-s<seed>, if anyone writes it there.
    """
    found = [
        Axis(
            key, key.rpartition(".")[2], tuple(values), all(isinstance(v, int | float) for v in values if v is not None)
        )
        for key, values in axes.items()
    ]
    settings, cells = [], {}
    for combination in itertools.product(*axes.values()):
        values = dict(zip(axes, combination, strict=True))
        if number(values, columns[0], seeds[0]) is None:
            continue
        label = " ".join(f"{axis.short}={values[axis.key]}" for axis in found) or "-"
        runs = {seed: _run(folder / f"{label}-s{seed}", values, seed) for seed in seeds}
        settings.append(Setting(label, values, runs))
        for column in columns:
            by_seed = {seed: number(values, column, seed) for seed in seeds}
            there = {seed: value for seed, value in by_seed.items() if value is not None}
            if there:
                controls = {"random_start": Interval(start, math.nan, math.nan, 1)}
                cells[label, column.key] = Cell(there, interval(list(there.values())), controls, {}, "", False)
    return Comparison(tuple(found), tuple(settings), tuple(columns), cells)


def _run(folder: Path, values: Mapping[str, Any], seed: int) -> Run:
    name = Name(
        dataset=values.get("dataset", "mnist"),
        objective=values.get("objective", "simclr"),
        backbone=values.get("backbone", "convnet"),
    )
    result = Result(
        identity="0", name=name, seed=seed, status="done", command="", started="", cost=Cost(seconds=60.0 + seed)
    )
    return Run(folder.name, folder, result)
