"""Draw figures as PNG or SVG, without a window or global state of matplotlib, and identically on every machine.

A PNG is drawn for a light or for a dark page; an SVG takes its colors from the page. Figures are about 10.5 cm wide
with text of 9 points, which is legible on a phone as well as on a screen. Colors are suitable for color-blind readers
(after Okabe and Ito, and Paul Tol). Curves also differ in their dashes, and classes are labeled at their points.
"""

import io
import json
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, assert_never
from xml.etree import ElementTree

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, Formatter, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from PIL import Image

from ssl_runner.figures import (
    Bars,
    Clips,
    Dots,
    Drawn,
    Figure,
    HeatMap,
    Lines,
    Parallel,
    Passages,
    Pictures,
    Point,
    Scatter,
)
from ssl_runner.reporting.rows import BASELINES
from ssl_runner.results.result import own_name, write_atomically

WIDTH = 4.1  # inches
DPI = 200
TEXT = 9  # points
ALONG = 30  # characters of a line along the vertical axis
CAPTION = 7.5  # points, of captions under pictures; where words are long, the least
CLIP_CAPTION = 68  # characters of a line under a film strip
BREAK = 14  # characters of a caption's word that are not broken
MOST_PICTURES = 16  # columns of `Pictures` that are drawn, frames of a strip of `Clips`
MOST_CLIPS = 4  # examples of `Clips` that are drawn
FRAME = 64  # minimal width of a frame of a GIF, pixels
FRAME_MS = 200  # duration of a frame, milliseconds
MOST_NAMES = 20  # classes that are labeled in a `Scatter`, at most
MOST_NAMED_DOTS = 14  # dots of a `Dots` beyond which none are labeled
PARTS = ("training", "validation")  # curves of a panel
LEAST_DRAWN = 3  # points of a curve that is worth a picture; fewer are told
MOST_MARKS = 10  # values of x that all get a tick, at most
LONGEST_KEY = 46  # characters of a name in a legend
LONGEST_LABEL = 24  # characters of a label beside bars or cells
Dash = Literal["-", "--", "-.", ":"]
DASHES: tuple[Dash, ...] = ("-", "--", "-.", ":")
DOTS = (0.0, (1.0, 1.6))  # dashes of reference lines
CHARACTER = 0.6 * TEXT / 72  # approximate width of a character, inches


class Theme(NamedTuple):
    """Colors of the page that contains a figure, as in the page's style sheet."""

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


def draw(figure: Drawn, theme: Theme = LIGHT) -> bytes:
    """Draw a figure as PNG, without its note, which the page shows.

    `Pictures` are drawn up to `MOST_PICTURES` columns, `Clips` up to as many evenly spaced frames of the first
    `MOST_CLIPS` examples. Raises ValueError for shapes other than those documented in figures.py.
    """
    png = io.BytesIO()
    _canvas(figure, theme).savefig(png, format="png", dpi=DPI, facecolor=theme.paper, metadata={"Software": None})
    return png.getvalue()


def draw_svg(figure: Drawn, name: str) -> str:
    """Draw a figure as an <svg> element for a page. `name`: unique on the page; the prefix of all ids.

    Colors are variables of the style sheet, so that one drawing fits a light and a dark page; text stays text, in the
    page's font. Each `Point` has its title as a tooltip, and its link.
    """
    svg = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):  # a fixed salt makes ids deterministic
        _canvas(figure, LIGHT).savefig(
            svg, format="svg", facecolor=LIGHT.paper, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    root = ElementTree.fromstring(svg.getvalue())
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
    for defs in root.findall("defs"):
        if defs.find("style") is not None:  # it would apply to the whole page
            root.remove(defs)
    for element in root.iter():
        _suit_page(element, name)
    _, _, width, height = root.attrib["viewBox"].split()
    root.attrib = {"viewBox": root.attrib["viewBox"], "width": width, "height": height}  # scaled by style sheets
    return ElementTree.tostring(root, encoding="unicode")


def _canvas(figure: Drawn, theme: Theme) -> Canvas:
    match figure:
        case Pictures():
            return _pictures(figure, theme)
        case Clips():
            return _strips(figure, theme)
        case Scatter():
            return _scatter(figure, theme)
        case Lines():
            return _lines(figure, theme)
        case Bars():
            return _bars(figure, theme)
        case HeatMap():
            return _heat_map(figure, theme)
        case Dots():
            return _dots(figure, theme)
        case Parallel():
            return _parallel(figure, theme)
        case _:
            assert_never(figure)


VARIABLES = {  # color of the light theme -> variable of the style sheet
    LIGHT.paper: "var(--paper)",
    LIGHT.ink: "var(--ink)",
    LIGHT.muted: "var(--muted)",
    LIGHT.grid: "var(--line)",
    **{color: f"var(--curve-{place})" for place, color in enumerate(LIGHT.curves)},
}


def _suit_page(element: ElementTree.Element, name: str) -> None:
    """Adapt an element of matplotlib's SVG to the page: ids, colors, font, link."""
    given = element.attrib
    if "id" in given:
        given["id"] = f"{name}-{given['id']}"
    if given.get("href", "").startswith("#"):
        given["href"] = f"#{name}-{given['href'][1:]}"
    if "clip-path" in given:
        given["clip-path"] = given["clip-path"].replace("url(#", f"url(#{name}-")
    if "style" in given:
        kept = [part for part in given["style"].split("; ") if not part.startswith("font-family")]
        given["style"] = re.sub("#[0-9a-f]{6}", lambda code: VARIABLES.get(code[0], code[0]), "; ".join(kept))
    match element.tag:
        case "g" | "text":  # nothing refers to these
            given.pop("id", None)
            if given.get("transform", "").startswith("rotate(-0 "):
                del given["transform"]
        case "a":
            title, link = json.loads(given["href"])
            element.tag = "a" if link else "g"
            element.attrib = {"href": link} if link else {}
            words = ElementTree.Element("title")
            words.text = title
            element.insert(0, words)


def _url(point: Point) -> str:
    """The title and link of a point, encoded as the URL that `_suit_page` decodes."""
    return json.dumps([point.title, point.link])


def save_figure(
    folder: Path, name: str, figure: Figure, title: str, order: int = 0, owner: str = "", subject: str = ""
) -> Path:
    """Write `name`.png, its dark version in dark/, and `name`.json with title, note, kind and order.

    `owner`, `subject`: the evaluation that the figure belongs to (`Evaluation.owner`), and its subject; both are in the
    JSON. The figure of another evaluation is not replaced: then a part of `owner` is appended to the name. `Clips` also
    give an animated `name`.gif. Returns the path of the PNG. `Passages` give only `name`.txt, whose path is returned.
    """
    name = own_name(folder, name, owner)
    about = {"title": title, "note": figure.note, "kind": type(figure).__name__.lower(), "order": order}
    about |= {"owner": owner, "subject": subject}
    if isinstance(figure, Passages):
        write_atomically(folder / f"{name}.json", json.dumps(about, ensure_ascii=False) + "\n")
        return write_atomically(folder / f"{name}.txt", passages_text(figure))
    if isinstance(figure, Clips):
        write_atomically(folder / f"{name}.gif", animate(figure))
    write_atomically(folder / "dark" / f"{name}.png", draw(figure, DARK))
    write_atomically(folder / f"{name}.json", json.dumps(about, ensure_ascii=False) + "\n")
    return write_atomically(folder / f"{name}.png", draw(figure, LIGHT))


def passages_text(figure: Passages) -> str:
    """One block of text per example, one line per role.

    >>> print(passages_text(Passages({"x": ["a █ c"], "y": ["b"]})), end="")
    x: a █ c
    y: b
    """
    roles = list(figure.rows)
    blocks = zip(*figure.rows.values(), strict=True)
    return "\n".join("".join(f"{role}: {text}\n" for role, text in zip(roles, block, strict=True)) for block in blocks)


def loss_curves(rows: Sequence[Mapping[str, float]]) -> dict[str, Lines]:
    """One panel per metric of metrics.csv, train/ and val/ together; the loss first, the learning rate last. What is
    right without looking (`BASELINES`) stands in the panel of what it is compared with."""
    names = list(dict.fromkeys(name for row in rows for name in row if name not in ("step", "epoch", "seconds")))
    panels: dict[str, list[str]] = {}
    for name in names:
        part, slash, metric = name.partition("/")
        panels.setdefault(metric if slash and part in ("train", "val") else name, []).append(name)
    rows = [row for row in rows if "step" in row]
    steps = [row["step"] for row in rows]
    beside = {name: panel for name, panel in BASELINES.items() if {name, panel} <= panels.keys()}
    blind: dict[str, dict[str, list[str]]] = {}
    for name, panel in beside.items():
        blind.setdefault(panel, {})[name] = panels.pop(name)
    return _bound(steps, rows) | {
        panel: Lines(
            x=steps,
            y={_part(name, panel): [row.get(name, math.nan) for row in rows] for name in sorted(panels[panel])},
            x_label="step",
            y_label="",
            references={
                name.replace("_", " "): [_first(row, names) for row in rows]
                for name, names in blind.get(panel, {}).items()
            },
        )
        for panel in sorted(panels, key=lambda panel: (panel != "loss", panel.startswith("lr")))
    }


def _bound(steps: Sequence[float], rows: Sequence[Mapping[str, float]]) -> dict[str, Lines]:
    """log p = ELBO + KL by step, of an objective that logs all three in training; the KL is the band between."""
    log_p, elbo, kl = (
        [row.get(f"train/{name}", math.nan) for row in rows] for name in ("log_p", "elbo", "kl_to_posterior")
    )
    if not all(any(map(math.isfinite, values)) for values in (log_p, elbo, kl)):
        return {}
    return {
        "log p = ELBO + KL": Lines(
            x=steps,
            y={"ELBO": elbo, "log p": log_p},
            x_label="step",
            y_label="nats per example",
            low={"ELBO": elbo},
            high={"ELBO": [bound + gap for bound, gap in zip(elbo, kl, strict=True)]},
            note="The band is KL(q || posterior), computed by itself: it ends at log p.",
        )
    }


def _first(row: Mapping[str, float], names: Iterable[str]) -> float:
    return next((row[name] for name in names if name in row), math.nan)


def _part(name: str, panel: str) -> str:
    return dict(zip(("train", "val"), PARTS, strict=True)).get(name.removesuffix(f"/{panel}"), name)


def _pictures(figure: Pictures, theme: Theme) -> Canvas:
    for name, row in figure.rows.items():
        if row.ndim not in (3, 4) or (row.ndim == 4 and row.shape[-1] != 3):
            raise ValueError(f"pictures of {name!r} have shape {row.shape}; (n, H, W) or (n, H, W, 3) is needed")
    columns = min(MOST_PICTURES, max((len(row) for row in figure.rows.values()), default=0))
    if not columns:
        raise ValueError("no pictures to draw")
    across = _across(figure.captions.values(), columns)
    margin, gap, title_height, line_height = 0.01, 0.05, 0.22, 0.14
    side = min(1.1, (WIDTH - 2 * margin + gap) / across - gap)  # width of a picture, inches
    heights = {name: side * row.shape[1] / row.shape[2] for name, row in figure.rows.items()}
    captions = {name: _wrapped(figure.captions.get(name, ())[:columns], side) for name in figure.rows}
    bands = [range(first, min(first + across, columns)) for first in range(0, columns, across)]
    below = [
        {name: line_height * max((len(lines[c]) for c in band if c < len(lines)), default=0)
         for name, lines in captions.items()}
        for band in bands
    ]  # fmt: skip
    rows_height = len(bands) * sum(h + title_height + 0.08 for h in heights.values())
    height = rows_height + sum(sum(each.values()) for each in below) - 0.08 + 2 * margin
    canvas, axes = _inches(height)
    top = height - margin
    for band, room in zip(bands, below, strict=True):
        for name, row in figure.rows.items():
            _write(canvas, margin, top - 0.13, name, TEXT - 1, theme.muted, height)
            top -= title_height + heights[name]
            for place, column in enumerate(each for each in band if each < len(row)):
                left = margin + place * (side + gap)
                _picture(axes, (left, top, side, heights[name]), row[column], theme.grid)
                for line, words in enumerate(captions[name][column] if column < len(captions[name]) else ()):
                    at = top - 0.12 - line_height * line
                    _write(canvas, left + side / 2, at, words, CAPTION, theme.ink, height, align="center")
            top -= 0.08 + room[name]
    return canvas


def _inches(height: float) -> tuple[Canvas, Axes]:
    """A canvas `WIDTH` wide, and one pair of axes over all of it, in inches: for pictures at places of one's own."""
    canvas = Canvas(figsize=(WIDTH, height))
    axes = canvas.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, height))
    axes.set_axis_off()
    return canvas, axes


def _picture(axes: Axes, place: tuple[float, float, float, float], pixels: np.ndarray, frame: str = "") -> None:
    """Draw pixels at left, bottom, width, height in inches; with a frame of a color, if one is given."""
    left, bottom, width, height = place
    shown = axes.imshow(
        pixels.astype(float).clip(0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto",
        extent=(left, left + width, bottom, bottom + height), clip_on=False,
    )  # fmt: skip
    shown.set_clip_path(None)
    if frame:
        axes.add_patch(Rectangle((left, bottom), width, height, fill=False, color=frame, linewidth=0.6, clip_on=False))


def _across(captions: Iterable[Sequence[str]], columns: int) -> int:
    """How many of so many pictures stand side by side: as many as leave room for the words under them, none of which is
    cut off; all in lines of equal length."""
    longest = max((len(word) for row in captions for each in row for word in each.split()), default=0)
    if not longest:
        return columns
    wide = 0.6 * CAPTION / 72 * min(longest, BREAK) + 0.05  # inches
    most = max(1, min(columns, int(WIDTH / wide)))
    return math.ceil(columns / math.ceil(columns / most))


def _strips(figure: Clips, theme: Theme) -> Canvas:
    longest, count = _of_clips(figure)
    count = min(count, MOST_CLIPS)
    frames = min(longest, MOST_PICTURES)
    margin, gap, between, title_height, line_height = 0.01, 0.02, 0.12, 0.17, 0.14
    side = min(0.6, (WIDTH - 2 * margin - between * (figure.gap > 0)) / frames - gap)  # width of a frame, inches
    heights = {name: side * row.shape[2] / row.shape[3] for name, row in figure.rows.items()}
    captions = {
        name: [textwrap.wrap(each, CLIP_CAPTION) for each in texts[:count]] for name, texts in figure.captions.items()
    }
    below = {name: 0.02 + line_height * max(map(len, lines), default=0) for name, lines in captions.items()}
    strips = sum(h + title_height + below.get(name, 0.0) for name, h in heights.items())
    height = count * (strips + 0.1) - 0.1 + 2 * margin
    canvas, axes = _inches(height)
    top = height - margin
    for clip in range(count):
        for name, row in figure.rows.items():
            _write(canvas, margin, top - 0.12, name, TEXT - 2, theme.muted, height)
            top -= title_height + heights[name]
            shown = np.linspace(0, len(row[clip]) - 1, min(frames, len(row[clip]))).round().astype(int)
            for place, frame in enumerate(shown):
                left = margin + place * (side + gap) + between * (0 < figure.gap <= frame)
                _picture(axes, (left, top, side, heights[name]), row[clip, frame])
            for line, words in enumerate(captions[name][clip] if name in captions else ()):
                _write(canvas, margin, top - 0.11 - line_height * line, words, TEXT - 2, theme.ink, height)
            top -= below.get(name, 0.0)
        top -= 0.1
    return canvas


def animate(figure: Clips) -> bytes:
    """The clips as one endless GIF, with one row per role and one column per example.

    Clips shorter than the longest stay on their last frame. Raises ValueError for shapes other than those documented in
    figures.py.
    """
    longest, count = _of_clips(figure)
    rows = []
    for row in figure.rows.values():
        color = row if row.ndim == 5 else np.repeat(row[..., None], 3, axis=-1)
        times = max(1, math.ceil(FRAME / row.shape[3]))
        large = (color.clip(0, 1) * 255).round().astype(np.uint8).repeat(times, axis=2).repeat(times, axis=3)
        framed = np.pad(large, ((0, 0), (0, 0), (2, 2), (2, 2), (0, 0)), constant_values=128)
        held = framed[:, np.minimum(np.arange(longest), framed.shape[1] - 1)]  # (n, T, H, W, 3)
        rows.append(np.concatenate(list(held[:count]), axis=2))
    wide = max(row.shape[2] for row in rows)
    filled = [np.pad(row, ((0, 0), (0, 0), (0, wide - row.shape[2]), (0, 0)), constant_values=128) for row in rows]
    frames = [Image.fromarray(frame) for frame in np.concatenate(filled, axis=1)]
    gif = io.BytesIO()
    frames[0].save(gif, format="GIF", save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0)
    return gif.getvalue()


def _of_clips(figure: Clips) -> tuple[int, int]:
    """The number of frames of the longest clip, and the number of examples."""
    for name, row in figure.rows.items():
        if row.ndim not in (4, 5) or (row.ndim == 5 and row.shape[-1] != 3):
            raise ValueError(f"clips of {name!r} have shape {row.shape}; (n, T, H, W) or (n, T, H, W, 3) is needed")
    if not min((row.size for row in figure.rows.values()), default=0):
        raise ValueError("no clips to draw")
    return max(row.shape[1] for row in figure.rows.values()), min(len(row) for row in figure.rows.values())


def _wrapped(captions: Sequence[str], width: float) -> list[list[str]]:
    """The lines of each caption below a picture of so many inches. Nothing is cut off."""
    most = max(2, int(width * 72 / (0.57 * CAPTION)))
    return [textwrap.wrap(each, most, break_on_hyphens=False) for each in captions]


def _write(
    canvas: Canvas, x: float, y: float, words: str, size: float, color: str, height: float, align: str = "left"
) -> None:
    canvas.text(x / WIDTH, y / height, words, size=size, color=color, ha=align, va="baseline", parse_math=False)


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
    size = 2.0 if figure.texts else float(np.clip(4000 / max(1, len(figure.points)), 3, 14))
    found = [int(label) for label in np.unique(figure.label)]
    order = {label: place for place, label in enumerate(label for label in found if label >= 0)}
    for label in found:
        points = figure.points[figure.label == label]
        color = to_hex(theme.muted if label < 0 else _class_color(order[label], len(order), theme))
        axes.scatter(
            points[:, 0], points[:, 1], s=size, color=color, alpha=0.8, linewidths=0, zorder=1 if label < 0 else 2
        )
        if label >= 0 and len(order) <= MOST_NAMES:
            name = figure.names[label] if label < len(figure.names) else str(label)
            _tag(axes, _densest(points), name, color, theme)
    if figure.texts:
        _same_length("texts", figure.texts, figure.label.tolist())
        _write_over(axes, figure.points, figure.texts, theme)
    return canvas


def _write_over(axes: Axes, points: np.ndarray, texts: Sequence[str], theme: Theme) -> None:
    """Write texts over points, in order; texts that would overlap an earlier one are omitted."""
    axes.apply_aspect()
    axes.autoscale_view()  # places on the canvas follow from the limits
    inches = axes.transData.transform(points) / axes.figure.dpi
    size = TEXT - 3
    tall = 1.2 * size / 72
    written: list[tuple[float, float, float]] = []  # middle and width, inches
    for (x, y), (across, down), text in zip(points, inches, texts, strict=True):
        wide = CHARACTER * size / TEXT * (1 + len(text))
        if all(abs(down - b) >= tall or abs(across - a) >= (wide + w) / 2 for a, b, w in written):
            written.append((across, down, wide))
            shown = axes.text(x, y, text, size=size, color=theme.ink, ha="center", va="center", zorder=4, clip_on=True)
            shown.set_parse_math(False)


def _tag(axes: Axes, place: np.ndarray, name: str, color: str, theme: Theme) -> None:
    """Write the name of a class on a box of its color."""
    red, green, blue = to_rgb(color)
    ink = "#000000" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.55 else "#ffffff"
    box = {"boxstyle": "round,pad=0.25", "facecolor": color, "edgecolor": theme.paper, "linewidth": 1}
    axes.text(
        place[0], place[1], name, size=TEXT, weight="bold", color=ink, ha="center", va="center", bbox=box, zorder=3
    ).set_parse_math(False)


def _densest(points: np.ndarray) -> np.ndarray:
    """The point with the highest density, of the first 500 points; a median could lie between two clusters."""
    points = points[:500]
    square = ((points[:, None] - points[None]) ** 2).sum(-1)
    near = 0.02 * square.mean() or 1.0
    return points[np.exp(-square / near).sum(1).argmax()]


def _class_color(place: int, classes: int, theme: Theme) -> Any:
    if classes <= len(theme.classes):
        return theme.classes[place]
    return colormaps["viridis"](0.15 + 0.8 * place / (classes - 1))  # too many to distinguish


def _lines(figure: Lines, theme: Theme) -> Canvas:
    for name, values in figure.y.items():
        _same_length(f"curve {name!r}", values, figure.x)
    for kind, curves in (("low", figure.low), ("high", figure.high), ("reference", figure.references)):
        for name, values in curves.items():
            _same_length(f"{kind} {name!r}", values, figure.x)
    handles: list[Artist] = []
    styles = {name: _style(place, theme) for place, name in enumerate(figure.y)}
    alone = len(figure.y) == 1 and not figure.references.keys() - figure.y.keys()
    named = figure.y_label or " ".join({*figure.y} - {*PARTS})  # by the axis, or by the title of the panel
    if not (alone and next(iter(figure.y)) in named):
        handles += [Line2D([], [], color=styles[name][0], linestyle=styles[name][1], label=name) for name in figure.y]
    handles += [
        Line2D([], [], color=theme.muted, linestyle=DOTS, linewidth=1.2, label=name)
        for name in figure.references
        if name not in figure.y
    ]
    left = 0.18 if figure.y_label else 0.14  # room for six characters; the same for all, so that panels line up
    canvas, axes = _plane(2.17, left * WIDTH, handles, theme)
    x = np.asarray(figure.x, dtype=float)
    if figure.log_x:
        axes.set_xscale("log")
    if figure.log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    _mark(axes, x)
    for name, values in figure.y.items():
        y = np.asarray(values, dtype=float)
        there = np.isfinite(y)  # a curve logged at fewer steps is drawn through the gaps
        color, dash = styles[name]
        marker = "o" if there.sum() <= 12 and name not in figure.points else ""
        axes.plot(x[there], y[there], dash, color=color, linewidth=1.5, marker=marker, markersize=3)
        if name in figure.low and name in figure.high:
            band = [np.asarray(edge[name], dtype=float)[there] for edge in (figure.low, figure.high)]
            axes.fill_between(x[there], *band, color=color, alpha=0.16, linewidth=0)
        _dot(axes, figure.points.get(name, ()), 12, color)
    for name, values in figure.references.items():
        y = np.asarray(values, dtype=float)
        there = np.isfinite(y)
        axes.plot(
            x[there], y[there], linestyle=DOTS, color=styles[name][0] if name in styles else theme.muted, linewidth=1.2
        )
    _label(axes, figure.x_label, figure.y_label, theme)
    return canvas


def _bars(figure: Bars, theme: Theme) -> Canvas:
    _check_bars(figure)
    thick, gap = 0.19, 0.1  # inches
    group = thick * len(figure.values) + gap
    colors = {name: _style(place, theme)[0] for place, name in enumerate(figure.values)}
    handles: list[Artist] = []
    if len(figure.values) > 1:
        handles += [Patch(color=color, label=name) for name, color in colors.items()]
    left = 0.12 + CHARACTER * min(LONGEST_LABEL, max(len(label) for label in figure.labels))
    canvas, axes = _plane(group * len(figure.labels), left, handles, theme, grid="x")
    width = WIDTH - left
    nothing = [math.nan] * len(figure.labels)
    farthest = 0.0
    texts = []
    for place, (name, values) in enumerate(figure.values.items()):
        y = [(gap / 2 + (place + 0.5) * thick) / group + label for label in range(len(figure.labels))]
        low, high = figure.low.get(name, nothing), figure.high.get(name, nothing)
        marks = figure.references.get(name, nothing)
        axes.barh(y, np.nan_to_num(values), 0.84 * thick / group, color=colors[name], linewidth=0)
        for at, value, least, most, mark in zip(y, values, low, high, marks, strict=True):
            if math.isfinite(mark):
                half = 0.5 * thick / group
                axes.plot([mark, mark], [at - half, at + half], color=theme.ink, linewidth=1)
            if math.isfinite(least + most + value):
                axes.plot([least, most], [at, at], color=theme.ink, linewidth=1)
            if math.isfinite(value):
                end = max(edge for edge in (value, most, mark, 0.0) if math.isfinite(edge))
                texts.append((end, at, _number_of(value, least, most, figure.decimals)))
                farthest = max(farthest, end)
        shifted = [point._replace(x=point.y, y=y[int(point.x)]) for point in figure.points.get(name, ())]
        _dot(axes, shifted, 8, theme.ink)
        farthest = max([farthest, *(point.x for point in shifted if math.isfinite(point.x))])
    least = min(0.0, axes.dataLim.x0)
    room = 0.1 + 0.85 * CHARACTER * max((len(words) for _, _, words in texts), default=0)
    axes.set_xlim(least, least + (farthest - least or 1.0) * width / max(0.3 * width, width - room))
    axes.set_ylim(len(figure.labels), 0)
    axes.set_xticks(
        [tick for tick in axes.get_xticks() if least <= tick <= farthest]
    )  # no ticks below the written values
    for end, at, words in texts:
        axes.annotate(
            words, (end, at), (4, 0), textcoords="offset points", size=TEXT - 1, color=theme.ink, va="center_baseline"
        )
    axes.set_yticks(np.arange(len(figure.labels)) + 0.5, [_cut(label, LONGEST_LABEL) for label in figure.labels])
    _plain(axes.get_yticklabels(), theme.ink)
    axes.tick_params(axis="y", length=0)
    _label(axes, figure.value_label, "", theme)
    return canvas


def _check_bars(figure: Bars) -> None:
    for kind, series in (
        ("series", figure.values), ("low", figure.low), ("high", figure.high), ("reference", figure.references)
    ):  # fmt: skip
        for name, values in series.items():
            _same_length(f"{kind} {name!r}", values, figure.labels)
    if not figure.labels or not figure.values:
        raise ValueError("no bars to draw")


def _number_of(value: float, low: float, high: float, decimals: int) -> str:
    """A bar's value, with half of its interval where it has one."""
    half = (high - low) / 2
    return f"{value:.{decimals}f}" + (f" ± {half:.{decimals}f}" if math.isfinite(half) else "")


def _heat_map(figure: HeatMap, theme: Theme) -> Canvas:
    if figure.values.shape != (len(figure.rows), len(figure.columns)) or not figure.values.size:
        raise ValueError(
            f"values have shape {figure.values.shape}; ({len(figure.rows)}, {len(figure.columns)}), as the labels, "
            "and at least one is needed"
        )
    there = figure.values[np.isfinite(figure.values)]
    least, most = figure.span or ((there.min(), there.max()) if len(there) else (0.0, 1.0))
    left = 0.36 + CHARACTER * min(LONGEST_LABEL, max(len(row) for row in figure.rows))
    side = (WIDTH - left - 0.05) / len(figure.columns)  # width of a cell, inches
    longest = min(LONGEST_LABEL, max(len(column) for column in figure.columns))
    turned = CHARACTER * longest > 0.95 * side
    bottom = 0.32 + (CHARACTER * longest if turned else 0.16)
    tall = min(0.45, max(0.22, side))
    height = tall * len(figure.rows) + bottom + 0.05
    canvas = Canvas(figsize=(WIDTH, height))
    place = (left / WIDTH, bottom / height, 1 - (left + 0.05) / WIDTH, tall * len(figure.rows) / height)
    axes = canvas.add_axes(place, facecolor=theme.paper)
    points = {(int(point.y), int(point.x)): point for point in figure.points}
    longest_number = max((len(f"{value:.{figure.decimals}f}") for value in there), default=1)
    size = min(float(TEXT), 0.9 * side * 72 / (0.6 * longest_number))
    for (row, column), value in np.ndenumerate(figure.values):
        if not math.isfinite(value):
            continue
        share = float(np.clip((value - least) / (most - least), 0, 1)) if most > least else 0.5
        strength = 0.08 + 0.82 * share
        cell = Rectangle((column + 0.02, row + 0.03), 0.96, 0.94, color=theme.curves[0], alpha=strength, linewidth=0)
        words = f"{value:.{figure.decimals}f}"
        if (row, column) in points:
            cell.set_url(_url(points[row, column]))
        axes.add_patch(cell)
        text = axes.text(
            column + 0.5, row + 0.5, words, size=size, color=theme.paper if strength > 0.65 else theme.ink,
            ha="center", va="center_baseline",
        )  # fmt: skip
        if (row, column) in points:
            text.set_url(_url(points[row, column]))
    axes.set_xlim(0, len(figure.columns))
    axes.set_ylim(len(figure.rows), 0)
    columns = [_cut(column, LONGEST_LABEL) for column in figure.columns]
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=90 if turned else 0)
    axes.set_yticks(np.arange(len(figure.rows)) + 0.5, [_cut(row, LONGEST_LABEL) for row in figure.rows])
    axes.tick_params(labelsize=TEXT, length=0)
    _plain([*axes.get_xticklabels(), *axes.get_yticklabels()], theme.ink)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(figure.column_label, size=TEXT, color=theme.muted, parse_math=False)
    canvas.text(0.02, place[1] + place[3] / 2, figure.row_label, size=TEXT, color=theme.muted, rotation=90, ha="left",
                va="center", parse_math=False)  # fmt: skip
    return canvas


def _dots(figure: Dots, theme: Theme) -> Canvas:
    for kind, edges in (("low", figure.low), ("high", figure.high)):
        for name, values in edges.items():
            _same_length(f"{kind} {name!r}", values, figure.points.get(name, ()))
    colors = {name: _style(place, theme)[0] for place, name in enumerate(figure.points)}
    handles: list[Artist] = []
    every = [point for points in figure.points.values() for point in points]
    told = len(every) <= MOST_NAMED_DOTS and all(
        group in point.name for group, points in figure.points.items() for point in points
    )
    if len(colors) > 1 and not told:  # else the name beside each dot says it
        handles += [
            Line2D([], [], color=color, linestyle="", marker="o", markersize=4, label=name)
            for name, color in colors.items()
        ]
    canvas, axes = _plane(2.6, 0.155 * WIDTH, handles, theme)
    axes.margins(0.06)
    if figure.log_x:
        axes.set_xscale("log")
    named = []
    for name, points in figure.points.items():
        if name in figure.low and name in figure.high:
            for point, low, high in zip(points, figure.low[name], figure.high[name], strict=True):
                if math.isfinite(high - low):
                    axes.plot([point.x, point.x], [low, high], color=colors[name], linewidth=1.2, alpha=0.6)
        _dot(axes, points, 24, colors[name])
        named += [point for point in points if point.name and math.isfinite(point.x) and math.isfinite(point.y)]
    _mark(axes, ())
    _label(axes, figure.x_label, figure.y_label, theme)
    if len(named) <= MOST_NAMED_DOTS:
        _name_dots(axes, named, theme)
    return canvas


def _parallel(figure: Parallel, theme: Theme) -> Canvas:
    for name, values in figure.axes.items():
        _same_length(f"axis {name!r}", values, figure.strength)
    if len(figure.axes) < 2 or not 0 <= figure.best < len(figure.strength):
        raise ValueError("parallel coordinates need two axes or more, and the place of the best trial")
    scales = {name: _Scale(values, name in figure.log) for name, values in figure.axes.items()}
    bottom, tall = 0.62, 2.2
    height = bottom + tall + 0.3
    canvas = Canvas(figsize=(WIDTH, height))
    room = 0.55 / WIDTH  # for the words of the first and the last axis
    axes = canvas.add_axes((room, bottom / height, 1 - 2 * room, tall / height), facecolor=theme.paper)
    axes.set_axis_off()
    axes.set_xlim(0, len(scales) - 1)
    axes.set_ylim(0, 1)
    places = np.array([[scales[name].place(value) for value in values] for name, values in figure.axes.items()])
    for trial in sorted(range(len(figure.strength)), key=lambda each: each == figure.best):
        best = trial == figure.best
        axes.plot(
            range(len(scales)), places[:, trial], color=theme.curves[1 if best else 0], linewidth=2.4 if best else 1.0,
            alpha=1.0 if best else 0.15 + 0.5 * float(np.clip(figure.strength[trial], 0, 1)), clip_on=False,
        )  # fmt: skip
    for place, (name, scale) in enumerate(scales.items()):
        axes.plot([place, place], [0, 1], color=theme.muted, linewidth=0.8, clip_on=False)
        shift = (place == len(scales) - 1) - (place == 0)  # outwards at both ends
        words = textwrap.wrap(name, max(6, int((WIDTH - 0.6) / len(scales) / CHARACTER * 1.1)))
        axes.annotate(
            "\n".join(words), (place, 0), (15 * shift, -9), textcoords="offset points", size=TEXT - 1,
            color=theme.muted, ha="center", va="top", annotation_clip=False, parse_math=False,
        )  # fmt: skip
        for at, text in scale.marks:
            label = axes.annotate(
                _cut(text, 14), (place, at), (-4 if place == 0 else 4, 0), textcoords="offset points", size=TEXT - 2,
                color=theme.ink, ha="right" if place == 0 else "left", va="center", annotation_clip=False,
                bbox={"facecolor": theme.paper, "edgecolor": "none", "pad": 0.6, "alpha": 0.7},
            )  # fmt: skip
            label.set_parse_math(False)
    return canvas


class _Scale:
    """Where values lie on an upright axis, from 0 to 1, and what is written beside it."""

    def __init__(self, values: Sequence[Any], log: bool) -> None:
        there = [value for value in values if value is not None]
        self._numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in there)
        self._log = log and self._numbers
        self._words = [] if self._numbers else list(dict.fromkeys(map(str, there)))
        if self._numbers and there:
            self._low, self._high = self._scaled(min(there)), self._scaled(max(there))
            shown = [min(there), max(there)] if min(there) < max(there) else [min(there)]
            self.marks = [(self.place(value), _short(float(value))) for value in shown]
        else:
            self.marks = [(self.place(word), word) for word in self._words]

    def place(self, value: Any) -> float:
        """nan where there is none."""
        if value is None:
            return math.nan
        if not self._numbers:
            return (self._words.index(str(value)) + 0.5) / len(self._words)
        return (self._scaled(value) - self._low) / (self._high - self._low) if self._high > self._low else 0.5

    def _scaled(self, value: float) -> float:
        return math.log(value) if self._log else float(value)


def _name_dots(axes: Axes, points: Sequence[Point], theme: Theme) -> None:
    """Write names beside dots, towards the center of the axes, at different heights, so that none overlap."""
    axes.autoscale_view()  # places on the canvas follow from the limits
    box = axes.get_window_extent()
    pixel = 72 / axes.figure.dpi  # in points
    placed = [(*axes.transData.transform((point.x, point.y)), point) for point in points]
    placed.sort(key=lambda at: at[1])
    heights = [(y - box.y0) * pixel for _, y, _ in placed]
    moved = _apart(heights, TEXT + 1.0, box.height * pixel)
    for (x, _, point), height, now in zip(placed, heights, moved, strict=True):
        side = 1 if x < (box.x0 + box.x1) / 2 else -1
        room = (box.x1 - x if side > 0 else x - box.x0) * pixel - 8  # points
        name = _cut(point.name, int(room / (72 * CHARACTER * (TEXT - 1) / TEXT)))
        text = axes.annotate(
            name, (point.x, point.y), (8 * side, now - height), textcoords="offset points",
            size=TEXT - 1, color=theme.ink, ha="left" if side > 0 else "right", va="center_baseline",
            arrowprops={"arrowstyle": "-", "color": theme.muted, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2},
        )  # fmt: skip
        text.set_parse_math(False)


def _apart(places: Sequence[float], gap: float, most: float) -> list[float]:
    """Move ascending places in [0, `most`] as little as possible (least squares), such that neighbors are `gap` apart.

    With i gaps subtracted from place i, this is isotonic regression (pool adjacent violators, Ayer et al. 1955,
    https://doi.org/10.1214/aoms/1177728423).

    >>> _apart([1, 1, 10], 2, 12)
    [0.0, 2.0, 10.0]
    """
    pools: list[tuple[float, int]] = []  # sum, number
    for rank, place in enumerate(places):
        total, number = place - rank * gap, 1
        while pools and pools[-1][0] / pools[-1][1] > total / number:
            before = pools.pop()
            total, number = total + before[0], number + before[1]
        pools.append((total, number))
    means = [total / number for total, number in pools for _ in range(number)]
    room = max(0.0, most - gap * (len(places) - 1))
    return [min(max(mean, 0.0), room) + rank * gap for rank, mean in enumerate(means)]


def _same_length(what: str, values: Sequence[Any], places: Sequence[Any]) -> None:
    if len(values) != len(places):
        raise ValueError(f"{what} has {len(values)} values for {len(places)} places")


def _style(place: int, theme: Theme) -> tuple[str, Dash]:
    """Color and dash of a curve; the number of distinct pairs is the least common multiple of both numbers."""
    return theme.curves[place % len(theme.curves)], DASHES[place % len(DASHES)]


def _plane(
    tall: float, left: float, handles: Sequence[Artist], theme: Theme, grid: Literal["x", "y"] = "y"
) -> tuple[Canvas, Axes]:
    """Axes `tall` inches high and `left` inches from the edge, with a legend above them."""
    names = [_cut(str(handle.get_label()), LONGEST_KEY) for handle in handles]
    across = max(1, int((WIDTH - 0.3) / (CHARACTER * max(map(len, names)) + 0.45))) if names else 1
    lines = math.ceil(len(names) / across)
    bottom, top = 0.445, 0.08 + 0.165 * lines + 0.06 * bool(lines)
    height = bottom + tall + top
    canvas = Canvas(figsize=(WIDTH, height))
    axes = canvas.add_axes((left / WIDTH, bottom / height, 0.985 - left / WIDTH, tall / height), facecolor=theme.paper)
    for side, spine in axes.spines.items():
        spine.set(color=theme.grid if side in ("left", "bottom") else "none", linewidth=0.8)
    axes.grid(axis=grid, color=theme.grid, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=TEXT, colors=theme.muted, width=0.6, length=2.5, which="both")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(Whole())
    if names:
        legend = canvas.legend(
            handles, names, loc="upper left", bbox_to_anchor=(0, 1), ncols=across, fontsize=TEXT, frameon=False,
            labelcolor=theme.ink, handlelength=2.0, borderaxespad=0.1, labelspacing=0.25, columnspacing=1.2,
        )  # fmt: skip
        _plain(legend.get_texts(), theme.ink)
    return canvas, axes


def _mark(axes: Axes, places: Iterable[float]) -> None:
    """Set ticks of the x axis at the places, if they are few; else at round numbers."""
    found = sorted({float(place) for place in places})
    scale = math.log if axes.get_xscale() == "log" else float
    if 0 < len(found) <= MOST_MARKS:
        room = CHARACTER * (1 + max(len(_short(place)) for place in found)) / (axes.get_position().width * WIDTH)
        kept = found[:1]
        for place in found[1:]:
            if scale(place) - scale(kept[-1]) >= room * (scale(found[-1]) - scale(found[0])):
                kept.append(place)
        axes.xaxis.set_major_locator(FixedLocator(kept))
    elif scale is math.log:
        low, high = axes.get_xlim()
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        return
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: _short(place)))


def _short(place: float) -> str:
    """A value on an axis with three significant digits, or as an integer.

    >>> _short(0.000177828), _short(3600.0), _short(2e6)
    ('0.000178', '3600', '2e+06')
    """
    return f"{place:.0f}" if 1000 <= place < 1e6 else f"{place:.3g}"


class Whole(Formatter):
    """Each tick says its whole number: nothing is left to a factor or an offset at the end of the axis, which would
    stand over the legend."""

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        ticks = [float(value) for value in values]
        return [tick(each, ticks).replace("-", "\N{MINUS SIGN}") for each in ticks]

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:.4g}"


def tick(value: float, ticks: Sequence[float]) -> str:
    """One of some ticks, with as many digits as tell them apart.

    >>> [tick(each, [0, 0.5, 1]) for each in (0, 0.5, 1)], tick(2e-5, [1e-5, 2e-5]), tick(1.5e6, [1e6, 1.5e6])
    (['0.0', '0.5', '1.0'], '2e-05', '1.5e+06')
    """
    largest = max((abs(each) for each in ticks), default=0.0)
    form = "e" if largest >= 1e5 or 0 < largest < 1e-3 else "f"
    if form == "e" and not value:
        return "0"
    told = sorted(set(ticks))
    step = min((high - low for low, high in pairwise(told)), default=largest)
    for digits in range(10):
        if all(abs(float(f"{each:.{digits}{form}}") - each) <= 0.01 * step for each in told):
            return f"{value:.{digits}{form}}"
    return f"{value:.4g}"


def _label(axes: Axes, x_label: str, y_label: str, theme: Theme) -> None:
    """Write what the axes are, and leave room for the longest tick."""
    axes.set_xlabel(_cut(x_label, 48), size=TEXT, color=theme.muted, parse_math=False)
    lines = textwrap.wrap(y_label, ALONG, break_on_hyphens=False, max_lines=2, placeholder=" …")
    size = TEXT * min(1.0, ALONG / max([1, *map(len, lines)]))  # as long as the axis
    axes.set_ylabel("\n".join(lines), size=size, color=theme.muted, parse_math=False)
    box, needed = axes.get_position(), 0.0
    if isinstance(axes.yaxis.get_major_formatter(), Whole):
        axes.autoscale_view()  # ticks follow from the limits
        ticks = [float(place) for place in axes.get_yticks()]
        longest = max((len(tick(place, ticks)) for place in ticks), default=0)
        needed = 0.95 * CHARACTER * longest + 0.06 + 0.18 * bool(lines)
    left = max(needed, WIDTH * box.x0) + 0.14 * (len(lines) == 2)  # inches
    axes.set_position((left / WIDTH, box.y0, box.x1 - left / WIDTH, box.height))


def _dot(axes: Axes, points: Sequence[Point], size: float, color: str) -> None:
    there = [point for point in points if math.isfinite(point.x) and math.isfinite(point.y)]
    if there:
        x, y = [point.x for point in there], [point.y for point in there]
        drawn = axes.scatter(x, y, s=size, color=color, linewidths=0, zorder=3, clip_on=False)
        drawn.set_urls([_url(point) for point in there])


def _plain(texts: Iterable[Text], color: str) -> None:
    """Show texts literally, without math."""
    for text in texts:
        text.set(parse_math=False, color=color)


def _cut(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 1] + "…"
