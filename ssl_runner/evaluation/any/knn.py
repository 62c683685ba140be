"""k nearest neighbors: classification by neighbors in feature space."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_runner.evaluation.any.accuracies import answers
from ssl_runner.evaluation.any.subject import TOLD, named_layer, sizes
from ssl_runner.interfaces import Evaluator, Finding, Subject
from ssl_runner.results.metrics import Protocol, Split

SIMILARITIES = 2**25  # held at once: 128 MB of float32


class NearestNeighbors(Evaluator):
    """Classify "test" by a weighted vote of the nearest examples of "train"; nothing is trained or chosen.

        votes for class c = sum over the k most similar training examples i of class c of exp(cos(x, x_i) / temperature)

    Wu, Xiong, Yu, Lin 2018, https://arxiv.org/abs/1805.01978. Metrics: `accuracies.answers` (of shares of votes), on
    test and, likewise, on val, in [0, 1]. Where there are fewer than k training examples, all vote, and the protocol
    says how many.
    """

    def __init__(self, *, layer: str | int, k: int, temperature: float) -> None:
        self.layer = named_layer("evaluation.knn.layer", layer)
        if k < 1:
            raise ValueError(f"evaluation.knn.k is {k}; it must be at least 1")
        if temperature <= 0:
            raise ValueError(f"evaluation.knn.temperature is {temperature}; it must be above 0 (paper: 0.07)")
        self.k = k
        self.temperature = temperature

    def __call__(self, subject: Subject) -> Finding:
        train = subject.features("train", self.layer)
        k = min(self.k, len(train.label))
        bank, label = train.data.to(subject.device), train.label.to(subject.device)
        logits: dict[Split, Tensor] = {}
        for split in TOLD:
            asked = subject.features(split, self.layer).data.to(subject.device)
            found = votes(bank, label, asked, subject.data.spec.classes, k=k, temperature=self.temperature)
            logits[split] = found.log().cpu()
        metrics, predictions = answers(subject.data, logits)
        return Finding(
            metrics,
            Protocol(
                terms={"method": "weighted nearest neighbors", "similarity": "cosine"},
                measured={"voters": k, **sizes(subject, "train", *TOLD), "seed": subject.seed},
            ),
            predictions=predictions,
        )


def votes(train: Tensor, label: Tensor, asked: Tensor, classes: int, *, k: int, temperature: float) -> Tensor:
    """(n, D), (n,), (m, D) -> (m, K): votes for each class, up to a factor per row. Additional memory is bounded,
    independent of n and m."""
    bank = F.normalize(train, dim=1)
    found = []
    for part in F.normalize(asked, dim=1).split(max(1, SIMILARITIES // len(bank))):
        similarity, neighbor = (part @ bank.mT).topk(k, dim=1)
        # The greatest similarity is taken off, which changes no vote's rank and keeps exp() in float32's range.
        weight = ((similarity - similarity[:, :1]) / temperature).exp()
        found.append(weight.new_zeros(len(part), classes).scatter_add_(1, label[neighbor], weight))
    return torch.cat(found)


def vote(train: Tensor, label: Tensor, asked: Tensor, classes: int, *, k: int, temperature: float) -> Tensor:
    """(n, D), (n,), (m, D) -> (m,): the class with most votes."""
    return votes(train, label, asked, classes, k=k, temperature=temperature).argmax(dim=1)
