"""The data of a run: splits, batches, statistics. C channels, n examples of a split."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ssl_runner.data.any.splits import at, check_part
from ssl_runner.data.any.tensors import (
    EpochOrder,
    MovingWindows,
    Share,
    TensorData,
    identity,
    running,
)
from ssl_runner.interfaces import (
    Batch,
    Boxed,
    Boxes,
    DataSource,
    DataSpec,
    Examples,
    ImageSpec,
    Masked,
    OfTasks,
    OfVideos,
    Paired,
    SplitName,
    Streams,
    Tagged,
    Task,
    TextSpec,
    VectorSpec,
    VideoSpec,
)

CHUNK = 4096  # examples read at once where a whole split is passed through, at most
CHUNK_BYTES = 2**25  # likewise; counting takes eight times as much


class DataModule(pl.LightningDataModule):
    """Load a source once, and iterate over "pretrain" in a seeded order and over "val" in its own order.

    Batches are as stored: `spec.to_input` is called on the device. Of `ranks` processes that train together each gets
    its part of every batch; `batch_size` is what all of them get. "pretrain" has so many `examples`, or all: a random
    part that follows from the seed, smaller ones within larger ones; of running text, its beginning.
    """

    def __init__(
        self,
        source: DataSource,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        examples: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        super().__init__()
        self.source = source
        self.batch_size = batch_size
        self.seed = seed
        self.rank, self.ranks = rank, ranks
        self.spec: DataSpec = source.spec
        self.moving = False  # whether windows of running text begin elsewhere in each epoch
        self.seen = 0  # examples of the first epoch that a run which goes on has seen before
        self._most = examples
        self._splits: Mapping[SplitName, Examples] | None = None
        self._chosen: Tensor | None = None  # (n,) int64, ascending: places of the part of "pretrain"; None: all

    def prepare_data(self) -> None:
        """Load on the first process of each machine, so that the others find downloaded and decoded files."""
        self._load()

    def setup(self, stage: str | None = None) -> None:
        self._load()

    def _load(self) -> Mapping[SplitName, Examples]:
        if self._splits is None:
            splits = self.source.load()
            streams = isinstance(self.source, Streams)
            whole = self.source.length() if isinstance(self.source, Streams) else len(splits["pretrain"].label)
            if self._most is not None:
                check_part(self._most, None if streams else whole)
                splits = {**splits, "pretrain": self._part(splits["pretrain"], self._most)}
                whole = self._most
            self._splits = splits
            self.spec = replace(self.source.spec, size=whole)
        return self._splits

    def _part(self, examples: Examples, size: int) -> Examples:
        """So many of a split."""
        text = running(examples.data)
        if text is not None:
            self._chosen = torch.arange(size)
            length = examples.data.shape[1]
            own = text[: size * (length - 1) + 1].clone()  # windows move within it
            return Examples(own.as_strided((size, length), (length - 1, 1)), examples.label[:size])
        order = torch.randperm(len(examples.label), generator=torch.Generator().manual_seed(self.seed))
        self._chosen = order[:size].sort().values
        return at(examples, self._chosen)

    def _of(self, split: SplitName, values: Tensor) -> Tensor:
        """What a source says of all examples of a split, (n, ...), of those that are used."""
        return values if split != "pretrain" or self._chosen is None else values[self._chosen]

    def examples(self, split: SplitName) -> Examples:
        return self._load()[split]

    def masks(self, split: SplitName) -> Tensor:
        """`Masked.masks`, of a source that has them. Raises ValueError for another."""
        self._load()
        if not isinstance(self.source, Masked):
            raise ValueError("these data have no masks")
        return self._of(split, self.source.masks(split))

    def boxes(self, split: SplitName) -> Boxes:
        """`Boxed.boxes`, of a source that has them. Raises ValueError for another."""
        self._load()
        if not isinstance(self.source, Boxed):
            raise ValueError("these data have no boxes")
        boxes = self.source.boxes(split)
        if split != "pretrain" or self._chosen is None:
            return boxes
        kept = torch.isin(boxes.image, self._chosen)
        part = Boxes(*(each[kept] for each in boxes))
        return part._replace(image=torch.searchsorted(self._chosen, part.image))

    def tags(self, split: SplitName) -> Tensor:
        """`Tagged.tags`, of a source that has them. Raises ValueError for another."""
        self._load()
        if not isinstance(self.source, Tagged):
            raise ValueError("these data have no labels of several classes per image")
        return self._of(split, self.source.tags(split))

    def videos(self, split: SplitName) -> Tensor | None:
        """`OfVideos.videos`; None of a source of other examples."""
        self._load()
        videos = self.source.videos(split) if isinstance(self.source, OfVideos) else None
        return None if videos is None else self._of(split, videos)

    def tasks(self, split: SplitName) -> Sequence[Task]:
        """`OfTasks.tasks`, of a source that has them. Raises ValueError for another."""
        self._load()
        if not isinstance(self.source, OfTasks):
            raise ValueError("these data have no tasks")
        tasks = self.source.tasks(split)
        if split != "pretrain" or self._chosen is None:
            return tasks
        return [tasks[place] for place in self._chosen.tolist()]

    def others(self, split: SplitName) -> Tensor:
        """`Paired.others`, of a source that has them. Raises ValueError for another."""
        self._load()
        if not isinstance(self.source, Paired):
            raise ValueError("these data have no second view of each example")
        return self._of(split, self.source.others(split))

    def statistics(self, other: bool = False) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel over all pixels of "pretrain", exact: (C,) and (C,), in [0, 1];
        of clips, over all their frames.

        A constant channel has standard deviation 1, to divide by. Vectors are not normalized: mean 0 and standard
        deviation 1. Not defined for text. `other`: of the second views.
        """
        data, spec = self.examples("pretrain").data, self.spec
        if other and spec.other is not None:
            data, spec = self.others("pretrain"), spec.other
        if isinstance(spec, VectorSpec):
            return torch.zeros(data.shape[1]), torch.ones(data.shape[1])
        if isinstance(spec, ImageSpec) and not spec.plain:
            return _moments(data, spec)
        channel = 2 if isinstance(spec, VideoSpec) else 1
        counts = torch.zeros(data.shape[channel], 256, dtype=torch.int64)
        for chunk in _chunks(data):
            counts += torch.stack([torch.bincount(plane.flatten(), minlength=256) for plane in chunk.unbind(channel)])
        weight = counts.double() / counts.sum(1, keepdim=True)
        level = torch.arange(256, dtype=torch.float64) / 255
        mean = weight @ level
        variance = (weight * (level - mean[:, None]).square()).sum(1)
        varies = (counts > 0).sum(1) > 1
        return mean.float(), torch.where(varies, variance.sqrt(), 1.0).float()

    def fingerprint(self, splits: Sequence[SplitName] | None = None) -> str:
        """16 hexadecimal digits that change with any pixel, token or label of any split, or of `splits`, and with the
        range of pixels, and with any box."""
        return self.fingerprints(splits)[0]

    def fingerprints(self, *chosen: Sequence[SplitName] | None) -> list[str]:
        """As `fingerprint`, of several choices of splits; all data are read once."""
        known: dict[int, bytes] = {}  # "pretrain" and "train" are often one tensor: read it once
        found = []
        for splits in chosen:
            whole = hashlib.sha256()
            if isinstance(self.spec, ImageSpec) and not self.spec.plain:
                whole.update(repr([float(end) for end in self.spec.range]).encode())
            for name, examples in sorted(self._load().items()):
                if splits is not None and name not in splits:
                    continue
                others = (self.others(name),) if self.spec.other is not None else ()
                for part in (*examples, *others):
                    if id(part) not in known:
                        known[id(part)] = _digest(part)
                    whole.update(name.encode() + known[id(part)])
                for part in self._boxes(name):
                    whole.update(name.encode() + _digest(part))
            found.append(whole.hexdigest()[:16])
        return found

    def _boxes(self, split: SplitName) -> Sequence[Tensor]:
        """What else is known of the images of a split: none of data without boxes."""
        boxed = isinstance(self.source, Boxed) and isinstance(self.spec, ImageSpec) and self.spec.box_names
        return self.boxes(split) if boxed else ()

    def train_dataloader(self) -> Any:
        """A DataLoader, or the replacement of a streaming source."""
        examples = self.examples("pretrain")
        n = self.spec.size
        if n < self.batch_size:
            raise ValueError(
                f"batch_size is {self.batch_size}; it must be at most {n}, the number of pretraining examples"
            )
        if isinstance(self.source, Streams):
            return self.source.passes(
                batch=self.batch_size,
                seed=self.seed,
                rank=self.rank,
                ranks=self.ranks,
                skip=self.seen // self.batch_size,
            )
        order = EpochOrder(n, self.seed, self.seen)
        text = running(examples.data) if self.moving and isinstance(self.spec, TextSpec) else None
        whole = self._gathered("pretrain") if text is None else MovingWindows(examples, text, order)
        return self._loader(whole, order=order, batch=self.batch_size)

    def val_dataloader(self) -> DataLoader[Batch]:
        examples = self.examples("val")
        n = len(examples.label)
        if n < self.ranks:
            raise ValueError(
                f"trainer.devices is {self.ranks}; it must be at most {n}, the number of held-out examples"
            )
        return self._loader(
            self._gathered("val"), order=range(n), batch=min(self.batch_size, n // self.ranks * self.ranks)
        )

    def _gathered(self, split: SplitName) -> TensorData:
        return TensorData(self.examples(split), self.others(split) if self.spec.other is not None else None)

    def _loader(self, whole: TensorData, *, order: EpochOrder | range, batch: int) -> DataLoader[Batch]:
        """Only complete batches."""
        return DataLoader(
            whole,
            batch_size=batch // self.ranks,
            sampler=order if self.ranks == 1 else Share(order, batch, self.rank, self.ranks),
            drop_last=True,
            collate_fn=identity,
            num_workers=0,  # a batch is one gather: a worker would only copy it
            pin_memory=torch.cuda.is_available(),
        )


def _moments(data: Tensor, spec: ImageSpec) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of images that are not bytes, as input; in two passes, as float64."""

    def passes() -> Iterator[Tensor]:
        """(n, C, H, W), chunk by chunk."""
        return (spec.to_input(chunk).double() for chunk in _chunks(data))

    each = data[:, 0].numel()  # values of a channel
    mean = torch.stack([chunk.sum((0, 2, 3)) for chunk in passes()]).sum(0) / each
    low = torch.full_like(mean, torch.inf)
    high = torch.full_like(mean, -torch.inf)
    squares = torch.zeros_like(mean)
    for chunk in passes():
        squares += (chunk - mean[:, None, None]).square().sum((0, 2, 3))
        low, high = torch.minimum(low, chunk.amin((0, 2, 3))), torch.maximum(high, chunk.amax((0, 2, 3)))
    return mean.float(), torch.where(high > low, (squares / each).sqrt(), 1.0).float()


def _digest(tensor: Tensor) -> bytes:
    """SHA-256 of a tensor's type, shape and values."""
    digest = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    for chunk in _chunks(tensor):
        digest.update(chunk.contiguous().numpy().data)
    return digest.digest()


def _chunks(tensor: Tensor) -> tuple[Tensor, ...]:
    """A split in parts of bounded memory."""
    each = tensor[:1].nbytes
    return tensor.split(max(1, min(CHUNK, CHUNK_BYTES // max(each, 1))))
