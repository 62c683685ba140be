"""Multi-label classification: which classes an image shows, by linear classifiers on frozen features.

n images, D features, r <= D principal axes, K classes, P penalties.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_runner.evaluation.any.subject import TOLD, named_layer, sizes
from ssl_runner.figures import Bars
from ssl_runner.interfaces import UNKNOWN, DataSpec, Evaluator, Finding, ImageSpec, Subject, Tagged
from ssl_runner.results.metrics import Better, Metric, Protocol, Split, share

CURVATURE = 0.25  # the greatest of a logistic loss
TOLERANCE = 1e-5  # the greatest part of a gradient at which descent ends


class MultiLabel(Evaluator):
    """Logistic regression of each class on frozen features, for a grid of penalties; the one with the highest mean
    average precision on "val" reports "test".

        sum over k of  mean over images of -log p(y_k | z)  +  penalty / 2 |w_k|^2     nats; z standardized by train

    Images of which a class is not known (VOC's difficult objects alone) count for this class neither in training nor in
    the metrics. Metrics, on test and val, in [0, 1]: map, the mean over classes of ap, the average precision of ranking
    images by a class's score; map_chance: what random scores get, the mean share of images that show a class. Since the
    penalty is chosen on val, its figures are the higher. A class that train, val or test shows in no image or in all is
    left out of that split's mean.

    Everingham et al. 2010, https://doi.org/10.1007/s11263-009-0275-4, section 4.1; Goyal, Mahajan, Gupta, Misra 2019,
    "Scaling and Benchmarking Self-Supervised Visual Representation Learning", https://arxiv.org/abs/1905.01235.
    Differs from both: average precision is the area under all steps, where VOC 2007 has 11 recalls; logistic
    regression rather than a support vector machine; one penalty for all classes.
    """

    needs_labels: ClassVar[bool] = False
    needs_tags: ClassVar[bool] = True
    reads: ClassVar[type[DataSpec]] = ImageSpec

    def __init__(self, *, layer: str | int, penalties: Sequence[float], steps: int) -> None:
        self.layer = named_layer("evaluation.multi_label.layer", layer)
        if not penalties or min(penalties) <= 0:
            raise ValueError(f"evaluation.multi_label.penalties is {list(penalties)}; it must list numbers above 0")
        if steps < 1:
            raise ValueError(f"evaluation.multi_label.steps is {steps}; it must be at least 1")
        self.penalties = tuple(map(float, penalties))
        self.steps = steps

    def __call__(self, subject: Subject) -> Finding:
        names = cast(ImageSpec, subject.data.spec).tag_names
        tags = {split: cast(Tagged, subject.data).tags(split) for split in ("train", *TOLD)}
        features = {split: subject.features(split, self.layer).data.to(subject.device) for split in tags}
        fits = [
            fit(features["train"], tags["train"].to(subject.device), penalty, self.steps) for penalty in self.penalties
        ]
        on_val = [mean_of(precisions(each.scores(features["val"]).cpu(), tags["val"], "val")) for each in fits]
        best = max(range(len(fits)), key=lambda place: on_val[place])
        found = {split: precisions(fits[best].scores(features[split]).cpu(), tags[split], split) for split in TOLD}
        edges = len(self.penalties) > 1 and self.penalties[best] in (min(self.penalties), max(self.penalties))
        return Finding(
            [each for split in TOLD for each in metrics_of(found[split], tags[split], names, split)],
            Protocol(
                terms={"method": "linear classifiers, one per class", "features": "standardized by train"},
                chosen={"penalty": self.penalties[best]},
                measured={
                    "width": features["train"].shape[1],
                    "at the grid's edge": "penalty" if edges else "",
                    "steps until converged": fits[best].steps,
                    **sizes(subject, "train", *TOLD),
                    "seed": subject.seed,
                },
            ),
            {
                "average precision": Bars(
                    [names[label] for label in found["test"]],
                    {"average precision": [100 * value for value in found["test"].values()]},
                    "average precision, %",
                    note="Of ranking the test images by each class.",
                )
            },
        )


class Fit(NamedTuple):
    """scores = (x - mean) / std @ weight + bias"""

    mean: Tensor  # (D,)
    std: Tensor  # (D,); infinite for a constant feature
    weight: Tensor  # (D, K)
    bias: Tensor  # (K,)
    steps: int  # of descent, until the gradient vanished

    def scores(self, x: Tensor) -> Tensor:
        """(n, D) -> (n, K) log odds"""
        return (x - self.mean) / self.std @ self.weight + self.bias


def fit(x: Tensor, tags: Tensor, penalty: float, most: int) -> Fit:
    """Logistic regression of each column of tags (n, K) in {0, 1, `UNKNOWN`} on features (n, D), from zero.

    The bias is not penalized; `penalty` is 1 / (C n) of scikit-learn's LogisticRegression, n of the images of which the
    class is known. L-BFGS over all classes at once (their losses have no weight in common), at most `most` steps.
    """
    std, mean = torch.std_mean(x, dim=0, correction=0)
    std = torch.where(std > 1e-6 * mean.abs(), std, torch.inf)
    z = (x - mean) / std
    known = (tags != UNKNOWN).float()
    share_of = known / known.sum(dim=0).clamp_min(1)
    target = tags.clamp_min(0).float()
    weight = z.new_zeros(z.shape[1] + 1, tags.shape[1]).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight], max_iter=most, tolerance_grad=TOLERANCE, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        scores = z @ weight[:-1] + weight[-1]
        losses = F.binary_cross_entropy_with_logits(scores, target, reduction="none")
        loss = (share_of * losses).sum() + penalty / 2 * weight[:-1].square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    taken: int = optimizer.state[weight]["n_iter"]
    found = weight.detach()
    return Fit(mean, std, found[:-1], found[-1], taken)


def precisions(scores: Tensor, tags: Tensor, split: str) -> dict[int, float]:
    """Average precision of each class of which a split has images with and without it: class -> [0, 1].

    Raises ValueError if there is none.
    """
    from sklearn.metrics import average_precision_score

    found = {}
    for label, (score, tag) in enumerate(zip(scores.mT, tags.mT, strict=True)):
        known = tag != UNKNOWN
        if known.any() and tag[known].unique().numel() == 2:
            found[label] = float(average_precision_score(tag[known].numpy(), score[known].numpy()))
    if not found:
        raise ValueError(f"{split} has no class that some of its images show and others do not")
    return found


def mean_of(found: dict[int, float]) -> float:
    return sum(found.values()) / len(found)


def metrics_of(found: dict[int, float], tags: Tensor, names: Sequence[str], split: Split) -> list[Metric]:
    """Metrics of a split, from the average precision of its classes."""
    shown = [(tags[:, label] == 1).sum() / (tags[:, label] != UNKNOWN).sum() for label in found]
    return [
        share("map", mean_of(found), split=split, headline=True),
        share("map_chance", torch.stack(shown).mean().item(), split=split, better=Better.NEITHER),
        *(share("ap", value, split=split, condition={"class": names[label]}) for label, value in found.items()),
    ]
