from collections import Counter

import pytest
import torch
from findings import metric, value
from texts import OneHot, bert, subject, text_spec
from torch.nn import functional as F

from ssl_runner.evaluation.text.senses import Senses, nearest_mean, read_uses, senses_text, vectors
from ssl_runner.interfaces import TextSpec

LONG = text_spec(length=32)


class Knows(OneHot):
    """Every token's vector is the sentence's sense."""

    def __init__(self, spec: TextSpec) -> None:
        super().__init__(spec)
        from ssl_runner.evaluation.text.data import tokenizer_of

        self.sense = {}
        uses = read_uses(senses_text("test")) + read_uses(senses_text("val"))
        senses = sorted({use.sense for use in uses})
        for use in uses:
            ids = tokenizer_of(spec).encode(f"{use.before}{use.word}{use.after}").ids
            self.sense[tuple(ids)] = float(senses.index(use.sense))

    def states(self, x):
        kept = [tuple(i for i in row if i > 5) for row in x.tolist()]
        value = torch.tensor([self.sense.get(ids, 0.0) for ids in kept])
        return self.embedding(x), value[:, None, None].expand(*x.shape, self.dim)


@pytest.mark.parametrize(("split", "count"), [("test", 12), ("val", 6)])
def test_the_sentences_are_balanced_and_mark_one_word(split, count):
    uses = read_uses(senses_text(split))
    counts = Counter((use.word, use.sense) for use in uses)
    assert set(counts.values()) == {count}
    assert Counter(word for word, _ in counts) == dict.fromkeys({word for word, _ in counts}, 2)
    assert len(counts) == 16
    assert len({(use.before, use.after) for use in uses}) == len(uses)
    for use in uses:
        others = f"{use.before} {use.after}".lower().replace(".", " ").replace(",", " ").split()
        assert use.word not in others
        assert use.before == "" or use.before.endswith(" ")
        assert use.after[0] in " .,"


def test_contexts_that_say_the_sense_are_right_and_static_vectors_at_chance():
    found = Senses(length=64, layer=-1)(subject(Knows(LONG), LONG))
    assert value(found, "accuracy") == 1.0
    assert value(found, "static_accuracy") == value(found, "chance_accuracy") == 0.5
    assert value(found, "accuracy", word="bank") == 1.0
    assert value(found, "accuracy", "val") == value(found, "accuracy", "val", word="bank") == 1.0
    assert value(found, "static_accuracy", "val") == 0.5
    assert len(metric(found, "accuracy").terms["words"]) == 8
    assert found.protocol.measured["test examples"] == 192
    assert found.protocol.measured["val examples"] == 96


def test_no_sentence_of_test_is_one_of_val():
    test, val = ({(use.before, use.after) for use in read_uses(senses_text(split))} for split in ("test", "val"))
    assert not test & val
    assert {use.sense for use in read_uses(senses_text("test"))} == {use.sense for use in read_uses(senses_text("val"))}


@pytest.mark.parametrize("tokens", ["words", "wordpiece", "bpe"])
@pytest.mark.sampled(1)
def test_static_vectors_are_at_chance_whatever_the_tokens_and_the_encoder(tokens):
    """To the last digit: also where a word is several tokens, whose mean is rounded."""
    spec = text_spec(tokens, length=48)
    for split in ("test", "val"):
        assert value(Senses(length=64, layer=-1)(subject(bert(spec), spec)), "static_accuracy", split) == 0.5
        assert value(Senses(length=64, layer=-2)(subject(OneHot(spec), spec)), "accuracy", split) == 0.5


def test_the_vector_is_that_of_the_word():
    uses = [use for use in read_uses(senses_text("test")) if use.word == "bank"]
    encoder = bert(LONG).eval()
    found = vectors(subject(encoder, LONG), LONG, uses, "-1")
    from ssl_runner.evaluation.text.data import encode_texts, tokenizer_of

    (bank,) = tokenizer_of(LONG).encode("bank").ids
    ids = encode_texts(LONG, [(f"{use.before}bank{use.after}",) for use in uses]).long()
    with torch.no_grad():
        tokens = encoder(ids).tokens
    assert torch.allclose(found.contextual.float(), tokens[ids == bank], atol=1e-5)
    assert torch.allclose(found.static.float(), encoder.embedding.weight[bank].expand(24, -1))
    assert found.sense.bincount().tolist() == [12, 12]


def test_nearest_mean_against_scikit_learn():
    from sklearn.neighbors import NearestCentroid
    from sklearn.preprocessing import StandardScaler

    sense = torch.arange(24) // 12
    x = torch.randn(24, 3, generator=torch.Generator().manual_seed(0)).double() + 0.8 * sense[:, None]
    fold, right = torch.arange(24) % 12 % 4, 0
    for number in range(4):
        scale = StandardScaler().fit(x[fold != number])
        model = NearestCentroid().fit(scale.transform(x[fold != number]), sense[fold != number])
        right += (model.predict(scale.transform(x[fold == number])) == sense[fold == number].numpy()).sum()
    assert nearest_mean(x, sense) == right / 24
    assert 0.5 < nearest_mean(x, sense) < 1


def test_ties_count_a_half():
    sense = torch.arange(24) % 2
    assert nearest_mean(torch.ones(24, 4).double(), sense) == 0.5
    assert nearest_mean(torch.full((24, 1), 1 / 3).double(), sense) == 0.5
    assert nearest_mean(F.one_hot(sense, 2).double(), sense) == 1.0


def test_unknown_words_are_left_out():
    from ssl_runner.data.text.tokens import train_tokenizer

    lines = [senses_text(split).replace("bank", "").replace("*", " ") for split in ("test", "val")]
    tokenizer = train_tokenizer(lines, tokens="words", words="marks", vocabulary=3000, lowercase=False)
    spec = TextSpec(length=32, vocabulary=3000, tokenizer=tokenizer)
    found = Senses(length=64, layer=-1)(subject(bert(spec), spec))
    assert "bank" not in metric(found, "accuracy").terms["words"]
    assert len(metric(found, "accuracy").terms["words"]) == 7
    nothing = train_tokenizer(["x y z"], tokens="words", words="marks", vocabulary=20, lowercase=False)
    spec = TextSpec(length=32, vocabulary=20, tokenizer=nothing)
    with pytest.raises(ValueError, match="the tokenizer's vocabulary has none of the words bank, arms"):
        Senses(length=64, layer=-1)(subject(bert(spec), spec))


def test_layers_cannot_be_mixed():
    with pytest.raises(ValueError, match=r"evaluation\.senses\.layer is mix; there are too few sentences"):
        Senses(length=64, layer="mix")
