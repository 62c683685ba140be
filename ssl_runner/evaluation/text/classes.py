"""Classification of texts and pairs of texts, by a frozen encoder or a fine-tuned one."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from ssl_runner.evaluation.any.logistic import Grid
from ssl_runner.evaluation.any.scores import class_metrics, score_metrics
from ssl_runner.evaluation.any.subject import TOLD
from ssl_runner.evaluation.any.tuning import Recipe
from ssl_runner.evaluation.text import bag_of_words
from ssl_runner.evaluation.text.data import TextSet, cut_share, encode_texts
from ssl_runner.evaluation.text.heads import Answer, decided, fit_probe, is_control, tuned_answer, whole
from ssl_runner.evaluation.text.reading import reading, text_spec
from ssl_runner.interfaces import Finding, Subject, TextSpec
from ssl_runner.results.metrics import Metric, Protocol, Split
from ssl_runner.results.predictions import Predictions


def probe_classes(subject: Subject, texts: TextSet, length: int, layer: str, grid: Grid) -> Finding:
    """Classification by a linear probe that is chosen on val; a set with train, val and test.

    `length`: tokens of an example, as `text_layers.text_spec` takes it.
    """
    spec = text_spec(subject, length)
    terms = {"method": "linear probe", "features": "standardized by train"}
    if is_control(subject):
        return control_finding(subject, spec, texts, terms)
    asked = {split: whole(encode_texts(spec, rows), texts.label[split]) for split, rows in texts.texts.items()}
    probe = fit_probe(subject, layer, "text", asked, len(texts.classes), grid)

    def answer_texts(rows: Any) -> Any:
        ids = encode_texts(spec, rows)
        return probe.log_p(subject, whole(ids, ids[:, 0]))

    protocol = Protocol(terms=terms, chosen=probe.chosen, measured=probe.measured)
    return answers_finding(subject, spec, texts, answer_texts, protocol)


def tune_classes(
    subject: Subject, texts: TextSet, length: int, layer: str, recipe: Recipe, auxiliary: float
) -> Finding:
    """Classes, or scores, by a copy of the encoder that is trained on train; val chooses nothing.

    `length`: tokens of an example, as `text_layers.text_spec` takes it. `auxiliary`: the weight of
    `heads.language_loss`.
    """
    spec = text_spec(subject, length)
    terms = {"method": "fine-tuning of all weights"}
    if is_control(subject):
        return control_finding(subject, spec, texts, terms)
    answer = tuned_answer(subject, spec, texts, layer, recipe, auxiliary)
    return answers_finding(subject, spec, texts, answer, Protocol(terms=terms))


def control_finding(subject: Subject, spec: TextSpec, texts: TextSet, terms: Mapping[str, Any]) -> Finding:
    """The answers of the bag-of-words control."""
    control = bag_of_words.control(spec, texts)
    protocol = Protocol(terms=terms, chosen=control.chosen, measured={"control": control.said})
    return answers_finding(subject, spec, texts, control.answer, protocol)


def answers_finding(subject: Subject, spec: TextSpec, texts: TextSet, answer: Answer, protocol: Protocol) -> Finding:
    """Metrics on test and val. Of classes: `scores.class_metrics`, in [0, 1], and predictions; of scores:
    `scores.score_metrics`."""
    metrics: list[Metric] = []
    said: list[Predictions] = []
    for split in TOLD:
        answered, label = answer(texts.texts[split]), texts.label[split]
        if texts.classes:
            metrics += class_metrics(decided(answered), label, texts.label["train"], len(texts.classes), split)
            said.append(predictions(texts, split, answered))
        else:
            metrics += score_metrics(answered, label, split)
    about = {
        "classes": len(texts.classes),
        **{f"{split} examples": len(label) for split, label in texts.label.items()},
        **reading(spec, cut_share(spec, texts.texts["test"])),
        "seed": subject.seed,
    }
    terms = {**protocol.terms, "files": texts.fingerprint}
    protocol = replace(protocol, terms=terms, measured={**protocol.measured, **about})
    return Finding(metrics, protocol, predictions=said)


def predictions(texts: TextSet, split: Split, log_p: Tensor) -> Predictions:
    """The most probable classes of the texts of a split, from (n, K) log p."""
    probability, predicted = log_p.double().exp().max(dim=1)
    shown = [" | ".join(row) for row in texts.texts[split]]
    label = texts.label[split].numpy()
    return Predictions(split, label, predicted.numpy(), probability.numpy(), texts.classes, shown)
