"""Classes of texts and of pairs of texts, by a frozen encoder or a fine-tuned one: what both evaluations share."""

from collections.abc import Mapping
from typing import Any

from ssl_runner.evaluation import bag_of_words
from ssl_runner.evaluation.logistic import Grid
from ssl_runner.evaluation.scores import accuracy, macro_f1, majority, pearson, spearman
from ssl_runner.evaluation.text_data import TextSet, cut_share, encode_texts
from ssl_runner.evaluation.text_heads import (
    Answer,
    fit_probe,
    grid_protocol,
    is_control,
    recipe_protocol,
    tuned_answer,
    whole,
)
from ssl_runner.evaluation.text_layers import reading, text_spec
from ssl_runner.evaluation.tuning import Recipe
from ssl_runner.interfaces import Finding, Subject


def probe_classes(subject: Subject, texts: TextSet, length: int, layer: str, grid: Grid) -> Finding:
    """Classes read off frozen features by a linear classifier that is chosen on val; a set with train, val and test.

    `length`: tokens of an example, as `text_layers.text_spec` takes it.
    """
    spec = text_spec(subject, length)
    sizes = len(texts.label["train"]), len(texts.label["val"])
    shared = {
        "evaluator": "linear probe",
        **grid_protocol(subject, layer, grid, *sizes),
        **reading(spec, length, cut_share(spec, texts.texts["test"])),
    }
    if is_control(subject):
        answer, said = bag_of_words.classes_answer(spec, texts)
        return classes_finding(texts, answer, shared | {"control": said})
    asked = {split: whole(encode_texts(spec, rows), texts.label[split]) for split, rows in texts.texts.items()}
    probe = fit_probe(subject, layer, "text", asked, len(texts.classes), grid)

    def answer_texts(rows: Any) -> Any:
        ids = encode_texts(spec, rows)
        return probe.classes(subject, whole(ids, ids[:, 0]))

    return classes_finding(texts, answer_texts, shared | probe.protocol)


def tune_classes(subject: Subject, texts: TextSet, length: int, layer: str, recipe: Recipe) -> Finding:
    """Classes, or scores, by a copy of the encoder that is trained on train; val chooses nothing.

    `length`: tokens of an example, as `text_layers.text_spec` takes it.
    """
    spec = text_spec(subject, length)
    shared = {
        "evaluator": "fine-tuning of all weights",
        **recipe_protocol(subject, layer, recipe, len(texts.label["train"])),
        **reading(spec, length, cut_share(spec, texts.texts["test"])),
    }
    if is_control(subject):
        answer, said = (
            bag_of_words.classes_answer(spec, texts)
            if texts.classes
            else bag_of_words.scores_answer(spec, texts.texts["train"])
        )
        shared |= {"control": said}
    else:
        answer = tuned_answer(subject, spec, texts, layer, recipe)
    finding = classes_finding if texts.classes else scores_finding
    return finding(texts, answer, shared)


def classes_finding(texts: TextSet, answer: Answer, protocol: Mapping[str, Any]) -> Finding:
    """Metrics: accuracy and macro_f1 (the mean of the classes' F1) on test, val_accuracy, and majority, the accuracy on
    test of the class that is most frequent in train; all in [0, 1]."""
    predicted, label = answer(texts.texts["test"]), texts.label["test"]
    return Finding(
        metrics={
            "accuracy": accuracy(predicted, label),
            "macro_f1": macro_f1(predicted, label, len(texts.classes)),
            "val_accuracy": accuracy(answer(texts.texts["val"]), texts.label["val"]),
            "majority": majority(texts.label["train"], label),
        },
        protocol={**protocol, "classes": len(texts.classes), "files": texts.fingerprint},
    )


def scores_finding(texts: TextSet, answer: Answer, protocol: Mapping[str, Any]) -> Finding:
    """Metrics: spearman and pearson, correlations of the answers with the scores of test; val_spearman."""
    predicted, score = answer(texts.texts["test"]), texts.label["test"]
    return Finding(
        metrics={
            "spearman": spearman(predicted, score),
            "pearson": pearson(predicted, score),
            "val_spearman": spearman(answer(texts.texts["val"]), texts.label["val"]),
        },
        protocol={**protocol, "files": texts.fingerprint},
    )
