import math

import pytest
import torch
from special_ids import PAD

from ssl_runner.backbones.transformer import GPT
from ssl_runner.interfaces import Batch, Predicts, PredictsNext, TextSpec
from ssl_runner.objectives.language_model import LanguageModel

SPEC = TextSpec(length=10, vocabulary=30)


def model(output: str = "tied") -> LanguageModel:
    torch.manual_seed(0)
    encoder = GPT(SPEC, dim=16, depth=2, heads=2, mlp_ratio=2.0, norm="layer", dropout=0.0, positions=None)
    return LanguageModel(encoder, SPEC, output=output)


def batch() -> Batch:
    torch.manual_seed(1)
    data = SPEC.to_input(SPEC.fake(4))
    data[1, 6:], data[2, 1:] = PAD, PAD
    return Batch(data, torch.full((4,), -1), torch.arange(4))


def test_the_loss_is_that_of_each_next_token_of_each_text_alone():
    objective, t = model(), batch().data
    nats = []
    for b in range(4):
        length = int((t[b] != PAD).sum())
        for n in range(1, length):  # one prefix at a time, without what follows and without the other examples
            logits = objective.scores(objective.encoder(t[b : b + 1, :n]).tokens[0, -1], objective.encoder.embedding)
            nats.append(-logits.log_softmax(0)[t[b, n]])
    assert len(nats) == 9 + 5 + 0 + 9
    found = objective.loss(*objective.split(batch()))
    expected = torch.stack(nats).mean()
    torch.testing.assert_close(found.value, expected)
    assert found.logs["bits"].item() == pytest.approx(expected.item() / math.log(2), rel=1e-5)

    likelihood = objective.log_likelihood(t)
    assert likelihood.shape == (4, 9)
    assert not likelihood[1, 5:].any()
    assert not likelihood[2].any()
    torch.testing.assert_close(likelihood[likelihood != 0], -torch.stack(nats), atol=1e-5, rtol=1e-4)


def test_the_next_token_follows_the_last_that_is_no_padding():
    objective, t = model().eval(), batch().data
    following = objective.next_logits(t)
    assert following.shape == (4, 30)
    for b in range(4):
        alone = objective.next_logits(t[b : b + 1, : int((t[b] != PAD).sum())])
        torch.testing.assert_close(following[b : b + 1], alone, atol=1e-5, rtol=1e-4)
    likelihood = objective.log_likelihood(t)
    before = objective.next_logits(t[:, :-1]).log_softmax(1)
    torch.testing.assert_close(before[0, t[0, -1]], likelihood[0, -1])


def test_a_prediction_is_the_most_probable_token():
    objective = model()
    x, y = objective.split(batch())
    predicted = objective.predict(x)
    assert predicted.shape == y.shape
    assert predicted[1, 2] == objective.next_logits(x[1:2, :3]).argmax()
    assert not predicted[1, 6:].any()
    assert isinstance(objective, PredictsNext)
    assert isinstance(objective, Predicts)


def test_tied_weights_get_gradients_from_both_their_uses():
    tied, own = model("tied"), model("own")
    with torch.no_grad():
        own.scores.weight.copy_(tied.encoder.embedding.weight)
    for objective in (tied, own):
        objective.loss(*objective.split(batch())).value.backward()
    as_input, as_output = own.encoder.embedding.weight.grad, own.scores.weight.grad
    assert as_input.any()
    assert as_output.any()
    torch.testing.assert_close(tied.encoder.embedding.weight.grad, as_input + as_output)
    assert not tied.encoder.embedding.weight.grad[PAD].any()
    count = sum(p.numel() for p in own.parameters()) - sum(p.numel() for p in tied.parameters())
    assert count == 30 * 16


def test_training_leaves_the_vector_of_padding_at_zero_and_lowers_the_loss():
    objective = model()
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        value = objective.loss(*objective.split(batch())).value
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < 0.5 * losses[0]
    assert not objective.encoder.embedding.weight[PAD].any()


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"objective\.output is 'both'"):
        model("both")
