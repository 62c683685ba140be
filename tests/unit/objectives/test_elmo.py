"""ELMo's loss, token by token."""

import pytest
import torch
from special_ids import PAD

from ssl_runner.backbones.lstm import BiLSTM
from ssl_runner.interfaces import Batch, Predicts, PredictsNext, TextSpec
from ssl_runner.objectives.elmo import ELMo

SPEC = TextSpec(length=8, vocabulary=30)


def model() -> ELMo:
    torch.manual_seed(0)
    return ELMo(BiLSTM(SPEC, layers=2, width=8, dropout=0.0), SPEC)


def batch() -> Batch:
    torch.manual_seed(1)
    data = SPEC.to_input(SPEC.fake(4))
    data[1, 5:], data[2, 1:] = PAD, PAD
    return Batch(data, torch.full((4,), -1), torch.arange(4))


def test_the_loss_is_that_of_each_neighbor_alone() -> None:
    """Each is predicted from the part of the text that it may see, cut out: nothing else can have been looked at."""
    objective, t = model(), batch().data
    forward: list[torch.Tensor] = []
    backward: list[torch.Tensor] = []
    for row in t:
        text = row[row != PAD]
        for n in range(len(text) - 1):
            for half, seen, target, found in (
                (slice(8), text[: n + 1], text[n + 1], forward),
                (slice(8, 16), text[n + 1 :], text[n], backward),
            ):
                state = objective.encoder(seen[None]).tokens[0, -1 if half.start is None else 0, half]
                scores = (objective.softmax.weight @ state + objective.softmax.bias)[1:]  # padding is none
                found.append(-scores.log_softmax(0)[target - 1])
    assert len(forward) == len(backward) == 7 + 4 + 0 + 7
    expected = torch.stack(forward).mean(), torch.stack(backward).mean()
    loss = objective.loss(*objective.split(batch()))
    torch.testing.assert_close(loss.value, sum(expected))
    torch.testing.assert_close(loss.logs["forward"], expected[0].detach())
    torch.testing.assert_close(loss.logs["backward"], expected[1].detach())

    likelihood = objective.log_likelihood(t)
    assert not likelihood[t[:, 1:] == PAD].any()
    torch.testing.assert_close(likelihood[t[:, 1:] != PAD], -torch.stack(forward), atol=1e-5, rtol=1e-4)


def test_one_softmax_and_one_embedding_are_of_both_directions() -> None:
    names = {name.split(".")[0] for name, _ in model().named_parameters()}
    assert names == {"encoder", "softmax"}
    assert model().softmax.weight.shape == (30, 8)
    assert [name for name, p in model().encoder.named_parameters() if p.shape[0] == 30] == ["embedding.weight"]


def test_the_targets_are_the_neighbors() -> None:
    x, y = model().split(batch())
    t = batch().data
    assert torch.equal(x, t)
    assert torch.equal(y.next[0], t[0, 1:])
    assert torch.equal(y.previous[0], t[0, :-1])
    assert y.next[1].tolist() == [*t[1, 1:5].tolist(), PAD, PAD, PAD]
    assert y.previous[1].tolist() == [*t[1, :4].tolist(), PAD, PAD, PAD]


def test_the_next_token_follows_the_last_that_is_no_padding() -> None:
    objective, t = model(), batch().data
    assert isinstance(objective, PredictsNext)
    following = objective.next_logits(t)
    torch.testing.assert_close(following[1:2], objective.next_logits(t[1:2, :5]))
    assert following[:, PAD].isneginf().all()
    before = objective.next_logits(t[:, :-1]).log_softmax(1)
    torch.testing.assert_close(before[0, t[0, -1]], objective.log_likelihood(t)[0, -1])


def test_a_text_that_repeats_is_learned_in_both_directions() -> None:
    objective = model()
    assert isinstance(objective, Predicts)
    t = (torch.arange(8)[None] + torch.arange(4)[:, None]) % 5 + 6
    given = Batch(t, torch.full((4,), -1), torch.arange(4))
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.03)
    for _ in range(300):
        optimizer.zero_grad()
        objective.loss(*objective.split(given)).value.backward()
        optimizer.step()
    x, y = objective.split(given)
    predicted = objective.predict(x)
    assert torch.equal(predicted.next, y.next)
    assert torch.equal(predicted.previous, y.previous)


def test_single_tokens_are_refused() -> None:
    spec = TextSpec(length=1, vocabulary=30)
    with pytest.raises(ValueError, match=r"^dataset\.length is 1;"):
        ELMo(BiLSTM(spec, layers=1, width=4, dropout=0.0), spec)
