"""Draw figures as PNG: no window, no global state of matplotlib, the same picture on every machine.

Each is drawn for a light and for a dark page. Figures are about 11.5 cm wide with text of 9 points, so that they can be
read on a phone as well as on a desk. Colours can be told apart by colour-blind readers (after Okabe and Ito, and Paul
Tol); curves differ in their dashes too, and classes are named where they lie.
"""

import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text

from ssl_runner.figures import Figure, Lines, Pictures, Scatter
from ssl_runner.reporting.results import write_atomically

WIDTH = 4.6  # inches
DPI = 180
TEXT = 9  # points
MOST_PICTURES = 16  # columns drawn of `Pictures`
MOST_NAMES = 20  # classes that are named in a `Scatter`
DASHES = ("-", "--", "-.", ":")


class Theme(NamedTuple):
    """Colours of the page a figure stands on; the page's style sheet has the same."""

    paper: str
    ink: str
    muted: str
    grid: str
    curves: tuple[str, ...]
    classes: tuple[str, ...]


LIGHT = Theme(
    paper="#ffffff",
    ink="#1c2128",
    muted="#5f6b7a",
    grid="#e3e7ec",
    curves=("#0072b2", "#d55e00", "#009e73", "#aa4499", "#8c6d00", "#3d3d3d"),
    classes=(
        "#332288", "#88ccee", "#117733", "#ddcc77", "#cc6677", "#882255", "#44aa99", "#999933", "#aa4499", "#9a9a9a",
    ),
)  # fmt: skip
DARK = Theme(
    paper="#181c22",
    ink="#e8ebef",
    muted="#9aa6b4",
    grid="#2b323b",
    curves=("#56b4e9", "#ff9d5c", "#33c6a0", "#e39cc4", "#e8d44d", "#d0d0d0"),
    classes=(
        "#8f86e8", "#99ddff", "#44bb77", "#eedd88", "#ee8866", "#d0578f", "#44d0bb", "#bbcc33", "#ffaabb", "#b0b0b0",
    ),
)  # fmt: skip


def draw(figure: Figure, theme: Theme = LIGHT) -> bytes:
    """Draw a figure. Its note is left to the page. Returns a PNG.

    Of `Pictures`, the first `MOST_PICTURES` columns. Raises ValueError for shapes that are not as figures.py says.
    """
    match figure:
        case Pictures():
            canvas = _pictures(figure, theme)
        case Scatter():
            canvas = _scatter(figure, theme)
        case Lines():
            canvas = _lines(figure, theme)
    png = io.BytesIO()
    canvas.savefig(png, format="png", dpi=DPI, facecolor=theme.paper, metadata={"Software": None})
    return png.getvalue()


def save_figure(folder: Path, name: str, figure: Figure, title: str, order: int = 0) -> Path:
    """Write `name`.png, the same for dark pages in dark/, and `name`.json: title, note, kind, place among the others.

    A figure that belongs to an evaluation is called after it: "knn-neighbours". Returns the path of the PNG.
    """
    about = {"title": title, "note": figure.note, "kind": type(figure).__name__.lower(), "order": order}
    write_atomically(folder / "dark" / f"{name}.png", draw(figure, DARK))
    write_atomically(folder / f"{name}.json", json.dumps(about, ensure_ascii=False) + "\n")
    return write_atomically(folder / f"{name}.png", draw(figure, LIGHT))


def loss_curves(rows: Sequence[Mapping[str, float]]) -> dict[str, Lines]:
    """The rows of metrics.csv as a panel a metric, train/ and val/ together: the loss first, the learning rate last."""
    names = list(dict.fromkeys(name for row in rows for name in row if name not in ("step", "epoch", "seconds")))
    panels: dict[str, list[str]] = {}
    for name in names:
        part, slash, metric = name.partition("/")
        panels.setdefault(metric if slash and part in ("train", "val") else name, []).append(name)
    steps = [row["step"] for row in rows if "step" in row]
    rows = [row for row in rows if "step" in row]
    return {
        panel: Lines(
            x=steps,
            y={_part(name, panel): [row.get(name, math.nan) for row in rows] for name in sorted(panels[panel])},
            x_label="step",
            y_label="",
        )
        for panel in sorted(panels, key=lambda panel: (panel != "loss", panel.startswith("lr")))
    }


def _part(name: str, panel: str) -> str:
    return {"train": "training", "val": "validation"}.get(name.removesuffix(f"/{panel}"), name)


def _pictures(figure: Pictures, theme: Theme) -> Canvas:
    for name, row in figure.rows.items():
        if row.ndim not in (3, 4) or (row.ndim == 4 and row.shape[-1] != 3):
            raise ValueError(f"pictures of {name!r} have shape {row.shape}; (n, H, W) or (n, H, W, 3) is needed")
    columns = min(MOST_PICTURES, max((len(row) for row in figure.rows.values()), default=0))
    if not columns:
        raise ValueError("no pictures to draw")
    margin, gap, title_height, caption_height = 0.01, 0.05, 0.22, 0.16
    side = min(1.1, (WIDTH - 2 * margin + gap) / columns - gap)  # inches a picture is wide
    heights = {name: side * row.shape[1] / row.shape[2] for name, row in figure.rows.items()}
    rows_height = sum(h + title_height + caption_height * (name in figure.captions) for name, h in heights.items())
    height = rows_height + 0.08 * (len(heights) - 1) + 2 * margin
    canvas = Canvas(figsize=(WIDTH, height))
    top = height - margin
    for name, row in figure.rows.items():
        _write(canvas, margin, top - 0.13, name, TEXT - 1, theme.muted, height)
        top -= title_height + heights[name]
        captions = figure.captions.get(name, ())
        for column in range(min(columns, len(row))):
            left = margin + column * (side + gap)
            axes = canvas.add_axes((left / WIDTH, top / height, side / WIDTH, heights[name] / height))
            pixels = row[column].astype(float).clip(0, 1)
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
            axes.set_xticks([], [])
            axes.set_yticks([], [])
            for spine in axes.spines.values():
                spine.set(color=theme.grid, linewidth=0.6)
            if column < len(captions):
                words, size = _fit(captions[column], side)
                _write(canvas, left + side / 2, top - 0.11, words, size, theme.ink, height, align="center")
        top -= 0.08 + caption_height * (name in figure.captions)
    return canvas


def _fit(words: str, width: float) -> tuple[str, float]:
    """Shrink a caption to its picture's width in inches, then cut it."""
    em = 0.6 * len(words) / 72  # inches a point of size takes, about
    size = max(4.5, min(TEXT - 1, width / em if em else TEXT))
    most = int(width * 72 / (0.6 * size))
    return (words if len(words) <= most else words[: max(1, most - 1)] + "…"), size


def _write(
    canvas: Canvas, x: float, y: float, words: str, size: float, colour: str, height: float, align: str = "left"
) -> None:
    canvas.text(x / WIDTH, y / height, words, size=size, color=colour, ha=align, va="baseline", parse_math=False)


def _scatter(figure: Scatter, theme: Theme) -> Canvas:
    if figure.points.ndim != 2 or figure.points.shape[1] != 2 or len(figure.points) != len(figure.label):
        raise ValueError(
            f"points have shape {figure.points.shape} with {len(figure.label)} labels; (n, 2) with n is needed"
        )
    across, down = np.ptp(figure.points, axis=0) if len(figure.points) else (0, 0)
    canvas = Canvas(figsize=(WIDTH, WIDTH * float(np.clip(down / across if across else 1, 0.4, 0.9))))
    axes = canvas.add_axes((0, 0, 1, 1), facecolor=theme.paper)
    axes.set_axis_off()
    axes.set_aspect("equal", adjustable="datalim")
    size = float(np.clip(4000 / max(1, len(figure.points)), 3, 14))
    found = [int(label) for label in np.unique(figure.label)]
    order = {label: place for place, label in enumerate(label for label in found if label >= 0)}
    for label in found:
        points = figure.points[figure.label == label]
        colour = to_hex(theme.muted if label < 0 else _class_colour(order[label], len(order), theme))
        axes.scatter(
            points[:, 0], points[:, 1], s=size, color=colour, alpha=0.8, linewidths=0, zorder=1 if label < 0 else 2
        )
        if label >= 0 and len(order) <= MOST_NAMES:
            name = figure.names[label] if label < len(figure.names) else str(label)
            _tag(axes, _densest(points), name, colour, theme)
    return canvas


def _tag(axes: Axes, place: np.ndarray, name: str, colour: str, theme: Theme) -> None:
    """A class's name on a ground of its colour."""
    red, green, blue = to_rgb(colour)
    ink = "#000000" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.55 else "#ffffff"
    box = {"boxstyle": "round,pad=0.25", "facecolor": colour, "edgecolor": theme.paper, "linewidth": 1}
    axes.text(
        place[0], place[1], name, size=TEXT, weight="bold", color=ink, ha="center", va="center", bbox=box, zorder=3
    ).set_parse_math(False)


def _densest(points: np.ndarray) -> np.ndarray:
    """The point with the most of its own kind around it, among the first 500: a median may lie between two clusters."""
    points = points[:500]
    square = ((points[:, None] - points[None]) ** 2).sum(-1)
    near = 0.02 * square.mean() or 1.0
    return points[np.exp(-square / near).sum(1).argmax()]


def _class_colour(place: int, classes: int, theme: Theme) -> Any:
    if classes <= len(theme.classes):
        return theme.classes[place]
    return colormaps["viridis"](0.15 + 0.8 * place / (classes - 1))  # too many to tell apart anyhow


def _lines(figure: Lines, theme: Theme) -> Canvas:
    for name, values in figure.y.items():
        if len(values) != len(figure.x):
            raise ValueError(f"curve {name!r} has {len(values)} values for {len(figure.x)} places")
    canvas = Canvas(figsize=(WIDTH, 2.7))
    left = 0.155 if figure.y_label else 0.115  # the same for all, so that panels line up
    axes = canvas.add_axes((left, 0.165, 0.985 - left, 0.805), facecolor=theme.paper)
    for side, spine in axes.spines.items():
        spine.set(color=theme.grid if side in ("left", "bottom") else "none", linewidth=0.8)
    if figure.log_x:
        axes.set_xscale("log")
    axes.grid(axis="y", color=theme.grid, linewidth=0.7)
    axes.set_axisbelow(True)
    x = np.asarray(figure.x, dtype=float)
    for place, (name, values) in enumerate(figure.y.items()):
        y = np.asarray(values, dtype=float)
        there = np.isfinite(y)  # a curve logged at fewer steps is drawn through the gaps
        colour, dash = theme.curves[place % len(theme.curves)], DASHES[place % len(DASHES)]
        marker = "o" if there.sum() <= 12 else ""
        axes.plot(x[there], y[there], dash, color=colour, label=name, linewidth=1.5, marker=marker, markersize=3)
    axes.set_xlabel(figure.x_label, size=TEXT, color=theme.muted, parse_math=False)
    axes.set_ylabel(figure.y_label, size=TEXT, color=theme.muted, parse_math=False)
    axes.tick_params(labelsize=TEXT, colors=theme.muted, width=0.6, length=2.5, which="both")
    if len(figure.y) > 1:
        legend = axes.legend(fontsize=TEXT, frameon=False, labelcolor=theme.ink, handlelength=2.2)
        words: list[Text] = legend.get_texts()
        for text in words:
            text.set_parse_math(False)
    return canvas
