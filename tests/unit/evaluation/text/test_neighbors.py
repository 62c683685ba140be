import pytest
import torch
from findings import keys, value
from vocabularies import keyed, subject_of

from ssl_runner.evaluation.text.neighbors import Neighbors

WORDS = ["one", "two", "three", "four", "five", "six"]
VECTORS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def test_the_nearest_words_are_those_of_gensim():
    found = Neighbors(words=["Four", "none", "one"], count=3, restrict=None, case="fold")(subject_of(WORDS, VECTORS))
    rows = found.figures["words"].rows
    assert rows["word"] == ["Four", "none", "one"]
    theirs = [keyed(WORDS, VECTORS).most_similar(word, topn=3) for word in ("four", "one")]
    said = [", ".join(f"{word} {cosine:.2f}" for word, cosine in each) for each in theirs]
    assert rows["nearest"] == [said[0], "not in the vocabulary", said[1]]
    assert value(found, "coverage") == pytest.approx(2 / 3)
    assert value(found, "cosine") == pytest.approx(sum(c for each in theirs for _, c in each) / 6, abs=1e-6)


def test_fewer_words_than_asked_for_and_none_that_is_known():
    found = Neighbors(words=["one"], count=9, restrict=3, case="fold")(subject_of(WORDS, VECTORS))
    assert found.figures["words"].rows["nearest"][0].count(",") == 1
    found = Neighbors(words=["ONE"], count=9, restrict=None, case="exact")(subject_of(WORDS, VECTORS))
    assert keys(found) == [("coverage", "test", ())]
    assert value(found, "coverage") == 0


@pytest.mark.parametrize(("key", "value"), [("words", []), ("count", 0), ("restrict", 0)])
def test_refusals(key, value):
    settings = {"words": ["one"], "count": 3, "restrict": None, "case": "fold"}
    with pytest.raises(ValueError, match=rf"evaluation\.neighbors\.{key} is"):
        Neighbors(**settings | {key: value})
