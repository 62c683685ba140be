"""Encoders that give the probability of each component of a Gaussian mixture."""

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Features, ImageSpec, MixtureEncoder, NumericSpec
from ssl_runner.nn.gaussian_mixture import quadratic
from ssl_runner.nn.normalize import Normalize


class _Mixture(MixtureEncoder):
    """What both have: the mixture, and how examples become rows of numbers."""

    def __init__(self, spec: NumericSpec, *, components: int, covariance: Literal["full", "diagonal"]) -> None:
        super().__init__()
        if components < 1:
            raise ValueError(f"backbone.components is {components}; it must be at least 1")
        if spec.size and components > spec.size:
            raise ValueError(
                f"backbone.components is {components}, and there are {spec.size} examples to pretrain on: set it to "
                "that or less, since each component needs one"
            )
        self.covariance = covariance
        self.shape = spec.shape
        self.dim = components
        width = math.prod(spec.shape)
        self.normalize = Normalize(spec.channels) if isinstance(spec, ImageSpec) else None
        each = torch.ones(components, width)
        self.register_buffer("means", torch.randn(components, width))
        self.register_buffer("factors", torch.diag_embed(each) if covariance == "full" else each)
        start = -math.log(components) - width / 2 * math.log(2 * math.pi)
        self.register_buffer("bias", torch.full((components,), start))

    def flat(self, x: Tensor) -> Tensor:
        if self.normalize is not None:
            x = self.normalize(x)
        return x.flatten(1) if x.dtype == torch.float64 else x.flatten(1).float()

    def unflat(self, values: Tensor) -> Tensor:
        x = values.unflatten(1, self.shape)
        if self.normalize is None:
            return x
        return x * self.normalize.std.view(-1, 1, 1) + self.normalize.mean.view(-1, 1, 1)

    def log_scale(self) -> Tensor:
        if self.normalize is None:
            return self.bias.new_zeros(())
        return -self.normalize.std.log().sum() * math.prod(self.shape[1:])

    def log_joint(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, K)."""
        values = self.flat(x)
        with torch.autocast(values.device.type, enabled=False):
            return self.bias - 0.5 * quadratic(values, self.means, self.factors)


class Mixture(_Mixture):
    """q(k | x) by Bayes' rule, from a mixture of `components` normal distributions.

        q(k | x) = p(x, k) / sum_j p(x, j),   p(x, k) = weight_k N(x; mean_k, covariance_k)

    Nothing is trained by gradients; `objective=gaussian_mixture` sets the parameters. Before, means are standard
    normal, covariances the identity and weights equal. `pooled` and the one token are q(k | x); `layers` are the
    logarithms log p(x, k), and q(k | x). Where the parameters have a distribution (`inference=mean_field`), log p(x, k)
    is its expectation.
    """

    exact = True

    def log_q(self, x: Tensor) -> Tensor:
        return self.log_joint(x).log_softmax(dim=1)

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        joint = self.log_joint(x)
        q = joint.softmax(dim=1)
        return Features(q[:, None], q, (joint, q) if layers else ())


class MixtureNetwork(_Mixture):
    """q(k | x) by an MLP of flattened examples, beside the mixture that it is to explain x by.

    Linear layers, each with a ReLU after it, then one to the K logits. `pooled` and the one token are q(k | x);
    `layers` are the hidden units of each layer, and q(k | x). Weights: Kaiming, normal; biases zero; those of the
    logits as in torch.
    """

    exact = False

    def __init__(
        self, spec: NumericSpec, *, components: int, covariance: Literal["full", "diagonal"], widths: list[int]
    ) -> None:
        super().__init__(spec, components=components, covariance=covariance)
        if not widths or min(widths) < 1:
            raise ValueError(f"backbone.widths is {list(widths)}; it must list at least one width, each at least 1")
        sizes = [math.prod(spec.shape), *widths]
        self.stages = nn.ModuleList(nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(sizes))
        for linear in (part for part in self.stages.modules() if isinstance(part, nn.Linear)):
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
        self.logits = nn.Linear(widths[-1], components)

    def log_q(self, x: Tensor) -> Tensor:
        return self._logits(x)[0].log_softmax(dim=1)

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        logits, hidden = self._logits(x)
        q = logits.softmax(dim=1)
        return Features(q[:, None], q, (*hidden, q) if layers else ())

    def _logits(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, K), float32 at least, and what each layer before gives."""
        values, hidden = self.flat(x), []
        for stage in self.stages:
            values = stage(values)
            hidden.append(values)
        logits = self.logits(values)
        return logits if logits.dtype == torch.float64 else logits.float(), hidden
