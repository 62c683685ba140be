"""Scores of whole videos, against a loop over them."""

import pytest
import torch

from ssl_runner.evaluation.few_label import FewLabel
from ssl_runner.evaluation.few_label_finetune import FewLabelFineTune
from ssl_runner.evaluation.finetune import FineTune
from ssl_runner.evaluation.knn import NearestNeighbours
from ssl_runner.evaluation.linear import LinearProbe
from ssl_runner.evaluation.videos import by_video
from ssl_runner.interfaces import Examples, OfVideos

TUNING = {"epochs": 2, "batch_size": 20, "learning_rate": 0.01, "weight_decay": 0.0, "views": None}
GRID = {"learning_rates": [0.1], "weight_decays": [0.0], "steps": 10, "batch_size": 20}
EVALUATORS = [
    (LinearProbe(layer="pooled", **GRID), "accuracy_video"),
    (FewLabel(layer="pooled", fractions=[0.5], per_class=[], **GRID), "accuracy_video@50%"),
    (NearestNeighbours(layer="pooled", k=3, temperature=0.1), "accuracy_video"),
    (FineTune(**TUNING), "accuracy_video"),
    (FewLabelFineTune(fractions=[0.5], least_steps=1, **TUNING), "accuracy_video@50%"),
]


class Known:
    """Five clips of three videos, out of order."""

    video = torch.tensor([7, 2, 7, 9, 2])

    def examples(self, split: str) -> Examples:
        assert split == "test"
        return Examples(torch.zeros(5, 1), torch.tensor([1, 0, 1, 2, 0]))

    def videos(self, split: str) -> torch.Tensor | None:
        return self.video


def test_by_hand() -> None:
    """Video 7: clips say 0 and, more surely, 1; video 2: one is right, one more surely wrong; video 9: right."""
    probability = torch.tensor([[0.6, 0.4, 0.0], [0.6, 0.4, 0.0], [0.1, 0.9, 0.0], [0.2, 0.2, 0.6], [0.1, 0.9, 0.0]])
    assert by_video(Known(), "test", probability) == {"accuracy_video": pytest.approx(2 / 3)}
    clips = (probability.argmax(dim=1) == Known().examples("test").label).double().mean()
    assert clips == pytest.approx(3 / 5)


def test_other_data_have_none(table) -> None:
    assert by_video(table, "test", torch.ones(40, 4)) == {}

    class Unknown(Known):
        def videos(self, split: str) -> None:
            return None

    assert by_video(Unknown(), "test", torch.ones(5, 3)) == {}


@pytest.mark.parametrize(("evaluator", "name"), EVALUATORS, ids=lambda each: type(each).__name__)
def test_evaluators_score_videos_where_data_know_them(evaluator, name, films, subject) -> None:
    assert isinstance(films, OfVideos)
    found = evaluator(subject("label", data=films)).metrics
    assert found[name] * 8 == pytest.approx(round(found[name] * 8))  # of eight videos
    assert name not in evaluator(subject("label")).metrics
