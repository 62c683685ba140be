"""A small labeled dataset, and encoders of which the right answer is known."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssl_runner.evaluation.any.subject import FrozenSubject
from ssl_runner.interfaces import Encoder, Examples, Features, ImageSpec

CLASSES = 4
SIZES = {"train": 60, "val": 30, "test": 40}


class Table:
    """Images of 3 x 4 of noise; in the first row, the pixel of the image's class is white and the others are black."""

    def __init__(self) -> None:
        self.spec = ImageSpec(channels=1, height=3, width=CLASSES, classes=CLASSES, size=SIZES["train"])
        generator = torch.Generator().manual_seed(1)
        self.splits = {}
        for split, n in SIZES.items():
            label = torch.arange(n) % CLASSES
            data = torch.randint(256, (n, 1, 3, CLASSES), generator=generator, dtype=torch.uint8)
            data[:, 0, 0] = 255 * nn.functional.one_hot(label, CLASSES).to(torch.uint8)
            self.splits[split] = Examples(data, label)

    def examples(self, split: str) -> Examples:
        return self.splits[split]


class Films(Table):
    """The same, each five in a row cut out of one video of test and val, whose class is the first one's."""

    def __init__(self) -> None:
        super().__init__()
        for split in ("val", "test"):
            label = self.splits[split].label.view(-1, 5)[:, :1].expand(-1, 5).flatten()
            self.splits[split] = Examples(self.splits[split].data, label)

    def videos(self, split: str) -> Tensor:
        return torch.arange(SIZES[split]) // 5 + 100


class Label(Encoder):
    """The class itself, one-hot."""

    dim = CLASSES

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        return Features(x[:, :, 0].reshape(len(x), 1, -1), x[:, 0, 0])


class Constant(Encoder):
    """The same for every image: a collapsed encoder."""

    dim = 5

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        pooled = torch.linspace(-1, 2, 5).expand(len(x), 5)
        return Features(pooled[:, None], pooled)


class Blocks(Encoder):
    """Two blocks with all that has a mode or a state: BatchNorm and dropout."""

    dim = 6

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2))
        self.second = nn.Linear(8, 6)

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        first = self.first(x.flatten(1))
        second = self.second(first)
        return Features(second[:, None], second, (first, second) if layers else ())


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def films() -> Films:
    return Films()


@pytest.fixture
def encoders() -> dict[str, Encoder]:
    torch.manual_seed(3)
    return {"label": Label(), "constant": Constant(), "blocks": Blocks()}


@pytest.fixture
def subject(table: Table, encoders: dict[str, Encoder]) -> Callable[..., FrozenSubject]:
    """subject("label") -> a FrozenSubject; settings can be changed by name."""

    def make(encoder: str | Encoder, **changes: Any) -> FrozenSubject:
        settings = {
            "seed": 0,
            "device": torch.device("cpu"),
            "batch_size": 16,
        }
        chosen = encoders[encoder] if isinstance(encoder, str) else encoder
        return FrozenSubject(chosen, **({"data": table} | settings | changes))

    return make
