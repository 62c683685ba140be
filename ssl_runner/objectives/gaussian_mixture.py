"""Gaussian mixture: explain examples by components, whose responsibilities are inferred."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import LOGGED, Batch, Loss, MixtureEncoder, NumericSpec, Objective, Parts
from ssl_runner.losses.inference import Inference
from ssl_runner.losses.precision import float32
from ssl_runner.nn.gather import gather, mean_over_ranks
from ssl_runner.nn.gaussian_mixture import Moments, clustered, mean_of, merged, moments, quadratic, sums
from ssl_runner.results import metrics

LLOYD = 10  # steps of k-means at the start


class Seen(NamedTuple):
    data: Tensor  # (B, ...)
    uniform: Tensor  # (B, S + 1) from [0, 1): which components are drawn; the last: which examples clusters begin at


class Carried(NamedTuple):
    """Of a batch: what the M-step needs."""

    sums: tuple[Tensor, ...]  # `nn.gaussian_mixture.sums` about the means at hand
    values: Tensor | None  # (B, D) and (B,), before the first step alone
    order: Tensor | None


class GaussianMixture(Objective[Seen, Tensor]):
    """Fit a mixture of normal distributions, by steps that alternate between q(k | x) and the parameters.

        x = t,   y = t,   p(y) = sum_k weight_k N(y; mean_k, covariance_k),   q(k | x) the encoder's
        loss = -E_q[log p(y, k) - log q(k | x)]                                                 nats per example

    The loss is -ELBO, log p(y) = ELBO + KL(q || p(k | y)), and all three are logged: `log_p`, `elbo`,
    `kl_to_posterior`. q is exact (`inference=em`), or of the network's and trained by a gradient (`amortized`,
    `black_box`); after each step the parameters are those that maximize the expected log p(y, k), or have their best
    distribution (`mean_field`; then the three are those of the mean of the parameters, and `evidence_bound` is the
    bound on the evidence of all data, an example's share).

    A batch of all examples makes a step one of EM: `log_p` never falls. Of smaller ones, or with a network, which needs
    steps to follow, the moments are averaged over steps, the new ones with weight rate step^-decay (Cappe, Moulines
    2009). The first step gives each example to a cluster of k-means, from random examples; the parameters of the second
    are the first that come from data. `variance_over_floor` is
    the least variance of a component (full: given the numbers before) over `floor`: at 1 a component has shrunk to
    a point.

    Dempster, Laird, Rubin 1977, "Maximum Likelihood from Incomplete Data via the EM Algorithm",
    https://doi.org/10.1111/j.2517-6161.1977.tb01600.x; Neal, Hinton 1998, "A View of the EM Algorithm that Justifies
    Incremental, Sparse, and other Variants", https://doi.org/10.1007/978-94-011-5014-9_12; Cappe, Moulines 2009,
    "On-line expectation-maximization algorithm for latent data models", https://arxiv.org/abs/0712.4273.
    Differs from the papers: `floor` is added to all variances; with a network for q the parameters are still set in
    closed form, given that q.
    """

    collapse: ClassVar[str] = (
        "the covariance of a component degenerates to a point, or to fewer directions than there are numbers: raise "
        "objective.floor, lower backbone.components, or set backbone.covariance=diagonal"
    )
    floors: ClassVar[Mapping[str, float]] = {"variance_over_floor": 2.0}
    logged: ClassVar[Mapping[str, metrics.Kind]] = {
        **LOGGED,
        "log_p": metrics.Kind(metrics.Unit.NATS, metrics.Better.HIGHER),
        "kl_to_posterior": metrics.Kind(metrics.Unit.NATS, metrics.Better.LOWER),
        "evidence_bound": metrics.Kind(metrics.Unit.NATS, metrics.Better.HIGHER),
    }

    mass: Tensor  # (K,), with `mean` and `scatter` the moments that the parameters are of
    mean: Tensor  # (K, D)
    scatter: Tensor  # (K, D, D) or (K, D)
    whole_mean: Tensor  # (1, D), with `whole_scatter` those of all examples of the first step
    whole_scatter: Tensor  # (1, D, D) or (1, D)
    plain: Tensor  # (K,) the bias of the densities at the mean of the parameters
    penalty: Tensor  # (1,) KL(q(parameters) || prior), nats
    steps: Tensor  # (1,) int64

    def __init__(
        self,
        encoder: MixtureEncoder,
        spec: NumericSpec,
        *,
        inference: Inference,
        floor: float,
        rate: float,
        decay: float,
    ) -> None:
        super().__init__()
        if inference.exact != encoder.exact:
            wanted = "mixture" if inference.exact else "mixture_network"
            how = "Bayes' rule" if inference.exact else "a network"
            raise ValueError(f"objective.inference finds q(k | x) by {how}; set backbone={wanted}")
        if not floor > 0:
            raise ValueError(
                f"objective.floor is {floor}; it must be above 0: it is added to all variances, without which the "
                "covariance of few examples is not invertible"
            )
        if not 0 < rate <= 1:
            raise ValueError(f"objective.rate is {rate}; it must lie in (0, 1] (1: the moments are those of the step)")
        if not 0 <= decay <= 1:
            raise ValueError(f"objective.decay is {decay}; it must lie in [0, 1] (0: all steps count alike)")
        self.encoder: MixtureEncoder = encoder
        self.inference = inference
        self.floor = floor
        self.rate = rate
        self.decay = decay
        self.full = encoder.covariance == "full"
        self.examples = max(spec.size, 1)
        self.unused = nn.Parameter(torch.zeros(1)) if encoder.exact else None  # an optimizer must have one
        self.register_buffer("mass", torch.zeros(encoder.dim))
        self.register_buffer("mean", encoder.means.clone())
        self.register_buffer("scatter", torch.zeros_like(encoder.factors))
        self.register_buffer("whole_mean", torch.zeros_like(encoder.means[:1]))
        self.register_buffer("whole_scatter", torch.zeros_like(encoder.factors[:1]))
        self.register_buffer("plain", encoder.bias.clone())
        self.register_buffer("penalty", torch.zeros(1))
        self.register_buffer("steps", torch.zeros(1, dtype=torch.int64))
        self._begun = False  # whether `steps` is known to be above 0, so that the device is asked once

    def split(self, batch: Batch) -> tuple[Seen, Tensor]:
        """y (B, ...), as x."""
        uniform = torch.rand(len(batch.data), self.inference.samples + 1, device=batch.data.device)
        return Seen(batch.data, uniform), batch.data

    def loss(self, x: Seen, y: Tensor) -> Loss:
        log_q = self.encoder.log_q(x.data)
        values = self.encoder.flat(y)
        log_joint, plain = self._log_joints(values)
        scale = self.encoder.log_scale()
        error = self.inference.negative_bound(log_q, log_joint, x.uniform[:, :-1]).mean() - scale
        with torch.no_grad():
            parts = _parts(log_q, plain)
            variances = self._variances()
            logs = {
                "log_p": parts.log_p.mean() + scale,
                "elbo": parts.elbo.mean() + scale,
                "kl_to_posterior": parts.kl.mean(),
                "variance_over_floor": variances.min() / self.floor,
                "components_in_use": (log_q.exp().mean(dim=0) > 1 / (10 * log_q.shape[1])).sum().float(),
            }
            if self.inference.exact:
                logs["evidence_bound"] = -error - self.penalty[0] / self.examples
            carry = self._carried(values, log_q, x.uniform[:, -1])
        return Loss(error if self.unused is None else error + 0 * self.unused[0], logs, carry)

    @torch.no_grad()
    def after_step(self, carries: Sequence[Carried], progress: float) -> None:
        center = self.encoder.means
        if not self._started():
            parts = [self._start(carries)]
            rate: float | Tensor = 1.0
        else:
            parts = [carry.sums for carry in carries]
            rate = self.rate * self.steps[0].to(self.mass.dtype) ** -self.decay
        mass, first, second = (mean_over_ranks(each) for each in mean_of(parts))
        found = moments(mass, first, second, center)
        found = merged(Moments(self.mass, self.mean, self.scatter), found, rate)
        overall = Moments(torch.ones_like(self.mass[:1]), self.whole_mean, self.whole_scatter)
        fitted = self.inference.fit(found, self.examples, overall, self.floor)
        for own, new in zip((self.mass, self.mean, self.scatter), found, strict=True):
            own.copy_(new)
        self.encoder.means.copy_(fitted.means)
        self.encoder.factors.copy_(fitted.factors)
        self.encoder.bias.copy_(fitted.bias)
        self.plain.copy_(fitted.plain)
        self.penalty.copy_(fitted.penalty)
        self.steps.add_(1)
        self._begun = True

    def predict(self, x: Seen) -> Tensor:
        """The mean of the components, weighted by q."""
        expected = self.encoder.log_q(x.data).exp() @ self.encoder.means
        return self.encoder.unflat(expected).to(x.data.dtype)

    def family(self) -> str:
        return self.inference.name

    def decompose(self, x: Seen, y: Tensor, samples: int) -> Parts:
        """Exact: no draws are needed."""
        parts = _parts(self.encoder.log_q(x.data), self._log_joints(self.encoder.flat(y))[1])
        scale = self.encoder.log_scale()
        return Parts(parts.log_p + scale, parts.elbo + scale, parts.kl)

    def _log_joints(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) -> (B, K) twice: E log p(y, k), and log p(y, k) at the mean of the parameters."""
        with torch.autocast(values.device.type, enabled=False):
            apart = -0.5 * quadratic(values, self.encoder.means, self.encoder.factors)
            return self.encoder.bias + apart, self.plain + apart

    def _variances(self) -> Tensor:
        """Of each component and number; of full covariances those of a number given the ones before it."""
        factors = self.encoder.factors
        return (factors.diagonal(dim1=1, dim2=2) if self.full else factors).square().reciprocal()

    def _carried(self, values: Tensor, log_q: Tensor, order: Tensor) -> Carried:
        with torch.autocast(values.device.type, enabled=False):
            found = sums(values, log_q.exp(), self.encoder.means, full=self.full)
        return Carried(found, None if self._started() else values, None if self._started() else order)

    def _started(self) -> bool:
        """Reads the device until the first step is done, and after a checkpoint was loaded."""
        self._begun = self._begun or bool(self.steps[0] > 0)
        return self._begun

    def _start(self, carries: Sequence[Carried]) -> tuple[Tensor, ...]:
        """The sums of a first guess of q: clusters of k-means, from the examples that come first in a random order."""
        values = torch.cat([gather(carry.values) for carry in carries if carry.values is not None])
        order = torch.cat([gather(carry.order) for carry in carries if carry.order is not None])
        components = len(self.mass)
        if len(values) < components:
            raise ValueError(
                f"batch_size is {len(values)}; the first step begins {components} components at an example each: set "
                f"it to {components} or more, or lower backbone.components"
            )
        about = values.mean(dim=0, keepdim=True)
        _, _, scatter = sums(values, torch.ones_like(values[:, :1]), about, full=self.full)
        self.whole_mean.copy_(about)
        self.whole_scatter.copy_(scatter)
        start = values[order.argsort(stable=True)[:components]]
        return sums(values, clustered(values, start, LLOYD), self.encoder.means, full=self.full)


@float32
def _parts(log_q: Tensor, log_joint: Tensor) -> Parts:
    """(B, K) and (B, K): log q(k | x) and log p(y, k)."""
    q = log_q.exp()
    log_p = log_joint.logsumexp(dim=1)
    elbo = (q * (log_joint - log_q)).sum(dim=1)
    return Parts(log_p, elbo, (q * (log_q - log_joint.log_softmax(dim=1))).sum(dim=1))
