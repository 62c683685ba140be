"""Pictures by name and shape."""

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl_runner.figures import Clips
from ssl_runner.interfaces import Batch, Examples, ImageSpec, Loss, Objective, VideoSpec
from ssl_runner.training.task_figures import spread, task_pictures

IMAGES = ImageSpec(channels=1, height=4, width=5)


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
    pictures = task_pictures(Two(), given, IMAGES, predict=True)
    assert list(pictures.rows) == ["x image", "y, view 1", "y, view 2", "predicted, view 1", "predicted, view 2"]
    assert np.allclose(pictures.rows["x image"], given.data[:, 0].numpy() / 2)
    assert pictures.captions == {"x image": ["x place = 0", "x place = 1", "x place = 2"]}
    assert "x place" in pictures.note


def test_color_comes_last() -> None:
    assert task_pictures(Two(), batch(3), IMAGES, predict=False).rows["x image"].shape == (3, 4, 5, 3)


def test_the_mode_is_left_as_it_was() -> None:
    objective = Two().train()
    task_pictures(objective, batch(), IMAGES, predict=True)
    assert objective.training


def test_what_is_no_tensor_is_refused() -> None:
    class Odd(Two):
        def split(self, batch: Batch) -> tuple[Asked, Tensor]:
            return {"image": batch.data}, batch.label  # type: ignore[return-value]

    with pytest.raises(TypeError, match="x is a dict"):
        task_pictures(Odd(), batch(), IMAGES, predict=False)


def test_examples_come_from_all_over_a_split() -> None:
    data = Examples(torch.arange(100, dtype=torch.uint8).reshape(100, 1, 1, 1), torch.arange(100))
    made = SimpleNamespace(spec=ImageSpec(channels=1, height=1, width=1), examples=lambda split: data)
    drawn = spread(made, "val", 5, torch.device("cpu"))  # type: ignore[arg-type]
    assert drawn.label.tolist() == [0, 24, 49, 74, 99]
    assert drawn.data.flatten().tolist() == pytest.approx([i / 255 for i in (0, 24, 49, 74, 99)])


class Moving(Two):
    """A clip, its first frame and several clips of each example."""

    def split(self, batch: Batch) -> tuple[Asked, Tensor]:  # type: ignore[override]
        return Asked(batch.data[:, 0], batch.label), batch.data.expand(2, *batch.data.shape)

    def predict(self, x: Asked) -> Tensor:
        return x.image[:, None].expand(-1, 6, -1, -1, -1)


def test_of_clips_there_are_strips() -> None:
    clips = torch.rand(3, 6, 3, 4, 5)
    spec = VideoSpec(channels=3, height=4, width=5, frames=6)
    strips = task_pictures(Moving(), Batch(clips, torch.arange(3), torch.arange(3)), spec, predict=True)
    assert isinstance(strips, Clips)
    shapes = {name: row.shape for name, row in strips.rows.items()}
    whole = (3, 6, 4, 5, 3)
    assert shapes == {"x image": (3, 1, 4, 5, 3), "y, clip 1": whole, "y, clip 2": whole, "predicted": whole}
    assert np.allclose(strips.rows["y, clip 2"], clips.permute(0, 1, 3, 4, 2).numpy())
    assert strips.captions == {"x image": ["x place = 0", "x place = 1", "x place = 2"]}


class Told(Two):
    """Answers in words, and an image in pieces."""

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return batch.data, batch.label

    def predict(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return torch.zeros(len(x), dtype=torch.int64)

    def tell(self, y: Tensor) -> list[str]:
        return [f"{90 * each} degrees" for each in y.tolist()]

    def apart(self, x: Tensor) -> Tensor:
        return x[..., :2]


def test_answers_are_told_in_words() -> None:
    pictures = task_pictures(Told(), batch(), IMAGES, predict=True)
    assert pictures.rows["x"].shape == (3, 4, 2)
    assert pictures.captions == {"x": [f"{90 * i} degrees, predicted: 0 degrees" for i in range(3)]}
    assert "the answer y" in pictures.note
