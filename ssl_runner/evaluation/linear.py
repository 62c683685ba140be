"""The linear probe: how well a linear classifier reads the classes off frozen features."""

from ssl_runner.evaluation.logistic import Grid, fit_linear
from ssl_runner.evaluation.scores import accuracy
from ssl_runner.evaluation.subject import named_layer
from ssl_runner.evaluation.videos import by_video
from ssl_runner.interfaces import Evaluator, Finding, Subject


class LinearProbe(Evaluator):
    """Train softmax regression on "train" for a grid of settings, choose on "val", report "test" of the chosen one.

    The chosen classifier is not trained again on train and val together. Metrics: accuracy (test), val_accuracy, both
    in [0, 1]; of clips of videos accuracy_video, too (`videos.by_video`). `evaluation.logistic.fit_linear` says what is
    minimised and how.
    """

    def __init__(
        self,
        *,
        layer: str | int,
        learning_rates: list[float],
        weight_decays: list[float],
        steps: int,
        batch_size: int,
    ) -> None:
        self.layer = named_layer("evaluation.linear.layer", layer)
        self.grid = Grid(learning_rates=learning_rates, weight_decays=weight_decays, steps=steps, batch_size=batch_size)
        self.grid.check("evaluation.linear")

    def __call__(self, subject: Subject) -> Finding:
        train, val, test = (subject.features(split, self.layer) for split in ("train", "val", "test"))
        device = subject.device
        fit = fit_linear(
            train.data.to(device),
            train.label.to(device),
            val.data.to(device),
            val.label.to(device),
            subject.data.spec.classes,
            self.grid,
            seed=subject.seed,
        )
        logits = fit.logits(test.data.to(device)).cpu()
        return Finding(
            metrics={"accuracy": accuracy(logits.argmax(dim=1), test.label), "val_accuracy": fit.val_accuracy}
            | by_video(subject.data, "test", logits.softmax(dim=1)),
            protocol={
                "evaluator": "linear probe",
                "layer": self.layer,
                "features": "standardised by train",
                "width": train.data.shape[1],
                "split": "test",
                "train": len(train.label),
                "chosen on": f"val ({len(val.label)} labels)",
                "settings": len(self.grid.settings),
                "steps": self.grid.steps,
                "learning_rate": fit.learning_rate,
                "weight_decay": fit.weight_decay,
                "at the grid's edge": ", ".join(fit.at_edge),
                "seed": subject.seed,
            },
        )
