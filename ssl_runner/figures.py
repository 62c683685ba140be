"""What a figure shows, as plain data: evaluations make these, `reporting` draws them.

Kept apart from `interfaces` so that tables, plots and pages need no torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Pictures(NamedTuple):
    """Rows of pictures: one row a role (x, y, prediction), one column an example."""

    rows: Mapping[str, np.ndarray]  # name -> (n, H, W) or (n, H, W, 3), float in [0, 1]
    captions: Mapping[str, Sequence[str]] = {}  # name of a row -> n short texts under its pictures
    note: str = ""  # a sentence that says what is seen


class Clips(NamedTuple):
    """Film strips: an example below the other, a strip a role (x, y, prediction) of each. A page moves them too."""

    rows: Mapping[str, np.ndarray]  # name -> (n, T, H, W) or (n, T, H, W, 3), float in [0, 1]; T may differ
    captions: Mapping[str, Sequence[str]] = {}  # name of a row -> n short texts under its strips
    note: str = ""
    gap: int = 0  # a gap is left before this frame of each strip, 0: none


class Scatter(NamedTuple):
    """Points in the plane, colored by class."""

    points: np.ndarray  # (n, 2)
    label: np.ndarray  # (n,) int; -1 where unlabeled
    names: Sequence[str] = ()  # the classes' names, by label
    note: str = ""
    texts: Sequence[str] = ()  # n short texts, written over the points as far as there is room, the first ones first


class Point(NamedTuple):
    """A single result in a figure: what it is, and the page it leads to."""

    x: float
    y: float
    title: str  # said where one points at it: "ratio=0.5, seed 1: 97.2 %"
    link: str = ""  # a URL, as seen from the page that shows the figure; "" where there is none
    name: str = ""  # written beside it, in `Dots`


class Lines(NamedTuple):
    """Curves over one axis, with bands around them where `low` and `high` are finite."""

    x: Sequence[float]
    y: Mapping[str, Sequence[float]]  # name -> len(x) values
    x_label: str
    y_label: str
    log_x: bool = False
    note: str = ""
    low: Mapping[str, Sequence[float]] = {}  # name of a curve -> len(x) values
    high: Mapping[str, Sequence[float]] = {}
    references: Mapping[str, Sequence[float]] = {}  # drawn thin; one named like a curve has its color
    points: Mapping[str, Sequence[Point]] = {}  # name of a curve -> the single results behind it
    log_y: bool = False


class Bars(NamedTuple):
    """Lying bars: a group a label, in it a bar a series."""

    labels: Sequence[str]
    values: Mapping[str, Sequence[float]]  # series -> len(labels) values; nan: no bar
    value_label: str
    decimals: int = 1  # of the numbers written beside the bars
    note: str = ""
    low: Mapping[str, Sequence[float]] = {}  # series -> len(labels) values
    high: Mapping[str, Sequence[float]] = {}
    references: Mapping[str, Sequence[float]] = {}  # series -> len(labels) values, a mark across each bar
    points: Mapping[str, Sequence[Point]] = {}  # series -> single results; x: the place of a label, y: the value


class HeatMap(NamedTuple):
    """A table of numbers, the larger the stronger in color."""

    rows: Sequence[str]
    columns: Sequence[str]
    values: np.ndarray  # (rows, columns); nan: a blank cell
    row_label: str
    column_label: str
    decimals: int = 1  # of the numbers written in the cells
    span: tuple[float, float] | None = None  # values of the palest and the strongest color; None: least and greatest
    note: str = ""
    points: Sequence[Point] = ()  # what cells lead to; x: the place of a column, y: of a row


class Dots(NamedTuple):
    """Results in the plane of two numbers, colored by group, with an upright bar from `low` to `high`."""

    points: Mapping[str, Sequence[Point]]  # by group
    x_label: str
    y_label: str
    log_x: bool = False
    note: str = ""
    low: Mapping[str, Sequence[float]] = {}  # group -> a value a point; nan: no bar
    high: Mapping[str, Sequence[float]] = {}


class Parallel(NamedTuple):
    """Parallel coordinates: an upright axis each setting, and a line a trial across them, the best one strong."""

    axes: Mapping[str, Sequence[Any]]  # name -> a value a trial, numbers or words; None: has none
    best: int  # place of the best trial
    strength: Sequence[float]  # of each line, in [0, 1]
    log: Sequence[str] = ()  # names of axes that are logarithmic
    note: str = ""


class Passages(NamedTuple):
    """Short texts, an example after the other: a text a role (x, y, prediction) of each. Shown as text, not drawn."""

    rows: Mapping[str, Sequence[str]]  # role -> n texts
    note: str = ""


Drawn = Pictures | Clips | Scatter | Lines | Bars | HeatMap | Dots | Parallel
Figure = Drawn | Passages
