"""Accuracies of examples, and of whole videos that clips were cut from. n examples, K classes."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ssl_runner.evaluation.any.scores import accuracy
from ssl_runner.interfaces import Data, OfVideos
from ssl_runner.results.metrics import Metric, Split, share


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


def accuracy_of(metrics: Sequence[Metric], split: Split) -> float:
    """The accuracy of examples, from the metrics of `accuracies`."""
    return next(each.value for each in metrics if each.name == "accuracy" and each.split == split)
