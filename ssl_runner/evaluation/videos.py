"""Scores of whole videos, of which clips were cut."""

from torch import Tensor

from ssl_runner.evaluation.scores import accuracy
from ssl_runner.interfaces import Data, OfVideos, SplitName


def by_video(data: Data, split: SplitName, probability: Tensor) -> dict[str, float]:
    """The accuracy of a split's videos, each given the class that its clips together make most probable: the mean of
    their probabilities (n, K). Empty where data are no clips of videos."""
    video = data.videos(split) if isinstance(data, OfVideos) else None
    if video is None:
        return {}
    _, number, clips = video.unique(return_inverse=True, return_counts=True)
    shape = (len(clips), probability.shape[1])
    mean = probability.new_zeros(shape).index_add_(0, number, probability) / clips[:, None]
    label = number.new_empty(len(clips)).scatter_(0, number, data.examples(split).label)  # all clips of one have one
    return {"accuracy_video": accuracy(mean.argmax(dim=1), label)}
