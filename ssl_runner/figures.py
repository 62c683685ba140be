"""What a figure shows, as plain data: evaluations make these, `reporting` draws them.

Kept apart from `interfaces` so that tables, plots and pages need no torch.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Pictures(NamedTuple):
    """Rows of pictures: one row a role (x, y, prediction), one column an example."""

    rows: Mapping[str, np.ndarray]  # name -> (n, H, W) or (n, H, W, 3), float in [0, 1]
    captions: Mapping[str, Sequence[str]] = {}  # name of a row -> n short texts under its pictures
    note: str = ""  # a sentence that says what is seen


class Scatter(NamedTuple):
    """Points in the plane, coloured by class."""

    points: np.ndarray  # (n, 2)
    label: np.ndarray  # (n,) int; -1 where unlabelled
    names: Sequence[str] = ()  # the classes' names, by label
    note: str = ""


class Lines(NamedTuple):
    """Curves over one axis."""

    x: Sequence[float]
    y: Mapping[str, Sequence[float]]  # name -> len(x) values
    x_label: str
    y_label: str
    log_x: bool = False
    note: str = ""


Figure = Pictures | Scatter | Lines
