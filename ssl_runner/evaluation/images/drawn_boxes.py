"""Draw boxes on images, for figures."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ssl_runner.nn.pictures import pictures

COLORS = {  # of classes, in turn
    "red": (0.9, 0.1, 0.1), "blue": (0.1, 0.3, 1.0), "green": (0.0, 0.7, 0.2), "orange": (1.0, 0.6, 0.0),
    "violet": (0.6, 0.2, 0.9), "cyan": (0.0, 0.8, 0.9), "black": (0.0, 0.0, 0.0), "white": (1.0, 1.0, 1.0),
}  # fmt: skip
SIDE = 320  # pixels that a drawn image has at least
LINE = 3  # width of a line, pixels


def legend(names: Sequence[str]) -> str:
    """
    >>> legend(["cat", "dog"])
    'red: cat; blue: dog.'
    """
    colors = list(COLORS)
    return "; ".join(f"{colors[place % len(colors)]}: {name}" for place, name in enumerate(names)) + "."


def with_boxes(images: Tensor, boxes: Sequence[tuple[Tensor, Tensor]]) -> np.ndarray:
    """Images (n, C, H, W) in [0, 1], enlarged, with the outlines of boxes in the colors of their classes: (n, h, w, 3).

    `boxes`: corners (m, 4) as shares of the sides, and labels (m,), of each image.
    """
    shown = pictures(images)
    shown = shown if shown.ndim == 4 else np.repeat(shown[..., None], 3, axis=3)
    times = max(1, -(-SIDE // max(shown.shape[1:3])))
    shown = shown.repeat(times, axis=1).repeat(times, axis=2)
    colors = list(COLORS.values())
    height, width = shown.shape[1:3]
    for image, (corners, label) in zip(shown, boxes, strict=True):
        for (left, top, right, bottom), kind in zip(corners.tolist(), label.tolist(), strict=True):
            outline(
                image,
                (round(left * width), round(top * height), round(right * width), round(bottom * height)),
                colors[kind % len(colors)],
            )
    return shown


def outline(image: np.ndarray, box: tuple[int, int, int, int], color: tuple[float, float, float]) -> None:
    """Draw the sides of a box (left, top, right, bottom; pixels) inside of it, in place."""
    left, top, right, bottom = box
    inner = np.zeros(image.shape[:2], dtype=bool)
    inner[top:bottom, left:right] = True
    inner[top + LINE : max(bottom - LINE, top + LINE), left + LINE : max(right - LINE, left + LINE)] = False
    image[inner] = color
