"""Made texts: their form, their rules, and that nothing but the examples of a text tells its rule."""

import pytest
import torch
from special_ids import CLS, SEP
from tokenizers import Tokenizer

from ssl_runner.data.any.module import DataModule
from ssl_runner.data.text.in_context import InContext
from ssl_runner.interfaces import OfTasks


def source(**changes: object) -> InContext:
    given = {"examples": 400, "test_examples": 300, "kinds": 3, "words": 5, "labels": 4, "shots": 6}
    return InContext(**{"val_fraction": 0.1, "seed": 0} | given | changes)


def test_a_text_is_words_with_labels_between_marks_and_its_task_says_the_same():
    made = source()
    assert isinstance(made, OfTasks)
    found, spec = made.load(), made.spec
    assert [len(found[split].label) for split in ("pretrain", "train", "val", "test")] == [360, 360, 40, 300]
    names = Tokenizer.from_str(spec.tokenizer)
    assert spec.vocabulary == names.get_vocab_size() == 6 + 1 + 4 + 15
    assert found["test"].data.shape == (300, spec.length) == (300, 23)
    for row, task in zip(found["test"].data.tolist(), made.tasks("test"), strict=True):
        assert (row[0], row[-1]) == (CLS, SEP)
        body = " ".join(f"{text} {label} ;" for text, label in zip(task.texts, task.labels, strict=True))
        assert names.encode(body).ids == row[1:-1]
    assert sum(spec.counts) == 360 * 23
    data = DataModule(made, batch_size=4, seed=0)
    assert data.tasks("val") == made.tasks("val")
    assert data.spec.tasks


def test_words_of_a_kind_have_one_label_within_a_text_and_any_across_texts():
    made = source()
    kind = {word: place // 5 for place, word in enumerate(made.words)}
    rules = []
    for task in made.tasks("train"):
        rule = {}
        for text, label in zip(task.texts, task.labels, strict=True):
            assert rule.setdefault(kind[text], label) == label
        rules.append(rule)
    for k in range(3):
        labels = [rule[k] for rule in rules if k in rule]
        assert {labels.count(f"L{n}") > len(labels) / 8 for n in range(4)} == {True}  # a quarter each, about
    same = [rule[0] == rule[1] for rule in rules if {0, 1} <= rule.keys()]
    assert sum(same) / len(same) == pytest.approx(1 / 4, abs=0.08)  # independent of each other


def test_all_words_are_as_frequent_at_every_place():
    made = source(test_examples=3000)
    for place in (0, 3, 6):
        texts = [task.texts[place] for task in made.tasks("test")]
        assert all(abs(texts.count(word) - 200) < 70 for word in made.words)  # five standard deviations


def test_who_remembers_the_kinds_of_a_text_is_right_as_often_as_is_said():
    made = source(test_examples=4000)
    kind = {word: place // 5 for place, word in enumerate(made.words)}
    for k in (0, 1, 3, 6):
        right = []
        for task in made.tasks("test"):
            known = {kind[text]: label for text, label in zip(task.texts[:k], task.labels, strict=False)}
            right.append(known.get(kind[task.texts[-1]], "L0") == task.labels[-1])
        expected = 1 / 4 + 3 / 4 * (1 - (2 / 3) ** k)
        assert sum(right) / 4000 == pytest.approx(expected, abs=0.03)


def test_the_same_seed_gives_the_same_texts():
    one, same, other = (source(seed=seed).load()["test"].data for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": 1}, r"^dataset\.labels is 1; it must be at least 2"),
        ({"shots": 0}, r"^dataset\.shots is 0; it must be at least 1"),
        ({"kinds": 0}, r"^dataset\.kinds is 0"),
        ({"val_fraction": 1.0}, r"^dataset\.val_fraction is 1\.0; it must lie in \(0, 1\)"),
    ],
)
def test_what_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        source(**wrong)


def test_other_data_have_no_tasks():
    from ssl_runner.data.vectors.correlated_gaussians import CorrelatedGaussians

    other = CorrelatedGaussians(examples=10, test_examples=5, width=2, information=1.0, val_fraction=0.5, seed=0)
    with pytest.raises(ValueError, match="these data have no tasks"):
        DataModule(other, batch_size=2, seed=0).tasks("test")
