"""The watch for a collapse, without a trainer."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from ssl_runner.evaluation.any.geometry import effective_rank, spread, uniformity
from ssl_runner.interfaces import Batch, Encoder, Features, Loss, Objective
from ssl_runner.training.collapse import FLOORS, Collapse, CollapsedError
from ssl_runner.training.progress import Record


class Shrinking(Encoder):
    """Noise around one vector, by `scale`; with all that has a mode."""

    dim = 8

    def __init__(self) -> None:
        super().__init__()
        self.scale = 1.0
        self.norm = nn.BatchNorm1d(16)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        pooled = 1 + self.scale * self.drop(self.norm(x.flatten(1)))[:, :8]
        return Features(pooled[:, None], pooled)


class Task(Objective[Tensor, Tensor]):
    encoder: Shrinking
    collapse: ClassVar[str] = "a test: raise the scale"
    floors: ClassVar[dict[str, float]] = {"health": 0.5}

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Shrinking()
        self.health = 1.0

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.data + torch.randn_like(batch.data), batch.data

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        return Loss(x.mean(), {"health": torch.tensor(self.health), "drawn": x.mean()})


class Log(list):
    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.append((step, metrics))


@pytest.fixture
def task() -> Task:
    return Task().train()


def watch(log: Log, every: int = 10, early_stop: str = "none") -> Collapse:
    data = torch.rand(64, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    batch = Batch(data, torch.zeros(64).long(), torch.arange(64))
    console = Console(width=200)
    return Collapse(batch, Record([], 1, console, Path()), [log], every, early_stop, console)


def step(callback: Collapse, task: Task, number: int) -> None:
    callback.on_train_batch_end(SimpleNamespace(global_step=number), SimpleNamespace(objective=task), None, None, 0)


def test_what_is_written(task: Task) -> None:
    log = Log()
    callback = watch(log)
    for number in (0, 1, 9, 10, 10, 11, 20):  # 0 and 10 twice: gradients are accumulated
        step(callback, task, number)
    assert [number for number, _ in log] == [10, 20]
    with torch.no_grad():
        features = task.eval().encoder(callback.batch.data).pooled
    expected = {
        "watch/spread": spread(features),
        "watch/effective_rank": effective_rank(features),
        "watch/uniformity": uniformity(features),
        "watch/health": 1.0,
    }
    assert log[0][1] == pytest.approx(expected)
    assert callback.record.seconds < 0  # taken off what the record counts


def test_what_is_watched_is_the_encoder_that_is_kept() -> None:
    class Kept(Task):
        teacher: Shrinking

        @property
        def exported(self) -> Encoder:
            return self.teacher

    kept, log = Kept().train(), Log()
    kept.teacher = Shrinking()
    kept.teacher.scale = 1e-3
    callback = watch(log)
    step(callback, kept, 10)
    with torch.no_grad():
        features = kept.eval().teacher(callback.batch.data).pooled
    assert log[0][1]["watch/spread"] == pytest.approx(spread(features))
    assert log[0][1]["watch/spread"] < 0.01 < spread(kept.encoder(callback.batch.data).pooled.detach())


def test_modes_state_and_generators_stay(task: Task) -> None:
    task.encoder.drop.eval()
    state = {name: value.clone() for name, value in task.state_dict().items()}
    modes = [part.training for part in task.modules()]
    torch.manual_seed(4)
    following = torch.rand(3)
    torch.manual_seed(4)
    step(watch(Log()), task, 10)
    assert torch.equal(torch.rand(3), following)
    assert all(torch.equal(value, state[name]) for name, value in task.state_dict().items())
    assert [part.training for part in task.modules()] == modes


@pytest.mark.parametrize("what", ["scale", "health"])
def test_two_readings_in_a_row_are_said_once(task: Task, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    callback = watch(Log())
    whose = task.encoder if what == "scale" else task
    for number, value in ((10, 1e-5), (20, 1.0), (30, 1e-5)):
        setattr(whose, what, value)
        step(callback, task, number)
    assert capsys.readouterr().out == ""
    for number in (40, 50, 60):
        step(callback, task, number)
    said = capsys.readouterr().out
    assert said.count("warning") == 1
    assert "collapse at step 40" in said
    assert ("spread is" if what == "scale" else "health is 1e-05, below 0.5") in said
    assert "a test: raise the scale" in said


def test_it_stops_where_that_is_asked_for(task: Task) -> None:
    task.encoder.scale = 1e-5
    callback = watch(Log(), early_stop="collapse")
    step(callback, task, 10)
    with pytest.raises(CollapsedError, match=r"collapse at step 20: spread is .* raise the scale"):
        step(callback, task, 20)


def test_features_that_are_no_numbers_are_left_to_the_record(task: Task) -> None:
    task.encoder.scale = float("nan")
    log = Log()
    step(watch(log), task, 10)
    assert log == [(10, {})]


def test_floors_are_below_any_cloud() -> None:
    cloud = torch.randn(256, 4, generator=torch.Generator().manual_seed(0)) + 10
    assert spread(cloud) > FLOORS["spread"]
    assert effective_rank(cloud) > FLOORS["effective_rank"]
