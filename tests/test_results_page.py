"""docs/results.md against the records, and how a measurement is called and placed."""

import pytest
import results
from study import ROOT, Claim, Column, Group, heading_link, read_studies


@pytest.mark.thorough
def test_the_page_is_what_the_records_say() -> None:
    """Whoever records runs, or edits a study or the page by hand, is told to run scripts/results.py."""
    written = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert results.page(read_studies(Group, "methods"), read_studies(Claim, "claims")) == written


@pytest.mark.parametrize(
    ("title", "evaluator", "metric", "times", "called"),
    [
        ("linear", "linear", "accuracy", 100, "linear accuracy (%)"),
        ("k-NN", "knn", "accuracy", 100, "k-NN accuracy (%)"),
        ("masked words", "masked_words", "accuracy", 100, "masked words accuracy (%)"),
        ("digit", "linear", "accuracy", 100, "digit: linear accuracy (%)"),
        ("own task", "pretext", "accuracy", 100, "own task: accuracy (%)"),
        ("STS-B", "sts", "spearman", 100, "STS-B: rank correlation (x 100)"),
        ("perplexity of words", "perplexity", "perplexity", 1, "perplexity of words"),
    ],
)
def test_a_task_says_its_measure_once(title: str, evaluator: str, metric: str, times: float, called: str) -> None:
    assert results.task(Column(title=title, evaluator=evaluator, metric=metric, times=times)) == called


@pytest.mark.parametrize(
    ("evaluator", "metric", "label", "expected"),
    [
        ("linear", "accuracy", "", "10.0"),
        ("knn", "accuracy", "direction", "12.5"),
        ("linear", "accuracy", "speed", "50.0"),
        ("sts", "spearman", "", "0.0"),
        ("tagging", "f1", "", ""),
    ],
)
def test_chance_is_one_in_the_number_of_classes(evaluator: str, metric: str, label: str, expected: str) -> None:
    data = {"dataset": "moving_digits", "label": label} if label else {}
    column = Column(title="any", evaluator=evaluator, metric=metric, data=data, times=100)
    assert results.chance(column, {"dataset": {"speeds": [2.0, 4.0]}}) == expected


def test_chance_is_that_of_the_classes_that_a_study_states() -> None:
    column = Column(title="any", evaluator="linear", metric="accuracy", times=100)
    assert results.chance(column, {}, 50) == "2.0"


def test_links_are_the_addresses_of_headings() -> None:
    assert heading_link("methods.md", "CIFAR-10, the first 4,000 images") == "methods.md#cifar-10-the-first-4000-images"
    assert heading_link("methods.md", "The 5,000 digits of `mnist_5k`") == "methods.md#the-5000-digits-of-mnist_5k"
