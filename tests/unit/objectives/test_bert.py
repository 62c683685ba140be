"""Masking and passages, against loops over examples and against chance."""

import math
from dataclasses import replace

import made_bert
import pytest
import torch
from scipy.stats import binom, chisquare
from special_ids import CLS, EOS, MASK, PAD, SEP, SPECIAL, UNK
from torch import Tensor

from ssl_runner.backbones.transformer import BERT
from ssl_runner.interfaces import Batch, FillsIn, Predicts, TextSpec
from ssl_runner.objectives.bert import Hidden, MaskedLanguageModel

SPEC = TextSpec(length=42, vocabulary=50)
PIECES = replace(SPEC, starts=tuple(i % 3 != 0 for i in range(50)))  # ids 6, 9, 12 ... go on with a word


def model(spec: TextSpec = SPEC, **settings: object) -> MaskedLanguageModel:
    torch.manual_seed(0)
    encoder = BERT(spec, dim=16, depth=1, heads=2, mlp_ratio=2.0, norm="layer", dropout=0.0, positions=None)
    given = {"ratio": 0.15, "shares": [0.8, 0.1, 0.1], "whole_words": False, "next_sentence": 0.0}
    return MaskedLanguageModel(encoder, spec, **given | settings)


def batch(data: Tensor) -> Batch:
    return Batch(data, torch.full((len(data),), -1), torch.arange(len(data)))


def sentences(rows: int = 64) -> Batch:
    """[CLS] ids [SEP] PAD...; row b has 1 + b % 40 ids, some of them UNK."""
    torch.manual_seed(1)
    data = SPEC.to_input(SPEC.fake(rows))
    data[torch.rand(data.shape) < 0.1] = UNK
    data[:, 0] = CLS
    for b, row in enumerate(data):
        end = 2 + b % 40
        row[end:] = PAD
        row[end] = SEP
    return batch(data)


def stream(rows: int = 64) -> Batch:
    """Windows with ends of sentences in a tenth of all places and no other special token."""
    torch.manual_seed(2)
    data = SPEC.to_input(SPEC.fake(rows))
    return batch(data.masked_fill(torch.rand(data.shape) < 0.1, EOS))


# ---------------------------------------------------------------------------------------------------- which are hidden


def test_each_example_hides_its_part_and_never_a_special_token():
    data = sentences().data
    x, y = model(ratio=0.3).split(batch(data))
    for b in range(64):
        asked = y.tokens[b] != PAD
        places = x.places[b][asked]
        ordinary = int((data[b] >= len(SPECIAL)).sum())
        assert len(places) == (max(1, math.floor(0.3 * ordinary + 0.5)) if ordinary else 0)
        assert places.tolist() == sorted(set(places.tolist()))
        assert torch.equal(x.places[b] == -1, ~asked)
        assert torch.equal(y.tokens[b][asked], data[b, places])
        untouched = torch.ones(42, dtype=torch.bool).index_fill(0, places.long(), False)
        assert torch.equal(x.text[b][untouched], data[b][untouched])
    special = data < len(SPECIAL)
    assert torch.equal(x.text[special], data[special])
    assert y.tokens[y.tokens != PAD].min() >= len(SPECIAL)
    assert x.text[~special][x.text[~special] != MASK].min() >= len(SPECIAL)  # none is replaced by a special one


def test_every_place_is_as_likely():
    objective = model(ratio=0.25)
    data = batch(torch.full((4000, 42), 9))
    x, y = objective.split(data)
    assert x.places.shape == (4000, 10)  # of 40 that are not special
    counts = torch.bincount(x.places.flatten(), minlength=42)
    assert counts[0] == counts[41] == 0
    # Without replacement counts vary less than a multinomial's: by n p (1 - p) in place of n p, and sum to n.
    statistic = ((counts[1:41] - 1000) ** 2 / (1000 * (1 - 0.25))).sum() * 39 / 40
    assert 15 < statistic < 75  # chi-square of 39: one in 10^3 beyond either end
    assert (y.tokens == 9).all()


def test_what_replaces_them_has_the_shares_that_are_set():
    objective = model(ratio=0.5, shares=[0.6, 0.3, 0.1])
    data = torch.full((2000, 42), 9)
    x, y = objective.split(batch(data))
    shown = x.text.gather(1, x.places.long())[y.tokens != PAD]
    assert len(shown) == 2000 * 20
    ordinary = 50 - len(SPECIAL)
    observed = torch.bincount(shown, minlength=50)
    expected = torch.full((50,), 0.3 / ordinary, dtype=torch.float64)
    expected[: len(SPECIAL)] = 0
    expected[MASK], expected[9] = 0.6, 0.1 + 0.3 / ordinary
    kept = expected > 0
    assert not observed[~kept].any()
    assert chisquare(observed[kept].numpy(), (expected[kept] * 40_000).numpy()).pvalue > 1e-3


@pytest.mark.parametrize(
    ("shares", "seen"), [([1.0, 0.0, 0.0], {MASK}), ([0.0, 0.0, 1.0], {9}), ([0.0, 1.0, 0.0], set(range(6, 50)))]
)
def test_a_share_of_one_is_all_and_of_zero_none(shares, seen):
    objective = model(shares=shares)
    x, _ = objective.split(batch(torch.full((500, 42), 9)))
    assert set(x.text.gather(1, x.places.long()).flatten().tolist()) == seen


def words_of(row: Tensor) -> list[list[int]]:
    """The places of each word of a text, by a loop."""
    words: list[list[int]] = []
    for place, token in enumerate(row.tolist()):
        if token < len(SPECIAL):
            words.append([])
        elif not words or not words[-1] or PIECES.starts[token]:
            words.append([place])
        else:
            words[-1].append(place)
    return [word for word in words if word]


@pytest.mark.parametrize("kind", [sentences, stream])
def test_whole_words_are_hidden_whole(kind):
    data = kind().data
    x, y = model(PIECES, whole_words=True, ratio=0.3, shares=[1.0, 0.0, 0.0]).split(batch(data))
    framed = data.clone()
    framed[:, 0] = CLS
    framed[:, -1] = torch.where(data[:, -1] == PAD, PAD, SEP)
    more = []
    for b in range(64):
        hidden = (x.text[b] == MASK).nonzero().flatten().tolist()
        assert hidden == sorted(x.places[b][y.tokens[b] != PAD].tolist())
        words = words_of(framed[b])
        assert max(map(len, words), default=0) > 1 or kind is sentences
        parts = [sum(place in hidden for place in word) for word in words]
        assert all(part in (0, len(word)) for part, word in zip(parts, words, strict=True))
        wanted = max(1, math.floor(0.3 * sum(map(len, words)) + 0.5)) if words else 0
        assert wanted <= len(hidden) < wanted + max(map(len, words), default=1)
        more.append(len(hidden) - wanted)
    assert max(more) > 0


def test_long_words_are_as_likely_as_short_ones():
    """One word of four tokens and 36 of one."""
    data = torch.full((3000, 42), 7)
    data[:, 20:24] = torch.tensor([7, 9, 12, 15])
    data[:, 24] = 8
    x, _ = model(PIECES, whole_words=True, ratio=0.2, shares=[1.0, 0.0, 0.0]).split(batch(data))
    hidden = x.text == MASK
    # The long word is hidden if fewer than 8 tokens come before it: if it is among the first 8 of 37 words.
    long = int(hidden[:, 20].sum())
    assert torch.equal(hidden[:, 20], hidden[:, 23])
    assert binom.ppf(1e-4, 3000, 8 / 37) <= long <= binom.ppf(1 - 1e-4, 3000, 8 / 37)


def test_without_pieces_whole_words_are_tokens():
    torch.manual_seed(3)
    a = model(whole_words=True).split(sentences())
    torch.manual_seed(3)
    b = model(whole_words=False).split(sentences())
    assert all(torch.equal(u, v) for p, q in zip(a, b, strict=True) for u, v in zip(p, q, strict=True))


# ------------------------------------------------------------------------------------------------------------ passages


def test_one_passage_is_framed_and_sentences_stay_as_they_are():
    objective = model(shares=[0.0, 0.0, 1.0])
    data = stream().data
    x, y = objective.split(batch(data))
    assert (x.text[:, 0] == CLS).all()
    assert (x.text[:, -1] == SEP).all()
    assert torch.equal(x.text[:, 1:-1], data[:, 1:-1])
    assert (y.consecutive == 1).all()
    x, _ = objective.split(sentences())
    assert torch.equal(x.text, sentences().data)


def cut_of(row: Tensor) -> int:
    """The end of a sentence nearest to the middle, the first of two, or the middle."""
    ends = [n for n in range(2, 40) if row[n] == EOS]
    return min(ends, key=lambda n: (abs(n - 20.5), n)) if ends else 20


def test_passages_are_a_window_cut_at_the_end_of_a_sentence_or_two_windows():
    data = stream(64).data
    data[7] = 9  # without an end of a sentence
    data[9] = 11
    data[8, 30] = SEP  # an end of a document
    objective = model(next_sentence=1.0, shares=[0.0, 0.0, 1.0])
    x, y = objective.split(batch(data))
    data = data.masked_fill(data == SEP, EOS)
    others = 0
    for b in range(64):
        cut, text = cut_of(data[b]), x.text[b]
        last = int((text != PAD).sum()) - 1
        assert (text[0], text[cut], text[last]) == (CLS, SEP, SEP)
        assert torch.equal(text[1:cut], data[b, 1:cut])
        assert (text == SEP).sum() == 2
        second = text[cut + 1 : last]
        if y.consecutive[b]:
            assert torch.equal(second, data[b, cut + 1 : last])
        else:
            kind = [other for other in range(64) if other != b and (other in (7, 9)) == (b in (7, 9))]
            begins = {other: cut_of(data[other]) + 1 for other in kind}
            assert any(torch.equal(second, data[o, n : n + len(second)]) for o, n in begins.items())
            others += 1
    assert others > 16


@pytest.mark.parametrize("length", [32, 64, 128])
def test_a_rule_that_sees_only_the_boundaries_tells_nothing(length):
    """Whether a ends a sentence and b begins one; sentences of 25 tokens in the mean, as in articles."""
    torch.manual_seed(0)
    begin, inside, end = 10, 11, 12
    count = 64 * 300
    is_end = torch.rand(count, length + 2) < 1 / 25
    data = torch.full((count, length), inside)
    data[is_end[:, 2:]] = end
    data[is_end[:, :-2]] = begin
    data[is_end[:, 1:-1]] = EOS
    objective = model(TextSpec(length=length, vocabulary=50), next_sentence=1.0, shares=[0.0, 0.0, 1.0])
    parts = [objective.split(batch(part)) for part in data.split(64)]
    text = torch.cat([x.text for x, _ in parts])
    follows = torch.cat([y.consecutive for _, y in parts])
    cut = (text == SEP).int().argmax(dim=1, keepdim=True)
    seen = 2 * (text.gather(1, cut - 1) == end) + (text.gather(1, cut + 1) == begin)
    cells = torch.bincount(2 * seen.squeeze(1) + follows, minlength=8).view(4, 2)
    assert cells.amax(dim=1).sum().item() / count == pytest.approx(0.5, abs=0.01)


def test_half_of_all_passages_follow():
    objective = model(next_sentence=1.0)
    y = objective.split(stream(4000))[1]
    follows = int(y.consecutive.sum())
    assert binom.ppf(1e-4, 4000, 0.5) <= follows <= binom.ppf(1 - 1e-4, 4000, 0.5)
    assert objective.split(stream(1))[1].consecutive.item() == 1  # there is no other


def test_nothing_but_the_words_tells_whether_a_passage_follows():
    """Where the separators stand, and how much is padding, is the same for both."""
    x, y = model(next_sentence=1.0, shares=[0.0, 0.0, 1.0]).split(stream(4000))
    assert (x.text == PAD).any(dim=1).sum() <= 2  # the two kinds' earliest cuts
    place = (x.text[:, :41] == SEP).int().argmax(dim=1).double()
    means = [place[y.consecutive == c].mean().item() for c in (0, 1)]
    deviation = place.std().item() * (4 / 4000) ** 0.5
    assert abs(means[0] - means[1]) < 4 * deviation


def test_a_vocabulary_without_ends_of_sentences():
    special = made_bert.IDS
    spec = TextSpec(length=42, vocabulary=180, special=special)
    objective = model(spec, next_sentence=1.0, shares=[0.8, 0.1, 0.1])
    data = spec.fake(64).long()
    assert not special.among(data).any()
    data[8, 30] = special.sep
    x, y = objective.split(batch(data))
    assert (x.text[:, 0] == special.cls).all()
    assert ((x.text == special.sep).sum(dim=1) == 2).all()
    assert (x.text == special.mask).any(dim=1).all()
    asked = y.tokens[y.tokens != special.pad]
    assert not special.among(asked).any()


# ---------------------------------------------------------------------------------------------------------------- loss


@pytest.mark.parametrize("next_sentence", [0.0, 0.5])
def test_scoring_the_hidden_places_alone_gives_what_scoring_all_gives(next_sentence):
    objective = model(next_sentence=next_sentence)
    data = stream() if next_sentence else sentences()
    x, y = objective.split(data)
    states = objective.encoder(x.text).tokens
    everywhere = objective.scores(objective.transform(states), objective.encoder.embedding)
    nats, right = [], []
    for b in range(64):
        for k in range(y.tokens.shape[1]):
            if y.tokens[b, k] != PAD:
                at = everywhere[b, x.places[b, k]]
                nats.append(-at.log_softmax(0)[y.tokens[b, k]])
                if x.text[b, x.places[b, k]] != y.tokens[b, k]:
                    right.append(bool(at.argmax() == y.tokens[b, k]))
    found = objective.loss(x, y)
    expected = torch.stack(nats).mean()
    torch.testing.assert_close(found.logs["masked_loss"], expected.detach())
    assert found.logs["masked_accuracy"].item() == pytest.approx(sum(right) / len(right), abs=1e-6)
    if next_sentence:
        judged = objective.judge(states[:, 0]).log_softmax(1)
        wrong = -judged[torch.arange(64), y.consecutive].mean()
        expected = expected + 0.5 * wrong
        torch.testing.assert_close(found.logs["next_loss"], wrong.detach())
    torch.testing.assert_close(found.value, expected)

    predicted = objective.predict(x)
    assert torch.equal(objective.fill_in(x), predicted.tokens)
    hidden = objective.hidden(x, y)
    asked = hidden != PAD
    assert int(asked.sum()) == len(right) < len(nats)  # what stayed is asked for, and not counted
    assert torch.equal(hidden[asked], y.tokens[asked])
    right_share = (predicted.tokens == y.tokens)[asked].float().mean().item()
    assert right_share == pytest.approx(found.logs["masked_accuracy"].item())
    assert isinstance(objective, FillsIn)
    assert isinstance(objective, Predicts)


@pytest.mark.parametrize(
    "settings",
    [{"ratio": 0.3}, {"shares": [1.0, 0.0, 0.0]}, {"whole_words": True}, {"next_sentence": 1.0}],
    ids=str,
)
def test_what_is_hidden_is_said(settings):
    assert model(**settings).hides() != model().hides()
    assert model(next_sentence=1.0).hides() == model(next_sentence=0.5).hides()  # the weight of a loss hides nothing


def test_tied_weights_get_gradients_from_both_their_uses():
    """A token that no text has is moved by the scores alone, the vector of [MASK] by both."""
    objective = model(shares=[1.0, 0.0, 0.0])
    data = batch(torch.randint(6, 40, (8, 42)))
    x, y = objective.split(data)
    objective.loss(x, y).value.backward()
    gradient = objective.encoder.embedding.weight.grad.clone()
    assert gradient[45].any()
    assert not gradient[PAD].any()

    objective.zero_grad()
    tokens = objective.encoder(x.text).tokens.detach()
    logits = objective._scores(tokens, x.places)
    asked = y.tokens != PAD
    torch.nn.functional.cross_entropy(logits[asked], y.tokens[asked]).backward()
    by_scores = objective.encoder.embedding.weight.grad
    torch.testing.assert_close(gradient[45], by_scores[45])
    assert (gradient - by_scores)[MASK].abs().max() > 1e-4


def test_targets_of_another_example_are_as_frequent():
    objective = model()
    x, y = objective.split(sentences())
    torch.manual_seed(0)
    given, shuffled = objective.shuffle(x, y)
    assert given is x
    assert sorted(shuffled.tokens.flatten().tolist()) == sorted(y.tokens.flatten().tolist())
    assert not any(torch.equal(a, b) for a, b in zip(shuffled.tokens, y.tokens, strict=True) if (b != PAD).sum() > 2)
    assert isinstance(shuffled, Hidden)


def test_an_example_of_special_tokens_alone_asks_for_nothing():
    data = torch.full((2, 42), EOS)
    objective = model()
    x, y = objective.split(batch(data))
    assert not y.tokens.any()
    assert objective.loss(x, y).value.item() == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ratio": 0.0}, r"objective\.ratio is 0\.0"),
        ({"ratio": 1.0}, r"objective\.ratio is 1\.0"),
        ({"shares": [0.9, 0.1, 0.1]}, r"objective\.shares is \[0\.9, 0\.1, 0\.1\]; .* sum to 1"),
        ({"shares": [1.1, -0.2, 0.1]}, "sum to 1"),
        ({"shares": [0.9, 0.1]}, "three shares"),
        ({"next_sentence": -1.0}, r"objective\.next_sentence is -1\.0"),
        ({"spec": replace(SPEC, length=2)}, r"dataset\.length is 2; .* 3 or more"),
        ({"spec": replace(SPEC, length=4), "next_sentence": 1.0}, r"dataset\.length is 4; .* 5 or more"),
        ({"spec": replace(SPEC, example="sentence"), "next_sentence": 1.0}, r"dataset\.example is sentence"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        model(**wrong)


def test_pseudo_log_likelihoods_against_a_loop_that_hides_one_token_after_the_other():
    objective = model().eval()
    tokens = sentences(6).data[:, :9]
    with torch.no_grad():
        found = objective.pseudo_log_likelihood(tokens)
        for b, n in torch.cartesian_prod(torch.arange(6), torch.arange(9)).tolist():
            if tokens[b, n] in (PAD, UNK, CLS, SEP):
                assert found[b, n] == 0
                continue
            text = tokens[b : b + 1].clone()
            text[0, n] = MASK
            states = objective.transform(objective.encoder(text).tokens[0, n])
            scores = objective.scores(states, objective.encoder.embedding)
            assert found[b, n].item() == pytest.approx(scores.log_softmax(0)[tokens[b, n]].item(), abs=1e-5)


def test_answers_are_shown_in_their_gaps() -> None:
    task = model()
    x, y = task.split(sentences(8))
    shown = task.passages(x, y, lambda ids: " ".join(map(str, ids)))["y, in their gaps"]
    for text, whole in zip(shown, sentences(8).data.tolist(), strict=True):
        assert text.replace("[", "").replace("]", "").split() == [str(each) for each in whole]
    assert [text.count("[") for text in shown] == (x.places >= 0).sum(dim=1).tolist()


def test_the_most_frequent_token_is_the_majority() -> None:
    counts = [0] * 6 + [1] * 44
    counts[9] = 5
    task = model(replace(SPEC, counts=tuple(counts)))
    x, y = task.split(sentences())
    hidden = task.hidden(x, y)
    logs = task.loss(x, y).logs
    assert logs["masked_majority"].item() == pytest.approx((hidden == 9).sum().item() / (hidden != PAD).sum().item())
    assert "masked_majority" not in model().loss(x, y).logs
