import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from findings import metric, value
from special_ids import CLS, EOS, SEP, UNK
from tokenizers import Tokenizer
from torch import Tensor, nn
from toy_text import VOCABULARY, Bigrams, Corpus, rows, subject, tokenizer

from ssl_runner.evaluation.text.minimal_pairs import PAPER, PHENOMENA, MinimalPairs, read_pairs
from ssl_runner.interfaces import Finding, PredictsNext

PAIRS = (  # phenomenon, acceptable, not: an unknown word in the third, unequal lengths in the last two
    ("order", "the cat sat .", "cat the sat ."),
    ("order", "a mat .", "mat a ."),
    ("order", "the dog sat .", "dog the sat ."),
    ("ends", "the cat sat on the mat .", "the cat sat on the ."),
    ("ends", "the cat sat .", "the cat . sat on ."),
)


def write(folder: Path, pairs: tuple[tuple[str, str, str], ...] = PAIRS) -> Path:
    lines = [json.dumps({"term": term, "good": good, "bad": bad}) for term, good, bad in pairs]
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def build(folder: Path, **changes: object) -> MinimalPairs:
    given = {"good": "good", "bad": "bad", "phenomenon": "term", "pairs": None, "score": "sum"}
    return MinimalPairs(**{"path": str(folder), "length": 9, "batch_size": 3} | given | changes)


def ask(folder: Path, model: nn.Module, **changes: object) -> Finding:
    return build(write(folder), **changes)(model, subject(Corpus()))


def by_hand(model: Bigrams, text: str) -> list[float]:
    """The log-probability of each token of a sentence, and of its end, after the end of another."""
    ids = [EOS, *Tokenizer.from_str(tokenizer()).encode(text).ids, EOS]
    return [model.log_p[a, b].item() for a, b in pairwise(ids)]


@pytest.mark.parametrize("score", ["sum", "mean"])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_it_is_that_of_a_loop_over_pairs_and_tokens(tmp_path, score, batch_size):
    model = Bigrams(seed=4)
    right = []
    for _, *texts in PAIRS:
        good, bad = (by_hand(model, text) for text in texts)
        a, b = (sum(each) if score == "sum" else sum(each) / len(each) for each in (good, bad))
        right.append(float(a > b))
    found = ask(tmp_path, model, score=score, batch_size=batch_size)
    assert value(found, "accuracy") == pytest.approx(sum(right) / 5)
    assert value(found, "accuracy", phenomenon="order") == pytest.approx(sum(right[:3]) / 3)
    assert value(found, "accuracy", phenomenon="ends") == pytest.approx(sum(right[3:]) / 2)
    assert value(found, "accuracy", words="known") == pytest.approx((sum(right) - right[2]) / 4)
    assert value(found, "accuracy", words="unknown") == right[2]
    assert value(found, "accuracy", tokens="unequal") == pytest.approx(sum(right[3:]) / 2)
    assert value(found, "coverage") == 0.8
    assert value(found, "coverage", phenomenon="order") == pytest.approx(2 / 3)
    assert value(found, "ties") == 0


class Uniform(nn.Module):
    def log_likelihood(self, tokens: Tensor) -> Tensor:
        return torch.full((len(tokens), tokens.shape[1] - 1), -math.log(VOCABULARY)).masked_fill(tokens[:, 1:] == 0, 0)

    def next_logits(self, tokens: Tensor) -> Tensor:
        return torch.zeros(len(tokens), VOCABULARY)


def test_a_uniform_model_ties_where_lengths_are_equal_and_prefers_the_shorter_elsewhere(tmp_path):
    assert isinstance(Uniform(), PredictsNext)
    found = ask(tmp_path, Uniform())
    assert value(found, "ties") == 0.6
    assert value(found, "accuracy", phenomenon="order") == 0.5
    assert value(found, "accuracy", phenomenon="ends") == 0.5  # one is shorter than its counterpart, one longer
    assert found.protocol.measured["of unequal length"] == 0.4
    per_token = ask(tmp_path, Uniform(), score="mean")
    assert (value(per_token, "ties"), value(per_token, "accuracy")) == (1.0, 0.5)


class Others(nn.Module):
    """Each token by its neighbors on both sides, whatever else there is."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def pseudo_log_likelihood(self, tokens: Tensor) -> Tensor:
        self.seen.append(tokens)
        words = tokens > EOS
        return torch.where(words, -tokens.double() - tokens.roll(1, 1) * tokens.roll(-1, 1), 0.0)


def test_models_of_hidden_tokens_are_asked_for_pseudo_log_likelihoods(tmp_path):
    model = Others()
    found = ask(tmp_path, model, batch_size=1)
    assert found.protocol.measured["given"] == "all other tokens"
    assert all(row[0] == CLS and row[-1] == SEP for batch in model.seen for row in batch.tolist())
    encode = Tokenizer.from_str(tokenizer()).encode

    def score(text: str) -> float:
        ids = [CLS, *encode(text).ids, SEP]
        return -sum(ids[i] + ids[i - 1] * ids[i + 1] for i in range(1, len(ids) - 1) if ids[i] > EOS)

    assert value(found, "accuracy") == sum(score(good) > score(bad) for _, good, bad in PAIRS) / 5


def test_rows_of_sentences_begin_and_end_as_those_of_the_corpus(tmp_path):
    data, seen = Corpus(), []
    data.splits["test"] = rows(torch.tensor([[CLS, 6, 7, SEP]], dtype=torch.int32))

    class Seen(Uniform):
        def log_likelihood(self, tokens: Tensor) -> Tensor:
            seen.extend(tokens.tolist())
            return super().log_likelihood(tokens)

    build(write(tmp_path), batch_size=1)(Seen(), subject(data))
    assert all(row[0] == CLS and row[-1] == SEP for row in seen)


def test_what_is_longer_than_what_is_read_is_cut_and_said(tmp_path):
    found = ask(tmp_path, Bigrams(), length=7)
    assert (found.protocol.measured["read"], found.protocol.measured["cut"]) == (7, 0.4)
    assert ask(tmp_path, Bigrams()).protocol.measured["cut"] == 0


def test_the_first_pairs_of_each_file_alone(tmp_path):
    write(tmp_path)
    (tmp_path / "more.jsonl").write_text(json.dumps({"term": "more", "good": "a", "bad": "the cat"}))
    assert build(tmp_path).pairs[0].phenomenon == "more"
    assert len(build(tmp_path, pairs=2).pairs) == 3
    assert len(build(tmp_path / "pairs.jsonl").pairs) == 5
    assert {each.phenomenon for each in build(tmp_path, phenomenon=None).pairs} == {"pairs", "more"}


def test_the_same_sentence_twice_is_a_tie(tmp_path):
    found = build(write(tmp_path, (("x", "the cat", "the cat"), ("x", "dog", "bird"))))(Bigrams(), subject(Corpus()))
    assert value(found, "ties") == 1
    assert value(found, "accuracy") == 0.5
    assert UNK == 1  # both words of the second pair


def test_phenomena_of_blimp_are_drawn_beside_those_of_the_paper(tmp_path):
    terms = (*PHENOMENA, "s-selection")
    write(tmp_path, tuple((term, "the cat", "cat the") for term in terms))
    found = build(tmp_path)(Bigrams(), subject(Corpus()))
    figure = found.figures["phenomena"]
    assert figure.values.shape == (12, 7)
    assert figure.rows[0] == "anaphor agreement"
    assert figure.columns[-1] == "people, paper"
    assert metric(found, "accuracy", phenomenon="argument_structure")
    assert ask(tmp_path, Bigrams()).figures["phenomena"].values.shape == (2, 2)


def test_the_papers_figures_give_its_overall_accuracies():
    """Weighted by the number of paradigms of each phenomenon."""
    paradigms = (2, 9, 7, 5, 8, 2, 7, 2, 8, 7, 4, 6)
    overall = {"5-gram": 61.2, "LSTM": 69.8, "Transformer-XL": 69.6, "GPT-2": 81.5, "people": 88.6}
    for name, values in PAPER.items():
        mean = sum(n * each for n, each in zip(paradigms, values, strict=True)) / 67
        assert mean == pytest.approx(overall[name], abs=0.05)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"pairs\.jsonl, line 2 is not JSON"),
        ("[1]", r"line 2 is not a JSON object; it must have the keys good, bad, term"),
        ('{"good": "a", "term": "x"}', r"line 2 has no 'bad', which evaluation\.minimal_pairs\.bad names; it has good"),
        ('{"good": " ", "bad": "a", "term": "x"}', "line 2: 'good' is ' '; it must be text"),
        ('{"good": "b", "bad": 3, "term": "x"}', "line 2: 'bad' is 3; it must be text"),
    ],
)
def test_a_line_of_another_form_is_refused(tmp_path, line, message):
    file = write(tmp_path) / "pairs.jsonl"
    lines = file.read_text().split("\n")
    file.write_text("\n".join([lines[0], line, *lines[1:]]))
    with pytest.raises(ValueError, match=message):
        build(tmp_path)


def test_what_cannot_be_is_refused(tmp_path):
    for changes, message in (
        ({"path": str(tmp_path / "none")}, r"^evaluation\.minimal_pairs\.path is .*none', which does not exist"),
        ({"path": str(tmp_path)}, r"a folder without \.jsonl files"),
        ({"score": "max"}, r"^evaluation\.minimal_pairs\.score is 'max'; it must be sum or mean"),
        ({"pairs": 0}, r"^evaluation\.minimal_pairs\.pairs is 0; it must be at least 1"),
        ({"length": 2}, r"^evaluation\.minimal_pairs\.length is 2; it must be at least 3"),
    ):
        with pytest.raises(ValueError, match=message):
            build(tmp_path, **changes)
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(ValueError, match=r"none\.jsonl has no pairs"):
        read_pairs(tmp_path / "none.jsonl", {"good": "good", "bad": "bad"})


def test_probabilities_of_zero_are_refused(tmp_path):
    class Never(Uniform):
        def log_likelihood(self, tokens: Tensor) -> Tensor:
            return super().log_likelihood(tokens) - torch.inf

    with pytest.raises(ValueError, match="the scores of minimal pairs are not finite"):
        ask(tmp_path, Never())
