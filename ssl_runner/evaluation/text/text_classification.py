"""Classification of a user's texts."""

from typing import ClassVar

from ssl_runner.evaluation.any.logistic import Grid
from ssl_runner.evaluation.any.tuning import Recipe
from ssl_runner.evaluation.text.classes import probe_classes, tune_classes
from ssl_runner.evaluation.text.files import OfFiles, Table
from ssl_runner.evaluation.text.heads import check_auxiliary
from ssl_runner.evaluation.text.reading import named_text_layer
from ssl_runner.interfaces import Finding, Subject


class TextClassification(OfFiles):
    """The linear probe on texts from files: softmax regression on frozen features of "train" for a grid of settings,
    chosen on "val" (a tenth of train where no file is named), "test" of the chosen one.

    A text is [CLS] tokens [SEP], cut to `length` tokens (`text_layers.text_spec`). `layer`: "pooled", the encoder's
    own; a block counted from the end, "-2", or "mix", all layers by weights learned on train (Peters et al. 2018): the
    mean over the tokens. Bag of words: logistic regression on tf-idf vectors. Metrics: `text_classes.answers_finding`;
    since the settings are chosen on val, its figures are the higher for it.
    """

    key: ClassVar[str] = "evaluation.text_classification"

    def __init__(self, *, path: str, texts: Table, length: int, layer: str | int, grid: Grid) -> None:
        self.layer = named_text_layer(f"{self.key}.layer", layer)
        self.grid = grid
        self.grid.check(f"{self.key}.grid")
        super().__init__(path=path, texts=texts, length=length, least=texts.least)
        self.texts = texts.read_classes(self.key, self.files)

    def __call__(self, subject: Subject) -> Finding:
        return probe_classes(subject, self.texts, self.length, self.layer, self.grid)


class TextClassificationFineTune(OfFiles):
    """Fine-tuning on texts from files: a copy of the encoder is trained with a linear head on "train"; "test", once.

    How: `text_heads.tune`. Files and layers as in `TextClassification`; of "pooled" and "mix" all weights are trained,
    of "-2" those up to that block. `auxiliary`: of a causal encoder, the weight of a language model's loss on the same
    texts (`text_heads.language_loss`). Nothing is chosen: "val" is reported. Metrics: `text_classes.answers_finding`.
    """

    key: ClassVar[str] = "evaluation.text_classification_finetune"

    def __init__(
        self, *, path: str, texts: Table, length: int, layer: str | int, auxiliary: float, recipe: Recipe
    ) -> None:
        self.layer = named_text_layer(f"{self.key}.layer", layer)
        check_auxiliary(self.key, auxiliary)
        self.auxiliary = auxiliary
        self.recipe = recipe
        self.recipe.check(f"{self.key}.recipe")
        super().__init__(path=path, texts=texts, length=length, least=texts.least)
        self.texts = texts.read(self.key, self.files)

    def __call__(self, subject: Subject) -> Finding:
        return tune_classes(subject, self.texts, self.length, self.layer, self.recipe, self.auxiliary)
