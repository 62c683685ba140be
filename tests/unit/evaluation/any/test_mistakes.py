"""What is drawn of a classifier's answers."""

import numpy as np
import torch

from ssl_runner.evaluation.any.mistakes import figures_of
from ssl_runner.figures import Bars, HeatMap, Passages, Pictures
from ssl_runner.interfaces import Examples, ImageSpec, VectorSpec
from ssl_runner.results.predictions import Predictions


class Images:
    """Six images, each of one gray value."""

    spec = ImageSpec(channels=1, height=2, width=3, classes=3)

    def examples(self, split: str) -> Examples:
        assert split == "test"
        values = torch.arange(6, dtype=torch.uint8) * 51
        return Examples(values[:, None, None, None].expand(6, 1, 2, 3), torch.zeros(6, dtype=torch.long))


FOUND = Predictions(
    split="test",
    label=np.array([0, 0, 1, 1, 1, 2]),
    predicted=np.array([0, 1, 1, 0, 2, 2]),
    probability=np.array([0.9, 0.5, 0.8, 0.6, 0.7, 0.9]),
    names=("a", "b", "c"),
)


def test_the_table_has_a_row_a_class_in_percent() -> None:
    table = figures_of(FOUND, Images())["confusion"]
    assert isinstance(table, HeatMap)
    np.testing.assert_allclose(table.values, [[50, 50, 0], [100 / 3, 100 / 3, 100 / 3], [0, 0, 100]])


def test_a_class_without_examples_is_blank() -> None:
    table = figures_of(FOUND._replace(names=("a", "b", "c", "d")), Images())["confusion"]
    assert isinstance(table, HeatMap)
    assert np.isnan(table.values[3]).all()


def test_many_classes_are_shown_by_what_they_are_taken_for() -> None:
    names = [f"class {n}" for n in range(40)]
    label = np.array([3, 3, 3, 7, 7, 5])
    found = FOUND._replace(names=names, label=label, predicted=np.array([4, 4, 3, 8, 7, 5]))
    bars = figures_of(found, Images())["confusion"]
    assert isinstance(bars, Bars)
    assert list(bars.labels) == ["class 3, called class 4", "class 7, called class 8"]
    assert list(bars.values["test examples"]) == [2, 1]


def test_the_most_confident_mistakes_are_shown_as_what_they_are() -> None:
    shown = figures_of(FOUND, Images())["most confident mistakes"]
    assert isinstance(shown, Pictures)
    assert list(shown.captions["image"]) == ["b, called c (70%)", "b, called a (60%)", "a, called b (50%)"]
    assert np.allclose(shown.rows["image"][:, 0, 0], [0.8, 0.6, 0.2])


def test_texts_are_shown_as_text() -> None:
    shown = figures_of(FOUND._replace(texts=tuple("uvwxyz")), Images())["most confident mistakes"]
    assert isinstance(shown, Passages)
    assert list(shown.rows["text"]) == ["y", "x", "v"]


def test_what_cannot_be_drawn_has_the_table_alone() -> None:
    class Vectors:
        spec = VectorSpec(count=1, width=2)

    assert set(figures_of(FOUND, Vectors())) == {"confusion"}  # type: ignore[arg-type]


def test_without_mistakes_there_are_none() -> None:
    assert set(figures_of(FOUND._replace(predicted=FOUND.label), Images())) == {"confusion"}
