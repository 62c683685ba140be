"""Classes of texts and of pairs of texts, by a frozen encoder or a fine-tuned one: what both evaluations share."""

from dataclasses import replace
from typing import Any

from ssl_runner.evaluation import bag_of_words
from ssl_runner.evaluation.logistic import Grid
from ssl_runner.evaluation.scores import class_metrics, score_metrics
from ssl_runner.evaluation.text import TOLD
from ssl_runner.evaluation.text_data import TextSet, cut_share, encode_texts
from ssl_runner.evaluation.text_heads import Answer, fit_probe, is_control, tuned_answer, whole
from ssl_runner.evaluation.text_layers import text_spec
from ssl_runner.evaluation.tuning import Recipe
from ssl_runner.interfaces import Finding, Subject
from ssl_runner.metrics import Metric, Protocol


def probe_classes(subject: Subject, texts: TextSet, layer: str, grid: Grid) -> Finding:
    """Classes read off frozen features by a linear classifier that is chosen on val; a set with train, val and test."""
    spec = text_spec(subject)
    terms = {"method": "linear probe", "features": "standardized by train"}
    if is_control(subject):
        return control_finding(subject, texts, Protocol(terms=terms))
    asked = {split: whole(encode_texts(spec, rows), texts.label[split]) for split, rows in texts.texts.items()}
    probe = fit_probe(subject, layer, "text", asked, len(texts.classes), grid)

    def answer_texts(rows: Any) -> Any:
        ids = encode_texts(spec, rows)
        return probe.classes(subject, whole(ids, ids[:, 0]))

    return answers_finding(
        subject, texts, answer_texts, Protocol(terms=terms, chosen=probe.chosen, measured=probe.measured)
    )


def tune_classes(subject: Subject, texts: TextSet, layer: str, recipe: Recipe) -> Finding:
    """Classes, or scores, by a copy of the encoder that is trained on train; val chooses nothing."""
    protocol = Protocol(terms={"method": "fine-tuning of all weights"})
    if is_control(subject):
        return control_finding(subject, texts, protocol)
    return answers_finding(subject, texts, tuned_answer(subject, texts, layer, recipe), protocol)


def control_finding(subject: Subject, texts: TextSet, protocol: Protocol) -> Finding:
    """The answers of the bare words."""
    control = bag_of_words.control(text_spec(subject), texts)
    found = replace(protocol, chosen=control.chosen, measured={"control": control.said})
    return answers_finding(subject, texts, control.answer, found)


def answers_finding(subject: Subject, texts: TextSet, answer: Answer, protocol: Protocol) -> Finding:
    """Metrics on test and val. Of classes: `scores.class_metrics`, in [0, 1]; of scores: `scores.score_metrics`."""
    metrics: list[Metric] = []
    for split in TOLD:
        predicted, label = answer(texts.texts[split]), texts.label[split]
        metrics += (
            class_metrics(predicted, label, texts.label["train"], len(texts.classes), split)
            if texts.classes
            else score_metrics(predicted, label, split)
        )
    spec = text_spec(subject)
    about = {
        "classes": len(texts.classes),
        **{f"{split} examples": len(label) for split, label in texts.label.items()},
        "cut": cut_share(spec, encode_texts(spec, texts.texts["test"])),
        "seed": subject.seed,
    }
    return Finding(
        metrics,
        replace(
            protocol,
            terms={**protocol.terms, "files": texts.fingerprint},
            measured={**protocol.measured, **about},
        ),
    )
