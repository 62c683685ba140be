import math
from dataclasses import replace

import pytest
import torch
from special_ids import CLS, EOS, IDS, PAD, SEP, SPECIAL, UNK
from tokenizers import Tokenizer
from torch import Tensor
from toy_text import VOCABULARY, Bigrams, Corpus, rows, subject, tokenizer

from ssl_runner.evaluation.text.text_samples import TextSamples, limited, repeated
from ssl_runner.evaluation.text.tokens import readable, running_text


def samples(**settings: object) -> TextSamples:
    given = {"prompt": "the cat", "samples": 3, "length": 12, "temperature": 1.0, "top_k": None, "top_p": None}
    return TextSamples(**given | settings)


def by_hand(logits: list[float], top_k: int | None, top_p: float | None) -> set[int]:
    """Which tokens may be drawn: one after the other, the most probable first."""
    order = sorted(range(len(logits)), key=lambda token: -logits[token])[:top_k]
    total = sum(math.exp(logits[token]) for token in order)
    kept: set[int] = set()
    mass = 0.0
    for token in order:
        if top_p is not None and mass >= top_p:
            break
        kept.add(token)
        mass += math.exp(logits[token]) / total
    return kept


@pytest.mark.parametrize("top_k", [None, 1, 3, 100])
@pytest.mark.parametrize("top_p", [None, 0.05, 0.5, 0.9, 1.0])
def test_limits_against_one_token_after_the_other(top_k, top_p):
    logits = 2 * torch.randn(50, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = limited(logits, top_k, top_p)
    for before, after in zip(logits, found, strict=True):
        kept = {token for token in range(20) if after[token] > -torch.inf}
        assert kept == by_hand(before.tolist(), top_k, top_p)
        assert all(after[token] == before[token] for token in kept)


def test_limits_worked_by_hand():
    logits = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log()
    assert (limited(logits, None, 0.7).exp() > 0).tolist() == [[False, True, False, True]]  # 0.4 + 0.3 suffice
    assert (limited(logits, None, 0.71).exp() > 0).tolist() == [[False, True, True, True]]
    assert (limited(logits, 2, 0.58).exp() > 0).tolist() == [[False, True, False, True]]  # 0.4 of 0.7 is 0.57
    assert (limited(logits, 2, 0.57).exp() > 0).tolist() == [[False, True, False, False]]


def test_repeated_worked_by_hand():
    assert repeated(torch.tensor([[1, 2, 3, 4, 5, 6]])) == 0
    assert repeated(torch.tensor([[7] * 6, [1, 2, 3, 4, 5, 6]])) == pytest.approx(2 / 6)  # 3 sequences each, 1 + 3 new


def test_the_most_probable_continuation_is_followed():
    model = Bigrams()
    found = samples(top_k=1)(model, subject(Corpus()))
    token, ids = 7, []  # "cat" is the second word
    for _ in range(12):
        token = int(model.log_p[token].argmax())
        ids.append(token)
    if SEP in ids:
        ids = ids[: ids.index(SEP)]
    text = readable(Tokenizer.from_str(tokenizer()), ids, IDS)
    shown = found.figures["continuations"].rows
    assert list(shown["prompt"]) == ["the cat"] * 3
    assert list(shown["continuation"]) == [text] * 3
    assert text


def test_tokens_are_drawn_with_their_probabilities():
    """The first of many samples, beside p^(1 / temperature)."""

    class First(Bigrams):
        drawn: Tensor

        def next_logits(self, tokens: Tensor) -> Tensor:
            if tokens.shape[1] == 4:  # start, prompt, one token
                self.drawn = tokens[:, -1]
            return super().next_logits(tokens)

    from scipy.stats import chisquare

    model = First()
    samples(samples=20_000, length=4, temperature=2.0)(model, subject(Corpus(length=40)))
    p = (model.log_p[7] / 2).softmax(0)
    counts = torch.bincount(model.drawn, minlength=VOCABULARY)
    assert counts[PAD] == 0
    assert chisquare(counts[1:].numpy(), (p[1:] * 20_000).numpy()).pvalue > 1e-3


@pytest.mark.parametrize(("first", "start"), [(None, EOS), (CLS, CLS)])
def test_it_begins_as_examples_do_and_sees_no_more_than_in_training(first, start):
    seen: list[Tensor] = []

    class Watched(Bigrams):
        def next_logits(self, tokens: Tensor) -> Tensor:
            seen.append(tokens)
            return super().next_logits(tokens)

    data = Corpus()
    if first is not None:
        sentences = data.splits["test"].data.clone()
        sentences[:, 0] = first
        data.splits["test"] = rows(sentences)
    samples(prompt="the dog")(Watched(), subject(data))
    assert seen[0].tolist() == [[start, 6, UNK]] * 3
    assert [tokens.shape[1] for tokens in seen] == [3, 4, 5, 6, 7, 8, 8, 8, 8, 8, 8, 8]  # windows of 9 predict from 8


def test_a_seed_repeats_and_another_does_not():
    data, texts = Corpus(), []
    for seed in (0, 0, 1):
        torch.manual_seed(len(texts))
        texts.append(samples()(Bigrams(), subject(data, seed)).figures["continuations"].rows["continuation"])
    assert texts[0] == texts[1] != texts[2]


def test_text_is_read_sentence_by_sentence_without_its_marks():
    the, cat, sat = range(len(SPECIAL), len(SPECIAL) + 3)
    ids = [CLS, the, cat, EOS, EOS, UNK, sat, SEP, PAD]
    assert readable(Tokenizer.from_str(tokenizer()), ids, IDS) == "the cat [UNK] sat"


def test_running_text_is_put_together_and_sentences_are_not():
    data = Corpus()
    assert torch.equal(running_text(data.splits["test"].data, PAD), data.streams["test"][:153])
    padded = data.splits["test"].data[:1].clone()
    padded[0, 5:] = PAD
    assert running_text(padded, PAD) is None
    assert running_text(data.splits["test"].data[[0, 2, 1]], PAD) is None


@pytest.mark.parametrize(
    "wrong",
    [{"samples": 0}, {"length": 3}, {"temperature": 0.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.1}],
    ids=str,
)
def test_refusals(wrong):
    with pytest.raises(ValueError, match=rf"evaluation\.text_samples\.{next(iter(wrong))} is"):
        samples(**wrong)


@pytest.mark.parametrize(
    ("counts", "prompt", "begin"),
    [
        ({EOS: 30, SEP: 4}, "the cat", [EOS, 6, 7]),
        ({EOS: 0, SEP: 4}, "the cat", [SEP, 6, 7]),
        ({EOS: 0, SEP: 1}, "the cat", [6, 7]),
        ({EOS: 0, SEP: 1}, "", [8]),
    ],
)
def test_a_sample_begins_with_what_the_corpus_has(counts, prompt, begin):
    """Lines without ends of sentences: after a document, and in a single one after nothing but the text."""
    data = Corpus()
    known = tuple(counts.get(token, 9) for token in range(VOCABULARY))
    data.spec = replace(data.spec, counts=known)
    data.splits["test"].data[0, 0] = 8
    seen = []

    class Watched(Bigrams):
        def next_logits(self, tokens: Tensor) -> Tensor:
            seen.append(tokens)
            return super().next_logits(tokens)

    samples(prompt=prompt)(Watched(), subject(data))
    assert seen[0].tolist() == [begin] * 3
