"""Localization: the box of an image's object, by regression on frozen features. n images, D features, P penalties."""

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_runner.evaluation.any.subject import TOLD, evaluating
from ssl_runner.evaluation.images.drawn_boxes import with_boxes
from ssl_runner.figures import Pictures
from ssl_runner.interfaces import (
    Boxed,
    Boxes,
    DataSpec,
    Encoder,
    Evaluator,
    Finding,
    ImageSpec,
    MapEncoder,
    PatchEncoder,
    SplitName,
    Subject,
)
from ssl_runner.results.metrics import Better, Metric, Protocol, Split, share

HALF = 0.5  # overlap from which a box counts as right, as in ImageNet's localization task
CHUNK = 256  # images encoded at once


class Localization(Evaluator):
    """Linear regression of the four sides of a box on frozen features, for a grid of penalties; the one with the
    highest mean overlap on "val" reports "test".

        |Y - Z W - b|^2 / n + penalty |W|^2,   Y (n, 4): sides as shares of the image; Z: features standardized by train

    `read`: "grid", the map averaged to `cells` x `cells`, so that places are told apart, or "pooled", the features of
    an image, which may not know them. Pixels, and encoders without a map, are read as "pooled". Images must have at
    most one box that is not ignored; those without are left out, of train too.

    Metrics, on test and val: overlap (intersection over union with the true box, mean over images), and right (the
    share of images with an overlap of 0.5 or more), in [0, 1]; overlap_mean_box: that of the mean box of train, which
    knows nothing of the image and is to be beaten. Since the penalty is chosen on val, its figures are the higher.

    Sermanet, Eigen, Zhang, Mathieu, Fergus, LeCun 2013, "OverFeat", https://arxiv.org/abs/1312.6229, section 4.
    Differs from the paper: linear and in closed form; one box for all classes, in one scale.
    """

    needs_labels: ClassVar[bool] = False
    needs_boxes: ClassVar[bool] = True
    reads: ClassVar[type[DataSpec]] = ImageSpec
    presentation: ClassVar[frozenset[str]] = frozenset({"pictures"})

    def __init__(
        self, *, read: Literal["grid", "pooled"], cells: int, penalties: Sequence[float], pictures: int
    ) -> None:
        if read not in ("grid", "pooled"):
            raise ValueError(f"evaluation.localization.read is {read!r}; it must be grid or pooled")
        if not penalties or min(penalties) <= 0:
            raise ValueError(f"evaluation.localization.penalties is {list(penalties)}; it must list numbers above 0")
        for name, value in (("cells", cells), ("pictures", pictures)):
            if value < 1:
                raise ValueError(f"evaluation.localization.{name} is {value}; it must be at least 1")
        self.read = read
        self.cells = cells
        self.penalties = tuple(map(float, penalties))
        self.pictures = pictures

    def check(self, spec: DataSpec) -> None:
        if not isinstance(spec, ImageSpec) or not spec.one_box:
            raise ValueError(
                "evaluation=localization finds the box of images that have one, and some of this dataset have several: "
                "choose evaluation=detection"
            )

    def __call__(self, subject: Subject) -> Finding:
        data = cast(Boxed, subject.data)
        sides = {split: told(data.boxes(split), split) for split in ("train", *TOLD)}
        features = {split: self._features(subject, split)[sides[split].image] for split in sides}
        device = subject.device
        fits = ridge(features["train"].to(device), sides["train"].corners.to(device), self.penalties)
        on_val = [overlap(fit.boxes(features["val"].to(device)).cpu(), sides["val"].corners).mean() for fit in fits]
        best = int(torch.stack(on_val).argmax())
        found = {split: fits[best].boxes(features[split].to(device)).cpu() for split in TOLD}
        mean = sides["train"].corners.mean(dim=0, keepdim=True)
        edges = len(self.penalties) > 1 and self.penalties[best] in (min(self.penalties), max(self.penalties))
        return Finding(
            [each for split in TOLD for each in scores(found[split], mean, sides[split].corners, split)],
            Protocol(
                terms={"method": "linear regression of a box", "features": "standardized by train"},
                chosen={"penalty": self.penalties[best]},
                measured={
                    "width": features["train"].shape[1],
                    "at the grid's edge": "penalty" if edges else "",
                    **{f"{split} examples": len(each.image) for split, each in sides.items()},
                    **{f"{split} left out": count(subject, split) - len(each.image) for split, each in sides.items()},
                    "seed": subject.seed,
                },
            ),
            {"boxes": self._drawn(subject, found["test"], sides["test"])},
        )

    def _features(self, subject: Subject, split: SplitName) -> Tensor:
        """(n, D), on the CPU."""
        encoder = subject.encoder
        if self.read == "pooled" or not isinstance(encoder, MapEncoder | PatchEncoder):
            return subject.features(split).data
        spec, data = subject.data.spec, subject.data.examples(split).data
        parts = []
        with evaluating(encoder), torch.inference_mode():
            for chunk in data.split(CHUNK):
                x = spec.to_input(chunk.to(subject.device))
                parts.append(F.adaptive_avg_pool2d(grid_of(encoder, x).float(), self.cells).flatten(1).cpu())
        return torch.cat(parts)

    def _drawn(self, subject: Subject, found: Tensor, truth: Boxes) -> Pictures:
        spec, data = subject.data.spec, subject.data.examples("test").data
        generator = torch.Generator().manual_seed(subject.seed)
        chosen = torch.randperm(len(truth.image), generator=generator)[: self.pictures].sort().values
        images = spec.to_input(data[truth.image[chosen]])
        both = torch.stack([truth.corners[chosen], found[chosen]], dim=1)  # of an image, its box and what was found
        captions = [f"{100 * each:.0f} %" for each in overlap(both[:, 1], both[:, 0]).tolist()]
        return Pictures(
            {"boxes": with_boxes(images, [(each, torch.tensor([0, 1])) for each in both])},
            {"boxes": captions},
            note="Test images with their box (red), the one found (blue), and their overlap.",
        )


def count(subject: Subject, split: SplitName) -> int:
    return len(subject.data.examples(split).label)


def grid_of(encoder: Encoder, x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, D, h, w)"""
    if isinstance(encoder, PatchEncoder):
        return encoder(x).tokens.mT.unflatten(2, encoder.grid)
    return cast(MapEncoder, encoder).map(x)


def told(boxes: Boxes, split: str) -> Boxes:
    """Those that are not ignored. Raises ValueError if all are."""
    kept = Boxes(*(part[~boxes.ignored] for part in boxes))
    if not len(kept.image):
        raise ValueError(f"no image of {split} has a box that is not ignored")
    return kept


class Ridge(NamedTuple):
    """boxes = (x - mean) / std @ weight + bias"""

    mean: Tensor  # (D,)
    std: Tensor  # (D,); infinite for a constant feature
    weight: Tensor  # (D, 4)
    bias: Tensor  # (4,)

    def boxes(self, x: Tensor) -> Tensor:
        """(n, D) -> (n, 4) within [0, 1]; of a box that would end before it begins, the sides are exchanged."""
        sides = ((x - self.mean) / self.std @ self.weight + self.bias).clamp(0, 1)
        first, last = sides[:, :2], sides[:, 2:]
        return torch.cat([torch.minimum(first, last), torch.maximum(first, last)], dim=1)


def ridge(x: Tensor, y: Tensor, penalties: Sequence[float]) -> list[Ridge]:
    """Minimize |y - z w - b|^2 / n + penalty |w|^2 over w (D, 4) and b, z: x (n, D) standardized; for each penalty.

    In closed form, along the principal axes of z, in float64. As scikit-learn's `Ridge(alpha=n * penalty)`.
    """
    std, mean = torch.std_mean(x, dim=0, correction=0)
    std = torch.where(std > 1e-6 * mean.abs(), std, torch.inf)
    z, bias = ((x - mean) / std), y.mean(dim=0)
    n, dim = z.shape
    gram = (z.mT @ z if dim <= n else z @ z.mT).cpu().double() / n
    variance, axes = torch.linalg.eigh(gram)
    target = (y - bias).cpu().double()
    found = []
    for penalty in penalties:
        if dim <= n:
            moved = axes.mT @ (z.mT.cpu().double() @ target / n)
            weight = axes @ (moved / (variance + penalty)[:, None])
        else:  # w = z' (z z' / n + penalty)^-1 y / n
            inner = axes @ ((axes.mT @ target) / (variance + penalty)[:, None]) / n
            weight = z.mT.cpu().double() @ inner
        found.append(Ridge(mean, std, weight.to(x), bias))
    return found


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes, pair by pair: (n, 4), (n, 4) -> (n,); 0 where both have no area.

    >>> overlap(torch.tensor([[0.0, 0.0, 0.5, 1.0]]), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
    tensor([0.5000])
    """
    sides = (torch.minimum(one[:, 2:], other[:, 2:]) - torch.maximum(one[:, :2], other[:, :2])).clamp_min(0)
    both = sides.prod(dim=1)
    areas = [(each[:, 2:] - each[:, :2]).prod(dim=1) for each in (one, other)]
    return both / (areas[0] + areas[1] - both).clamp_min(1e-12)


def scores(found: Tensor, mean: Tensor, truth: Tensor, split: Split) -> list[Metric]:
    """Metrics of boxes (n, 4) of a split, and of the mean box (1, 4)."""
    ours, its = overlap(found, truth), overlap(mean.expand_as(truth), truth)
    return [
        share("overlap", ours.mean().item(), split=split, headline=True),
        share("right", (ours >= HALF).float().mean().item(), split=split),
        share("overlap_mean_box", its.mean().item(), split=split, better=Better.NEITHER),
        share("right_mean_box", (its >= HALF).float().mean().item(), split=split, better=Better.NEITHER),
    ]
