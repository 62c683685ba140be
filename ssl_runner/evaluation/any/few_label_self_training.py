"""Few labels: fine-tuning on them, and on the labels that the network gives to the other examples."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from ssl_runner.evaluation.any.few_label_finetune import FewLabelFineTune
from ssl_runner.evaluation.any.subject import batches, evaluating
from ssl_runner.evaluation.any.tuning import Classifier, Recipe, Start, fine_tune
from ssl_runner.interfaces import Examples, Subject, Views


class FewLabelSelfTraining(FewLabelFineTune):
    """`FewLabelFineTune`, repeated with pseudo-labels: those of the network, where it is confident.

        round 0:     f trained on the labeled examples
        round r:     f trained anew, from the same start, on these and on all x of train with max_k p_f(k | x) at
                     `threshold` or above, as if argmax_k p_f(k | x) were their label

    Scudder 1965, "Probability of error of some adaptive pattern-recognition machines",
    https://doi.org/10.1109/TIT.1965.1053799; Lee 2013, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning
    Method for Deep Neural Networks"; Xie, Luong, Hovy, Le 2020, "Self-training with Noisy Student improves ImageNet
    classification", https://arxiv.org/abs/1911.04252 (rounds, a threshold, a student that starts anew).
    Differs from the papers: the student has the teacher's size; labels are hard; classes are not balanced.
    Pseudo-labels are of all of "train", whose labels are not read, the labeled examples among them; with
    `views` the student learns from views of the examples (noise, as in the last paper), which the teacher saw as they
    are. A round takes the epochs of the recipe on all that it trains on. Measured: the share of train that the last
    teacher labels, and how many of these labels are right. Metrics: those of `FewLabelFineTune`, of the last student.
    """

    key: ClassVar[str] = "evaluation.few_label_self_training"
    method: ClassVar[str] = "fine-tuning of all weights on few labels and pseudo-labels"
    note: ClassVar[str] = (
        "The whole network, trained on nested subsets of the labels and on its own labels of the other examples where "
        "it is confident. From the random start this is self-training without pretraining."
    )

    def __init__(
        self, *, fractions: list[float], recipe: Recipe, views: Views | None, threshold: float, rounds: int
    ) -> None:
        super().__init__(fractions=fractions, recipe=recipe, views=views)
        check_threshold(self.key, threshold)
        if rounds < 1:
            raise ValueError(f"{self.key}.rounds is {rounds}; it must be at least 1 (few_label_finetune has none)")
        self.threshold = threshold
        self.rounds = rounds

    def tuned(self, subject: Subject, start: Start, labeled: Examples) -> tuple[Classifier, dict[str, Any]]:
        train = subject.data.examples("train")
        network = fine_tune(subject, start, labeled, self.recipe, self.views)
        steps = self.recipe.steps(len(labeled.label))
        for _ in range(self.rounds):
            confidence, label = confidences(network, subject, self.recipe.batch_size)
            kept = confidence >= self.threshold
            both = Examples(torch.cat((labeled.data, train.data[kept])), torch.cat((labeled.label, label[kept])))
            network = fine_tune(subject, start, both, self.recipe, self.views)
            steps += self.recipe.steps(len(both.label))
        return network, {"steps": steps, **about_pseudo_labels(kept, label, train.label)}


def confidences(network: Classifier, subject: Subject, batch_size: int) -> tuple[Tensor, Tensor]:
    """Of each example of "train" the largest probability, (n,) float, and its class, (n,) int64; in eval mode."""
    places = torch.arange(len(subject.data.examples("train").label))
    with evaluating(network), torch.no_grad():
        found = [network(batch.data).softmax(1).max(1) for batch in batches(subject, "train", places, batch_size)]
    return torch.cat([each.values for each in found]).cpu(), torch.cat([each.indices for each in found]).cpu()


def about_pseudo_labels(kept: Tensor, label: Tensor, truth: Tensor) -> dict[str, Any]:
    """What a protocol says of pseudo-labels: `kept` (n,) bool, `label` and `truth` (n,) int64. Only this reads the
    truth."""
    right = (label == truth)[kept].float().mean().item() if kept.any() else None
    return {"pseudo-labels": int(kept.sum()), "right pseudo-labels": None if right is None else round(right, 4)}


def check_threshold(key: str, threshold: float) -> None:
    """Raise ValueError for one that is no probability."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"{key}.threshold is {threshold}; it is a probability and must lie in [0, 1]")
