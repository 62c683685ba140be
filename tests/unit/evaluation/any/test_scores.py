import random

import numpy as np
import pytest
import torch

from ssl_runner.evaluation.any import scores


def numbers(seed, n=50, values=5):
    return torch.randint(values, (n,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(4))
def test_classes_against_scikit_learn(seed):
    from sklearn import metrics

    guess, label = numbers(seed, values=3), numbers(seed + 10, values=3)
    assert scores.accuracy(guess, label) == pytest.approx(metrics.accuracy_score(label, guess))
    assert scores.macro_f1(guess, label, 3) == pytest.approx(metrics.f1_score(label, guess, average="macro"))
    assert scores.balanced_accuracy(guess, label, 3) == pytest.approx(metrics.balanced_accuracy_score(label, guess))
    two, other = guess % 2, label % 2
    assert scores.f1(two, other, 1) == pytest.approx(metrics.f1_score(other, two))
    assert scores.matthews(two, other) == pytest.approx(metrics.matthews_corrcoef(other, two))


@pytest.mark.parametrize("seed", range(4))
def test_correlations_against_scipy(seed):
    from scipy import stats

    a, b = numbers(seed).double() ** 2, numbers(seed + 10).double()  # with ties
    assert scores.pearson(a, b) == pytest.approx(stats.pearsonr(a, b).statistic)
    assert scores.spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert torch.equal(scores.ranks(a), torch.from_numpy(stats.rankdata(a)))


def test_a_constant_has_no_correlation():
    x = torch.tensor([1.0, 2.0, 3.0])
    assert scores.pearson(torch.full((3,), 0.1), x) == scores.spearman(x, torch.full((3,), 7.0)) == 0.0
    assert scores.matthews(torch.ones(3), torch.tensor([0, 1, 1])) == 0.0
    assert scores.pearson(x, 2 * x + 1) == pytest.approx(1.0)
    assert scores.spearman(x, -(x**3)) == pytest.approx(-1.0)
    assert scores.f1(torch.zeros(3), torch.zeros(3), 1) == 0.0


def test_majority_is_of_train():
    assert scores.majority(torch.tensor([0, 1, 1, 2]), torch.tensor([1, 0, 0, 2])) == 0.25


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O O", set()),
        ("B-x I-x O", {("x", 0, 1)}),
        ("B-x B-x", {("x", 0, 0), ("x", 1, 1)}),
        ("I-x I-x", {("x", 0, 1)}),  # begins without B
        ("O I-x O I-x", {("x", 1, 1), ("x", 3, 3)}),
        ("B-x I-y", {("x", 0, 0), ("y", 1, 1)}),  # another type begins
        ("B-x I-x B-x I-x I-x", {("x", 0, 1), ("x", 2, 4)}),
        ("I-x I-y I-x", {("x", 0, 0), ("y", 1, 1), ("x", 2, 2)}),
        ("B-x O I-x", {("x", 0, 0), ("x", 2, 2)}),
        ("", set()),
    ],
)
def test_chunks_by_hand(tags, expected):
    assert scores.chunks(tags.split()) == expected


def test_chunk_scores_by_hand():
    """Three entities are there; of two that are named, one is right: a wrong end and a wrong type do not count."""
    true = [["B-per", "I-per", "O", "B-loc"], ["O", "B-per"]]
    guess = [["B-per", "I-per", "O", "B-per"], ["O", "O"]]
    assert scores.chunk_scores(guess, true) == pytest.approx((2 / 5, 1 / 2, 1 / 3))
    cut = [["B-per", "O", "O", "O"], ["O", "O"]]
    assert scores.chunk_scores(cut, true) == (0.0, 0.0, 0.0)
    assert scores.chunk_scores(true, true) == (1.0, 1.0, 1.0)
    assert scores.chunk_scores([["O"]], [["O"]]) == (0.0, 0.0, 0.0)


def conlleval(tags):
    """The shared tasks' own rules, word by word: where a chunk ends and where one begins."""
    found, start = set(), None
    split = [("O", "")] + [("O", "") if tag == "O" else (tag[0], tag[2:]) for tag in tags] + [("O", "")]
    for place in range(1, len(split)):
        (before, old), (now, new) = split[place - 1], split[place]
        if before != "O" and (now in "BO" or old != new):
            found.add((old, start, place - 2))
        if now == "B" or (now == "I" and (before == "O" or old != new)):
            start = place - 1
    return found


def test_chunks_are_those_of_the_shared_tasks():
    draw = random.Random(0)
    for _ in range(300):
        tags = draw.choices(["O", "B-x", "I-x", "B-y", "I-y"], k=8)
        assert scores.chunks(tags) == conlleval(tags), tags


def test_against_seqeval():
    seqeval = pytest.importorskip("seqeval.metrics")
    draw = random.Random(1)
    guess, true = ([draw.choices(["O", "B-x", "I-x", "B-y", "I-y"], k=9) for _ in range(40)] for _ in range(2))
    assert scores.chunk_scores(guess, true)[0] == pytest.approx(seqeval.f1_score(true, guess))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The Cat", "cat"),
        ("an  apple, a pear", "apple pear"),
        ("theatre anthem", "theatre anthem"),  # articles inside of words stay
        ("U.S.-based", "usbased"),
        ("  $1,000 ", "1000"),
        ("the", ""),
        ("«é»", "«é»"),  # only ASCII marks go
    ],
)
def test_squad_normalization(text, plain):
    assert scores.plain_answer(text) == plain


def test_squad_scores_by_hand():
    assert scores.exact_match("the  Denver Broncos!", ["Broncos", "Denver Broncos"]) == 1.0
    assert scores.exact_match("Denver", ["Broncos", "Denver Broncos"]) == 0.0
    assert scores.answer_f1("Denver", ["Broncos", "Denver Broncos"]) == pytest.approx(2 / 3)
    assert scores.answer_f1("to be or not to be", ["to be"]) == pytest.approx(2 * 2 / (6 + 2))  # each word once
    assert scores.answer_f1("cat", ["dog"]) == 0.0
    assert scores.answer_f1("", ["dog"]) == 0.0


def test_metrics_are_plain_numbers():
    label = numbers(0, values=2)
    for value in (
        scores.accuracy(label, label), scores.f1(label, label, 1), scores.macro_f1(label, label, 2),
        scores.majority(label, label), scores.matthews(label, label), scores.spearman(label, label),
    ):  # fmt: skip
        assert type(value) is float
        assert np.isfinite(value)
