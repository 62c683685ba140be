"""Images of some dots, below a horizon; how many is the class."""

from collections.abc import Mapping

import torch

from ssl_runner.data.any.splits import hold_out
from ssl_runner.interfaces import Contents, DataSource, Examples, ImageSpec, SplitName


class Dots(DataSource):
    """Gray images with a bright sky above a dark ground, and 1 to `most` dots of 2 x 2 pixels at random places."""

    def __init__(
        self, *, examples: int, test_examples: int, most: int, side: int, val_fraction: float, seed: int
    ) -> None:
        for name, value in {"examples": examples, "test_examples": test_examples, "most": most}.items():
            if value < 1:
                raise ValueError(f"dataset.{name} is {value}; it must be at least 1")
        if side < 4:
            raise ValueError(f"dataset.side is {side}; it must be at least 4")
        if not 0 < val_fraction < 1:
            raise ValueError(f"dataset.val_fraction is {val_fraction}; it must lie in (0, 1)")
        self.examples = examples
        self.test_examples = test_examples
        self.val_fraction = val_fraction
        self.seed = seed
        names = tuple(f"{k + 1} dots" for k in range(most))
        self._spec = ImageSpec(channels=1, height=side, width=side, classes=most, class_names=names)

    @property
    def spec(self) -> ImageSpec:
        return self._spec

    def check(self) -> None:
        """Nothing to check: no file is read."""

    def contents(self) -> Contents:
        return {}

    def load(self) -> Mapping[SplitName, Examples]:
        generator = torch.Generator().manual_seed(self.seed)
        train, val = hold_out(self._draw(self.examples, generator), self.val_fraction, self.seed)
        return {"pretrain": train, "train": train, "val": val, "test": self._draw(self.test_examples, generator)}

    def _draw(self, n: int, generator: torch.Generator) -> Examples:
        side, most = self._spec.height, self._spec.classes
        label = torch.arange(n) % most
        images = torch.full((n, 1, side, side), 40, dtype=torch.uint8)
        images[:, :, : side // 2] = 120
        for dot in range(most):
            shown = dot <= label  # the first dot is in every image, the last in those of the last class
            y, x = (torch.randint(side - 1, (n,), generator=generator)[shown] for _ in range(2))
            at = shown.nonzero().squeeze(1)
            for down in (0, 1):
                for across in (0, 1):
                    images[at, 0, y + down, x + across] = 255
        return Examples(images, label)
