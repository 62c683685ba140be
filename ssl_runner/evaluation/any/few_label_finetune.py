"""Few labels: fine-tuning of the whole network on small subsets of the training labels."""

from typing import Any, ClassVar

from ssl_runner.data.any.progress import tracked
from ssl_runner.data.any.splits import nested_subsets
from ssl_runner.evaluation.any.accuracies import accuracy_of
from ssl_runner.evaluation.any.few_label import about, by_labels
from ssl_runner.evaluation.any.subject import TOLD, sizes
from ssl_runner.evaluation.any.tuning import (
    Classifier,
    Recipe,
    Start,
    calibrated,
    check_views,
    fine_tune,
    tuned_accuracies,
)
from ssl_runner.interfaces import DataSpec, Evaluator, Examples, Finding, Subject, Views
from ssl_runner.results.metrics import Metric, Protocol


class FewLabelFineTune(Evaluator):
    """Fine-tune a copy of the encoder on each of the stratified, seeded, nested subsets of "train" that `FewLabel` has.

    The control at the random start is supervised training on the same labels: the gap between the two curves, read
    across, is the number of labels that pretraining saves. How: `tuning.fine_tune`, from `tuning.calibrated`, for the
    `epochs` of the recipe on the subset, and its `least_steps` batches where that is less, so that few labels are
    learned too. `views` null: no augmentation. A fraction has at least one example a class. Nothing is chosen: "val" is
    reported. Metrics: `accuracies.accuracies` of each subset, on test and val, in [0, 1].
    """

    pixels_are_control: ClassVar[bool] = False  # they have no weights to train
    presentation: ClassVar[frozenset[str]] = frozenset({"fractions"})  # which there are; conditions say it
    key: ClassVar[str] = "evaluation.few_label_finetune"  # in the config, for messages
    method: ClassVar[str] = "fine-tuning of all weights on few labels"
    note: ClassVar[str] = (
        "The whole network, trained on nested subsets of the labels. From the random start "
        "this is supervised training on the same labels."
    )

    def __init__(self, *, fractions: list[float], recipe: Recipe, views: Views | None) -> None:
        if not fractions or any(not 0 < fraction <= 1 for fraction in fractions):
            raise ValueError(f"{self.key}.fractions is {list(fractions)}; it must list numbers in (0, 1]")
        self.fractions = list(fractions)
        self.recipe = recipe
        self.recipe.check(f"{self.key}.recipe")
        self.views = views

    def check(self, spec: DataSpec) -> None:
        check_views(self.views, spec, self.key)

    def __call__(self, subject: Subject) -> Finding:
        train = subject.data.examples("train")
        subsets = nested_subsets(train.label, fractions=self.fractions, per_class=[], seed=subject.seed)
        start = calibrated(subject, self.recipe)
        metrics: list[Metric] = []
        measured, curve = {}, {}
        for few, subset in tracked(list(subsets.items()), "subsets of the labels"):
            examples = Examples(train.data[subset], train.label[subset])
            network, found_out = self.tuned(subject, start, examples)
            found = tuned_accuracies(network, subject, self.recipe.batch_size, condition=few.condition)
            metrics += found
            measured[str(few)] = {**about(subset), **found_out}
            curve[len(subset)] = accuracy_of(found, "test")
        return Finding(
            metrics,
            Protocol(
                terms={"method": self.method},
                measured={**measured, **sizes(subject, *TOLD), "seed": subject.seed},
            ),
            {"accuracy by labels": by_labels(curve, self.note)},
        )

    def tuned(self, subject: Subject, start: Start, labeled: Examples) -> tuple[Classifier, dict[str, Any]]:
        """The network that some labeled examples of "train" train, and what is measured of it for the protocol."""
        network = fine_tune(subject, start, labeled, self.recipe, self.views)
        return network, {"steps": self.recipe.steps(len(labeled.label))}
