"""Detection transfer: a detector over the maps of an encoder, which is frozen or trained with it."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from ssl_runner.data.any.progress import tracked
from ssl_runner.evaluation.any.subject import TOLD, evaluating, seeded, sizes
from ssl_runner.evaluation.any.tuning import Recipe, calibrated, minimize
from ssl_runner.evaluation.images.average_precision import Precision, average_precision, check_backend
from ssl_runner.evaluation.images.detector import (
    Detector,
    Found,
    Kind,
    Pyramid,
    anchor_sizes,
    maps_of,
    mirrored,
    moments,
    resized,
)
from ssl_runner.evaluation.images.drawn_boxes import legend, with_boxes
from ssl_runner.figures import Bars, Figure, Pictures
from ssl_runner.interfaces import (
    Boxed,
    Boxes,
    DataSpec,
    Encoder,
    Evaluator,
    Finding,
    ImageSpec,
    MapEncoder,
    PatchEncoder,
    Subject,
)
from ssl_runner.results.metrics import Metric, Protocol, Split, share

HALF: dict[str, Any] = {"iou": 0.5}
RANGE: dict[str, Any] = {"iou": "0.5:0.95"}
SURE = 0.5  # boxes of this score or higher are drawn


class Detection(Evaluator):
    """Train a detector on the frozen maps of an encoder with the boxes of "train"; report "test", once.

    `levels` 1 reads the encoder's grid, more the maps of its last stages. Maps are standardized by channel over train,
    for every subject, so that their scale counts for nothing. AdamW, warm-up, cosine decay (`tuning.minimize`); nothing
    is chosen, "val" is reported. Sizes of anchors follow from the boxes of train (`detector.anchor_sizes`).

    Metrics, on test and val: map, the mean average precision over classes, at an overlap (iou) of 0.5, and its mean
    over 0.5 to 0.95; ap of each class (`average_precision`). Boxes that are ignored are not trained on.

    Doersch, Gupta, Efros 2015, https://arxiv.org/abs/1505.05192, section 4.2, with R-CNN.
    Differs from papers: small images and networks, one schedule for all.
    """

    key: ClassVar[str] = "evaluation.detection"
    trained: ClassVar[bool] = False  # whether the encoder is
    needs_labels: ClassVar[bool] = False
    needs_boxes: ClassVar[bool] = True
    reads: ClassVar[type[DataSpec]] = ImageSpec
    encoders: ClassVar[tuple[type[Encoder], ...]] = (MapEncoder, PatchEncoder)
    pixels_are_control: ClassVar[bool] = False  # they have no map
    presentation: ClassVar[frozenset[str]] = frozenset({"pictures"})

    def __init__(
        self,
        *,
        detector: Kind,
        size: int | None,
        levels: int,
        width: int,
        mirror: bool,
        recipe: Recipe,
        pictures: int,
    ) -> None:
        if detector not in ("faster_rcnn", "retinanet"):
            raise ValueError(f"{self.key}.detector is {detector!r}; it must be faster_rcnn or retinanet")
        for name, value, least in (
            ("size", size or 8, 8),
            ("levels", levels, 1),
            ("width", width, 8),
            ("pictures", pictures, 1),
        ):
            if value < least:
                raise ValueError(f"{self.key}.{name} is {value}; it must be at least {least}")
        if width % 8:
            raise ValueError(f"{self.key}.width is {width}; it must be a multiple of 8, which are normalized together")
        self.detector: Kind = detector
        self.size = size
        self.levels = levels
        self.width = width
        self.mirror = mirror
        self.recipe = recipe
        self.recipe.check(f"{self.key}.recipe")
        self.pictures = pictures

    def check(self, spec: DataSpec) -> None:
        check_backend(self.key.replace(".", "="))

    def check_encoder(self, encoder: Encoder, spec: DataSpec) -> None:
        with torch.no_grad():
            try:
                maps_of(encoder, resized(spec.to_input(spec.fake(1)), self.size), self.levels)
            except ValueError as error:
                raise ValueError(f"{self.key}.{error}") from error

    def __call__(self, subject: Subject) -> Finding:
        spec = cast(ImageSpec, subject.data.spec)
        boxes = {split: cast(Boxed, subject.data).boxes(split) for split in ("train", *TOLD)}
        side = (self.size, self.size) if self.size else (spec.height, spec.width)
        anchors = anchor_sizes(boxes["train"], side, self.levels)
        network = self._trained(subject, boxes["train"], anchors)
        metrics: list[Metric] = []
        figures: dict[str, Figure] = {}
        for split in TOLD:
            found = self._found(network, subject, split)
            precision = average_precision(found, boxes[split], split)
            metrics += precisions(precision, spec.box_names, split)
            if not figures:
                figures = {
                    "boxes": self._drawn(subject, found, boxes[split]),
                    "average precision": bars(precision, spec.box_names),
                }
        return Finding(
            metrics,
            Protocol(
                terms={
                    "method": f"detector, {'all weights trained' if self.trained else 'frozen encoder'}",
                    "average precision": "COCO's, at 101 recalls",
                },
                measured={
                    "anchors": anchors,
                    **sizes(subject, "train", *TOLD),
                    **{f"{split} boxes": int((~each.ignored).sum()) for split, each in boxes.items()},
                    "seed": subject.seed,
                },
            ),
            figures,
        )

    def _trained(self, subject: Subject, boxes: Boxes, anchors: list[list[float]]) -> Detector:
        spec, device = cast(ImageSpec, subject.data.spec), subject.device
        examples = subject.data.examples("train")
        start = calibrated(subject, self.recipe).encoder if self.trained else subject.encoder
        with evaluating(start):
            scaled = moments(start, self._inputs(subject, "train"), self.levels)
        height, width = (self.size, self.size) if self.size else (spec.height, spec.width)
        scale = torch.tensor([width, height, width, height], dtype=torch.float32)
        targets = [pixels_of(boxes.of(place), scale) for place in range(len(examples.label))]

        def loss_of(chosen: Tensor) -> Tensor:
            x = resized(spec.to_input(examples.data[chosen].to(device)), self.size)
            y = [targets[place] for place in chosen.tolist()]
            if self.mirror:
                x, y = mirrored(x, y)
            return network.loss(x, [(corners.to(device), label.to(device)) for corners, label in y])

        with seeded(subject.seed):
            pyramid = Pyramid(start, scaled, self.width, trained=self.trained)
            network = Detector(self.detector, pyramid, anchors, len(spec.box_names), max(height, width)).to(device)
            minimize(network, self.recipe, len(targets), loss_of)
        return network

    def _inputs(self, subject: Subject, split: Any) -> Iterator[Tensor]:
        spec = subject.data.spec
        for part in tracked(subject.data.examples(split).data.split(self.recipe.batch_size), f"images of {split}"):
            yield resized(spec.to_input(part.to(subject.device)), self.size)

    def _found(self, network: Detector, subject: Subject, split: Split) -> list[Found]:
        with evaluating(network), torch.inference_mode():
            return [each for x in self._inputs(subject, split) for each in network.find(x)]

    def _drawn(self, subject: Subject, found: Sequence[Found], boxes: Boxes) -> Pictures:
        """Some images of test, with their boxes and with those that were found."""
        spec, data = cast(ImageSpec, subject.data.spec), subject.data.examples("test").data
        generator = torch.Generator().manual_seed(subject.seed)
        chosen = torch.randperm(len(data), generator=generator)[: self.pictures].sort().values.tolist()
        images = spec.to_input(data[chosen])
        truth = [(each.corners, each.label) for each in map(boxes.of, chosen)]
        sure = [sure_of(found[place]) for place in chosen]
        return Pictures(
            {"truth": with_boxes(images, truth), "found": with_boxes(images, sure)},
            note=f"Test images with their boxes, and those found with a score of {SURE} or higher. "
            + legend(spec.box_names),
        )


class DetectionFineTune(Detection):
    """As `Detection`, but a copy of the encoder is trained with the detector, from the subject's weights.

    Statistics of batch normalization are first calibrated on train, for every subject (`tuning.calibrated`), and stay
    as they are: batches are too small for their own.
    """

    key: ClassVar[str] = "evaluation.detection_finetune"
    trained: ClassVar[bool] = True


def pixels_of(boxes: Boxes, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Corners (m, 4) in pixels, and labels (m,), of the boxes of an image that are trained on."""
    kept = ~boxes.ignored
    return boxes.corners[kept] * scale, boxes.label[kept]


def sure_of(found: Found) -> tuple[Tensor, Tensor]:
    """Corners and labels of what was found with some certainty."""
    sure = found.score >= SURE
    return found.corners[sure], found.label[sure]


def precisions(precision: Precision, names: Sequence[str], split: Split) -> list[Metric]:
    """Metrics of a split."""
    found = [
        share("map", precision.at_half, split=split, condition=HALF, headline=True),
        share("map", precision.mean, split=split, condition=RANGE, headline=True),
    ]
    for label, (at_half, mean) in precision.by_class.items():
        found += [
            share("ap", value, split=split, condition={"class": names[label], **over})
            for value, over in ((at_half, HALF), (mean, RANGE))
        ]
    return found


def bars(precision: Precision, names: Sequence[str]) -> Bars:
    """The average precision of each class of test."""
    labels = list(precision.by_class)
    return Bars(
        [names[label] for label in labels],
        {
            name: [100 * precision.by_class[label][place] for label in labels]
            for place, name in enumerate(("overlap 0.5", "overlap 0.5 to 0.95"))
        },
        "average precision, %",
        note="Of the boxes of each class in the test images.",
    )
