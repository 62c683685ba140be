import pytest
import torch
from special_ids import CLS, EOS, PAD, SEP
from texts import bert, text_spec
from torch import Tensor

from ssl_runner.backbones.transformer import BERT, GPT
from ssl_runner.evaluation.text.data import encode_texts
from ssl_runner.interfaces import TextEncoder, TextSpec

SPEC = TextSpec(length=12, vocabulary=40)
BOTH = pytest.mark.parametrize("cls", [GPT, BERT])


def encoder(cls: type, **changes: object) -> TextEncoder:
    torch.manual_seed(0)
    sizes = {"dim": 16, "depth": 3, "heads": 2, "mlp_ratio": 2.0, "norm": "layer", "dropout": 0.1, "positions": None}
    return cls(SPEC, **sizes | changes).eval()


def text(rows: int = 4, length: int = 12) -> Tensor:
    return torch.randint(EOS + 1, 40, (rows, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("norm", ["layer", "rms", "dyt"])
def test_a_causal_encoder_does_not_see_what_follows(norm):
    x, causal = text(), encoder(GPT, norm=norm)
    before = causal.states(x)
    for place in range(1, 12):
        changed = x.clone()
        changed[:, place:] = (x[:, place:] - EOS) % (39 - EOS) + EOS + 1  # every id is another one
        assert not (changed[:, place:] == x[:, place:]).any()
        for old, new in zip(before, causal.states(changed), strict=True):
            torch.testing.assert_close(new[:, :place], old[:, :place], atol=1e-6, rtol=0)
            assert (new[:, place] - old[:, place]).abs().amax(dim=1).min() > 1e-3


def test_every_place_of_a_token_encoder_sees_every_other():
    x, full = text(1), encoder(BERT)
    before = full(x).tokens
    for place in range(12):
        changed = x.clone()
        changed[:, place] = (x[:, place] - EOS) % (39 - EOS) + EOS + 1
        assert (full(changed).tokens - before).abs().amax(dim=2).min() > 1e-5


@BOTH
def test_padding_does_not_matter(cls):
    x, full = text(), encoder(cls)
    padded = x.clone()
    lengths = [12, 7, 1, 3]
    for row, length in zip(padded, lengths, strict=True):
        row[length:] = PAD
    together = full(padded, layers=True)
    for i, length in enumerate(lengths):
        alone = full(x[i : i + 1, :length], layers=True)
        torch.testing.assert_close(together.tokens[i : i + 1, :length], alone.tokens, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(together.pooled[i], alone.tokens[0].mean(0), atol=1e-5, rtol=1e-4)
        for ours, theirs in zip(together.layers, alone.layers, strict=True):
            torch.testing.assert_close(ours[i : i + 1], theirs, atol=1e-5, rtol=1e-4)


@BOTH
def test_an_example_of_nothing_but_padding_is_finite_and_leaves_the_others_alone(cls):
    x = text(2)
    x[0] = PAD
    features = encoder(cls)(x)
    assert not features.pooled[0].any()
    assert features.tokens.isfinite().all()
    torch.testing.assert_close(features.pooled[1:], encoder(cls)(x[1:]).pooled, atol=1e-5, rtol=1e-4)


@BOTH
def test_the_states_are_the_embedding_and_each_block(cls):
    x, full = text(), encoder(cls)
    states, features = full.states(x), full(x, layers=True)
    assert len(states) == 4
    assert len(features.layers) == 3
    assert torch.equal(states[-1], full(x).tokens)
    for state, layer in zip(states[1:], features.layers, strict=True):
        torch.testing.assert_close(state.mean(1), layer)
    torch.testing.assert_close(states[1], full.transformer.blocks[0](states[0]))
    expected = full.embedding(x) + full.positions.weight
    torch.testing.assert_close(states[0], 4 * expected)  # the root of 16


def test_segments_are_told_apart_and_the_second_begins_after_the_first_separator():
    full = encoder(BERT)
    second = torch.arange(16.0)
    with torch.no_grad():
        full.segments.weight[1] = second
    x = text(1)
    x[0, 0], x[0, 4], x[0, 11] = CLS, SEP, SEP
    embedded = full.states(x)[0] / 4 - full.embedding(x) - full.positions.weight
    torch.testing.assert_close(embedded[0, :5], torch.zeros(5, 16), atol=1e-6, rtol=0)
    torch.testing.assert_close(embedded[0, 5:], second.expand(7, 16), atol=1e-5, rtol=0)


@pytest.mark.parametrize("paired", [False, True], ids=["one text a row", "pairs"])
def test_the_second_text_of_a_pair_has_what_pretraining_learned_of_second_texts_and_nothing_else(paired):
    """Of an encoder that has read single texts, and of one that has read pairs; as pair tasks are given to it."""
    spec = text_spec()
    full = bert(spec).train()
    rows = [("the cat sat", "the dog ran"), ("it was good", "a film")]
    seen = encode_texts(spec, rows if paired else [(a,) for a, _ in rows]).long()
    optimizer = torch.optim.AdamW(full.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        full(seen).tokens.sub(2).square().mean().backward()
        optimizer.step()
    pair = encode_texts(spec, [("the cat sat", "it was good")]).long()
    added = full.eval().states(pair)[0] / 4 - full.embedding(pair) - full.positions.weight[: pair.shape[1]]
    longest = added[0, 5:].norm(dim=1).max().item()  # where tokens have the root of 16
    assert longest > 0.01 if paired else longest < 1e-6
    torch.testing.assert_close(added[0, :5], torch.zeros(5, 16), atol=1e-6, rtol=0)


@BOTH
def test_positions_are_told_apart(cls):
    tokens = encoder(cls)(torch.full((1, 12), 9)).tokens[0]
    assert (torch.cdist(tokens, tokens) + torch.eye(12)).min() > 1e-3


@BOTH
def test_the_vector_of_padding_is_zero_and_stays_so(cls):
    full = encoder(cls).train()
    optimizer = torch.optim.AdamW(full.parameters(), lr=0.1, weight_decay=0.1)
    x = text()
    x[:, 8:] = PAD
    for _ in range(3):
        optimizer.zero_grad()
        full(x).tokens.square().mean(dim=(0, 1)).sub(2).abs().sum().backward()
        optimizer.step()
    assert not full.embedding.weight[PAD].any()
    assert full.embedding.weight[x[0, 0]].any()


@BOTH
def test_more_tokens_than_positions_are_refused(cls):
    with pytest.raises(ValueError, match=r"13 tokens \(dataset\.length\) and the encoder 12 positions"):
        encoder(cls)(text(1, 13))
    with pytest.raises(ValueError, match=r"dataset\.length is 12 tokens and backbone\.positions 8"):
        encoder(cls, positions=8)
    assert encoder(cls, positions=20)(text(1, 20)).tokens.shape == (1, 20, 16)


@pytest.mark.parametrize(
    ("key", "value"),
    [("dim", 0), ("heads", 3), ("heads", 0), ("depth", 0), ("mlp_ratio", 0.0), ("norm", "batch"), ("dropout", 1.0)],
)
@BOTH
def test_impossible_settings_are_refused_by_name(cls, key, value):
    named = "heads" if key == "dim" else key
    with pytest.raises(ValueError, match=rf"^backbone\.{named} is"):
        encoder(cls, **{key: value})


@BOTH
def test_it_runs_in_half_precision(cls):
    for norm in ("layer", "rms", "dyt"):
        x = text()
        x[0, 5:] = PAD
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert encoder(cls, norm=norm)(x).pooled.isfinite().all()
