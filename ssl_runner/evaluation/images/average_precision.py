"""Average precision of detected boxes, as COCO defines it. T thresholds of overlap, R = 101 recalls, K classes."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ssl_runner.evaluation.images.detector import MOST, Found
from ssl_runner.interfaces import Boxes

BACKEND: Literal["pycocotools"] = "pycocotools"  # torchmetrics matches boxes with it
EVEN = 1000  # pixels that the side of an image is counted as: overlap does not depend on it


class Precision(NamedTuple):
    """Average precision, in [0, 1], of boxes that overlap by 0.5 or more, and the mean over 0.5, 0.55, ..., 0.95."""

    at_half: float  # mean over classes
    mean: float  # likewise
    by_class: dict[int, tuple[float, float]]  # class -> both; of those of which there are boxes


def check_backend(key: str) -> None:
    """Raise ValueError if the package that matches boxes is not installed; `key`: "evaluation=detection"."""
    if find_spec(BACKEND) is None:
        raise ValueError(f"{key} needs the package {BACKEND}: pip install 'ssl-runner[detection]'")


def average_precision(found: Sequence[Found], boxes: Boxes, split: str) -> Precision:
    """Of what was found in each image of a split. Raises ValueError if the split has no box but ignored ones.

    A found box is right if it overlaps with a box of its class that no better one has taken; what overlaps with an
    ignored one counts as neither right nor wrong. Precision is read at 101 recalls. Of an image 100 boxes count.
    Computed by torchmetrics with pycocotools (Lin et al. 2014, https://arxiv.org/abs/1405.0312).
    Differs from VOC: 101 recalls, where VOC 2007 has 11 and later editions all.
    """
    from torchmetrics.detection import MeanAveragePrecision  # not at the top: it takes seconds

    if bool(boxes.ignored.all()):
        raise ValueError(f"{split} has no box that is not ignored: average precision is not defined")
    metric = MeanAveragePrecision(
        iou_type="bbox",
        class_metrics=True,
        extended_summary=True,
        backend=BACKEND,
        max_detection_thresholds=[1, 10, MOST],
    )
    metric.warn_on_many_detections = False
    metric.update(
        [{"boxes": EVEN * each.corners, "labels": each.label, "scores": each.score} for each in found],
        [_truth(boxes.of(place)) for place in range(len(found))],
    )
    result = metric.compute()
    precision = result["precision"][..., 0, -1]  # (T, R, K), of boxes of any area; -1 for classes that are not there
    classes = result["classes"].reshape(-1).tolist()
    by_class = {
        label: (_mean(precision[:1, :, place]), _mean(precision[:, :, place]))
        for place, label in enumerate(classes)
        if (precision[:, :, place] > -1).any()
    }
    return Precision(result["map_50"].item(), result["map"].item(), by_class)


def _truth(boxes: Boxes) -> dict[str, Tensor]:
    return {"boxes": EVEN * boxes.corners, "labels": boxes.label, "iscrowd": boxes.ignored.int()}


def _mean(precision: Tensor) -> float:
    return torch.as_tensor(precision[precision > -1]).double().mean().item()
