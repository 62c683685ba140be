"""Budgets, seeds and running means."""

import math

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from ssl_runner.config.schema import Budget
from ssl_runner.interfaces import Batch, ImageSpec, Loss, Objective, VectorSpec, another
from ssl_runner.training.optim import Constant, Linear
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


class Freezes(Remembers):
    """Keeps its weight where it is for the first half."""

    def frozen(self, progress: float) -> list[torch.nn.Parameter]:
        return [self.weight] if progress < 0.5 else []


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*treespec, LeafSpec", "ignore:.*no `val_data"
)
def test_rates_decays_and_what_is_frozen() -> None:
    objective = Freezes()
    groups = [
        {"params": [objective.weight], "lr_scale": 2.0, "weight_decay": 0.1},
        {"params": [torch.nn.Parameter(torch.zeros(1))], "lr_scale": 1.0, "scheduled": False, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    clock = Clock(Budget("steps", 4), 4)
    module = Pretrainer(
        objective, VectorSpec(count=1, width=1), optimizer, Linear(final=0.0), clock, 0, "none", 0, decay_end=0.4
    )
    for progress in (0.0, 0.5, 1.0):
        rates = module.rates
        assert rates[0].lr(1 - progress) == pytest.approx(0.2 * (1 - progress))
        assert rates[1].lr(1 - progress) == pytest.approx(0.1)
        assert rates[0].weight_decay(progress) == pytest.approx(0.1 + 0.15 * (1 - math.cos(math.pi * progress)))
    assert [rate.decays for rate in module.rates] == [True, False]
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=4, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    moved: list[bool] = []
    setattr(objective, "split", lambda batch: (torch.ones(1, requires_grad=True), torch.zeros(1)))  # noqa: B010
    setattr(objective, "after_step", lambda *_: moved.append(bool(objective.weight != 0)))  # noqa: B010
    unread = Batch(torch.zeros(1, 1, 1), torch.zeros(1).long(), torch.zeros(1).long())
    trainer.fit(module, DataLoader([unread] * 4, batch_size=None))
    assert moved == [False, False, True, True]
