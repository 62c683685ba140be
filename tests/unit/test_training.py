"""Budgets, seeds and running means."""

import pytest
import torch

from ssl_runner.config import Budget
from ssl_runner.interfaces import Loss
from ssl_runner.training import Clock, Tally, precision, step_seed, total_steps


@pytest.mark.parametrize(
    ("unit", "amount", "steps"),
    [("epochs", 3, 30), ("steps", 7, 7), ("samples", 1000, 8), ("samples", 1025, 9), ("minutes", 2, None)],
)
def test_what_a_budget_buys(unit: str, amount: float, steps: int | None) -> None:
    assert total_steps(Budget(unit, amount), steps_per_epoch=10, samples_per_step=128) == steps


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


def test_precision_as_asked() -> None:
    cpu = torch.device("cpu")
    assert precision("float32", cpu) == torch.float32
    assert precision("bfloat16", cpu) == torch.bfloat16
    assert precision("auto", cpu) == (torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32)
