import math

import numpy as np
import pytest
import torch
from special_ids import CLS, PAD, SEP, UNK
from texts import text_spec

from ssl_runner.evaluation.any.controls import BagOfWords, count_ids
from ssl_runner.evaluation.text.bag_of_words import classes_answer, frequent_tags, scores_answer, tf_idf
from ssl_runner.evaluation.text.data import TextSet
from ssl_runner.interfaces import TextSpec

TRAIN = [("the cat sat",), ("the dog sat on the mat",), ("a good film",), ("cat cat dog",)]


def test_counts_leave_special_ids_out():
    counts = count_ids(
        torch.tensor([[CLS, 7, 7, 9, SEP], [CLS, UNK, SEP, PAD, PAD]]), TextSpec(length=5, vocabulary=10)
    )
    assert counts.toarray().tolist() == [[0] * 7 + [2, 0, 1], [0] * 10]


def test_vectors_are_those_of_scikit_learn():
    from sklearn.feature_extraction.text import TfidfVectorizer

    (ours,) = tf_idf(text_spec(), TRAIN)([("the cat sat",), ("film",)])
    theirs = TfidfVectorizer(token_pattern=r"\w+").fit([text for (text,) in TRAIN])
    expected = theirs.transform(["the cat sat", "film"]).toarray()
    assert np.allclose(np.sort(ours.toarray(), axis=1)[:, -3:], np.sort(expected, axis=1)[:, -3:])


def test_cosine_of_scores_by_hand():
    """Two texts share two of their three words; all three are as frequent in the rows that idf is from."""
    answer, chosen, said = scores_answer(text_spec(), [("the cat sat", "the cat ran"), ("a dog ran", "a dog sat")])
    assert (chosen, said) == ({}, "cosine of tf-idf vectors")
    ends = answer([("the cat sat", "the cat sat"), ("the cat", "a dog"), ("", "a")])
    assert ends.tolist() == pytest.approx([1, 0, 0])
    once = math.log(5 / 3) + 1  # the and cat: in 2 of 4 texts; so are sat and ran
    assert answer([("the cat sat", "the cat ran")]).item() == pytest.approx(2 * once**2 / (3 * once**2))


def texts(rows, labels, val_rows=None, val_labels=None):
    label = {"train": torch.tensor(labels), "val": torch.tensor(val_labels or labels)}
    return TextSet({"train": rows, "val": val_rows or rows}, label, ("a", "b"), "")


def test_logistic_regression_is_chosen_on_val():
    rows = [("good cat",), ("bad cat",), ("good dog",), ("bad dog",)] * 5
    answer, chosen, said = classes_answer(text_spec(), texts(rows, [1, 0, 1, 0] * 5))
    log_p = answer([("good mat",), ("the bad film",)])
    assert log_p.argmax(dim=1).tolist() == [1, 0]
    assert torch.allclose(log_p.exp().sum(dim=1), torch.ones(2).double())
    assert (chosen, said) == ({"C": 0.01}, "logistic regression on tf-idf vectors")  # all are right: the least


def test_pairs_show_what_both_have_in_common():
    """Whether two texts begin with the same word: no word by itself says it, but products do."""
    words = ["cat", "dog", "mat", "film"]
    rows = [(f"the {a}", f"a {b}") for a in words for b in words]
    labels = [int(a == b) for a in words for b in words]
    answer, *_ = classes_answer(text_spec(), texts(rows, labels))
    assert answer(rows).argmax(dim=1).tolist() == labels


def test_frequent_tags_by_hand():
    token, tag = torch.tensor([3, 3, 3, 5, 6]), torch.tensor([1, 1, 2, 2, 2])
    assert frequent_tags(token, tag, 8, 3).tolist() == [2, 2, 2, 1, 2, 2, 2, 2]  # 2 is the most frequent of all


def test_pooled_is_tf_idf_of_the_corpus_by_hand():
    counts = (0, 0, 0, 0, 0, 0, 5, 2, 0)  # one occurrence is added to each: 6, 3 and 1 of 10
    bag = BagOfWords(TextSpec(length=4, vocabulary=9, counts=counts))
    assert bag.dim == 3
    found = bag(torch.tensor([[CLS, 6, 6, 8, SEP], [CLS, UNK, SEP, PAD, PAD]]))
    idf = [1 - math.log(1 - (1 - share) ** 4) for share in (0.6, 0.3, 0.1)]
    expected = torch.tensor([2 * idf[0], 0, idf[2]])
    assert torch.allclose(found.pooled, torch.stack([expected / expected.norm(), torch.zeros(3)]))
    assert torch.allclose(found.tokens[0, :, 0], torch.tensor([0, idf[0], idf[0], idf[2], 0]))


def test_pooled_is_of_the_most_frequent_ids():
    counts = torch.arange(5000).tolist()
    bag = BagOfWords(TextSpec(length=4, vocabulary=5000, counts=tuple(counts)))
    assert bag.chosen.tolist() == list(range(5000 - 2048, 5000))
    assert bag(torch.tensor([[10, 4000]])).pooled.count_nonzero() == 1
    unknown = BagOfWords(TextSpec(length=4, vocabulary=20))
    assert unknown(torch.tensor([[10, 12]])).pooled.count_nonzero() == 2


def test_order_does_not_matter():
    bag = BagOfWords(text_spec())
    x = text_spec().fake(3).long()
    assert torch.allclose(bag(x).pooled, bag(x.flip(1)).pooled)
    assert not list(bag.state_dict())
