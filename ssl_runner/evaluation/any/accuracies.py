"""Accuracies of examples, and of whole videos that clips were cut from. n examples, K classes."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ssl_runner.evaluation.any.scores import accuracy, balanced_accuracy
from ssl_runner.interfaces import Data, OfVideos
from ssl_runner.results.metrics import Metric, Split, share
from ssl_runner.results.predictions import Predictions

MANY = 20  # more classes than these, and it is told how often the right one is among the first five


def answers(data: Data, logits: Mapping[Split, Tensor]) -> tuple[list[Metric], list[Predictions]]:
    """Metrics and predictions of a classifier, from its logits (n, K) of each split: `accuracies`, and of each split
    balanced_accuracy, the mean over classes of the share of their examples that is right, and of more than `MANY`
    classes accuracy_top5, the share of examples whose class is among the five most probable ones."""
    metrics: list[Metric] = []
    for split, of_split in logits.items():
        label, classes = data.examples(split).label, of_split.shape[1]
        metrics += accuracies(data, split, of_split)
        balanced = balanced_accuracy(of_split.argmax(dim=1), label, classes)
        metrics.append(share("balanced_accuracy", balanced, split=split))
        if classes > MANY:
            among = (of_split.topk(5, dim=1).indices == label[:, None]).any(dim=1)
            metrics.append(share("accuracy_top5", among.double().mean().item(), split=split))
    return metrics, [predictions(data, split, of_split) for split, of_split in logits.items()]


def accuracies(data: Data, split: Split, logits: Tensor, **fields: Any) -> list[Metric]:
    """Metrics of the classes that logits (n, K) of a split make most probable: accuracy, and of clips of videos
    accuracy_video too, that of videos, each given the class of the highest mean probability over its clips.

    `fields`: others of `Metric`.
    """
    label = data.examples(split).label
    metrics = [share("accuracy", accuracy(logits.argmax(dim=1), label), split=split, headline=True, **fields)]
    video = data.videos(split) if isinstance(data, OfVideos) else None
    if video is not None:
        _, number, clips = video.unique(return_inverse=True, return_counts=True)
        shape = (len(clips), logits.shape[1])
        mean = logits.new_zeros(shape).index_add_(0, number, logits.softmax(dim=1)) / clips[:, None]
        of_video = number.new_empty(len(clips)).scatter_(0, number, label)  # all clips of one have one
        value = accuracy(mean.argmax(dim=1), of_video)
        metrics.append(share("accuracy_video", value, split=split, headline=True, **fields))
    return metrics


def predictions(data: Data, split: Split, logits: Tensor, **condition: str | float) -> Predictions:
    """What logits (n, K) of a split say of each example. `condition`: that of the metrics."""
    probability, predicted = logits.softmax(dim=1).max(dim=1)
    names = data.spec.class_names or [str(each) for each in range(logits.shape[1])]
    label = data.examples(split).label
    return Predictions(
        split, label.numpy(), predicted.numpy(), probability.double().numpy(), names, condition=condition
    )


def accuracy_of(metrics: Sequence[Metric], split: Split) -> float:
    """The accuracy of examples, from the metrics of `accuracies`."""
    return next(each.value for each in metrics if each.name == "accuracy" and each.split == split)
