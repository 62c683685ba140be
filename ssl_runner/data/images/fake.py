"""Synthetic images for tests. K classes, H height, W width."""

import math
from collections.abc import Mapping

import torch

from ssl_runner.data.any.splits import hold_out
from ssl_runner.interfaces import Contents, DataSource, Examples, ImageSpec, SplitName

HIDDEN_PATTERNS = 4  # kinds of image where there are no classes


class FakeImages(DataSource):
    """Noisy stripes: their direction, spacing and color depend on the class, their phase on the image."""

    def __init__(
        self,
        *,
        examples: int,
        test_examples: int,
        classes: int,
        channels: int,
        height: int,
        width: int,
        noise: float,
        val_fraction: float,
        seed: int,
    ) -> None:
        numbers = {"examples": examples, "test_examples": test_examples, "height": height, "width": width}
        for name, value in (numbers | {"channels": channels}).items():
            if value < 1:
                raise ValueError(f"dataset.{name} is {value}; it must be at least 1")
        if classes < 0:
            raise ValueError(f"dataset.classes is {classes}; it must be 0 (unlabeled) or more")
        if not noise >= 0:
            raise ValueError(f"dataset.noise is {noise}; it must be 0 or more")
        if not 0 < val_fraction < 1:
            raise ValueError(f"dataset.val_fraction is {val_fraction}; it must lie in (0, 1)")
        self.examples = examples
        self.test_examples = test_examples
        self.noise = noise
        self.val_fraction = val_fraction
        self.seed = seed
        names = tuple(f"stripes {k}" for k in range(classes))
        self._spec = ImageSpec(channels=channels, height=height, width=width, classes=classes, class_names=names)

    @property
    def spec(self) -> ImageSpec:
        return self._spec

    def check(self) -> None:
        """Nothing to check."""

    def contents(self) -> Contents:
        return {}

    def count(self) -> int:
        return self.examples - round(self.val_fraction * self.examples)

    def load(self) -> Mapping[SplitName, Examples]:
        generator = torch.Generator().manual_seed(self.seed)
        train, val = hold_out(self._draw(self.examples, generator), self.val_fraction, self.seed)
        return {"pretrain": train, "train": train, "val": val, "test": self._draw(self.test_examples, generator)}

    def _draw(self, n: int, generator: torch.Generator) -> Examples:
        spec = self._spec
        patterns = spec.classes or HIDDEN_PATTERNS
        kind = torch.arange(n) % patterns
        angle = math.pi * kind / patterns
        cycles = 2 + kind % 3  # across the image
        y = torch.arange(spec.height)[:, None] / spec.height
        x = torch.arange(spec.width) / spec.width
        phase = torch.rand(n, generator=generator)
        along = cycles[:, None, None] * (x * angle.cos()[:, None, None] + y * angle.sin()[:, None, None])
        wave = (2 * math.pi * (along + phase[:, None, None])).sin()[:, None]
        # Each class weights the channels in its own way: a color where there are three.
        turn = kind[:, None] / patterns + torch.arange(spec.channels) / spec.channels
        color = 0.6 + 0.4 * (2 * math.pi * turn).cos()
        clean = 0.5 + 0.4 * color[:, :, None, None] * wave
        noisy = clean + self.noise * torch.randn(clean.shape, generator=generator)
        data = noisy.clamp(0, 1).mul(255).round().to(torch.uint8)
        return Examples(data, kind if spec.classes else torch.full((n,), -1))
