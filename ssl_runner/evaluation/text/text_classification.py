"""Classes of a user's texts."""

from typing import ClassVar

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


class TextClassification(Evaluator):
    """The linear probe on texts from files: softmax regression on frozen features of "train" for a grid of settings,
    chosen on "val" (a tenth of train where no file is named), "test" of the chosen one.

    A text is [CLS] tokens [SEP], cut to `length` tokens (`text_layers.text_spec`). `layer`: "pooled", the encoder's
    own; a block counted from the end, "-2", or "mix", all layers by weights learned on train (Peters et al. 2018): the
    mean over the tokens. Bag of words: logistic regression on tf-idf vectors. Metrics: `text_classes.answers_finding`;
    since the settings are chosen on val, its figures are the higher for it.
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
        text: int | str,
        length: int,
        layer: str | int,
        learning_rates: list[float],
        weight_decays: list[float],
        steps: int,
        batch_size: int,
    ) -> None:
        key = "evaluation.text_classification"
        check_length(key, length, least=3)
        self.length = length
        self.layer = named_text_layer(f"{key}.layer", layer)
        self.grid = Grid(learning_rates=learning_rates, weight_decays=weight_decays, steps=steps, batch_size=batch_size)
        self.grid.check(key)
        files = find_files(key, path, {"train": train, "val": val, "test": test})
        self.contents = by_setting(files)
        self.texts = read(key, files, separator, label, text)

    def __call__(self, subject: Subject) -> Finding:
        return probe_classes(subject, self.texts, self.length, self.layer, self.grid)


class TextClassificationFineTune(Evaluator):
    """Fine-tuning on texts from files: a copy of the encoder is trained with a linear head on "train"; "test", once.

    How: `text_heads.tune`. Files and layers as in `TextClassification`; of "pooled" and "mix" all weights are trained,
    of "-2" those up to that block. Nothing is chosen: "val" is reported. Metrics: `text_classes.answers_finding`.
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
        label: int | str,
        text: int | str,
        length: int,
        layer: str | int,
        epochs: int,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
    ) -> None:
        key = "evaluation.text_classification_finetune"
        check_length(key, length, least=3)
        self.length = length
        self.layer = named_text_layer(f"{key}.layer", layer)
        self.recipe = Recipe(
            epochs=epochs, least_steps=1, batch_size=batch_size, learning_rate=learning_rate, weight_decay=weight_decay
        )
        self.recipe.check(key)
        files = find_files(key, path, {"train": train, "val": val, "test": test})
        self.contents = by_setting(files)
        self.texts = read(key, files, separator, label, text)

    def __call__(self, subject: Subject) -> Finding:
        return tune_classes(subject, self.texts, self.length, self.layer, self.recipe)


def read(key: str, files: Files, separator: Separator, label: int | str, text: int | str) -> TextSet:
    """A set with a val. `key`: the evaluator's in the config. Raises ValueError as `text_data.read_set` does."""
    columns = {f"{key}.label": label, f"{key}.text": text}
    return with_val(read_set(files, columns, labels="classes", separator=separator))
