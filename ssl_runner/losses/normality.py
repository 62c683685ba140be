"""How far samples are from standard normal ones. n samples, D width, M directions."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_runner.losses.precision import float32

REACH = 5.0  # frequencies from -REACH to REACH are integrated; LeJEPA's published settings
KNOTS = 17  # of the trapezoidal rule over that range


@float32
def epps_pulley(x: Tensor) -> Tensor:
    """Distance of the distribution of samples from the standard normal one, by characteristic functions: (..., n, M) ->
    (..., M), for each column by itself.

        n integral of |mean over j of e^{i t x_j} - e^{-t^2 / 2}|^2 e^{-t^2 / 2} dt,   t from -5 to 5

    Epps, Pulley 1983, "A test for normality based on the empirical characteristic function",
    https://doi.org/10.1093/biomet/70.3.723, by the trapezoidal rule with 17 knots, of which symmetry leaves 9.
    Of samples that are standard normal it is sqrt(2 pi) (1 - 1 / sqrt(3)) = 1.06 in the mean, whatever n.
    Differs from the test: mean and deviation are not estimated, so both are compared too.

    >>> round(epps_pulley(torch.zeros(4, 1)).item(), 3)  # all samples at 0: 4 sqrt(2 pi) (1 - sqrt(2) + 1 / sqrt(3))
    1.636
    """
    t = torch.linspace(0, REACH, KNOTS // 2 + 1, dtype=x.dtype, device=x.device)
    weight = REACH / (KNOTS // 2) * (1 + ((t > 0) & (t < REACH)).to(t.dtype))  # the last has half, and 0 no twin
    normal = torch.exp(-t.square() / 2)
    angle = x.unsqueeze(-1) * t  # (..., n, M, knots)
    apart = (angle.cos().mean(dim=-3) - normal).square() + angle.sin().mean(dim=-3).square()
    return x.shape[-2] * (apart @ (weight * normal))


@float32
def sigreg(z: Tensor, directions: Tensor) -> Tensor:
    """Sketched isotropic Gaussian regularization: the mean of `epps_pulley` over projections on random directions, ().

    `z` (..., n, D), `directions` (D, M), of any length. Balestriero, LeCun 2025 (LeJEPA),
    https://arxiv.org/abs/2511.08544, section 4: a distribution is the isotropic normal one if all its projections are.
    """
    return epps_pulley(z @ F.normalize(directions, dim=0)).mean()
