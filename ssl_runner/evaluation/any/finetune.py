"""Fine-tuning: train the whole network on labels, from the pretrained weights."""

from typing import ClassVar

from ssl_runner.evaluation.any.accuracies import answers
from ssl_runner.evaluation.any.subject import TOLD, sizes
from ssl_runner.evaluation.any.tuning import Recipe, calibrated, check_views, fine_tune, tuned_logits
from ssl_runner.interfaces import DataSpec, Evaluator, Finding, Subject, Views
from ssl_runner.results.metrics import Protocol


class FineTune(Evaluator):
    """Train a copy of the encoder with a linear head on "train" for a number of epochs; report "test", once.

    How: `tuning.fine_tune`, from `tuning.calibrated`. `views` null: no augmentation, so that what is compared is the
    weights alone. Nothing is chosen: "val" is reported. Metrics: `accuracies.answers`, on test and val, in [0, 1].
    """

    pixels_are_control: ClassVar[bool] = False  # they have no weights to train

    def __init__(self, *, recipe: Recipe, views: Views | None) -> None:
        self.recipe = recipe
        self.recipe.check("evaluation.finetune.recipe")
        self.views = views

    def check(self, spec: DataSpec) -> None:
        check_views(self.views, spec, "evaluation.finetune")

    def __call__(self, subject: Subject) -> Finding:
        train = subject.data.examples("train")
        network = fine_tune(subject, calibrated(subject, self.recipe), train, self.recipe, self.views)
        logits = tuned_logits(network, subject, self.recipe.batch_size)
        metrics, predictions = answers(subject.data, logits)
        return Finding(
            metrics,
            Protocol(
                terms={"method": "fine-tuning of all weights"},
                measured={**sizes(subject, "train", *TOLD), "seed": subject.seed},
            ),
            predictions=predictions,
        )
