"""Selection of frames of clips (B, T, C, H, W), and motion between frames."""

from typing import Literal

import torch
from torch import Tensor

from ssl_runner.interfaces import ClipEncoder

Seen = Literal["all", "one"]


def take(clips: Tensor, places: Tensor) -> Tensor:
    """Pick frames, different ones of each clip: (B, T, ...), (..., B, K) int64 -> (..., B, K, ...), in the order of
    `places`."""
    return clips[torch.arange(len(clips), device=clips.device)[:, None], places]


def seen(clips: Tensor, frames_seen: Seen) -> Tensor:
    """The clips as they are (all), or with every frame replaced by one of them, drawn at random, evenly (one).

    One frame is the control for what is asked of the order of frames. A clip and the same clip in any other order show
    the same one frame as often: who sees no more of them cannot do better than chance.
    """
    match frames_seen:
        case "all":
            return clips
        case "one":
            chosen = torch.randint(clips.shape[1], (len(clips), 1), device=clips.device)
            return take(clips, chosen).expand_as(clips)
    raise ValueError(f"objective.frames_seen is {frames_seen!r}; it must be all or one")


def motion(clips: Tensor) -> Tensor:
    """Motion between consecutive frames, the mean of |difference| over channels and pixels: (B, T - 1)."""
    return (clips[:, 1:] - clips[:, :-1]).abs().mean(dim=(2, 3, 4))


def check_ordered(encoder: ClipEncoder) -> None:
    """Raises ValueError for an encoder whose features do not depend on the order of frames."""
    if not encoder.ordered:
        raise ValueError(
            "backbone.pool is mean, whose features do not depend on the order of frames, which this "
            "objective predicts: set backbone.pool=lstm or attention, or choose another clip backbone"
        )
