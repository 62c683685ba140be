"""Two texts, read together: how they stand to each other."""

from typing import ClassVar, Literal

from ssl_runner.evaluation.any.logistic import Grid
from ssl_runner.evaluation.any.tuning import Recipe
from ssl_runner.evaluation.text.classes import probe_classes, tune_classes
from ssl_runner.evaluation.text.data import (
    PLACES,
    Files,
    Separator,
    TextSet,
    by_setting,
    check_length,
    find_files,
    read_set,
    with_val,
)
from ssl_runner.evaluation.text.reading import named_text_layer
from ssl_runner.interfaces import DataSpec, Evaluator, Finding, Subject, TextSpec


class SentencePair(Evaluator):
    """The linear probe on pairs of texts from files, both in one sequence: [CLS] a [SEP] b [SEP], the longer one cut
    until both fit `length` tokens (`text_layers.text_spec`).

    All else as in `text_classification.TextClassification`. Bag of words: logistic regression on the tf-idf vectors a
    and b, |a - b| and a * b. Metrics: `text_classes.answers_finding`.
    """

    needs_labels: ClassVar[bool] = False  # of the data that were pretrained on
    reads: ClassVar[type[DataSpec]] = TextSpec
    presentation: ClassVar[frozenset[str]] = PLACES

    def __init__(
        self,
        *,
        path: str,
        train: str,
        val: str | None,
        test: str,
        separator: Separator,
        label: int | str,
        first: int | str,
        second: int | str,
        length: int,
        layer: str | int,
        learning_rates: list[float],
        weight_decays: list[float],
        steps: int,
        batch_size: int,
    ) -> None:
        key = "evaluation.sentence_pair"
        check_length(key, length, least=5)
        self.length = length
        self.layer = named_text_layer(f"{key}.layer", layer)
        self.grid = Grid(learning_rates=learning_rates, weight_decays=weight_decays, steps=steps, batch_size=batch_size)
        self.grid.check(key)
        files = find_files(key, path, {"train": train, "val": val, "test": test})
        self.contents = by_setting(files)
        self.texts = _read(key, files, "classes", separator, label, first, second)

    def __call__(self, subject: Subject) -> Finding:
        return probe_classes(subject, self.texts, self.length, self.layer, self.grid)


class SentencePairFineTune(Evaluator):
    """Fine-tuning on pairs of texts from files, both in one sequence: a copy of the encoder is trained with a linear
    head on "train"; "test", once.

    `labels`: classes, by cross-entropy; or scores, as those of STS-B, by squared error. Pairs as in `SentencePair`, all
    else as in `text_classification.TextClassificationFineTune`. Bag of words of
    scores: the cosine of the tf-idf vectors. Metrics: `text_classes.answers_finding`.
    """

    needs_labels: ClassVar[bool] = False
    reads: ClassVar[type[DataSpec]] = TextSpec
    presentation: ClassVar[frozenset[str]] = PLACES

    def __init__(
        self,
        *,
        path: str,
        train: str,
        val: str | None,
        test: str,
        separator: Separator,
        labels: Literal["classes", "scores"],
        label: int | str,
        first: int | str,
        second: int | str,
        length: int,
        layer: str | int,
        epochs: int,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
    ) -> None:
        key = "evaluation.sentence_pair_finetune"
        check_length(key, length, least=5)
        self.length = length
        self.layer = named_text_layer(f"{key}.layer", layer)
        self.recipe = Recipe(
            epochs=epochs, least_steps=1, batch_size=batch_size, learning_rate=learning_rate, weight_decay=weight_decay
        )
        self.recipe.check(key)
        files = find_files(key, path, {"train": train, "val": val, "test": test})
        self.contents = by_setting(files)
        self.texts = _read(key, files, labels, separator, label, first, second)

    def __call__(self, subject: Subject) -> Finding:
        return tune_classes(subject, self.texts, self.length, self.layer, self.recipe)


def _read(
    key: str,
    files: Files,
    labels: Literal["classes", "scores"],
    separator: Separator,
    label: int | str,
    first: int | str,
    second: int | str,
) -> TextSet:
    columns = {f"{key}.label": label, f"{key}.first": first, f"{key}.second": second}
    return with_val(read_set(files, columns, labels=labels, separator=separator))
