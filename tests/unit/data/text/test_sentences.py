from pathlib import Path

import pytest

from ssl_runner.data.text.sentences import sentences, split_sentences


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One. Two! Three? Four… Five", ["One.", "Two!", "Three?", "Four…", "Five"]),
        ("“Go.” She went. (He did not.) 5 did.", ["“Go.”", "She went.", "(He did not.)", "5 did."]),
        ("Mr. Smith met Prof. J. K. Jones, cf. Brown et al. in 1900.", None),
        ("It costs 3.50 dollars, e.g. in the U.S. army.", None),
        ("wait... what. no capital. here", None),
        ("", [""]),
    ],
)
def test_sentences_end_where_they_should(text: str, found: list[str] | None) -> None:
    assert split_sentences(text) == ([text] if found is None else found)


LINES = ["A b.", " C  d. E", "", "\t", "F"]


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("split", ["A b.", "C d.", "E", "F"]),
        ("lines", ["A b.", "C d. E", "F"]),
        ("none", ["A b.", "C d. E", "F"]),
    ],
)
def test_paragraphs_are_joined_and_lines_kept(rule: str, found: list[str]) -> None:
    assert list(sentences(LINES, rule)) == found


def test_a_sentence_may_go_over_lines() -> None:
    assert list(sentences(["It was", "late. We", "left."], "split")) == ["It was late.", "We left."]


@pytest.mark.parametrize("kind", ["running", "tokenized"])
def test_paragraphs_are_cut_in_the_sentences_that_they_were_made_of(kind: str) -> None:
    """A hundred sentences of each kind, with titles, initials and abbreviations in them; one a line."""
    text = Path(__file__).with_name(f"{kind}_sentences.txt").read_text(encoding="utf-8")
    paragraphs = [paragraph.splitlines() for paragraph in text.strip().split("\n\n")]
    found = [split_sentences(" ".join(paragraph)) for paragraph in paragraphs]
    count = sum(map(len, paragraphs))
    whole = sum(len(set(paragraph) & set(got)) for paragraph, got in zip(paragraphs, found, strict=True))
    assert count >= 100
    assert whole / count >= 0.95
