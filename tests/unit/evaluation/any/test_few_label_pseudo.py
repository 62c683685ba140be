"""Few labels with pseudo-labels: self-training and FixMatch, against loops and where the answer is known."""

import pytest
import torch
from findings import keys, value
from torch.nn import functional as F

from ssl_runner.data.any.splits import nested_subsets
from ssl_runner.evaluation.any.few_label_finetune import FewLabelFineTune
from ssl_runner.evaluation.any.few_label_fixmatch import FewLabelFixMatch
from ssl_runner.evaluation.any.few_label_self_training import FewLabelSelfTraining, confidences
from ssl_runner.evaluation.any.tuning import Recipe, calibrated, fine_tune
from ssl_runner.interfaces import Examples, ImageSpec, Views

RECIPE = {
    "epochs": 2,
    "least_steps": 7,
    "batch_size": 16,
    "learning_rate": 0.03,
    "weight_decay": 0.01,
    "layer_decay": 1.0,
}


def self_training(**changes):
    settings = {"fractions": [0.2], "threshold": 0.6, "rounds": 1, "views": None}
    return FewLabelSelfTraining(recipe=Recipe(**RECIPE), **settings | changes)


def fixmatch(recipe=None, **changes):
    settings = {"fractions": [0.2], "threshold": 0.6, "weight": 1.0, "ratio": 2, "weak": None, "strong": None}
    return FewLabelFixMatch(recipe=Recipe(**RECIPE | (recipe or {})), **settings | changes)


class Two(Views):
    """The image, and a darker one."""

    def forward(self, x):
        return torch.stack((x, 0.5 * x))


def test_a_student_is_trained_on_labels_and_confident_pseudo_labels(subject, table):
    frozen = subject("blocks", seed=2)
    found = self_training()(frozen)
    train = table.examples("train")
    (subset,) = nested_subsets(train.label, fractions=[0.2], per_class=[], seed=2).values()
    labeled, start = Examples(train.data[subset], train.label[subset]), calibrated(frozen, Recipe(**RECIPE))
    teacher = fine_tune(frozen, start, labeled, Recipe(**RECIPE))
    confidence, label = confidences(teacher, frozen, 16)
    kept = [place for place in range(len(label)) if confidence[place] >= 0.6]
    data = torch.cat([labeled.data, *(train.data[place : place + 1] for place in kept)])
    both = Examples(data, torch.cat([labeled.label, label[kept]]))
    student = fine_tune(frozen, start, both, Recipe(**RECIPE))
    test = frozen.data.examples("test")
    with torch.no_grad():
        right = student.eval()(frozen.data.spec.to_input(test.data)).argmax(1) == test.label
    assert value(found, "accuracy", labels=0.2) == pytest.approx(right.double().mean().item())
    measured = found.protocol.measured["20%"]
    assert measured["pseudo-labels"] == len(kept)
    assert measured["steps"] == 7 + Recipe(**RECIPE).steps(len(both.label))


def test_above_every_confidence_nothing_is_added(subject):
    alone = FewLabelFineTune(fractions=[0.2], recipe=Recipe(**RECIPE), views=None)(subject("blocks"))
    found = self_training(threshold=1.0)(subject("blocks"))
    assert found.metrics == alone.metrics
    assert found.protocol.measured["20%"]["right pseudo-labels"] is None


def test_no_label_of_train_is_read_but_those_that_are_given(subject, table, monkeypatch):
    """Others may be anything: only what is measured of pseudo-labels changes."""
    train = table.examples("train")
    (subset,) = nested_subsets(train.label, fractions=[0.2], per_class=[], seed=0).values()
    for make in (self_training, fixmatch):
        found = []
        for change in (0, 1):
            asked = subject("blocks")
            label = (train.label + change) % 4
            label[subset] = train.label[subset]
            examples, given = asked.data.examples, Examples(train.data, label)
            monkeypatch.setattr(
                "ssl_runner.evaluation.any.few_label_finetune.nested_subsets",
                lambda *_, **__: {
                    next(iter(nested_subsets(train.label, fractions=[0.2], per_class=[], seed=0))): subset
                },
            )
            asked.data = type("Of", (), {"spec": asked.data.spec, "examples": staticmethod(
                lambda split, examples=examples, given=given: given if split == "train" else examples(split)
            )})()  # fmt: skip
            found.append(make()(asked).metrics)
        assert found[0] == found[1]


def test_the_loss_of_unlabeled_examples_is_fixmatch_s() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    u = torch.rand(9, 1, 2, 2) * 8
    total = 0.0
    with torch.no_grad():
        for each in u:
            q = network(each[None]).softmax(1)[0]
            if q.max() >= 0.6:
                for view in (each, 0.5 * each):
                    total -= network(view[None]).log_softmax(1)[0, q.argmax()].item()
    found = fixmatch(strong=Two()).consistency(network, u)
    assert total > 0
    assert found.item() == pytest.approx(total / 18, rel=1e-5)
    mean = network(torch.cat((u, 0.5 * u))).unflatten(0, (2, 9)).softmax(2).mean(0)
    right = F.cross_entropy(network(u), mean.argmax(1), reduction="none") * (mean.amax(1) >= 0.6)
    assert fixmatch(weak=Two()).consistency(network, u).item() == pytest.approx(right.mean().item(), rel=1e-5)


def test_fixmatch_without_weight_is_fine_tuning(subject):
    """But for what is drawn: with all labels in a batch nothing of it matters."""
    recipe = {"batch_size": 64, "epochs": 1}
    alone = FewLabelFineTune(fractions=[0.2], recipe=Recipe(**RECIPE | recipe), views=None)(subject("blocks"))
    found = fixmatch(recipe, weight=0.0)(subject("blocks"))
    assert keys(found) == keys(alone)
    for one, other in zip(found.metrics, alone.metrics, strict=True):
        assert one.value == pytest.approx(other.value, abs=0.05)


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (self_training, {"threshold": 1.5}, r"few_label_self_training.threshold is 1.5; it is a probability"),
        (self_training, {"rounds": 0}, r"few_label_self_training.rounds is 0; it must be at least 1"),
        (self_training, {"fractions": []}, r"few_label_self_training.fractions is \[\]"),
        (fixmatch, {"threshold": -0.1}, r"few_label_fixmatch.threshold is -0.1"),
        (fixmatch, {"weight": -1.0}, r"few_label_fixmatch.weight is -1.0"),
        (fixmatch, {"ratio": 0}, r"few_label_fixmatch.ratio is 0"),
    ],
)
def test_numbers_out_of_range_are_refused(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_views_that_do_not_suit_are_refused_with_their_key() -> None:
    class Refusing(Views):
        def forward(self, x):
            raise ValueError("objective.views.hue changes color")

    with pytest.raises(ValueError, match=r"evaluation.few_label_fixmatch.strong.views.hue changes color"):
        fixmatch(strong=Refusing()).check(ImageSpec(channels=1, height=4, width=4, classes=2))
