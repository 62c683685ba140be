"""Word similarity against gensim and scipy."""

from pathlib import Path

import pytest
import torch
from scipy.stats import spearmanr
from vocabularies import keyed, subject_of, words_in

from ssl_runner.evaluation.word_similarity import WordSimilarity, read_pairs, spearman
from ssl_runner.evaluation.words import words_file, words_of

SHIPPED = {"wordsim353": None, "simlex999": None}
SETTINGS = {"pairs": SHIPPED, "restrict": None, "case": "fold"}
WORDSIM, SIMLEX = (words_file("", None, name) for name in ("wordsim353.tsv", "simlex999.txt"))


def vocabulary() -> tuple[list[str], torch.Tensor]:
    """Two of three words of both files, some in capitals, and others."""
    generator = torch.Generator().manual_seed(0)
    words = [*words_in(WORDSIM, "#"), *words_in(SIMLEX, "#")]
    words = [word for place, word in enumerate(dict.fromkeys(words)) if place % 3]
    words = [*words[::2], *(word.upper() if place % 4 else word.title() for place, word in enumerate(words)), "zzz"]
    words = list(dict.fromkeys(words))
    return words, torch.randn(len(words), 8, generator=generator)


@pytest.mark.parametrize("case", ["fold", "exact"])
@pytest.mark.parametrize("restrict", [None, 500])
def test_figures_are_those_of_gensim(case, restrict):
    words, vectors = vocabulary()
    found = WordSimilarity(pairs=SHIPPED, restrict=restrict, case=case)(subject_of(words, vectors))
    for name, file in (("wordsim353", WORDSIM), ("simlex999", SIMLEX)):
        for key, dummy in (("spearman", False), ("spearman_all", True)):
            _, theirs, missing = keyed(words, vectors).evaluate_word_pairs(
                str(file), restrict_vocab=restrict, case_insensitive=case == "fold", dummy4unknown=dummy
            )
            assert found.metrics[f"{key}@{name}"] == pytest.approx(theirs.statistic, abs=1e-6)
            assert found.metrics[f"coverage@{name}"] == pytest.approx(1 - missing / 100, abs=1e-6)
        assert 0.02 < found.metrics[f"coverage@{name}"] < 0.9
        subset = found.protocol["subsets"][name]
        assert subset["covered"] == round(found.metrics[f"coverage@{name}"] * subset["pairs"])
    assert next(iter(found.metrics)) == "spearman@wordsim353"


def test_the_correlation_is_that_of_scipy_by_hand(tmp_path: Path):
    file = tmp_path / "pairs.tsv"
    file.write_text("# a comment\na\tb\t3.5\n\na\tc\t1\nb\tc\t2\nb\tnone\t9\n")
    vectors = torch.tensor([[1.0, 0], [1, 1], [-1, 2]])
    found = WordSimilarity(pairs={"mine": str(file)}, restrict=None, case="fold")(subject_of(["a", "b", "c"], vectors))
    cosine = [2**-0.5, -(5**-0.5), 10**-0.5]
    assert found.metrics["spearman@mine"] == pytest.approx(spearmanr(cosine, [3.5, 1, 2]).statistic)
    assert found.metrics["spearman@mine"] == pytest.approx(1)
    assert found.metrics["spearman_all@mine"] == pytest.approx(spearmanr([*cosine, 0], [3.5, 1, 2, 9]).statistic)
    assert found.metrics["coverage@mine"] == 0.75


def test_a_collapsed_encoder_has_no_correlation():
    words, vectors = vocabulary()
    found = WordSimilarity(**SETTINGS)(subject_of(words, torch.ones_like(vectors)))
    assert found.metrics["spearman@simlex999"] == 0
    assert spearman(torch.zeros(3), torch.arange(3)) == 0
    found = WordSimilarity(**SETTINGS)(subject_of(words, torch.zeros_like(vectors)))
    assert found.metrics["spearman@wordsim353"] == 0


def test_pieces_within_words_are_no_words():
    words = ["a", "b", "c"]
    starts = (True,) * 6 + (True, False, True)
    assert words_of(subject_of(words, torch.eye(3), starts), restrict=None, case="fold").names == ["a", "c"]


@pytest.mark.parametrize(("line", "said"), [("a\tb", "line 2"), ("a b 3", "line 2"), ("a\tb\tmuch", "'a.tb.tmuch'")])
def test_lines_that_are_no_pair(tmp_path, line, said):
    file = tmp_path / "pairs.tsv"
    file.write_text(f"a\tb\t1\n{line}\n")
    with pytest.raises(ValueError, match=rf"{said}.*two words and a number"):
        read_pairs(file)


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match=r"evaluation\.word_similarity\.pairs\.mine is null"):
        WordSimilarity(**SETTINGS | {"pairs": {"mine": None}})
    with pytest.raises(ValueError, match=r"evaluation\.word_similarity\.pairs\.mine is .*where there is no file"):
        WordSimilarity(**SETTINGS | {"pairs": {"mine": str(tmp_path / "gone")}})
    with pytest.raises(ValueError, match=r"evaluation\.word_similarity\.pairs is empty"):
        WordSimilarity(**SETTINGS | {"pairs": {}})
    with pytest.raises(ValueError, match=r"evaluation\.word_similarity\.restrict is 1"):
        WordSimilarity(**SETTINGS | {"restrict": 1})
    with pytest.raises(ValueError, match=r"of the 353 pairs of wordsim353.tsv, 0 have both words"):
        WordSimilarity(**SETTINGS)(subject_of(["zzz", "yyy"], torch.eye(2)))
    latin = tmp_path / "latin.tsv"
    latin.write_bytes("caf\xe9\tb\t1\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.tsv' is not UTF-8: byte 3"):
        read_pairs(latin)
