"""Streaming of examples that do not fit into memory, with a shuffle buffer and prefetching."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from ssl_runner.interfaces import Batch

T = TypeVar("T")


class BrokenDataError(ValueError):
    """Data that are read during training are damaged or missing."""


class Raw(NamedTuple):
    """An example as it is stored, not decoded."""

    content: bytes
    label: int  # -1 where unlabeled
    number: int  # its `Batch.index`
    name: str  # for messages


def shuffled(examples: Iterator[T], buffer: int, generator: torch.Generator) -> Iterator[T]:
    """Shuffle by a buffer of `buffer` examples: yield a random one for each new one; at the end the rest.

    An example comes at most `buffer` places early, and in the mean about as many late.
    """
    held: list[T] = []
    for example in examples:
        if len(held) < buffer:
            held.append(example)
            continue
        place = int(torch.randint(buffer, (), generator=generator))
        chosen, held[place] = held[place], example
        yield chosen
    for place in torch.randperm(len(held), generator=generator).tolist():
        yield held[place]


class Passes:
    """The batches of one process, as a DataLoader would give them; Lightning calls `sampler.set_epoch`.

    `streams`: for each of this process' streams a function of the epoch that gives its examples without end. A batch
    takes as many of each, one stream after the other, so that processes together give the batches of one. `decode`
    turns an example into (C, H, W) uint8, or raises ValueError; with `skip_broken` such an example is replaced by the
    next of its stream in the batch, or the first. `skip`: batches left out in the first pass, and then no more.
    """

    def __init__(
        self,
        streams: Sequence[Callable[[int], Iterator[Raw]]],
        decode: Callable[[bytes], Tensor],
        *,
        each: int,
        batches: int,
        skip: int,
        workers: int,
        skip_broken: bool,
    ) -> None:
        self.streams = streams
        self.decode = decode
        self.each = each  # examples of a stream in a batch
        self.batches = batches  # of an epoch
        self.skip = skip
        self.workers = workers
        self.skip_broken = skip_broken
        self.epoch = 0
        self.sampler = self  # where Lightning looks for `set_epoch`

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Batch]:
        """Read in one thread and decode in `workers` threads, one batch each, in advance."""
        skip, self.skip = self.skip, 0
        out: queue.Queue[Future[Batch] | BaseException] = queue.Queue(self.workers)
        stop = threading.Event()
        pool = ThreadPoolExecutor(self.workers)  # threads: Pillow decodes without holding the interpreter's lock
        reader = threading.Thread(target=self._read, args=(self.epoch, skip, out, stop, pool), daemon=True)
        reader.start()
        try:
            for _ in range(self.batches - skip):
                found = out.get()
                if isinstance(found, BaseException):
                    raise found
                yield found.result()
        finally:
            stop.set()
            reader.join(1.0)  # unless it waits for the network
            pool.shutdown(cancel_futures=True)

    def _read(
        self,
        epoch: int,
        skip: int,
        out: "queue.Queue[Future[Batch] | BaseException]",
        stop: threading.Event,
        pool: ThreadPoolExecutor,
    ) -> None:
        """Put the futures of batches, or an error of reading, until `stop`."""
        try:
            streams = [stream(epoch) for stream in self.streams]
            for number in range(self.batches):
                parts = [[next(stream) for _ in range(self.each)] for stream in streams]
                if number >= skip:
                    _put(out, pool.submit(self._batch, parts), stop)
                if stop.is_set():
                    break
        except Exception as error:  # is raised where batches are asked for
            _put(out, error, stop)

    def _batch(self, parts: list[list[Raw]]) -> Batch:
        data, examples = [], []
        for part in parts:
            decoded = [self._try(example) for example in part]
            whole = [place for place, one in enumerate(decoded) if isinstance(one, Tensor)]
            broken = [one for one in decoded if isinstance(one, str)]
            if broken and (not self.skip_broken or not whole):
                raise BrokenDataError(f"{broken[0]}; repair it, or set dataset.on_broken=skip")
            for place in range(len(part)):
                chosen = next((p for p in whole if p >= place), whole[0])
                data.append(decoded[chosen])
                examples.append(part[chosen])
        return Batch(
            torch.stack([one for one in data if isinstance(one, Tensor)]),
            torch.tensor([example.label for example in examples]),
            torch.tensor([example.number for example in examples]),
        )

    def _try(self, example: Raw) -> Tensor | str:
        try:
            return self.decode(example.content)
        except ValueError as error:
            return f"{example.name}: {error}"


def _put(
    out: "queue.Queue[Future[Batch] | BaseException]", item: "Future[Batch] | BaseException", stop: threading.Event
) -> None:
    """Wait for a free slot, until `stop`."""
    while not stop.is_set():
        try:
            return out.put(item, timeout=0.1)
        except queue.Full:
            continue
