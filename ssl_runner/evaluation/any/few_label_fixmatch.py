"""Few labels: FixMatch, which trains on strong views of examples that it labels itself, from weak views of them."""

import copy
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_runner.evaluation.any.few_label_finetune import FewLabelFineTune
from ssl_runner.evaluation.any.few_label_self_training import about_pseudo_labels, check_threshold, confidences
from ssl_runner.evaluation.any.subject import seeded
from ssl_runner.evaluation.any.tuning import Classifier, Recipe, Start, check_views, minimize
from ssl_runner.interfaces import DataSpec, Examples, Subject, Views


class FewLabelFixMatch(FewLabelFineTune):
    """`FewLabelFineTune` with pseudo-labels of a batch of unlabeled examples in each step.

        loss = H(y, p(weak(x))) + weight E_u [max q >= threshold] H(argmax q, p(strong(u))),   q = p(weak(u))

    Sohn, Berthelot, Li, Zhang, Carlini, Cubuk, Kurakin, Zhang, Raffel 2020, "FixMatch: Simplifying Semi-Supervised
    Learning with Consistency and Confidence", https://arxiv.org/abs/2001.07685, eq. 3 and 4. u are `ratio` times as
    many examples as x, drawn from all of "train", the labeled ones among them, without their labels; q has no gradient.
    Differs from the paper: AdamW and the recipe's steps in place of SGD and 2^20; the last weights, not their moving
    average; strong views are those that a contrastive objective takes of such data, not RandAugment; x, weak(u) and
    strong(u) go through the network one after another, so that batch normalization sees each by itself. With
    several views of u, q is their mean, and every strong view counts.
    `weak` or `strong` null: the example itself; with both null this is entropy minimization above a threshold.
    Measured: the share of train above the threshold at the end, and how many of its labels are right.
    Metrics: those of `FewLabelFineTune`.
    """

    key: ClassVar[str] = "evaluation.few_label_fixmatch"
    method: ClassVar[str] = "fine-tuning of all weights on few labels, by FixMatch"
    note: ClassVar[str] = (
        "The whole network, trained on nested subsets of the labels and on strong views of all other examples, whose "
        "labels it takes from weak views. From the random start this is FixMatch without pretraining."
    )

    def __init__(
        self,
        *,
        fractions: list[float],
        recipe: Recipe,
        threshold: float,
        weight: float,
        ratio: int,
        weak: Views | None,
        strong: Views | None,
    ) -> None:
        super().__init__(fractions=fractions, recipe=recipe, views=None)
        check_threshold(self.key, threshold)
        if weight < 0:
            raise ValueError(f"{self.key}.weight is {weight}; it must be 0 (no pseudo-labels) or more")
        if ratio < 1:
            raise ValueError(f"{self.key}.ratio is {ratio}; it must be at least 1 unlabeled example for a labeled one")
        self.threshold = threshold
        self.weight = weight
        self.ratio = ratio
        self.weak = weak
        self.strong = strong

    def check(self, spec: DataSpec) -> None:
        for name, views in (("weak", self.weak), ("strong", self.strong)):
            check_views(views, spec, f"{self.key}.{name}")

    def tuned(self, subject: Subject, start: Start, labeled: Examples) -> tuple[Classifier, dict[str, Any]]:
        if len(labeled.label) < 2:
            raise ValueError(
                f"{len(labeled.label)} labeled example is too few for fine-tuning; at least two are needed"
            )
        spec, device, train = subject.data.spec, subject.device, subject.data.examples("train")
        drawn = self.ratio * min(self.recipe.batch_size, len(labeled.label))

        def loss_at(chosen: Tensor) -> Tensor:
            x, y = spec.to_input(labeled.data[chosen].to(device)), labeled.label[chosen].to(device)
            seen = shown(x, self.weak)
            value = F.cross_entropy(network(seen.flatten(0, 1)), y.repeat(len(seen)))
            pool = torch.randint(len(train.data), (drawn,))
            return value + self.weight * self.consistency(network, spec.to_input(train.data[pool].to(device)))

        with seeded(subject.seed):
            network = Classifier(copy.deepcopy(start.encoder), start.features, spec.classes).to(device)
            minimize(network, self.recipe, len(labeled.label), loss_at)
        confidence, label = confidences(network, subject, self.recipe.batch_size)
        about = about_pseudo_labels(confidence >= self.threshold, label, train.label)
        return network, {"steps": self.recipe.steps(len(labeled.label)), **about}

    def consistency(self, network: Classifier, u: Tensor) -> Tensor:
        """(): of unlabeled examples (B, ...), as input, those below the threshold counted as 0."""
        weak = shown(u, self.weak)
        with torch.no_grad():
            q = network(weak.flatten(0, 1)).unflatten(0, weak.shape[:2]).softmax(2).mean(0)
        confidence, label = q.max(1)
        strong = shown(u, self.strong)
        apart = F.cross_entropy(network(strong.flatten(0, 1)), label.repeat(len(strong)), reduction="none")
        return (apart * (confidence >= self.threshold).repeat(len(strong))).mean()


def shown(x: Tensor, views: Views | None) -> Tensor:
    """(B, ...) -> (V, B, ...): views of examples, or themselves."""
    return x[None] if views is None else views(x)
