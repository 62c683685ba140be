"""What `interfaces` promises of every objective. A module that imports these tests defines the fixture `task`: an
objective and a batch of the data it was made for, as input, a copy for each test."""

import copy
from collections.abc import Iterable
from typing import Any

import pytest
import torch

from ssl_runner.interfaces import Batch, CountEncoder, MixtureEncoder, Objective, Predicts, Reconstructs

Task = tuple[Objective, Batch]


def tensors(value: torch.Tensor | Iterable[Any]) -> list[torch.Tensor]:
    """The tensors of an x or y, in order; those of a sum are nested."""
    return [value] if isinstance(value, torch.Tensor) else [tensor for each in value for tensor in tensors(each)]


def loss(objective: Objective, batch: Batch, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return objective.loss(*objective.split(batch)).value


def test_split_leaves_batch_and_module_unchanged_and_repeats_under_a_seed(task: Task) -> None:
    objective, batch = task
    before, state = copy.deepcopy(batch), copy.deepcopy(objective.state_dict())
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append([each for part in objective.split(batch) for each in tensors(part)])
    for first, second in zip(*drawn, strict=True):
        assert torch.equal(first, second)
    for now, then in zip(batch, before, strict=True):
        assert now is then if now is None or then is None else torch.equal(now, then)
    for name, value in objective.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_loss_is_a_finite_scalar_and_moves_no_state(task: Task) -> None:
    objective, batch = task
    state = copy.deepcopy(objective.state_dict())
    value = loss(objective, batch)
    assert value.shape == ()
    assert torch.isfinite(value)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for name, now in objective.state_dict().items():
        assert name.endswith(statistics) or torch.equal(now, state[name]), name


def test_what_shows_a_collapse_is_logged_and_has_not_come(task: Task) -> None:
    objective, batch = task
    logs = objective.eval().loss(*objective.split(batch)).logs
    assert all(logs[name].item() > floor for name, floor in objective.floors.items())
    assert objective.collapse


def test_every_trainable_parameter_gets_a_gradient(task: Task) -> None:
    objective, batch = task
    loss(objective, batch).backward()
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


def test_every_trainable_parameter_is_in_one_group(task: Task) -> None:
    objective, _ = task
    grouped = [id(p) for group in objective.groups() for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in objective.parameters() if p.requires_grad)


def test_a_few_steps_on_one_batch_lower_the_loss(task: Task) -> None:
    objective, batch = task
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        torch.manual_seed(0)
        found = objective.loss(*objective.split(batch))
        found.value.backward()
        optimizer.step()
        if isinstance(objective.encoder, CountEncoder | MixtureEncoder):  # it learns by counts or moments
            objective.after_step([found.carry], 0.5)
        losses.append(found.value.item())
    assert sum(losses[-3:]) < sum(losses[:3])


def test_state_round_trips(task: Task) -> None:
    objective, batch = task
    objective.eval()
    twin = copy.deepcopy(objective)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    twin.load_state_dict(objective.state_dict())
    with torch.no_grad():
        assert torch.equal(loss(objective, batch), loss(twin, batch))


def test_shuffling_breaks_the_tie_and_nothing_else(task: Task) -> None:
    objective, batch = task
    torch.manual_seed(3)
    x, y = objective.split(batch)
    given, state = copy.deepcopy((x, y)), copy.deepcopy(objective.state_dict())
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        drawn.append(objective.shuffle(x, y))
    parts, before = ([*tensors(a), *tensors(b)] for a, b in (drawn[0], (x, y)))
    assert [type(part) for part in drawn[0]] == [type(x), type(y)]
    assert all(torch.equal(a, b) for a, b in zip(parts, [*tensors(drawn[1][0]), *tensors(drawn[1][1])], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, [*tensors(given[0]), *tensors(given[1])], strict=True))
    assert all(torch.equal(value, state[name]) for name, value in objective.state_dict().items())
    assert [(part.shape, part.dtype) for part in parts] == [(part.shape, part.dtype) for part in before]
    assert not all(torch.equal(a, b) for a, b in zip(parts, before, strict=True))
    assert torch.isfinite(objective.loss(*drawn[0]).value)
    if type(objective).shuffle is Objective.shuffle:  # x as it was, each y once, at another example
        assert drawn[0][0] is x
        assert all(len(part) == len(batch.data) for part in tensors(y))
        assert rows(drawn[0][1]) == rows(y)


def rows(y: torch.Tensor | Iterable[torch.Tensor]) -> list[tuple[bytes, ...]]:
    """The examples of y, in an order that does not depend on theirs."""
    return sorted(tuple(part.numpy().tobytes() for part in each) for each in zip(*tensors(y), strict=True))


def test_a_prediction_has_the_form_of_y(task: Task) -> None:
    objective, batch = task
    if not isinstance(objective, Predicts):
        pytest.skip("offers no prediction")
    objective.eval()
    x, y = objective.split(batch)
    with torch.no_grad():
        predicted = objective.predict(x)
    assert type(predicted) is type(y)
    for ours, theirs in zip(tensors(predicted), tensors(y), strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype


def test_a_reconstruction_is_an_image(task: Task) -> None:
    objective, batch = task
    if not isinstance(objective, Reconstructs):
        pytest.skip("reconstructs nothing")
    objective.eval()
    x, _ = objective.split(batch)
    with torch.no_grad():
        image = objective.reconstruct(x)
    assert image.shape == batch.data.shape
    assert image.min() >= 0
    assert image.max() <= 1
    values, hidden = objective.compared(batch.data), objective.hidden(x)
    assert hidden.dtype is torch.bool
    assert hidden.shape == values.shape
    assert hidden.flatten(1).any(dim=1).all()
    assert torch.allclose(objective.compared(image)[~hidden], values[~hidden], atol=1e-6)  # what is shown is right
    assert "pixels" in objective.hides()
