"""What a classifier says of each example of a split, or a reader to each question, and the files that hold it.

n examples or questions, K classes.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssl_runner.results.metrics import Split
from ssl_runner.results.result import own_name, write_atomically

FOLDER = "predictions"  # of a run


class Predictions(NamedTuple):
    """Examples are in the order of the split."""

    split: Split
    label: np.ndarray  # (n,) int
    predicted: np.ndarray  # (n,) int
    probability: np.ndarray  # (n,) of the class that is predicted, in [0, 1]; nan: the classifier gives none
    names: Sequence[str]  # of the K classes
    texts: Sequence[str] = ()  # n, where examples are texts
    condition: Mapping[
        str, str | int | float
    ] = {}  # as that of the metrics, where an evaluation has several classifiers


class Answers(NamedTuple):
    """Of questions about texts, in the order of the split."""

    split: Split
    ids: Sequence[str]  # n, as the file has them; "": it has none
    questions: Sequence[str]  # n
    right: Sequence[Sequence[str]]  # n, the answers that are right; none: the question has no answer
    given: Sequence[str]  # n; "": none
    f1: Sequence[float]  # n, in [0, 1]
    exact: Sequence[float]  # n, 0 or 1


def confusion(predictions: Predictions) -> np.ndarray:
    """(K, K) int: how many examples of the class of the row were given that of the column."""
    counts = np.zeros((len(predictions.names), len(predictions.names)), int)
    np.add.at(counts, (predictions.label, predictions.predicted), 1)
    return counts


def mistakes(predictions: Predictions, most: int) -> np.ndarray:
    """The places of at most `most` examples that were given a wrong class: the most probable ones first, of equals in
    the order of the split."""
    wrong = np.flatnonzero(predictions.label != predictions.predicted)
    probability = np.nan_to_num(predictions.probability[wrong], nan=0.0)
    return wrong[np.argsort(-probability, kind="stable")][:most]


def write_predictions(folder: Path, name: str, found: Sequence[Predictions], owner: str = "") -> Path:
    """Write `name`.csv, a row an example, and `name`-confusion.csv, a row a class of test; return the first's path.

    `owner`: the evaluation (`Evaluation.owner`), which is in `name`.json. The files of another evaluation are not
    replaced: then a part of `owner` is appended to the name.
    """
    name = _owned(folder, name, owner)
    write_atomically(folder / f"{name}-confusion.csv", _confusion_table(found))
    return write_atomically(folder / f"{name}.csv", _table(found))


def write_answers(folder: Path, name: str, found: Sequence[Answers], owner: str = "") -> Path:
    """Write `name`.csv, a row a question: split, index (in its split), id, question, the right answers as a list of
    JSON, the answer, its f1 and exact_match. Return its path. `owner` as in `write_predictions`."""
    name = _owned(folder, name, owner)
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["split", "index", "id", "question", "right", "answer", "f1", "exact_match"])
    for each in found:
        columns = zip(each.ids, each.questions, each.right, each.given, each.f1, each.exact, strict=True)
        for index, (key, question, right, given, f1, exact) in enumerate(columns):
            every = json.dumps(list(right), ensure_ascii=False)
            rows.writerow([each.split, index, key, question, every, given, f"{f1:.6f}", int(exact)])
    return write_atomically(folder / f"{name}.csv", out.getvalue())


def _owned(folder: Path, name: str, owner: str) -> str:
    """A name that no other evaluation has in the folder, with `owner` written beside it."""
    name = own_name(folder, name, owner)
    write_atomically(folder / f"{name}.json", json.dumps({"owner": owner}) + "\n")
    return name


def _table(found: Sequence[Predictions]) -> str:
    """index (in its split), split, the condition, label, prediction, probability, and the text."""
    conditions = list(dict.fromkeys(key for each in found for key in each.condition))
    texts = any(each.texts for each in found)
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["split", "index", *conditions, "label", "prediction", "probability", *["text"] * texts])
    for each in found:
        under = [each.condition.get(key, "") for key in conditions]
        columns = zip(each.label.tolist(), each.predicted.tolist(), each.probability.tolist(), strict=True)
        for index, (label, predicted, probability) in enumerate(columns):
            said = "" if probability != probability else f"{probability:.6f}"
            text = [each.texts[index]] if each.texts else []
            rows.writerow([each.split, index, *under, each.names[label], each.names[predicted], said, *text])
    return out.getvalue()


def _confusion_table(found: Sequence[Predictions]) -> str:
    """The condition, the class, its examples in test, the share that is right, and how many were given each class."""
    conditions = list(dict.fromkeys(key for each in found for key in each.condition))
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    names = found[0].names if found else ()
    rows.writerow([*conditions, "label", "examples", "accuracy", *names])
    for each in found:
        if each.split != "test":
            continue
        for place, counts in enumerate(confusion(each)):
            total = int(counts.sum())
            right = f"{counts[place] / total:.6f}" if total else ""
            under = [each.condition.get(key, "") for key in conditions]
            rows.writerow([*under, each.names[place], total, right, *counts.tolist()])
    return out.getvalue()
