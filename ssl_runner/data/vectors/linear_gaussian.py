"""Vectors of a linear model with normal latent variables, whose log p(x) and p(z | x) are known. D width, L latents."""

import math
from collections.abc import Mapping

import torch

from ssl_runner.data.any.splits import hold_out
from ssl_runner.interfaces import Contents, DataSource, Examples, LinearModel, SplitName, VectorSpec


class LinearGaussian(DataSource):
    """x = mean + W z + deviation e, with z (L numbers) and e (D numbers) standard normal.

    Columns of W have length `length`, and each two the cosine `correlation`, so that

        precision of p(z | x) = P = I + W^T W / deviation^2 = (1 + s) I + s correlation (1 1^T - I)
        s = (length / deviation)^2

    and the least KL of a diagonal normal q to p(z | x) is known: (sum of log P_ii - log |P|) / 2. Directions
    are drawn by `seed`. Tipping, Bishop 1999, "Probabilistic Principal Component Analysis",
    https://doi.org/10.1111/1467-9868.00196.
    """

    def __init__(
        self,
        *,
        examples: int,
        test_examples: int,
        width: int,
        latent: int,
        length: float,
        correlation: float,
        deviation: float,
        val_fraction: float,
        seed: int,
    ) -> None:
        for name, value in {"examples": examples, "test_examples": test_examples, "latent": latent}.items():
            if value < 1:
                raise ValueError(f"dataset.{name} is {value}; it must be at least 1")
        if width < latent:
            raise ValueError(f"dataset.width is {width}; it must be at least dataset.latent, {latent}")
        for name, number in {"length": length, "deviation": deviation}.items():
            if not 0 < number < math.inf:
                raise ValueError(f"dataset.{name} is {number}; it must be above 0")
        if not 0 <= correlation < 1:
            raise ValueError(f"dataset.correlation is {correlation}; it must lie in [0, 1)")
        if not 0 < val_fraction < 1:
            raise ValueError(f"dataset.val_fraction is {val_fraction}; it must lie in (0, 1)")
        self.examples = examples
        self.test_examples = test_examples
        self.val_fraction = val_fraction
        self.seed = seed
        generator = torch.Generator().manual_seed(seed)
        axes, _ = torch.linalg.qr(torch.randn(width, latent, generator=generator, dtype=torch.float64))
        cosines = correlation * torch.ones(latent, latent).double() + (1 - correlation) * torch.eye(latent).double()
        self._loadings = length * axes @ torch.linalg.cholesky(cosines).mT
        self._mean = torch.randn(width, generator=generator, dtype=torch.float64)
        model = LinearModel(
            loadings=tuple(map(tuple, self._loadings.tolist())), mean=tuple(self._mean.tolist()), deviation=deviation
        )
        self._spec = VectorSpec(count=1, width=width, linear=model)
        self.deviation = deviation

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
        generator = torch.Generator().manual_seed(self.seed + 1)
        train, val = hold_out(self._draw(self.examples, generator), self.val_fraction, self.seed)
        return {"pretrain": train, "train": train, "val": val, "test": self._draw(self.test_examples, generator)}

    def _draw(self, n: int, generator: torch.Generator) -> Examples:
        width, latent = self._loadings.shape
        z = torch.randn(n, latent, generator=generator, dtype=torch.float64)
        noise = torch.randn(n, width, generator=generator, dtype=torch.float64)
        x = self._mean + z @ self._loadings.T + self.deviation * noise
        return Examples(x.float()[:, None], torch.full((n,), -1))
