"""An objective at its own task, against a count by hand."""

import pytest
import torch
from findings import keys, metric, value
from torch import Tensor, nn

from ssl_runner.evaluation.any.pretext import Pretext
from ssl_runner.interfaces import Batch, Examples, ImageSpec, Loss, Objective
from ssl_runner.results.metrics import Better, Unit


class LabelAsked(Objective[Tensor, Tensor]):
    """Says that every label is 1; draws a number, to show that draws are seeded."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return torch.rand(len(batch.label), 1), batch.label

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        return Loss(self.norm(x).mean(), {"accuracy": (y == 1).float().mean(), "size": torch.tensor(float(len(y)))})


class Given:
    device = torch.device("cpu")
    seed = 0

    def __init__(self, label: Tensor) -> None:
        self.data = self
        self.spec = ImageSpec(channels=1, height=2, width=2, classes=3)
        self.label = label

    def examples(self, split: str) -> Examples:
        assert split in ("val", "test")
        return Examples(torch.zeros(len(self.label), 1, 2, 2, dtype=torch.uint8), self.label)


def test_means_over_whole_batches_of_test() -> None:
    found = Pretext(batch_size=4)(LabelAsked(), Given(torch.tensor([1, 0, 1, 1, 0, 2, 0, 0])))
    assert keys(found) == [(name, split, ()) for split in ("test", "val") for name in ("loss", "accuracy", "size")]
    for split in ("test", "val"):
        assert value(found, "accuracy", split) == pytest.approx(3 / 8)
        assert value(found, "size", split) == 4
    assert metric(found, "loss").headline


def test_what_is_logged_is_said_by_the_objective() -> None:
    found = Pretext(batch_size=4)(LabelAsked(), Given(torch.ones(8, dtype=torch.int64)))
    kinds = {name: (metric(found, name).unit, metric(found, name).better) for name in ("loss", "accuracy", "size")}
    assert kinds == {
        "loss": (Unit.PLAIN, Better.LOWER),
        "accuracy": (Unit.SHARE, Better.HIGHER),
        "size": (Unit.PLAIN, Better.NEITHER),
    }
    assert Pretext.task_terms is None  # all settings of the objective: its unit depends on them


def test_a_last_batch_that_is_not_full_is_left_out() -> None:
    found = Pretext(batch_size=3)(LabelAsked(), Given(torch.ones(8, dtype=torch.int64)))
    assert found.protocol.measured["test examples"] == 6
    assert value(found, "size") == 3


def test_the_same_twice_and_nothing_is_moved() -> None:
    task = LabelAsked()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    torch.manual_seed(5)
    after_draws = torch.rand(2)
    torch.manual_seed(5)
    first = Pretext(batch_size=4)(task, Given(torch.ones(8, dtype=torch.int64)))
    assert torch.equal(torch.rand(2), after_draws)
    second = Pretext(batch_size=4)(task, Given(torch.ones(8, dtype=torch.int64)))
    assert first.metrics == second.metrics
    assert task.training
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())


def test_a_batch_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"evaluation\.pretext\.batch_size is 1; it must be at least 2"):
        Pretext(batch_size=1)
