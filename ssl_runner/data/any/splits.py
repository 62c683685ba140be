"""Stratified, seeded, nested choices of examples.

n examples of a split, K classes. Each class's examples are put in one seeded order; what is chosen is a prefix of it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_runner.interfaces import Examples


class Few(NamedTuple):
    """A number of labels: a fraction of all, or a number per class."""

    labels: float | None = None
    per_class: int | None = None

    @property
    def condition(self) -> dict[str, float]:
        """The condition of a metric: {"labels": 0.01} or {"per_class": 10}."""
        return {key: value for key, value in self._asdict().items() if value is not None}

    def __str__(self) -> str:
        return f"{100 * self.labels:g}%" if self.labels is not None else f"{self.per_class} per class"


def stratified(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Hold out `round(fraction * n)` examples, stratified by class: (rest, held), int64, each ascending.

    The number of each class is its share by the method of Webster and Sainte-Lague, so exact where shares are whole.
    Unlabeled examples (-1) count as one class: a random choice. Raises ValueError where either part would be empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"a held-out fraction is {fraction}; it must lie in (0, 1)")
    n = len(labels)
    held = round(fraction * n)
    if not 0 < held < n:
        raise ValueError(
            f"holding out {fraction} of {n} examples leaves a part empty ({n - held} kept, {held} held "
            "out); use more examples or another fraction (dataset.val_fraction, dataset.test_fraction)"
        )
    order, _ = _interleaved(labels, seed, offset=0.5)
    return order[held:].sort().values, order[:held].sort().values


def rest_of(n: int, fraction: float) -> int:
    """Examples that `stratified` keeps."""
    return n - round(fraction * n)


def hold_out(examples: Examples, fraction: float, seed: int) -> tuple[Examples, Examples]:
    """`stratified`, with the examples themselves: (rest, held), copies."""
    rest, held = (at(examples, index) for index in stratified(examples.label, fraction, seed))
    return rest, held


def check_part(size: int, whole: int | None) -> None:
    """Raise ValueError for more pretraining examples than there are. `whole`: None of data that are streamed."""
    key = f"pretrain_examples is {size}"
    if whole is None:
        raise ValueError(f"{key}, and these data are streamed; set it to null")
    if size > whole:
        raise ValueError(f"{key}; it must be at most {whole}, the number of pretraining examples, or null")


def at(examples: Examples, index: Tensor) -> Examples:
    """A copy of those at the places `index`."""
    return Examples(*(part[index] for part in examples))


def grouped(labels: Tensor, groups: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Hold out whole groups, with about `round(fraction * n)` examples: (rest, held), int64, each ascending.

    Groups are stratified by their most frequent class. A group whose loss would leave a class without an example in the
    rest is not held out. Raises ValueError where either part would be empty.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"a held-out fraction is {fraction}; it must lie in (0, 1)")
    _, of_group = groups.unique(return_inverse=True)
    _, of_class = labels.unique(return_inverse=True)
    counts = torch.zeros(int(of_group.max()) + 1, int(of_class.max()) + 1, dtype=torch.int64)
    counts.index_put_((of_group, of_class), torch.ones(len(labels), dtype=torch.int64), accumulate=True)
    order, _ = _interleaved(counts.argmax(1), seed, offset=0.5)
    left, wanted = counts.sum(0), round(fraction * len(labels))
    held = torch.zeros(len(counts), dtype=torch.bool)
    for group in order.tolist():
        size, missing = int(counts[group].sum()), wanted - int(counts[held].sum())
        if missing <= 0:
            break
        if size > 2 * missing or (left - counts[group] == 0).any():  # farther off with it than without
            continue
        held[group] = True
        left = left - counts[group]
    taken = held[of_group]
    if not taken.any():
        raise ValueError(
            f"none of {len(counts)} groups can be held out for {fraction} of {len(labels)} examples: a group is larger "
            "than that, or has all examples of a class; use smaller groups (dataset.group_column) or another fraction "
            "(dataset.val_fraction, dataset.test_fraction), or state the splits (dataset.split_column)"
        )
    return (~taken).nonzero().squeeze(1), taken.nonzero().squeeze(1)


def nested_subsets(
    labels: Tensor, *, fractions: Sequence[float], per_class: Sequence[int], seed: int
) -> dict[Few, Tensor]:
    """Choose few labels: ascending indices, int64, of each fraction and of each number per class.

    Subsets of one seed lie in each other, smaller in larger, also those of several calls and of both kinds where the
    classes are of equal size. A fraction has `max(round(fraction * n), K)` examples, each class its share or one.
    """
    order, rank = _interleaved(labels, seed, offset=0.0)
    classes, sizes = labels.unique(return_counts=True)
    if (classes < 0).any():
        raise ValueError("few-label subsets need labels, and some of these examples have none")
    subsets = {}
    for fraction in fractions:
        if not 0 < fraction <= 1:
            raise ValueError(f"a fraction of labels is {fraction}; it must lie in (0, 1]")
        count = max(round(fraction * len(labels)), len(classes))
        subsets[Few(labels=fraction)] = order[:count].sort().values
    fewest = int(sizes.min())
    for number in per_class:
        if not 1 <= number <= fewest:
            raise ValueError(
                f"{number} labels per class are requested; the smallest class of this split has {fewest} examples"
            )
        subsets[Few(per_class=number)] = (rank < number).nonzero().flatten()
    return subsets


def _interleaved(labels: Tensor, seed: int, *, offset: float) -> tuple[Tensor, Tensor]:
    """An order of all examples whose prefixes are stratified, and each example's rank in its class: (n,), (n,).

    Sorting by (rank + offset) / size of the class is a divisor method of apportionment: large shares hold smaller ones.
    offset 0.5: to the nearest (Webster); 0: upwards, so that every class comes in before any has its second (Adams).
    """
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    _, of_class, sizes = labels[shuffled].unique(return_inverse=True, return_counts=True)
    by_class = of_class.sort(stable=True).indices
    starts = sizes.cumsum(0) - sizes
    rank = torch.empty_like(shuffled)
    rank[by_class] = torch.arange(len(labels)) - starts.repeat_interleave(sizes)
    key = (rank.double() + offset) / sizes[of_class]
    # Ties go by class, then by the shuffled place: by_class is already in that order.
    order = by_class[key[by_class].sort(stable=True).indices]
    ranks = torch.empty_like(rank)
    ranks[shuffled] = rank
    return shuffled[order], ranks
