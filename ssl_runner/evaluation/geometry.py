"""The shape of the cloud of features: whether an encoder has collapsed, and in how many directions it spreads."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_runner.evaluation.subject import extract, named_layer, of_layer
from ssl_runner.interfaces import Evaluator, Finding, ImageSpec, Subject
from ssl_runner.metrics import Protocol, description


class Geometry(Evaluator):
    """Measure the features of up to `examples` seeded examples of "test"; no label is read.

    Metrics: effective_rank (1 to the width, 0 where all features are the same), spread (about 1 where all directions
    are used alike, 0 at collapse), uniformity (0 at collapse, lower is more uniform), and for images alignment (0 to
    4, lower is better): the mean squared distance between features, scaled to length 1, of an image and of the image
    moved by up to `shift` pixels down and across, drawn uniformly, each pixel that comes in a copy of the nearest at
    the border. It is a fixed probe for all methods, not the views of any; none of these says by itself that an encoder
    is good, so neither more nor less of any is better.
    """

    needs_labels: ClassVar[bool] = False
    pixels_are_control: ClassVar[bool] = False

    def __init__(self, *, layer: str | int, examples: int, shift: int) -> None:
        self.layer = named_layer("evaluation.geometry.layer", layer)
        if examples < 2:
            raise ValueError(f"evaluation.geometry.examples is {examples}; it must be at least 2")
        if shift < 1:
            raise ValueError(f"evaluation.geometry.shift is {shift}; it must be at least 1 pixel")
        self.examples = examples
        self.shift = shift

    def __call__(self, subject: Subject) -> Finding:
        everything = subject.features("test", self.layer).data
        generator = torch.Generator().manual_seed(subject.seed)
        chosen = torch.randperm(len(everything), generator=generator)[: self.examples].sort().values
        features = everything[chosen]
        metrics = [
            description("effective_rank", effective_rank(features), headline=True),
            description("spread", spread(features)),
            description("uniformity", uniformity(features)),
        ]
        if isinstance(subject.data.spec, ImageSpec):
            metrics.append(description("alignment", self._alignment(subject, chosen, generator)))
        return Finding(
            metrics,
            Protocol(
                terms={"method": "geometry of features"},
                measured={"test examples": len(chosen), "width": features.shape[1], "seed": subject.seed},
            ),
        )

    def _alignment(self, subject: Subject, chosen: Tensor, generator: torch.Generator) -> float:
        images = subject.data.examples("test").data[chosen]
        # Both in float32: the difference of two roundings would count as distance.
        still, moved = (
            extract(
                subject.encoder,
                subject.data.spec,
                x,
                device=subject.device,
                precision=torch.float32,
                batch_size=256,
                layers=self.layer != "pooled",
            )
            for x in (images, move(images, self.shift, generator))
        )
        return alignment(of_layer(still, self.layer), of_layer(moved, self.layer))


def effective_rank(x: Tensor) -> float:
    """exp of the entropy of the centred features' singular values, as shares of their sum; (n, D). 0 at full collapse.

    Roy, Vetterli 2007, https://www.eurasip.org/Proceedings/Eusipco/Eusipco2007/Papers/a5p-h05.pdf.
    """
    x = x.double()
    centred = x - x.mean(dim=0)
    if centred.square().sum() <= 1e-12 * x.square().sum():
        return 0.0
    gram = centred.mT @ centred if x.shape[1] <= len(x) else centred @ centred.mT
    singular = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt()
    return torch.special.entr(singular / singular.sum()).sum().exp().item()


def spread(x: Tensor) -> float:
    """The standard deviation of features scaled to length 1, mean over dimensions, times sqrt(D); (n, D).

    1 for a centred cloud with no preferred direction. Chen, He 2021, https://arxiv.org/abs/2011.10566.
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
    """Move each of (n, C, H, W) by its own whole numbers of pixels in [-most, most]; the border is repeated."""
    n, _, height, width = images.shape
    down, across = torch.randint(-most, most + 1, (2, n, 1), generator=generator)
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - across).clamp(0, width - 1)
    return images[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
