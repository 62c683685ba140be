"""The geometry of features: collapse, effective dimension, alignment and uniformity."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_runner.evaluation.any.subject import extract, named_layer, of_layer
from ssl_runner.interfaces import Evaluator, Finding, ImageSpec, Subject
from ssl_runner.results.metrics import Protocol, description


class Geometry(Evaluator):
    """Measure the features of up to `examples` seeded examples of "test", without labels.

    Metrics: effective_rank (1 to the width, 0 where all features are the same), rankme (the same of features that are
    not centered), alpha (how fast the spectrum of the covariance falls, as rank^-alpha over the ranks `spectrum`, first
    and last, as far as there are so many; left out where there are not two), spread (about 1 if all directions
    are used equally, 0 at collapse), uniformity (0 at collapse, lower is more uniform), and for images alignment (0 to
    4, lower is better): the mean squared distance between features, scaled to length 1, of an image and of the image
    moved by up to `shift` pixels down and across, drawn uniformly, each pixel that comes in a copy of the nearest at
    the border; and lidar (1 to the width): in how many directions images differ, measured by how far their features
    move when the image is so moved, `views` times; `delta` is added to the variance within an image.

    These shifts are a fixed probe for all methods, not a method's views. In the paper of LiDAR they are each method's
    views; here, an encoder that is invariant only to shifts scores high. None of these metrics shows by itself that an
    encoder is good, so they have no direction.
    """

    needs_labels: ClassVar[bool] = False
    pixels_are_control: ClassVar[bool] = False

    def __init__(
        self,
        *,
        layer: str | int,
        examples: int,
        shift: int,
        spectrum: tuple[int, int],
        views: int,
        delta: float,
    ) -> None:
        self.layer = named_layer("evaluation.geometry.layer", layer)
        if examples < 2:
            raise ValueError(f"evaluation.geometry.examples is {examples}; it must be at least 2")
        if shift < 1:
            raise ValueError(f"evaluation.geometry.shift is {shift}; it must be at least 1 pixel")
        if not 1 <= spectrum[0] < spectrum[1]:
            raise ValueError(
                f"evaluation.geometry.spectrum is {list(spectrum)}; it must be two ranks, the first at least 1, the "
                "last above it"
            )
        if views < 2:
            raise ValueError(f"evaluation.geometry.views is {views}; it must be at least 2")
        if not delta > 0:
            raise ValueError(f"evaluation.geometry.delta is {delta}; it must be above 0")
        self.examples = examples
        self.shift = shift
        self.spectrum = spectrum
        self.views = views
        self.delta = delta

    def __call__(self, subject: Subject) -> Finding:
        everything = subject.features("test", self.layer).data
        generator = torch.Generator().manual_seed(subject.seed)
        chosen = torch.randperm(len(everything), generator=generator)[: self.examples].sort().values
        features = everything[chosen]
        found = {
            "rankme": rankme(features),
            "spread": spread(features),
            "uniformity": uniformity(features),
        }
        decay = alpha(features, self.spectrum)
        if decay is not None:
            found["alpha"] = decay
        if isinstance(subject.data.spec, ImageSpec):
            found["alignment"], found["lidar"] = self._moved(subject, chosen, generator)
        return Finding(
            [
                description("effective_rank", effective_rank(features), headline=True),
                *(description(name, value) for name, value in found.items()),
            ],
            Protocol(
                terms={"method": "geometry of features"},
                measured={"test examples": len(chosen), "width": features.shape[1], "seed": subject.seed},
            ),
        )

    def _moved(self, subject: Subject, chosen: Tensor, generator: torch.Generator) -> tuple[float, float]:
        """Alignment of each image with a shifted one, and LiDAR of all shifted images."""
        images = subject.data.examples("test").data[chosen]
        # All in float32: the difference of two roundings would count as distance.
        still, *moved = (
            of_layer(
                extract(
                    subject.encoder,
                    subject.data.spec,
                    x,
                    device=subject.device,
                    batch_size=256,
                    layers=self.layer != "pooled",
                ),
                self.layer,
            )
            for x in (images, *(move(images, self.shift, generator) for _ in range(self.views)))
        )
        return alignment(still, moved[0]), lidar(torch.stack(moved, dim=1), self.delta)


EPSILON = 1e-7  # added to each share of a spectrum, as RankMe's authors do


def effective_rank(x: Tensor) -> float:
    """exp of the entropy of the centered features' singular values, as shares of their sum; (n, D). 0 at full collapse.

    Roy, Vetterli 2007, https://www.eurasip.org/Proceedings/Eusipco/Eusipco2007/Papers/a5p-h05.pdf.
    """
    x = x.double()
    centered = x - x.mean(dim=0)
    if centered.square().sum() <= 1e-12 * x.square().sum():
        return 0.0
    singular = _squared_singular(centered).sqrt()
    return torch.special.entr(singular / singular.sum()).sum().exp().item()


def rankme(x: Tensor) -> float:
    """exp of -sum_k p_k log p_k, p_k = s_k / sum_j s_j + 1e-7, s the singular values of x as it is; (n, D). 0 of zeros.

    Garrido et al. 2023, https://arxiv.org/abs/2210.02885, equation 1; there of 25,600 examples.
    """
    return _rank(_squared_singular(x.double()).sqrt())


def alpha(x: Tensor, ranks: tuple[int, int]) -> float | None:
    """The power of the decay of the covariance's eigenvalues, lambda_j ~ j^-alpha, of features (n, D).

    A line through log lambda over log j by least squares, weighted by 1 / j, for j from the first to the last of
    `ranks`, as far as lambda_j is above rounding; None where fewer than two are. Agrawal et al. 2022, alpha-ReQ
    (NeurIPS 35); the paper gives no range or weights, its authors' code j = 4 to 100 and these.
    """
    x = x.double()
    values = _squared_singular(x - x.mean(dim=0)).flip(0)
    if values[0] <= 1e-12 * x.square().sum():
        return None
    first, last = ranks
    values = values[first - 1 : min(last, int((values > 1e-12 * values[0]).sum()))]
    if len(values) < 2:
        return None
    place = torch.arange(first, first + len(values), dtype=torch.double, device=x.device)
    weight, across, down = place.reciprocal(), place.log(), values.log()
    across = across - (weight * across).sum() / weight.sum()
    return -((weight * across * down).sum() / (weight * across.square()).sum()).item()


def lidar(x: Tensor, delta: float) -> float:
    """The rank, as `rankme` takes it, of the eigenvalues of W^-1/2 B W^-1/2; x: (n, q, D), q views of n examples.

        B = mean_i (m_i - m)(m_i - m)^T,   W = mean_ij (x_ij - m_i)(x_ij - m_i)^T + delta I,

    m_i the mean of an example's views, m of all. Thilak et al. 2024, https://arxiv.org/abs/2312.04000, equations 1 to
    4; `delta` is left open there. At most n - 1 eigenvalues are above 0. 0 where all examples are the same.
    """
    x = x.double()
    center = x.mean(dim=1)
    between = (center - center.mean(dim=0)) / len(x) ** 0.5
    if between.square().sum() <= 1e-12 * center.square().mean(dim=0).sum():
        return 0.0
    within = (x - center[:, None]).flatten(0, 1)
    covariance = within.mT @ within / len(within) + delta * torch.eye(x.shape[2], dtype=x.dtype, device=x.device)
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), between.mT, upper=False)
    return _rank(torch.linalg.eigvalsh(whitened @ whitened.mT).clamp_min(0))


def _squared_singular(x: Tensor) -> Tensor:
    """Of (n, D), the min(n, D) squared singular values, ascending."""
    return torch.linalg.eigvalsh(x.mT @ x if x.shape[1] <= len(x) else x @ x.mT).clamp_min(0)


def _rank(spectrum: Tensor) -> float:
    if spectrum.sum() <= 0:
        return 0.0
    share = spectrum / spectrum.sum() + EPSILON
    return torch.special.entr(share).sum().exp().item()


def spread(x: Tensor) -> float:
    """The standard deviation of features scaled to length 1, mean over dimensions, times sqrt(D); (n, D).

    1 for a centered cloud with no preferred direction. Chen, He 2021, https://arxiv.org/abs/2011.10566.
    """
    return (F.normalize(x, dim=1).std(dim=0, correction=0).mean() * x.shape[1] ** 0.5).item()


def uniformity(x: Tensor) -> float:
    """log of the mean over unordered pairs of exp(-2 |u - v|^2), u and v scaled to length 1; (n, D), n >= 2.

    Wang, Isola 2020, https://arxiv.org/abs/2005.10242.
    """
    u = F.normalize(x.double(), dim=1)
    row, column = torch.triu_indices(len(u), len(u), offset=1)
    squared = (2 - 2 * (u @ u.mT)[row, column]).clamp_min(0)
    return squared.mul(-2).exp().mean().log().item()


def alignment(x: Tensor, y: Tensor) -> float:
    """The mean of |u - v|^2 over pairs, u and v rows of x and y, (n, D), scaled to length 1 (Wang, Isola 2020)."""
    return (F.normalize(x, dim=1) - F.normalize(y, dim=1)).square().sum(dim=1).mean().item()


def move(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Move each of (n, C, H, W) by its own integer numbers of pixels in [-most, most]; the border is repeated."""
    n, _, height, width = images.shape
    down, across = torch.randint(-most, most + 1, (2, n, 1), generator=generator)
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - across).clamp(0, width - 1)
    return images[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
