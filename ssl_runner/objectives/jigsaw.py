"""Jigsaw: predict the permutation of nine tiles of an image."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_runner.interfaces import Batch, ImageSpec, Loss, MapEncoder, Objective
from ssl_runner.losses.classification import accuracy, cross_entropy
from ssl_runner.nn.mlp import MLP
from ssl_runner.nn.permutations import distant_permutations
from ssl_runner.views.augment import crops, luma

SIDE = 3  # tiles along a side of the puzzle
MEAN, DEVIATION = 0.5, 0.25  # of the values of a tile whose statistics are made equal

Statistics = Literal["keep", "equal"]


class Jigsaw(Objective[Tensor, Tensor]):
    """Predict by which permutation of a fixed set the nine tiles of an image were shuffled.

        x = tiles(t)[permutation y],   y ~ U{0 ... P - 1},   loss = -log p(y | x)                       nats per image

    Any two of the P permutations differ in as many places as possible (`nn/permutations.py`): up to 72 in at least 8.
    Permutation 0 leaves the image in order. Each tile is encoded by itself; the head reads all nine in their order.
    Noroozi, Favaro 2016, "Unsupervised Learning of Visual Representations by Solving Jigsaw Puzzles",
    https://arxiv.org/abs/1603.09246.

    What could be answered without knowing what is shown is closed by a setting each: `tile` below 1 leaves gaps of
    random width (edges that go on), `statistics: equal` gives each tile the same mean and deviation (shades that go
    on), `gray` shows part of the images without color (chromatic aberration); images of other than
    three channels have none.
    An encoder's batch normalization keeps the statistics of tiles, and whole images are evaluated with them;
    backbone.norm=group has none.

    Differs from the paper: the set is a group with a proven distance, not the outcome of a greedy search; features of a
    tile are the mean over its grid, and a perceptron of one hidden layer, with batch normalization, reads all nine; the
    channels of color images are not shifted against each other.
    """

    order: Tensor  # (P, 9) int64: place i of the puzzle shows tile order[y, i]

    def __init__(
        self,
        encoder: MapEncoder,
        spec: ImageSpec,
        *,
        permutations: int,
        tile: float,
        statistics: Statistics,
        gray: float,
        head: int,
    ) -> None:
        super().__init__()
        try:
            order = distant_permutations(permutations)
        except ValueError as error:
            raise ValueError(f"objective.permutations: {error}") from error
        if not 0 < tile <= 1:
            raise ValueError(f"objective.tile is {tile}; it must lie in (0, 1], as a fraction of a cell's side")
        self.cell = min(spec.height, spec.width) // SIDE  # pixels
        if self.cell < 1:
            raise ValueError(f"dataset: images are {spec.height} x {spec.width}; a jigsaw needs {SIDE} pixels a side")
        if not 0 <= gray <= 1:
            raise ValueError(f"objective.gray is {gray}; it must lie in [0, 1]")
        if head < 1:
            raise ValueError(f"objective.head is {head}; it must be at least 1")
        self.side = max(round(tile * self.cell), 1)  # pixels
        self.statistics = statistics
        self.gray = gray
        self.encoder = encoder
        self.register_buffer("order", order, persistent=False)
        self.head = MLP([SIDE * SIDE * encoder.dim, head, permutations], norm="batch")

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x (B, C, 3 side, 3 side) the shuffled tiles as one image; y (B,) int64 permutations."""
        image = self._some_gray(batch.data)
        y = torch.randint(len(self.order), (len(image),), device=image.device)
        top, left = self._places(len(image), image.shape[2], 0), self._places(len(image), image.shape[3], 1)
        chosen = self.order[y]
        tiles = crops(image, top.gather(1, chosen), left.gather(1, chosen), self.side)  # (9, B, C, side, side)
        if self.statistics == "equal":
            tiles = _standardize(tiles)
        tiles = tiles.unflatten(0, (SIDE, SIDE)).permute(2, 3, 0, 4, 1, 5)  # (B, C, row, side, column, side)
        return tiles.flatten(4, 5).flatten(2, 3), y

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        logits = self._logits(x)
        chance = torch.full((), 1 / len(self.order), device=logits.device)
        return Loss(cross_entropy(logits, y), {"accuracy": accuracy(logits, y), "chance": chance})

    def predict(self, x: Tensor) -> Tensor:
        return self._logits(x).argmax(dim=1)

    def tell(self, y: Tensor) -> Sequence[str]:
        """The tiles, counted from 1, in the order in which they lie, a row after the other."""
        rows = (self.order[y] + 1).unflatten(1, (SIDE, SIDE)).tolist()
        return ["tiles " + " ".join("".join(map(str, row)) for row in puzzle) for puzzle in rows]

    def apart(self, x: Tensor) -> Tensor:
        gap = max(1, self.side // 5)
        tiles = x.unflatten(3, (SIDE, self.side)).unflatten(2, (SIDE, self.side))  # (B, C, row, side, column, side)
        whole = F.pad(tiles, (0, gap, 0, 0, 0, gap), value=1.0)
        return whole.flatten(4, 5).flatten(2, 3)[..., :-gap, :-gap]

    def _logits(self, x: Tensor) -> Tensor:
        tiles = x.unflatten(3, (SIDE, self.side)).unflatten(2, (SIDE, self.side))  # (B, C, row, side, column, side)
        tiles = tiles.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        return self.head(self.encoder(tiles).pooled.view(len(x), -1))

    def _places(self, count: int, length: int, axis: int) -> Tensor:
        """Draw where tiles 0 ... 8 begin within their cells, down (axis 0) or across (1): (count, 9) pixels."""
        device = self.order.device
        tile = torch.arange(SIDE * SIDE, device=device)
        cell = tile // SIDE if axis == 0 else tile % SIDE
        begin = (length - SIDE * self.cell) // 2 + cell * self.cell  # the puzzle is cut from the middle
        return begin + torch.randint(self.cell - self.side + 1, (count, SIDE * SIDE), device=device)

    def _some_gray(self, image: Tensor) -> Tensor:
        """Convert a share of the images to gray, (B, C, H, W) -> the same shape."""
        if self.gray == 0 or image.shape[1] != 3:
            return image
        chosen = torch.rand(len(image), device=image.device) < self.gray
        return torch.where(chosen[:, None, None, None], luma(image)[:, None], image)


def _standardize(tiles: Tensor) -> Tensor:
    """Give each tile of (9, B, C, side, side) the same mean and deviation over its values; flat tiles stay flat."""
    dims = (2, 3, 4)
    centered = tiles - tiles.mean(dims, keepdim=True)
    return (MEAN + DEVIATION * centered / tiles.std(dims, keepdim=True, correction=0).clamp_min(1e-3)).clamp(0, 1)
