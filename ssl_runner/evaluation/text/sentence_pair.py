"""Classification and regression of pairs of texts."""

from typing import ClassVar

from ssl_runner.evaluation.text.text_classification import TextClassification, TextClassificationFineTune


class SentencePair(TextClassification):
    """The linear probe on pairs of texts from files, both in one sequence: [CLS] a [SEP] b [SEP], the longer one cut
    until both fit `length` tokens (`text_layers.text_spec`).

    All else as in `text_classification.TextClassification`. Bag of words: logistic regression on the tf-idf vectors a
    and b, |a - b| and a * b. Metrics: `text_classes.answers_finding`.
    """

    key: ClassVar[str] = "evaluation.sentence_pair"


class SentencePairFineTune(TextClassificationFineTune):
    """Fine-tuning on pairs of texts from files, both in one sequence: a copy of the encoder is trained with a linear
    head on "train"; "test", once.

    `labels`: classes, by cross-entropy; or scores, as those of STS-B, by squared error. Pairs as in `SentencePair`, all
    else as in `text_classification.TextClassificationFineTune`. Bag of words of
    scores: the cosine of the tf-idf vectors. Metrics: `text_classes.answers_finding`.
    """

    key: ClassVar[str] = "evaluation.sentence_pair_finetune"
