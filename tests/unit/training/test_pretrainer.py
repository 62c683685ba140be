"""Budgets, seeds and running means."""

import pytest
import torch

from ssl_runner.config.schema import Budget
from ssl_runner.interfaces import Batch, ImageSpec, Loss, Objective, another
from ssl_runner.training.optim import Constant
from ssl_runner.training.pretrainer import Clock, Pretrainer, Tally, step_seed, total_steps


@pytest.mark.parametrize(
    ("unit", "amount", "steps"),
    [("epochs", 3, 30), ("steps", 7, 7), ("samples", 1000, 8), ("samples", 1025, 9), ("minutes", 2, None)],
)
def test_what_a_budget_buys(unit: str, amount: float, steps: int | None) -> None:
    assert total_steps(Budget(unit, amount), batches=10, batch_size=128, accumulate=1) == steps


@pytest.mark.parametrize(
    ("unit", "amount", "steps"),
    [("epochs", 3, 6), ("steps", 7, 7), ("samples", 70 * 32, 20), ("samples", 73 * 32, 21), ("samples", 75 * 32, 22)],
)
def test_what_a_budget_buys_in_steps_of_four_of_seven_batches(unit: str, amount: float, steps: int) -> None:
    """The second step of an epoch is of three."""
    assert total_steps(Budget(unit, amount), batches=7, batch_size=32, accumulate=4) == steps


def test_progress_of_steps_and_of_time() -> None:
    clock = Clock(Budget("steps", 10), 10)
    assert [clock.progress(step) for step in (0, 2.5, 10, 12)] == [0, 0.25, 1, 1]
    timed = Clock(Budget("minutes", 1), None)
    timed.spent = 30.0
    assert 0.5 <= timed.progress(0) < 0.51
    timed.spent = 90.0
    assert timed.progress(0) == 1


def test_seeds_differ_in_every_part_and_repeat() -> None:
    assert step_seed(0, 0, 1) == step_seed(0, 0, 1)
    assert len({step_seed(0, 0, 1), step_seed(1, 0, 1), step_seed(0, 1, 1), step_seed(0, 0, 2)}) == 4
    torch.manual_seed(step_seed(0, 0, 1))  # in range


def test_a_tally_gives_means_and_starts_anew() -> None:
    tally = Tally()
    assert tally.read() == {}
    for value in (1.0, 3.0):
        tally.add(Loss(torch.tensor(value, requires_grad=True), {"accuracy": torch.tensor(value / 4)}))
    assert tally.read() == {"loss": 2.0, "accuracy": 0.5}
    tally.add(Loss(torch.tensor(5.0)))
    assert tally.read() == {"loss": 5.0}


def test_a_tally_keeps_what_a_weight_was() -> None:
    tally, weight = Tally(), torch.nn.Parameter(torch.tensor([0.5]))
    tally.add(Loss(torch.tensor(1.0), {"temperature": weight.detach().squeeze()}))
    with torch.no_grad():
        weight.add_(1)
    assert tally.read() == {"loss": 1.0, "temperature": 0.5}


class Remembers(Objective[torch.Tensor, torch.Tensor]):
    """Keeps what its loss was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def split(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        return batch.data.mean((1, 2, 3)), batch.label

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> Loss:
        self.seen = x, y
        return Loss(self.weight * x.mean())


@pytest.mark.parametrize("control", ["none", "shuffled_target"])
def test_the_control_gives_every_example_the_target_of_another(control: str) -> None:
    objective = Remembers()
    spec = ImageSpec(channels=1, height=2, width=2, classes=9)
    optimizer = torch.optim.SGD([{"params": objective.parameters(), "lr_scale": 1.0}], lr=0.1)
    module = Pretrainer(objective, spec, optimizer, Constant(), Clock(Budget("steps", 1), 1), 0, control, 0)
    data = torch.arange(9, dtype=torch.uint8)[:, None, None, None].expand(9, 1, 2, 2)
    torch.manual_seed(0)
    module.training_step(Batch(data, torch.arange(9), torch.arange(9)), 0)
    x, y = objective.seen
    assert (x * 255).round().tolist() == list(range(9))
    assert sorted(y.tolist()) == list(range(9))
    assert (y == torch.arange(9)).sum() == (9 if control == "none" else 0)


@pytest.mark.parametrize("count", [2, 3, 50])
def test_another_is_a_cycle_without_a_fixed_point(count: int) -> None:
    torch.manual_seed(0)
    chosen = another(count, torch.device("cpu")).tolist()
    place, steps = chosen[0], 1
    while place:
        place, steps = chosen[place], steps + 1
    assert steps == count
    assert another(1, torch.device("cpu")).tolist() == [0]
