import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from findings import keys, metric, names, value
from special_ids import CLS, PAD, SEP, UNK
from torch import Tensor, nn
from toy_text import VOCABULARY, Bigrams, Corpus, rows, subject

from ssl_runner.data.text.texts import TextFile
from ssl_runner.evaluation.text.data import Texts
from ssl_runner.evaluation.text.perplexity import Perplexity, cut


def perplexity(**settings: object) -> Perplexity:
    return Perplexity(**{"stride": 0.5, "tokens": 10_000, "batch_size": 4} | settings)


class ByContext(Bigrams):
    """The more tokens before it, the less a token costs: 1 + 1 / n nats after n."""

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        return -(1 + 1 / torch.arange(1, tokens.shape[1])).expand(len(tokens), -1)


def test_it_is_that_of_the_whole_text_worked_out_token_by_token():
    data, model = Corpus(), Bigrams()
    text = data.streams["test"].tolist()[: 8 * 19 + 1]  # 19 whole windows of 9, which overlap by one
    nats = [-model.log_p[a, b].item() for a, b in pairwise(text)]
    found = perplexity()(model, subject(data))
    mean = sum(nats) / len(nats)
    assert found.protocol.measured["test tokens"] == 152
    assert value(found, "perplexity") == pytest.approx(math.exp(mean), rel=1e-9)
    assert value(found, "perplexity_word") == pytest.approx(math.exp(mean * 157 / 100), rel=1e-9)
    assert value(found, "bits_per_character") == pytest.approx(mean * 157 / math.log(2) / 500, rel=1e-9)
    assert value(found, "seam_cost") == pytest.approx(0, abs=1e-12)  # a bigram needs no more context
    assert value(found, "unknown") == 0
    assert [(each.name, each.split) for each in found.metrics if each.headline] == [
        ("perplexity", "test"),
        ("perplexity", "val"),
    ]
    assert found.protocol.measured["stride in tokens"] == 4


class Uniform(nn.Module):
    """Every token of a vocabulary is as likely."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.nats = math.log(vocabulary)

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        return torch.full((len(tokens), tokens.shape[1] - 1), -self.nats, dtype=torch.float64)


@pytest.mark.parametrize("length", [2, 5, 33, 128, 616])
@pytest.mark.parametrize("sentences", [154, 163, 201])
def test_a_uniform_model_costs_what_the_whole_text_costs_whatever_windows_leave_over(tmp_path, length, sentences):
    """Sentences of three words and their end: 4 tokens each, one more for the document, 3 words, 6 characters."""
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.txt").write_text("a b c\n" * sentences)
    source = TextFile(
        path=str(tmp_path / "train.txt"), val_path=str(tmp_path / "val.txt"), test_path=str(tmp_path / "test.txt"),
        documents="file", sentences="lines", example="window", length=length, tokens="words", words="spaces",
        vocabulary=11, lowercase=False, tokenizer=None, cache=str(tmp_path / "cache"), test_fraction=0.1,
        val_fraction=0.1, split_seed=0,
    )  # fmt: skip
    data = Texts(source.spec, splits := source.load())
    data.spec = source.spec
    tokens = 4 * sentences + 1
    assert splits["test"].data.shape == ((tokens - 1) // (length - 1), length)
    found = perplexity()(Uniform(data.spec.vocabulary), subject(data))
    nats = tokens * math.log(data.spec.vocabulary)
    few = perplexity(tokens=40, stride=1.0)(Uniform(data.spec.vocabulary), subject(data))
    for split in ("test", "val"):
        word, bits = (value(found, name, split) for name in ("perplexity_word", "bits_per_character"))
        assert word == pytest.approx(math.exp(nats / (3 * sentences)), rel=1e-9)
        assert bits == pytest.approx(nats / math.log(2) / (6 * sentences), rel=1e-9)
        assert value(few, "perplexity_word", split) == pytest.approx(word, rel=1e-9)


@pytest.mark.parametrize("stride", [0.125, 0.3, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_neither_stride_nor_batch_size_matters_where_context_does_not(stride, batch_size):
    found = perplexity(stride=stride, batch_size=batch_size)(Bigrams(), subject(Corpus()))
    assert value(found, "perplexity") == pytest.approx(
        value(perplexity()(Bigrams(), subject(Corpus())), "perplexity"), rel=1e-9
    )
    assert found.protocol.measured["test tokens"] == 152


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 7, 8])
def test_every_token_is_scored_once_with_the_context_that_is_promised(stride):
    length, last = 9, 152
    windows, fresh = cut(torch.arange(last + 1), length, stride)
    scored = [token for window, new in zip(windows.tolist(), fresh.tolist(), strict=True) for token in window[-new:]]
    assert scored == list(range(1, last + 1))
    before = [place for new in fresh.tolist() for place in range(length - new, length)]  # tokens that each is given
    assert before[: length - 1] == list(range(1, length))
    assert min(before[length - 1 :]) >= length - stride
    found = perplexity(stride=stride / 8, batch_size=2)(ByContext(), subject(Corpus()))
    assert value(found, "perplexity") == pytest.approx(math.exp(sum(1 + 1 / n for n in before) / last), rel=1e-6)


def test_seams_cost_what_half_a_stride_of_context_is_worth():
    """T = 9, S = 4: a window scores its places 5 to 8; half a stride more of context makes 5, 6 to 7, 8."""
    found = perplexity(stride=0.5)(ByContext(), subject(Corpus()))
    assert value(found, "seam_cost") == pytest.approx(((1 / 5 - 1 / 7) + (1 / 6 - 1 / 8)) / 2, rel=1e-5)
    found = perplexity(stride=1.0)(ByContext(), subject(Corpus()))  # places 1 to 8: 1 ... 4 become 5 ... 8
    expected = sum(1 / n - 1 / (n + 4) for n in range(1, 5)) / 4
    assert value(found, "seam_cost") == pytest.approx(expected, rel=1e-5)
    curve = found.figures["what context is worth"]
    assert curve.y["test"] == pytest.approx([1 + 1 / n for n in range(1, 9)])


def test_sentences_are_scored_each_by_itself_and_padding_is_not():
    data = Corpus()
    generator = torch.Generator().manual_seed(3)
    sentences = torch.randint(6, VOCABULARY, (10, 9), generator=generator, dtype=torch.int32)
    sentences[:, 0] = CLS
    sentences[0, 3] = UNK
    for row, end in zip(sentences, range(1, 11), strict=True):
        row[end:] = PAD
        if end < 9:
            row[end] = SEP
    data.splits["test"] = data.splits["val"] = rows(sentences)
    model = Bigrams()
    nats = [-model.log_p[a, b].item() for row in sentences.tolist() for a, b in pairwise(row) if b != PAD]
    found = perplexity()(model, subject(data))
    assert found.protocol.measured["test tokens"] == len(nats)
    assert found.protocol.terms["context"] == "each example by itself"
    assert value(found, "perplexity") == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-9)
    assert not {"perplexity_word", "bits_per_character"} & names(found)  # a sentence may have been cut


def test_what_is_not_known_of_the_text_is_left_out():
    found = perplexity()(Bigrams(), subject(Corpus(words=0)))
    assert "perplexity_word" not in names(found)
    assert "bits_per_character" in names(found)


def test_the_unigram_and_the_unknown_are_counted():
    data = Corpus()
    data.streams["test"][[5, 50, 100]] = UNK  # windows are views of it
    text = data.streams["test"][: 8 * 19 + 1].tolist()
    found = perplexity()(Bigrams(), subject(data))
    unknown = sum(token == UNK for token in text[1:])
    assert value(found, "unknown") == pytest.approx(unknown / 152)
    counts = dict.fromkeys(range(1, VOCABULARY), 1)  # one more than there are; padding is no token
    for window in data.splits["train"].data.tolist():
        for token in window:
            counts[token] += 1
    total = sum(counts.values())
    expected = -sum(math.log(counts[token] / total) for token in text[1:]) / 152
    assert value(found, "perplexity_unigram") == pytest.approx(math.exp(expected), rel=1e-9)


def test_val_is_scored_as_test_is():
    data = Corpus()
    found = perplexity()(Bigrams(), subject(data))
    data.streams["val"], data.streams["test"] = data.streams["test"], data.streams["val"]
    data.splits["val"], data.splits["test"] = data.splits["test"], data.splits["val"]
    other = perplexity()(Bigrams(), subject(data))
    assert value(found, "perplexity", "val") != value(found, "perplexity")
    for name in names(found):
        assert value(found, name, "val") == value(other, name)
    assert {(name, split) for name, split, _ in keys(found)} == {
        (name, split) for name in names(found) for split in ("val", "test")
    }


def test_what_is_counted_in_tokens_alone_depends_on_the_tokenizer():
    data = Corpus()
    found = perplexity()(Bigrams(), subject(data))
    data.spec = replace(data.spec, tokenizer=data.spec.tokenizer.replace("mat", "rug"))
    other = perplexity()(Bigrams(), subject(data))
    assert found.protocol.terms == other.protocol.terms
    for name in ("perplexity", "perplexity_unigram", "unknown", "seam_cost"):
        assert metric(found, name).terms != metric(other, name).terms
        assert metric(found, name, "val").terms == metric(found, name).terms
    for name in ("perplexity_word", "bits_per_character"):
        assert metric(found, name) == metric(other, name)


def test_only_so_many_tokens_are_scored_as_asked_for():
    found = perplexity(tokens=50)(Bigrams(), subject(Corpus()))
    assert found.protocol.measured["test tokens"] == 49


def test_a_model_that_excludes_what_comes_is_refused():
    model = Bigrams()
    model.log_p[:, 8] = -torch.inf
    with pytest.raises(ValueError, match="a token of test has probability 0"):
        perplexity()(model, subject(Corpus()))


@pytest.mark.parametrize("wrong", [{"stride": 0.0}, {"stride": 1.5}, {"tokens": 1}, {"batch_size": 0}], ids=str)
def test_refusals(wrong):
    with pytest.raises(ValueError, match=rf"evaluation\.perplexity\.{next(iter(wrong))} is"):
        perplexity(**wrong)
