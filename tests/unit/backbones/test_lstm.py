"""Recurrent encoders against torch's own stacks, row by row without padding, and by changing a token."""

import pytest
import torch
from special_ids import PAD
from torch import Tensor, nn

from ssl_runner.backbones.lstm import LSTM, BiLSTM
from ssl_runner.interfaces import TextSpec
from ssl_runner.training.precision import bfloat16_on_cpu

SPEC = TextSpec(length=9, vocabulary=40)
LENGTHS = (9, 4, 1, 6)
ROOT = 8**0.5  # of the width: vectors are read times that


def lstm(dropout: float = 0.0) -> LSTM:
    torch.manual_seed(0)
    return LSTM(SPEC, layers=3, width=8, dropout=dropout).eval()


def bilstm(dropout: float = 0.0) -> BiLSTM:
    torch.manual_seed(0)
    return BiLSTM(SPEC, layers=3, width=8, dropout=dropout).eval()


def rows() -> Tensor:
    """Rows of the lengths above, padded at the end."""
    torch.manual_seed(1)
    x = SPEC.to_input(SPEC.fake(len(LENGTHS)))
    for row, length in zip(x, LENGTHS, strict=True):
        row[length:] = PAD
    return x


def stack(layers: nn.ModuleList) -> nn.LSTM:
    """torch's own LSTM of as many layers, with the same weights."""
    whole = nn.LSTM(8, 8, num_layers=len(layers), batch_first=True)
    for i, layer in enumerate(layers):
        for name, value in layer.state_dict().items():
            whole.state_dict()[name.replace("l0", f"l{i}")].copy_(value)
    return whole


def test_it_is_torchs_own() -> None:
    encoder, x = lstm(), rows()
    whole = stack(encoder.layers)
    tokens = encoder(x).tokens
    for row, found, length in zip(x, tokens, LENGTHS, strict=True):
        expected = whole(ROOT * encoder.embedding(row[None, :length]))[0][0]
        torch.testing.assert_close(found[:length], expected)


def test_two_directions_are_torchs_own_one_by_one() -> None:
    encoder, x = bilstm(), rows()
    onward, back = stack(encoder.forwards), stack(encoder.backwards)
    tokens = encoder(x).tokens
    assert tokens.shape == (4, 9, 16)
    for row, found, length in zip(x, tokens, LENGTHS, strict=True):
        vectors = ROOT * encoder.embedding(row[None, :length])
        torch.testing.assert_close(found[:length, :8], onward(vectors)[0][0])
        torch.testing.assert_close(found[:length, 8:], back(vectors.flip(1))[0][0].flip(0))


def test_one_layer_of_two_directions_is_torchs_bidirectional_one() -> None:
    torch.manual_seed(0)
    encoder, x = BiLSTM(SPEC, layers=1, width=8, dropout=0.0).eval(), rows()
    whole = nn.LSTM(8, 8, batch_first=True, bidirectional=True)
    for part, suffix in ((encoder.forwards[0], ""), (encoder.backwards[0], "_reverse")):
        for name, value in part.state_dict().items():
            whole.state_dict()[name + suffix].copy_(value)
    packed = nn.utils.rnn.pack_padded_sequence(
        ROOT * encoder.embedding(x), torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False
    )
    expected, _ = nn.utils.rnn.pad_packed_sequence(whole(packed)[0], batch_first=True)
    torch.testing.assert_close(encoder(x).tokens[x != PAD], expected[x != PAD])


@pytest.mark.parametrize("place", [0, 4, 8])
def test_a_token_is_seen_by_those_after_it_alone(place: int) -> None:
    encoder, x = lstm(), rows()[:1]
    changed = x.clone()
    changed[0, place] = 7 if x[0, place] == 6 else 6
    for before, after in zip(encoder.states(x)[1:], encoder.states(changed)[1:], strict=True):
        differs = (before != after).any(dim=2)[0]
        assert differs.tolist() == [n >= place for n in range(9)]


@pytest.mark.parametrize("place", [0, 4, 8])
def test_each_half_of_every_layer_sees_its_own_side_alone(place: int) -> None:
    encoder, x = bilstm(), rows()[:1]
    changed = x.clone()
    changed[0, place] = 7 if x[0, place] == 6 else 6
    states = list(zip(encoder.states(x), encoder.states(changed), strict=True))
    assert len(states) == 4
    for layer, (before, after) in enumerate(states):
        onward, back = ((before != after)[0, :, half].any(dim=1).tolist() for half in (slice(8), slice(8, 16)))
        assert onward == [n >= place if layer else n == place for n in range(9)]
        assert back == [n <= place if layer else n == place for n in range(9)]


@pytest.mark.parametrize("make", [lstm, bilstm])
def test_padding_makes_no_difference(make) -> None:
    encoder, x = make(), rows()
    longer = torch.cat((x, torch.full((4, 3), PAD)), dim=1)
    alone = [encoder(row[None, :length]) for row, length in zip(x, LENGTHS, strict=True)]
    for features in (encoder(x), encoder(longer)):
        for b, length in enumerate(LENGTHS):
            torch.testing.assert_close(features.tokens[b, :length], alone[b].tokens[0])
            torch.testing.assert_close(features.pooled[b], alone[b].pooled[0])


@pytest.mark.parametrize("make", [lstm, bilstm])
def test_layers_are_the_means_of_states(make) -> None:
    encoder, x = make(), rows()
    features, states = encoder(x, layers=True), encoder.states(x)
    assert len(states) == 4
    assert {state.shape for state in states} == {(4, 9, encoder.dim)}
    assert torch.equal(states[-1], features.tokens)
    assert torch.equal(features.layers[-1], features.pooled)
    for mean, state in zip(features.layers, states[1:], strict=True):
        torch.testing.assert_close(mean[1], state[1, :4].mean(0))


def test_the_embedding_is_the_first_layer_of_each_direction() -> None:
    assert torch.equal(lstm().states(rows())[0], lstm().embedding(rows()) * ROOT)
    assert torch.equal(bilstm().states(rows())[0], bilstm().embedding(rows()).repeat(1, 1, 2) * ROOT)


@pytest.mark.parametrize("make", [lstm, bilstm])
def test_dropout_is_of_training_alone(make) -> None:
    encoder, x = make(0.5), rows()
    assert torch.equal(encoder(x).tokens, encoder(x).tokens)
    encoder.train()
    assert not torch.equal(encoder(x).tokens, encoder(x).tokens)
    states = encoder.states(x)[1][x != PAD]
    assert 0.4 < (states == 0).float().mean() < 0.6


@pytest.mark.parametrize("kind", [LSTM, BiLSTM])
@pytest.mark.parametrize(("key", "value"), [("layers", 0), ("width", 0), ("dropout", 1.0), ("dropout", -0.1)])
def test_impossible_settings_are_refused_by_name(kind, key: str, value: float) -> None:
    settings = {"layers": 1, "width": 8, "dropout": 0.0} | {key: value}
    with pytest.raises(ValueError, match=rf"^backbone\.{key} is {value};"):
        kind(SPEC, **settings)


@pytest.mark.skipif(not bfloat16_on_cpu(), reason="torch's LSTM has no bfloat16 on such processors")
@pytest.mark.parametrize("make", [lstm, bilstm])
def test_it_runs_in_half_precision(make) -> None:
    encoder, x = make(), rows()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = encoder(x).pooled
    torch.testing.assert_close(pooled.float(), encoder(x).pooled, atol=0.05, rtol=0)
    pooled.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
