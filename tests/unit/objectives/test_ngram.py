"""Counting as an objective: what it loses, what it counts, what it leaves alone."""

import copy
import math

import pytest
import torch
from special_ids import PAD

from ssl_runner.backbones.ngram import NGram
from ssl_runner.interfaces import Batch, PredictsNext, TextSpec
from ssl_runner.objectives.ngram import NGramModel

SPEC = TextSpec(length=7, vocabulary=20, size=50)


def model() -> NGramModel:
    return NGramModel(NGram(SPEC, order=3, discount=None), SPEC)


def batch() -> Batch:
    torch.manual_seed(0)
    data = SPEC.to_input(SPEC.fake(8) % 9 + 6)
    data[2, 4:] = PAD
    return Batch(data, torch.full((8,), -1), torch.tensor([3, 1, 49, 7, 0, 20, 21, 22]))


def step(objective: NGramModel) -> float:
    loss = objective.loss(*objective.split(batch()))
    objective.after_step([loss.carry], 0.5)
    return loss.value.item()


def test_it_counts_after_the_step_and_the_same_example_once() -> None:
    objective, t = model(), batch().data
    first = step(objective)
    assert first == pytest.approx(math.log(20))  # (0 + 1) / (0 + 20)
    assert objective.encoder.counts.tolist() == [0, *(int((t[:, 1:] == w).sum()) for w in range(1, 20))]
    state = copy.deepcopy(objective.state_dict())
    step(objective)
    assert all(torch.equal(value, state[name]) for name, value in objective.state_dict().items())


def test_the_loss_in_training_is_that_of_single_words() -> None:
    objective, t = model(), batch().data
    step(objective)
    words = [int(w) for row in t for w in row[1:] if w != PAD]
    expected = -sum(math.log((words.count(w) + 1) / (len(words) + 20)) for w in words) / len(words)
    loss = objective.loss(*objective.split(batch()))
    assert loss.value.item() == pytest.approx(expected, rel=1e-5)
    assert loss.logs["bits"].item() == pytest.approx(expected / math.log(2), rel=1e-5)


def test_the_loss_of_what_is_held_out_is_that_of_the_model() -> None:
    objective, t = model(), batch().data
    step(objective)
    single = step(objective)
    likelihood = objective.eval().log_likelihood(t)
    assert isinstance(objective, PredictsNext)
    assert likelihood.shape == (8, 6)
    assert not likelihood[t[:, 1:] == PAD].any()
    whole = objective.loss(*objective.split(batch())).value.item()
    assert whole == pytest.approx(-likelihood.sum().item() / int((t[:, 1:] != PAD).sum()), rel=1e-5)
    assert whole < single
    before = objective.next_logits(t[:, :-1]).log_softmax(1)
    torch.testing.assert_close(before[0, t[0, -1]], likelihood[0, -1])


def test_the_optimizer_has_something_that_does_not_move() -> None:
    objective = model()
    optimizer = torch.optim.AdamW(objective.groups()[0]["params"], lr=0.1, weight_decay=0.1)
    objective.loss(*objective.split(batch())).value.backward()
    optimizer.step()
    assert [p.numel() for p in objective.parameters() if p.requires_grad] == [1]
    assert objective.unused == 0


def test_shuffled_targets_are_counted_as_they_are_given() -> None:
    """What follows in another example follows no context more than any other: the model is no better than words."""
    torch.manual_seed(0)
    spec = TextSpec(length=41, vocabulary=12, size=100)
    cycle = (torch.arange(41)[None] + torch.randint(6, (100, 1))) % 6 + 6  # each word is followed by the next one
    batch = Batch(cycle, torch.full((100,), -1), torch.arange(100))
    found = {}
    for control in ("none", "shuffled_target"):
        objective = NGramModel(NGram(spec, order=2, discount=None), spec)
        x, y = objective.split(batch)
        if control == "shuffled_target":
            x, y = objective.shuffle(x, y)
        objective.after_step([objective.loss(x, y).carry], 1.0)
        found[control] = -objective.log_likelihood(cycle).mean().item()
    assert found["none"] < 0.1
    assert found["shuffled_target"] > math.log(6) - 0.2
