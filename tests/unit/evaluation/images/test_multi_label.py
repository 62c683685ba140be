"""Linear classifiers of several classes an image: against scikit-learn, and where the answer is known."""

from typing import Any

import pytest
import torch
from findings import names, value
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from ssl_runner.evaluation.any.subject import FrozenSubject
from ssl_runner.evaluation.images.multi_label import MultiLabel, fit, precisions
from ssl_runner.interfaces import UNKNOWN, Encoder, Examples, Features, ImageSpec

NAMES = ("left", "right", "all")


class Halves:
    """Noise, with a bright left or right half, both or none; class 2 is shown by all images but of train."""

    def __init__(self) -> None:
        self.spec = ImageSpec(channels=1, height=2, width=4, tag_names=NAMES)
        self.known = {}
        g = torch.Generator().manual_seed(0)
        for split, n in {"train": 40, "val": 20, "test": 30}.items():
            tags = (torch.rand(n, 3, generator=g) < torch.tensor([0.3, 0.5, 2.0 if split != "train" else 0.5])).to(
                torch.int8
            )
            data = torch.randint(100, (n, 1, 2, 4), generator=g, dtype=torch.uint8)
            data[:, 0, :, :2] += 120 * tags[:, :1, None]
            data[:, 0, :, 2:] += 120 * tags[:, 1:2, None]
            tags[0, 0] = UNKNOWN
            self.known[split] = (data, tags)

    def examples(self, split: str) -> Examples:
        data = self.known[split][0]
        return Examples(data, torch.full((len(data),), -1))

    def tags(self, split: str) -> Tensor:
        return self.known[split][1]


class Flat(Encoder):
    dim = 8

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        return Features(x.flatten(2).mT, x.flatten(1))


class Nothing(Flat):
    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        return Features(x.flatten(2).mT, torch.ones(len(x), 8))


def ask(encoder: Encoder, **changes: Any):
    subject = FrozenSubject(encoder, Halves(), seed=0, device=torch.device("cpu"), batch_size=16)
    return MultiLabel(**{"layer": "pooled", "penalties": [1e-3, 1.0], "steps": 100} | changes)(subject)


def test_classes_that_are_seen_are_ranked_first_and_nothing_is_chance():
    known, nothing = ask(Flat()), ask(Nothing())
    assert value(known, "map") > 0.99
    assert value(nothing, "map") == pytest.approx(value(nothing, "map_chance"))
    assert value(known, "map_chance") == value(nothing, "map_chance")
    assert value(known, "ap", **{"class": "left"}) > 0.99
    assert names(known) == {"map", "map_chance", "ap"}
    assert [each.condition["class"] for each in known.metrics if each.name == "ap"] == ["left", "right"] * 2  # not all
    assert known.figures["average precision"].labels == ["left", "right"]


@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_it_is_scikit_learns_logistic_regression(penalty):
    g = torch.Generator().manual_seed(0)
    x = 3 * torch.randn(60, 6, generator=g) + 1
    tags = (x[:, :3] + 2 * torch.randn(60, 3, generator=g) > 1).to(torch.int8)
    tags[torch.rand(60, 3, generator=g) < 0.1] = UNKNOWN
    ours = fit(x, tags, penalty, 300).scores(x)
    z = ((x - x.mean(0)) / x.std(0, correction=0)).double().numpy()
    for label in range(3):
        known = (tags[:, label] != UNKNOWN).numpy()
        theirs = LogisticRegression(C=1 / (penalty * known.sum()), tol=1e-8, max_iter=1000)
        theirs.fit(z[known], tags[:, label].numpy()[known])
        assert torch.allclose(ours[:, label], torch.from_numpy(theirs.decision_function(z)).float(), atol=2e-3)


def test_average_precision_by_a_loop():
    g = torch.Generator().manual_seed(0)
    scores, tags = torch.randn(30, 2, generator=g), torch.randint(-1, 2, (30, 2), generator=g, dtype=torch.int8)
    found = precisions(scores, tags, "test")
    for label in range(2):
        ranked = sorted((i for i in range(30) if tags[i, label] >= 0), key=lambda i: -scores[i, label].item())
        right, total = 0, 0.0
        for rank, i in enumerate(ranked, start=1):
            if tags[i, label] == 1:
                right += 1
                total += right / rank
        assert found[label] == pytest.approx(total / right)
    with pytest.raises(ValueError, match="val has no class that some of its images show and others do not"):
        precisions(scores, torch.ones(30, 2, dtype=torch.int8), "val")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layer": "first"}, r"evaluation.multi_label.layer is 'first'"),
        ({"penalties": [-1.0]}, r"evaluation.multi_label.penalties is \[-1.0\]; it must list numbers above 0"),
        ({"steps": 0}, r"evaluation.multi_label.steps is 0"),
    ],
)
def test_wrong_settings_are_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        ask(Flat(), **changes)
