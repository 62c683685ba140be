"""Few labels of a user's texts: how the linear probe fares when most have none."""

from dataclasses import replace
from typing import ClassVar

from ssl_runner.evaluation.any.few_label import FewLabel
from ssl_runner.evaluation.any.subject import FrozenSubject
from ssl_runner.evaluation.text.data import (
    PLACES,
    Separator,
    by_setting,
    check_length,
    cut_share,
    encode_set,
    find_files,
)
from ssl_runner.evaluation.text.reading import BATCH, reading, text_spec
from ssl_runner.evaluation.text.text_classification import read
from ssl_runner.interfaces import DataSpec, Evaluator, Finding, Subject, TextSpec


class TextFewLabel(Evaluator):
    """`few_label.FewLabel` on texts from files: stratified, nested subsets of "train"; accuracy on "test" per subset.

    Files as in `text_classification.TextClassification`. Bag of words: the same probe on `controls.BagOfWords.pooled`.
    """

    needs_labels: ClassVar[bool] = False  # of the data that were pretrained on
    reads: ClassVar[type[DataSpec]] = TextSpec
    presentation: ClassVar[frozenset[str]] = PLACES | FewLabel.presentation

    def __init__(
        self,
        *,
        path: str,
        train: str,
        val: str | None,
        test: str,
        separator: Separator,
        label: int | str,
        text: int | str,
        length: int,
        layer: str | int,
        fractions: list[float],
        per_class: list[int],
        learning_rates: list[float],
        weight_decays: list[float],
        steps: int,
        batch_size: int,
    ) -> None:
        key = "evaluation.text_few_label"
        check_length(key, length, least=3)
        self.length = length
        try:
            self.few_label = FewLabel(
                layer=layer,
                fractions=fractions,
                per_class=per_class,
                learning_rates=learning_rates,
                weight_decays=weight_decays,
                steps=steps,
                batch_size=batch_size,
            )
        except ValueError as error:
            raise ValueError(str(error).replace("evaluation.few_label", key)) from error
        files = find_files(key, path, {"train": train, "val": val, "test": test})
        self.contents = by_setting(files)
        self.texts = read(key, files, separator, label, text)

    def __call__(self, subject: Subject) -> Finding:
        spec = text_spec(subject, self.length)
        texts = FrozenSubject(
            subject.encoder,
            encode_set(spec, self.texts),
            seed=subject.seed,
            device=subject.device,
            batch_size=BATCH,
        )
        found = self.few_label(texts)
        terms = {**found.protocol.terms, "files": self.texts.fingerprint}
        measured = {**found.protocol.measured, **reading(spec, cut_share(spec, self.texts.texts["test"]))}
        return found._replace(protocol=replace(found.protocol, terms=terms, measured=measured))
