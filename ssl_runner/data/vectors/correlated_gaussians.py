"""Pairs of Gaussian vectors with known mutual information. D width."""

import math
from collections.abc import Mapping

import torch

from ssl_runner.data.any.splits import hold_out
from ssl_runner.interfaces import Contents, DataSource, Examples, SplitName, VectorSpec


class CorrelatedGaussians(DataSource):
    """Pairs (a, b) of standard normal vectors, where a_d and b_d have correlation rho and others are independent.

        b = rho a + sqrt(1 - rho^2) e,   I(a; b) = -D/2 log(1 - rho^2) nats, which is set:  rho^2 = 1 - e^{-2 I / D}

    As in Poole, Ozair, van den Oord, Alemi, Tucker 2019, "On Variational Bounds of Mutual Information",
    https://arxiv.org/abs/1905.06922, section 3; there D = 20 and I from 2 to 10.
    """

    def __init__(
        self, *, examples: int, test_examples: int, width: int, information: float, val_fraction: float, seed: int
    ) -> None:
        for name, value in {"examples": examples, "test_examples": test_examples, "width": width}.items():
            if value < 1:
                raise ValueError(f"dataset.{name} is {value}; it must be at least 1")
        if not 0 <= information < math.inf:
            raise ValueError(f"dataset.information is {information}; it must be 0 nats or more")
        if not 0 < val_fraction < 1:
            raise ValueError(f"dataset.val_fraction is {val_fraction}; it must lie in (0, 1)")
        self.examples = examples
        self.test_examples = test_examples
        self.val_fraction = val_fraction
        self.seed = seed
        self._spec = VectorSpec(count=2, width=width, information=information)

    @property
    def spec(self) -> VectorSpec:
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
        first, noise = torch.randn(2, n, self._spec.width, generator=generator)
        left = math.exp(-2 * (self._spec.information or 0) / self._spec.width)  # 1 - rho^2: of the variance
        second = math.sqrt(1 - left) * first + math.sqrt(left) * noise
        return Examples(torch.stack((first, second), dim=1), torch.full((n,), -1))
