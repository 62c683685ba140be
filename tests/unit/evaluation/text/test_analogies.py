"""Analogies against gensim, and by a plane in which they hold."""

import pytest
import torch
from findings import keys, value
from vocabularies import keyed, subject_of

from ssl_runner.evaluation.text.analogies import SHIPPED, Analogies, read_questions
from ssl_runner.evaluation.text.words import words_file

SETTINGS = {"questions": None, "restrict": None, "case": "fold", "batch_size": 100}
QUESTIONS = words_file("", None, SHIPPED)


def vocabulary() -> tuple[list[str], torch.Tensor]:
    """The words of three sections, whose vectors nearly add up."""
    generator = torch.Generator().manual_seed(0)
    questions = [
        q for q in read_questions(QUESTIONS) if q.section in ("family", "gram2-opposite", "gram5-present-participle")
    ]
    left = dict.fromkeys(word for q in questions for word in (q.words[0], q.words[2]))
    pairs = dict(zip(left, left, strict=True)) | {q.words[0]: q.words[1] for q in questions}
    steps = {q.words[0]: q.section for q in questions}
    shift = {section: torch.randn(10, generator=generator) for section in sorted(set(steps.values()))}
    vectors: dict[str, torch.Tensor] = {}
    for one, other in pairs.items():
        vectors.setdefault(one, torch.randn(10, generator=generator))
        vectors.setdefault(other, vectors[one] + shift[steps[one]] + 0.5 * torch.randn(10, generator=generator))
    names = list(vectors)[::3] + list(vectors)[1::3] + list(vectors)[2::3]
    return names, torch.stack([vectors[name] for name in names])


@pytest.mark.parametrize("case", ["fold", "exact"])
@pytest.mark.parametrize("restrict", [None, 100])
def test_figures_are_those_of_gensim(tmp_path, case, restrict):
    words, vectors = vocabulary()
    text = QUESTIONS.read_text().splitlines()
    file = tmp_path / "some.txt"
    known = {word.upper() for word in words}
    file.write_text("\n".join(line for line in text if line[0] == ":" or {w.upper() for w in line.split()} & known))
    found = Analogies(**SETTINGS | {"questions": str(file), "restrict": restrict, "case": case})(
        subject_of(words, vectors)
    )
    score, sections = keyed(words, vectors).evaluate_word_analogies(
        str(file), restrict_vocab=restrict or 300_000, case_insensitive=case == "fold"
    )
    right, wrong = (sum(len(each[key]) for each in sections[:-1]) for key in ("correct", "incorrect"))
    assert value(found, "accuracy") == pytest.approx(score)
    assert 0.2 < score < 0.95
    assert found.protocol.measured["covered"]["all"] == right + wrong
    assert value(found, "coverage") == pytest.approx((right + wrong) / len(read_questions(file)))
    for half, chosen in (("semantic", False), ("syntactic", True)):
        of_half = [each for each in sections[:-1] if each["section"].startswith("gram") == chosen]
        right, wrong = (sum(len(each[key]) for each in of_half) for key in ("correct", "incorrect"))
        assert value(found, "accuracy", section=half) == pytest.approx(right / (right + wrong))
    shown = dict(zip(found.figures["sections"].labels, found.figures["sections"].values["accuracy"], strict=True))
    for each in sections[:-1]:
        if each["correct"] or each["incorrect"]:
            part = len(each["correct"]) / (len(each["correct"]) + len(each["incorrect"]))
            assert shown[each["section"]] == pytest.approx(100 * part)
        else:
            assert each["section"] not in shown


def test_words_of_the_question_are_no_answers(tmp_path):
    file = tmp_path / "questions.txt"
    file.write_text(": gram-x\na b c d\n")
    vectors = torch.tensor([[1.0, 0.1], [1, 0], [0.1, 1], [0.6, 0.8]])  # the nearest to b - a + c is c itself
    found = Analogies(**SETTINGS | {"questions": str(file)})(subject_of(["a", "b", "c", "d"], vectors))
    assert keys(found) == [
        ("accuracy", "test", ()),
        ("coverage", "test", ()),
        ("accuracy", "test", (("section", "syntactic"),)),
    ]
    assert all(each.value == 1 for each in found.metrics)
    assert found.protocol.measured["covered"] == {"all": 1, "semantic": 0, "syntactic": 1}


def test_all_of_google_s_questions_are_read():
    questions = read_questions(QUESTIONS)
    assert len(questions) == 19_544
    assert len({question.section for question in questions}) == 14
    assert sum(not question.section.startswith("gram") for question in questions) == 8869


def test_the_size_of_a_batch_makes_no_difference():
    words, vectors = vocabulary()
    subject = subject_of(words, vectors)
    metrics = [Analogies(**SETTINGS | {"batch_size": size})(subject).metrics for size in (7, 5000)]
    assert metrics[0] == metrics[1]


def test_refusals(tmp_path):
    file = tmp_path / "questions.txt"
    for text, number in (("a b c d\n", 1), (": x\na b c\n", 2)):
        file.write_text(text)
        with pytest.raises(ValueError, match=rf"line {number} of .*it must have four words"):
            read_questions(file)
    with pytest.raises(ValueError, match=r"evaluation\.analogies\.questions is .*which is not an existing file"):
        Analogies(**SETTINGS | {"questions": str(tmp_path / "gone")})
    with pytest.raises(ValueError, match=r"evaluation\.analogies\.batch_size is 0"):
        Analogies(**SETTINGS | {"batch_size": 0})
    with pytest.raises(
        ValueError,
        match=r"no question of questions-words.txt has all its four words in the vocabulary: 19,544 questions",
    ):
        Analogies(**SETTINGS)(subject_of(["zzz", "yyy"], torch.eye(2)))
