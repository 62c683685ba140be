"""Word similarity against gensim and scipy."""

from pathlib import Path

import pytest
import torch
from findings import keys, metric, value
from scipy.stats import spearmanr
from vocabularies import keyed, subject_of, words_in

from ssl_runner.evaluation.text.word_similarity import WordSimilarity, read_pairs
from ssl_runner.evaluation.text.words import words_file, words_of

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
            assert value(found, key, file=name) == pytest.approx(theirs.statistic, abs=1e-6)
            assert value(found, "coverage", file=name) == pytest.approx(1 - missing / 100, abs=1e-6)
        assert 0.02 < value(found, "coverage", file=name) < 0.9
        size, known = (found.protocol.measured[key][name] for key in ("pairs in file", "covered"))
        assert known == round(value(found, "coverage", file=name) * size)
    assert {key[0] for key in keys(found)} == {"spearman", "coverage", "spearman_all"}


def test_what_is_in_a_file_is_a_term_of_its_own_metrics_alone(tmp_path: Path):
    file = tmp_path / "pairs.tsv"
    words, vectors = vocabulary()
    terms = []
    for more in ("", "the\ta\t1\n"):
        file.write_text(WORDSIM.read_text() + more)
        found = WordSimilarity(**SETTINGS | {"pairs": {"mine": str(file), "simlex999": None}})(
            subject_of(words, vectors)
        )
        terms.append((metric(found, "spearman", file="mine").terms, metric(found, "spearman", file="simlex999").terms))
        assert "files" not in found.protocol.terms
    assert terms[0][0] != terms[1][0]
    assert terms[0][1] == terms[1][1]


def test_the_correlation_is_that_of_scipy_by_hand(tmp_path: Path):
    file = tmp_path / "pairs.tsv"
    file.write_text("# a comment\na\tb\t3.5\n\na\tc\t1\nb\tc\t2\nb\tnone\t9\n")
    vectors = torch.tensor([[1.0, 0], [1, 1], [-1, 2]])
    found = WordSimilarity(pairs={"mine": str(file)}, restrict=None, case="fold")(subject_of(["a", "b", "c"], vectors))
    cosine = [2**-0.5, -(5**-0.5), 10**-0.5]
    assert value(found, "spearman", file="mine") == pytest.approx(spearmanr(cosine, [3.5, 1, 2]).statistic)
    assert value(found, "spearman", file="mine") == pytest.approx(1)
    assert value(found, "spearman_all", file="mine") == pytest.approx(spearmanr([*cosine, 0], [3.5, 1, 2, 9]).statistic)
    assert value(found, "coverage", file="mine") == 0.75


def test_a_collapsed_encoder_has_no_correlation():
    words, vectors = vocabulary()
    found = WordSimilarity(**SETTINGS)(subject_of(words, torch.ones_like(vectors)))
    assert value(found, "spearman", file="simlex999") == 0
    found = WordSimilarity(**SETTINGS)(subject_of(words, torch.zeros_like(vectors)))
    assert value(found, "spearman", file="wordsim353") == 0


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
    with pytest.raises(
        ValueError, match=r"evaluation\.word_similarity\.pairs\.mine is .*which is not an existing file"
    ):
        WordSimilarity(**SETTINGS | {"pairs": {"mine": str(tmp_path / "gone")}})
    with pytest.raises(ValueError, match=r"evaluation\.word_similarity\.pairs is empty"):
        WordSimilarity(**SETTINGS | {"pairs": {}})
    with pytest.raises(ValueError, match=r"evaluation\.word_similarity\.restrict is 1"):
        WordSimilarity(**SETTINGS | {"restrict": 1})
    with pytest.raises(ValueError, match=r"wordsim353.tsv has 0 of 353 pairs with both words"):
        WordSimilarity(**SETTINGS)(subject_of(["zzz", "yyy"], torch.eye(2)))
    latin = tmp_path / "latin.tsv"
    latin.write_bytes("caf\xe9\tb\t1\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.tsv' is not UTF-8: byte 3"):
        read_pairs(latin)
