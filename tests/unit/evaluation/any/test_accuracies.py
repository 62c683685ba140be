"""Accuracies of examples and of whole videos, against worked examples."""

import pytest
import torch
from findings import keys, value

from ssl_runner.evaluation.any.accuracies import accuracies, accuracy_of, answers
from ssl_runner.evaluation.any.few_label import FewLabel
from ssl_runner.evaluation.any.few_label_finetune import FewLabelFineTune
from ssl_runner.evaluation.any.finetune import FineTune
from ssl_runner.evaluation.any.knn import NearestNeighbors
from ssl_runner.evaluation.any.linear import LinearProbe
from ssl_runner.evaluation.any.logistic import Grid
from ssl_runner.evaluation.any.tuning import Recipe
from ssl_runner.interfaces import Examples, Finding, OfVideos, VectorSpec

RECIPE = Recipe(epochs=2, least_steps=1, batch_size=20, learning_rate=0.01, weight_decay=0.0, layer_decay=1.0)
GRID = Grid(learning_rates=[0.1], weight_decays=[0.0], steps=10, batch_size=20)
EVALUATORS = [
    (LinearProbe(layer="pooled", grid=GRID), {}),
    (FewLabel(layer="pooled", fractions=[0.5], per_class=[], grid=GRID), {"labels": 0.5}),
    (NearestNeighbors(layer="pooled", k=3, temperature=0.1), {}),
    (FineTune(recipe=RECIPE, views=None), {}),
    (FewLabelFineTune(fractions=[0.5], recipe=RECIPE, views=None), {"labels": 0.5}),
]


class Known:
    """Five clips of three videos, out of order."""

    video = torch.tensor([7, 2, 7, 9, 2])

    def examples(self, split: str) -> Examples:
        assert split == "val"
        return Examples(torch.zeros(5, 1), torch.tensor([1, 0, 1, 2, 0]))

    def videos(self, split: str) -> torch.Tensor | None:
        return self.video


def test_by_hand() -> None:
    """Video 7: clips say 0 and, more surely, 1; video 2: one is right, one more surely wrong; video 9: right."""
    probability = torch.tensor([[0.6, 0.4, 0.0], [0.6, 0.4, 0.0], [0.1, 0.9, 0.0], [0.2, 0.2, 0.6], [0.1, 0.9, 0.0]])
    metrics = accuracies(Known(), "val", probability.log(), condition={"labels": 0.1})
    found = Finding(metrics)
    assert keys(found) == [(name, "val", (("labels", 0.1),)) for name in ("accuracy", "accuracy_video")]
    assert value(found, "accuracy", "val", labels=0.1) == accuracy_of(metrics, "val") == pytest.approx(3 / 5)
    assert value(found, "accuracy_video", "val", labels=0.1) == pytest.approx(2 / 3)


def test_other_data_have_none_of_videos(table) -> None:
    assert [each.name for each in accuracies(table, "test", torch.ones(40, 4))] == ["accuracy"]

    class Unknown(Known):
        def videos(self, split: str) -> None:
            return None

    assert [each.name for each in accuracies(Unknown(), "val", torch.ones(5, 3))] == ["accuracy"]


PROBABILITY = torch.tensor([[0.6, 0.4, 0], [0.6, 0.4, 0], [0.1, 0.9, 0], [0.2, 0.2, 0.6], [0.1, 0.9, 0]])


class Named(Known):
    spec = VectorSpec(count=1, width=1, classes=3, class_names=("a", "b", "c"))


def test_answers_say_class_and_probability() -> None:
    metrics, (found,) = answers(Named(), {"val": PROBABILITY.log()})
    assert value(Finding(metrics), "balanced_accuracy", "val") == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert {each.name for each in metrics} == {"accuracy", "accuracy_video", "balanced_accuracy"}
    assert found.predicted.tolist() == [0, 0, 1, 2, 1]
    assert found.probability.tolist() == pytest.approx([0.6, 0.6, 0.9, 0.6, 0.9])
    assert (found.label.tolist(), found.names, found.split) == ([1, 0, 1, 2, 0], ("a", "b", "c"), "val")


def test_of_many_classes_the_first_five_count_too() -> None:
    """Of five examples, the classes are 1, 0, 1, 2, 0; the fifth most probable class is 1, 2 is the sixth."""

    class Many(Known):
        spec = VectorSpec(count=1, width=1, classes=21)

    logits = torch.full((5, 21), -9.0)
    logits[:, torch.tensor([0, 5, 6, 7, 1, 2])] = -torch.arange(6.0)
    metrics, (found,) = answers(Many(), {"val": logits})
    assert value(Finding(metrics), "accuracy", "val") == pytest.approx(2 / 5)
    assert value(Finding(metrics), "accuracy_top5", "val") == pytest.approx(4 / 5)
    assert found.names[20] == "20"


@pytest.mark.parametrize(("evaluator", "condition"), EVALUATORS, ids=lambda each: type(each).__name__)
def test_evaluators_score_videos_where_data_know_them(evaluator, condition, films, subject) -> None:
    assert isinstance(films, OfVideos)
    found = evaluator(subject("label", data=films))
    for split, videos in (("test", 8), ("val", 6)):
        share = value(found, "accuracy_video", split, **condition) * videos
        assert share == pytest.approx(round(share))
    assert "accuracy_video" not in {each.name for each in evaluator(subject("label")).metrics}
