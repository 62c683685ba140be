"""Pictures by name and shape."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl_runner.drawing import spread, task_pictures
from ssl_runner.interfaces import Batch, Examples, ImageSpec, Loss, Objective


class Asked(NamedTuple):
    image: Tensor
    place: Tensor


class Two(Objective[Asked, Tensor]):
    """Views of five dimensions, a NamedTuple, numbers and a prediction."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def split(self, batch: Batch) -> tuple[Asked, Tensor]:
        return Asked(batch.data * 0.5, torch.arange(len(batch.data))), batch.data.expand(2, *batch.data.shape)

    def loss(self, x: Asked, y: Tensor) -> Loss:
        return Loss(self.weight.sum())

    def predict(self, x: Asked) -> Tensor:
        return (x.image * 2).expand(2, *x.image.shape)


def batch(channels: int = 1) -> Batch:
    return Batch(torch.rand(3, channels, 4, 5), torch.tensor([0, 1, 2]), torch.arange(3))


def test_fields_are_rows_and_numbers_are_captions() -> None:
    given = batch()
    pictures = task_pictures(Two(), given, predict=True)
    assert list(pictures.rows) == ["x image", "y, view 1", "y, view 2", "predicted, view 1", "predicted, view 2"]
    assert np.allclose(pictures.rows["x image"], given.data[:, 0].numpy() / 2)
    assert pictures.captions == {"x image": ["x place = 0", "x place = 1", "x place = 2"]}
    assert "x place" in pictures.note


def test_colour_comes_last() -> None:
    assert task_pictures(Two(), batch(3), predict=False).rows["x image"].shape == (3, 4, 5, 3)


def test_the_mode_is_left_as_it_was() -> None:
    objective = Two().train()
    task_pictures(objective, batch(), predict=True)
    assert objective.training


def test_what_is_no_tensor_is_refused() -> None:
    class Odd(Two):
        def split(self, batch: Batch) -> tuple[Asked, Tensor]:
            return {"image": batch.data}, batch.label  # type: ignore[return-value]

    with pytest.raises(TypeError, match="x is a dict"):
        task_pictures(Odd(), batch(), predict=False)


def test_examples_come_from_all_over_a_split() -> None:
    data = Examples(torch.arange(100, dtype=torch.uint8).reshape(100, 1, 1, 1), torch.arange(100))
    drawn = spread(data, ImageSpec(channels=1, height=1, width=1), 5, torch.device("cpu"))
    assert drawn.label.tolist() == [0, 24, 49, 74, 99]
    assert drawn.data.flatten().tolist() == pytest.approx([i / 255 for i in (0, 24, 49, 74, 99)])
