"""Fine-tuning: how far the pretrained weights carry when the whole network is trained on labels."""

from ssl_runner.evaluation.tuning import Recipe, accuracy, augmentation, calibrated, fine_tune
from ssl_runner.interfaces import Evaluator, Finding, Subject, Views


class FineTune(Evaluator):
    """Train a copy of the encoder with a linear head on "train" for a number of epochs; report "test", once.

    How: `tuning.fine_tune`, from `tuning.calibrated`. `views` null: no augmentation, so that what is compared is the
    weights alone. Nothing is chosen: "val" is not used. Metrics: accuracy in [0, 1]; of clips of videos accuracy_video,
    too (`videos.by_video`).
    """

    pixels_are_control = False  # they have no weights to train

    def __init__(
        self, *, epochs: int, batch_size: int, learning_rate: float, weight_decay: float, views: Views | None
    ) -> None:
        self.recipe = Recipe(
            epochs=epochs, least_steps=1, batch_size=batch_size, learning_rate=learning_rate, weight_decay=weight_decay
        )
        self.recipe.check("evaluation.finetune")
        self.views = views

    def __call__(self, subject: Subject) -> Finding:
        train = subject.data.examples("train")
        network = fine_tune(subject, calibrated(subject, self.recipe), train, self.recipe, self.views)
        return Finding(
            metrics=accuracy(network, subject, "test", self.recipe.batch_size),
            protocol={
                "evaluator": "fine-tuning of all weights",
                "layer": "pooled",
                "split": "test",
                "train": len(train.label),
                "epochs": self.recipe.epochs,
                "batch_size": self.recipe.batch_size,
                "learning_rate": self.recipe.learning_rate,
                "weight_decay": self.recipe.weight_decay,
                "augmentation": augmentation(self.views),
                "seed": subject.seed,
            },
        )
