"""Examples in memory: a batch is one gather, and the order is a function of seed and epoch."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ssl_runner.interfaces import Batch, Data, DataSource, DataSpec, Examples, Paired, SplitName


class TensorData(Dataset[Batch]):
    """A split for a DataLoader with `collate_fn=identity`; in memory or memory-mapped."""

    def __init__(self, examples: Examples, others: Tensor | None = None) -> None:
        """`others`: (n, ...) the second views of paired examples."""
        self.examples = examples
        self.others = others

    def __len__(self) -> int:
        return len(self.examples.label)

    def __getitems__(self, indices: list[int]) -> Batch:
        index = torch.tensor(indices)
        other = None if self.others is None else self.others.index_select(0, index)
        return Batch(
            self.examples.data.index_select(0, index), self.examples.label.index_select(0, index), index, other
        )


class MovingWindows(TensorData):
    """Windows of a running text that all begin `offset` tokens further on in each epoch, so that what stands at their
    ends in one epoch stands within them in another; the last begins where it still fits.

    The offset is drawn from the seed and the epoch of `order`, from 0 to T - 2. `text` (N,): what the windows are of.
    """

    def __init__(self, examples: Examples, text: Tensor, order: "EpochOrder") -> None:
        super().__init__(examples)
        self.text = text
        self.order = order

    def __getitems__(self, indices: list[int]) -> Batch:
        index = torch.tensor(indices)
        length = self.examples.data.shape[1]
        offset = torch.randint(length - 1, (), generator=self.order.generator(1))
        begin = (index * (length - 1) + offset).clamp(max=len(self.text) - length)
        data = self.text[begin[:, None] + torch.arange(length)]
        return Batch(data, self.examples.label.index_select(0, index), index)


def running(data: Tensor) -> Tensor | None:
    """(n, T) -> (N,): the text that windows are views of, which overlap by one token, and what is left after them.
    None where examples are no such views."""
    if data.ndim != 2 or data.shape[1] < 2 or data.stride() != (data.shape[1] - 1, 1):
        return None
    left = data.untyped_storage().nbytes() // data.element_size() - data.storage_offset()
    return data.as_strided((left,), (1,))


def identity(batch: Any) -> Any:
    """The `collate_fn` of batches that are gathered whole."""
    return batch


class Share(Sampler[int]):
    """One process' part of every batch: of `batch` places in `order`, the `rank`-th of `ranks` equal parts.

    So processes together go through the batches of one. What does not fill a batch at the end is left out.
    """

    def __init__(self, order: "EpochOrder | range", batch: int, rank: int, ranks: int) -> None:
        if batch % ranks:
            raise ValueError(f"a batch of {batch} examples cannot be split among {ranks} processes")
        self.order = order
        self.batch = batch
        self.part = batch // ranks
        self.first = rank * self.part

    def set_epoch(self, epoch: int) -> None:
        if isinstance(self.order, EpochOrder):
            self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.order) // self.batch * self.part

    def __iter__(self) -> Iterator[int]:
        order = list(self.order)
        for begin in range(self.first, len(order) - self.batch + self.first + 1, self.batch):
            yield from order[begin : begin + self.part]


class EpochOrder(Sampler[int]):
    """A random order of `size` examples that follows from (seed, epoch) alone; Lightning calls `set_epoch`.

    `skip`: so many examples are left out when it is next gone through, and then no more: they were seen before a stop.
    """

    def __init__(self, size: int, seed: int, skip: int = 0) -> None:
        self.size = size
        self.seed = seed
        self.skip = skip
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def generator(self, purpose: int) -> torch.Generator:
        """The purposes of an epoch's random draws: 0: order, 1: offset."""
        # Mixed, so that (seed 0, epoch 1) and (seed 1, epoch 0) differ, as a sum of the two would not.
        return torch.Generator().manual_seed((self.seed * 0x9E3779B1 + self.epoch + purpose * 0x85EBCA6B5) % 2**63)

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(self.size, generator=self.generator(0))[self.skip :]
        self.skip = 0
        return iter(order.tolist())


class Splits:
    """`Data` of a source that was read, without Lightning."""

    def __init__(self, source: DataSource) -> None:
        """Raises ValueError for damaged files."""
        self.splits = source.load()
        self.spec = source.spec  # of text, known exactly once it is read
        self.source = source

    def examples(self, split: SplitName) -> Examples:
        return self.splits[split]

    def others(self, split: SplitName) -> Tensor:
        """`Paired.others`, of a source that has them. Raises ValueError for another."""
        if not isinstance(self.source, Paired):
            raise ValueError("these data have no second view of each example")
        return self.source.others(split)


def as_input(spec: DataSpec, batch: Batch) -> Batch:
    """A batch as stored -> as input."""
    other = None if batch.other is None or spec.other is None else spec.other.to_input(batch.other)
    return batch._replace(data=spec.to_input(batch.data), other=other)


def chosen(data: Data, split: SplitName, index: Tensor, device: torch.device) -> Batch:
    """The examples of a split at the places `index`, (B,) int64, as input, on a device; with their second views, if
    the data have any."""
    examples, spec = data.examples(split), data.spec
    others = data.others(split) if spec.other is not None and isinstance(data, Paired) else None
    other = None if others is None else others[index].to(device)
    taken = Batch(examples.data[index].to(device), examples.label[index].to(device), index.to(device), other)
    return as_input(spec, taken)


def moved(batch: Batch, device: torch.device) -> Batch:
    """A batch on a device."""
    other = None if batch.other is None else batch.other.to(device)
    return Batch(batch.data.to(device), batch.label.to(device), batch.index.to(device), other)


def fake_batch(spec: DataSpec, count: int) -> Batch:
    """Random examples, with labels if their kind has any, as a batch reaches `Objective.split`; the global generators
    stay as they were."""
    with torch.random.fork_rng(devices=[]):
        label = torch.arange(count) % spec.classes if spec.classes else torch.full((count,), -1)
        other = None if spec.other is None else spec.other.fake(count)
        return as_input(spec, Batch(spec.fake(count), label, torch.arange(count), other))
