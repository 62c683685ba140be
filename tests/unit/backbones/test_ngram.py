"""N-grams: a text in windows, in any order, against an implementation with dictionaries that reads it whole."""

import copy
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from slow_kneser_ney import Slow
from special_ids import CLS, PAD, SEP
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor

from ssl_runner.assembly import export, load
from ssl_runner.backbones.ngram import NGram
from ssl_runner.interfaces import TextSpec

V, T = 12, 6


def text(length: int, seed: int) -> list[int]:
    """Words 6 to 11, each by the two before it."""
    generator = torch.Generator().manual_seed(seed)
    found = [6, 7]
    for draw in torch.rand(length - 2, generator=generator).tolist():
        found.append(6 + int((found[-1] + 2 * found[-2] + (6 * draw) ** 2 // 6) % 6))
    return found


def windows(stream: list[int]) -> Tensor:
    """(n, T), which overlap by one."""
    return torch.tensor(stream).unfold(0, T, T - 1)


def empty(order: int = 3, discount: float | None = None, size: int = 40) -> NGram:
    return NGram(TextSpec(length=T, vocabulary=V, size=size), order=order, discount=discount)


def absorbed(rows: Tensor, order: int = 3, discount: float | None = None) -> NGram:
    """All rows, seven at a time, in some order."""
    encoder = empty(order, discount, len(rows))
    shuffled = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    for index in shuffled.split(7):
        encoder.absorb(rows[index, :-1], rows[index, 1:], index)
    return encoder


TEXT = text(5 * 40 + 1, seed=0)
ROWS = windows(TEXT)
HELD_OUT = windows(text(5 * 8 + 1, seed=1))


@pytest.mark.parametrize("discount", [None, 0.6])
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_it_equals_one_with_dictionaries_on_the_whole_text(order: int, discount: float | None) -> None:
    """Seams of windows are no seams of the text; what is asked begins with nothing before it."""
    encoder, slow = absorbed(ROWS, order, discount), Slow(TEXT, order, V, discount)
    found = encoder.log_probability(HELD_OUT[:, :-1], HELD_OUT[:, 1:])
    expected = torch.tensor(
        [
            [math.log(slow.p(row[n + 1], tuple(row[max(0, n + 2 - order) : n + 1]))) for n in range(T - 1)]
            for row in HELD_OUT.tolist()
        ]
    )
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    perplexity, oracle = found.mean().neg().exp(), expected.mean().neg().exp()
    assert perplexity.item() == pytest.approx(oracle.item(), abs=1e-3)


def test_neither_the_order_of_examples_nor_a_second_pass_matters() -> None:
    once, again = absorbed(ROWS), empty()
    for _ in range(2):
        again.absorb(ROWS[:, :-1], ROWS[:, 1:], torch.arange(40))
    assert torch.equal(once.counts, again.counts)
    asked = HELD_OUT[:, :-1], HELD_OUT[:, 1:]
    assert torch.equal(once.log_probability(*asked), again.log_probability(*asked))


def test_counts_are_those_of_what_follows() -> None:
    encoder = absorbed(ROWS)
    assert encoder.counts.tolist() == [TEXT[1:].count(word) for word in range(V)]
    expected = math.log((TEXT[1:].count(8) + 1) / (len(TEXT) - 1 + V))
    assert encoder.embedding.weight[8].item() == pytest.approx(expected)
    assert encoder.embedding.weight[PAD] == 0
    assert not encoder.embedding.weight.requires_grad


def test_a_window_that_is_missing_cuts_the_text() -> None:
    """No n-gram goes from the window before it to the one after it."""
    first, last = [6, 7, 8, 9, 10, 11], [9, 9, 6, 6, 7, 7]
    encoder = empty(order=2, discount=0.5, size=3)
    encoder.absorb(torch.tensor([first[:-1], last[:-1]]), torch.tensor([first[1:], last[1:]]), torch.tensor([0, 2]))
    pairs = {*pairwise(first), *pairwise(last)}
    grams = encoder._tables()[1].grams[:-1]
    assert len(grams) == len(pairs)


def test_sentences_begin_anew_even_where_they_fill_their_row() -> None:
    rows = torch.tensor([[CLS, 6, 7, 8, 6, SEP], [CLS, 6, 8, SEP, PAD, PAD], [CLS, 7, 6, 9, 9, SEP]])
    encoder = absorbed(rows, order=3, discount=0.5)
    # After [CLS]: 6 twice and 7 once, as often as sentences begin so, though nothing ever stands before [CLS].
    likely = encoder.log_probabilities(torch.tensor([[CLS, PAD, PAD], [9, SEP, PAD]])).exp()
    single = encoder.log_probabilities(torch.tensor([[11]])).exp()[0]  # never seen: as without a context
    assert likely[0, 6].item() == pytest.approx((2 - 0.5) / 3 + 2 * 0.5 / 3 * single[6].item())
    torch.testing.assert_close(likely[1], single)  # nothing follows [SEP], not even the next sentence
    assert encoder.counts[PAD] == 0
    assert encoder.counts[SEP] == 3


def test_probabilities_sum_to_one_and_are_those_of_the_tokens() -> None:
    encoder = absorbed(ROWS)
    tokens = torch.cat((HELD_OUT, torch.full((8, 2), PAD)), dim=1)
    tokens[1, 3:] = PAD
    following = encoder.log_probabilities(tokens)
    torch.testing.assert_close(following.exp().sum(1), torch.ones(8))
    given = encoder.log_probability(tokens[:, :-1], tokens[:, 1:])
    assert not given[tokens[:, 1:] == PAD].any()
    torch.testing.assert_close(encoder.log_probabilities(tokens[:, :5])[0, tokens[0, 5]], given[0, 4])
    torch.testing.assert_close(following[1], encoder.log_probabilities(tokens[1:2, :3])[0])


def test_features_are_log_probabilities_by_each_length() -> None:
    encoder, x = absorbed(ROWS), HELD_OUT.clone()
    x[1, 4:] = PAD
    slow = Slow(TEXT, 3, V)
    features, states = encoder(x, layers=True), encoder.states(x)
    row = x[0].tolist()
    for n in range(T):
        for k in range(1, 4):
            expected = math.log(slow.p(row[n], tuple(row[max(0, n - k + 1) : n])))
            assert features.tokens[0, n, k - 1].item() == pytest.approx(expected, abs=1e-5)
    torch.testing.assert_close(features.pooled[1], features.tokens[1, :4].mean(0))
    assert torch.equal(states[-1], features.tokens)
    assert torch.equal(states[0], encoder.embedding(x))
    assert [layer.shape for layer in features.layers] == [(8, 1), (8, 3)]


@pytest.mark.parametrize("place", [0, 2, 5])
def test_a_token_is_seen_by_those_after_it_alone(place: int) -> None:
    encoder, x = absorbed(ROWS), HELD_OUT[:1]
    changed = x.clone()
    changed[0, place] = 11 if x[0, place] != 11 else 6
    differs = (encoder(x).tokens != encoder(changed).tokens).any(dim=2)[0].tolist()
    assert differs[:place] == [False] * place
    assert any(differs[place : place + 3])
    assert differs[place + 3 :] == [False] * len(differs[place + 3 :])


def test_before_any_text_all_words_are_alike() -> None:
    following = empty().log_probabilities(HELD_OUT)
    assert following[:, PAD].isneginf().all()
    torch.testing.assert_close(following[:, 1:], torch.full((8, V - 1), -math.log(V - 1)))


def test_state_round_trips_and_goes_on_where_it_was(tmp_path: Path) -> None:
    half, whole = empty(), absorbed(ROWS)
    half.absorb(ROWS[:20, :-1], ROWS[:20, 1:], torch.arange(20))
    torch.save(half.state_dict(), tmp_path / "state")
    other = empty()
    asked = HELD_OUT[:, :-1], HELD_OUT[:, 1:]
    before = other.log_probability(*asked)  # its tables are made, and must not be kept
    other.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert torch.equal(other.log_probability(*asked), half.log_probability(*asked))
    assert not torch.equal(other.log_probability(*asked), before)
    other.absorb(ROWS[20:, :-1], ROWS[20:, 1:], torch.arange(20, 40))
    assert torch.equal(other.log_probability(*asked), whole.log_probability(*asked))
    assert not torch.equal(half.log_probability(*asked), whole.log_probability(*asked))


def test_a_copy_is_separate() -> None:
    encoder = absorbed(ROWS)
    asked = HELD_OUT[:, :-1], HELD_OUT[:, 1:]
    before = encoder.log_probability(*asked)
    twin = copy.deepcopy(encoder)
    twin.absorb(ROWS[:20, 1:], ROWS[:20, :-1], torch.arange(20))
    assert torch.equal(encoder.log_probability(*asked), before)
    assert not torch.equal(twin.log_probability(*asked), before)
    twin.load_state_dict(encoder.state_dict())
    assert torch.equal(twin.log_probability(*asked), before)


def test_an_exported_encoder_is_the_same(tmp_path: Path) -> None:
    tokenizer = Tokenizer(WordLevel({str(number): number for number in range(V)}, unk_token="1"))
    encoder, spec = absorbed(ROWS), TextSpec(length=T, vocabulary=V, size=40, tokenizer=tokenizer.to_str())
    node = {"_target_": "ssl_runner.backbones.ngram.NGram", "order": 3, "discount": None}
    export.export_encoder(tmp_path, encoder, node, spec)
    loaded = load.exported_encoder(tmp_path)
    assert torch.equal(loaded(HELD_OUT).tokens, encoder(HELD_OUT).tokens)


def test_gigabytes_are_not_needed_to_pack_large_vocabularies() -> None:
    """Keys stay far below 2^63, whatever the vocabulary to the power of the order would be."""
    spec = TextSpec(length=T, vocabulary=500_000, size=40)
    encoder = NGram(spec, order=5, discount=0.5)
    rows = ROWS * 40_000
    encoder.absorb(rows[:, :-1], rows[:, 1:], torch.arange(40))
    small = absorbed(ROWS, 5, 0.5)
    given, expected = (
        each.log_probability(asked[:, :-1], asked[:, 1:]) for each, asked in ((encoder, rows), (small, ROWS))
    )
    torch.testing.assert_close(given, expected, atol=1e-1, rtol=0)  # but for what goes to all words alike


@pytest.mark.parametrize(("key", "value"), [("order", 0), ("discount", 0.0), ("discount", 1.5)])
def test_impossible_settings_are_refused_by_name(key: str, value: float) -> None:
    settings = {"order": 3, "discount": None} | {key: value}
    with pytest.raises(ValueError, match=rf"^backbone\.{key} is {value};"):
        NGram(TextSpec(length=T, vocabulary=V), **settings)


def test_single_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^dataset\.length is 1;"):
        NGram(TextSpec(length=1, vocabulary=V), order=2, discount=None)
