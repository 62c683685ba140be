"""Files of predictions, against worked examples."""

import csv
import json
from pathlib import Path

import numpy as np

from ssl_runner.results.predictions import Answers, Predictions, confusion, mistakes, write_answers, write_predictions

FOUND = Predictions(
    split="test",
    label=np.array([0, 0, 1, 1, 1, 2]),
    predicted=np.array([0, 1, 1, 0, 2, 2]),
    probability=np.array([0.9, 0.5, 0.8, 0.7, 0.7, np.nan]),
    names=("cat", "dog, wild", "=1+1"),
)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_confusion_by_hand() -> None:
    assert confusion(FOUND).tolist() == [[1, 1, 0], [1, 1, 1], [0, 0, 1]]


def test_mistakes_are_ordered_by_probability() -> None:
    assert mistakes(FOUND, 8).tolist() == [3, 4, 1]
    assert mistakes(FOUND, 2).tolist() == [3, 4]
    unsure = FOUND._replace(probability=np.full(6, np.nan))
    assert mistakes(unsure, 8).tolist() == [1, 3, 4]


def test_each_example_has_a_row(tmp_path: Path) -> None:
    held_out = FOUND._replace(split="val", label=np.array([2]), predicted=np.array([0]), probability=np.array([0.25]))
    path = write_predictions(tmp_path, "linear-pretrained", [FOUND, held_out])
    read = rows(path)
    assert [(row["split"], row["index"]) for row in read] == [("test", str(n)) for n in range(6)] + [("val", "0")]
    assert read[4] == {
        "split": "test", "index": "4", "label": "dog, wild", "prediction": "=1+1", "probability": "0.700000",
    }  # fmt: skip
    assert read[5]["probability"] == ""


def test_each_class_has_its_accuracy(tmp_path: Path) -> None:
    write_predictions(tmp_path, "linear-pretrained", [FOUND, FOUND._replace(split="val")])
    read = rows(tmp_path / "linear-pretrained-confusion.csv")
    assert [(row["label"], row["examples"], row["accuracy"]) for row in read] == [
        ("cat", "2", "0.500000"), ("dog, wild", "3", "0.333333"), ("=1+1", "1", "1.000000"),
    ]  # fmt: skip
    assert [int(read[1][name]) for name in FOUND.names] == [1, 1, 1]


def test_a_class_without_examples_has_no_accuracy(tmp_path: Path) -> None:
    write_predictions(tmp_path, "knn-pixels", [FOUND._replace(names=(*FOUND.names, "fox"))])
    assert rows(tmp_path / "knn-pixels-confusion.csv")[3]["accuracy"] == ""


def test_conditions_and_texts_are_columns(tmp_path: Path) -> None:
    few = FOUND._replace(condition={"labels": 0.1}, texts=("a", "b\nc", "d", "e", "f", "g"))
    one = FOUND._replace(condition={"per_class": 10}, texts=few.texts)
    read = rows(write_predictions(tmp_path, "few_label-pretrained", [few, one]))
    assert {(row["labels"], row["per_class"]) for row in read} == {("0.1", ""), ("", "10")}
    assert read[1]["text"] == "b\nc"


def test_another_evaluation_is_not_replaced(tmp_path: Path) -> None:
    first = write_predictions(tmp_path, "linear-pretrained", [FOUND], "aaaaaaaaaaaa")
    other = write_predictions(tmp_path, "linear-pretrained", [FOUND], "bbbbbbbbbbbb")
    assert first.name == "linear-pretrained.csv"
    assert other.name == "linear-pretrained-bbbbbbbb.csv"
    again = write_predictions(tmp_path, "linear-pretrained", [FOUND._replace(names=("a", "b", "c"))], "aaaaaaaaaaaa")
    assert again == first
    assert rows(first)[0]["label"] == "a"


def test_each_question_has_a_row(tmp_path: Path) -> None:
    said = Answers("val", ["q1", ""], ["who?", "where?"], [["a, b", "b"], []], ["b", ""], [1.0, 1.0], [1.0, 1.0])
    more = Answers("test", ["q3"], ["when?"], [["now and then"]], ["now"], [0.5], [0.0])
    path = write_answers(tmp_path, "span_qa-pretrained", [said, more], "evaluation")
    found = rows(path)
    assert [(row["split"], row["index"], row["id"], row["question"]) for row in found] == [
        ("val", "0", "q1", "who?"), ("val", "1", "", "where?"), ("test", "0", "q3", "when?"),
    ]  # fmt: skip
    assert [json.loads(row["right"]) for row in found] == [["a, b", "b"], [], ["now and then"]]
    assert [(row["answer"], row["f1"], row["exact_match"]) for row in found] == [
        ("b", "1.000000", "1"), ("", "1.000000", "1"), ("now", "0.500000", "0"),
    ]  # fmt: skip
    assert json.loads((tmp_path / "span_qa-pretrained.json").read_text()) == {"owner": "evaluation"}
