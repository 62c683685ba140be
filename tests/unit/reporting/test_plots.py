import io
import json
import math
import re
import sys
from pathlib import Path
from struct import unpack
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from ssl_runner.figures import Bars, Clips, Dots, Figure, HeatMap, Lines, Pictures, Point, Scatter
from ssl_runner.reporting import plots
from ssl_runner.reporting.plots import DARK, DPI, LIGHT, WIDTH, animate, draw, draw_svg, loss_curves, save_figure

GRAY = np.linspace(0, 1, 3 * 4 * 6).reshape(3, 4, 6)
FILM = np.random.default_rng(0).random((3, 5, 4, 6))
FIGURES = {
    "clips": Clips({"x": FILM[:, :3], "y": np.stack([FILM] * 3, axis=-1)}, {"y": ["a", "$^", "b" * 90]}, gap=2),
    "pictures": Pictures({"x": GRAY, "y": np.stack([GRAY] * 3, axis=-1)}, {"x": ["a", "b" * 90, "$^"]}, "A note."),
    "scatter": Scatter(np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 4 - 1, ["$x^$", "b"], "Points."),
    "lines": Lines([1, 10, 100], {"$a_^": [1, 2, 3], "b": [math.nan, 1, math.inf]}, "x", "y", True, "Curves."),
    "band": Lines(
        x=[1, 2, 3],
        y={"a": [1, 2, 3], "b": [1, math.nan, 3]},
        x_label="$x_y$",
        y_label="<script>",
        low={"a": [0, 1, math.nan]},
        high={"a": [2, 3, math.nan]},
        references={"a": [0, 0, math.nan], "random start": [1, 1, 1]},
        points={"a": [Point(1, 1.5, "seed 0: <b>", "a%20b/report.html?x&y"), Point(2, math.nan, "none")]},
    ),
    "bars": Bars(
        labels=["<script>", "$x_y$" * 9],
        values={"a": [97.25, 3], "b": [math.nan, -2]},
        value_label="accuracy",
        low={"a": [96.25, math.nan]},
        high={"a": [98.25, math.nan]},
        references={"a": [80, math.nan]},
        points={"a": [Point(0, 97, "seed 0", "r.html"), Point(1, 3, "seed 1")]},
    ),
    "heat map": HeatMap(
        rows=["$r_1$", "b"],
        columns=["<script>", "y" * 40, "z"],
        values=np.array([[1, math.nan, 3], [4, 5, 6.04]]),
        row_label="r",
        column_label="c",
        points=[Point(2, 1, "cell", "r.html"), Point(1, 0, "blank", "never.html")],
    ),
    "dots": Dots(
        points={
            "a": [Point(1, 1, "one", "r.html", "$n_1$"), Point(1.01, 1, "two", "", "n2")],
            "<b>": [Point(900, 2, "three")],
        },
        x_label="s",
        y_label="a",
        log_x=True,
        low={"a": [0.5, math.nan]},
        high={"a": [1.5, math.nan]},
    ),
}


def size(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return unpack(">II", png[16:24])


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_a_figure_is_a_png_of_the_page_s_width_the_same_every_time(figure: Figure) -> None:
    png = draw(figure)
    assert size(png)[0] == round(WIDTH * DPI)
    assert draw(figure) == png
    assert draw(figure, DARK) != png


def test_drawing_leaves_matplotlib_s_global_state_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw(FIGURES["lines"])
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def pixels(png: bytes) -> np.ndarray:
    import io

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_pictures_show_their_pixels_between_black_and_white() -> None:
    image = np.zeros((1, 2, 2))
    image[0, 0, 1] = 1
    shown = pixels(draw(Pictures({"x": image})))
    side = round(1.1 * DPI)
    block = shown[-side:, :side]  # the picture ends one hundredth of an inch above the lower edge
    assert tuple(block[side // 4, 3 * side // 4]) == (255, 255, 255)
    assert tuple(block[side // 4, side // 4]) == (0, 0, 0)
    assert tuple(block[3 * side // 4, 3 * side // 4]) == (0, 0, 0)


def test_pictures_out_of_range_are_clipped_and_rows_keep_their_shape() -> None:
    flat = draw(Pictures({"x": np.full((2, 4, 8), 7.0)}))
    tall = draw(Pictures({"x": np.full((2, 16, 8), 7.0)}))
    assert size(tall)[1] - size(flat)[1] == pytest.approx(1.1 * 1.5 * DPI, abs=2)


def test_clips_move() -> None:
    film = np.zeros((2, 3, 40, 64))
    film[0, 1] = 1  # the first example's second frame alone is white
    gif = Image.open(io.BytesIO(animate(Clips({"film": film, "still": np.ones((2, 1, 64, 64, 3))}))))
    assert isinstance(gif, GifImageFile)
    assert gif.n_frames == 3
    assert gif.size == (2 * 68, 44 + 68)
    assert gif.info["loop"] == 0
    for frame in range(3):
        gif.seek(frame)
        shown = np.asarray(gif.convert("L"))
        assert shown[22, 34] == (255 if frame == 1 else 0)
        assert shown[22, 68 + 34] == 0
        assert shown[44 + 34, 34] == 255  # one that is shorter stays on its last frame


def test_clips_are_saved_with_what_moves(tmp_path: Path) -> None:
    save_figure(tmp_path, "task", Clips({"x": np.zeros((2, 3, 4, 4))}), "What was asked")
    assert {path.name for path in tmp_path.iterdir()} == {"task.png", "task.gif", "task.json", "dark"}


def test_of_clips_a_few_are_drawn_and_a_gap_is_left() -> None:
    few, many = (draw(Clips({"x": np.ones((count, 20, 8, 8))})) for count in (4, 9))
    assert size(few) == size(many)
    black = np.zeros((1, 4, 8, 8))
    along = [pixels(draw(Clips({"x": black}, gap=gap)))[-40, :].min(axis=-1) for gap in (0, 2)]
    assert not np.array_equal(*along)


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        (Pictures({"x": np.zeros((2, 4, 4, 2))}), r"pictures of 'x' have shape \(2, 4, 4, 2\)"),
        (Pictures({}), "no pictures"),
        (Clips({"x": np.zeros((2, 4, 4))}), r"clips of 'x' have shape \(2, 4, 4\)"),
        (Clips({}), "no clips"),
        (Scatter(np.zeros((3, 3)), np.zeros(3)), r"points have shape \(3, 3\)"),
        (Scatter(np.zeros((3, 2)), np.zeros(4)), "with 4 labels"),
        (Lines([1, 2], {"a": [1]}, "x", "y"), "curve 'a' has 1 values for 2 places"),
        (Lines([1, 2], {"a": [1, 2]}, "x", "y", low={"a": [1]}), "low 'a' has 1 values for 2 places"),
        (Lines([1, 2], {"a": [1, 2]}, "x", "y", references={"s": []}), "reference 's' has 0 values for 2 places"),
        (Bars(["l"], {"a": [1, 2]}, "v"), "series 'a' has 2 values for 1 places"),
        (Bars([], {}, "v"), "no bars"),
        (HeatMap(["r"], ["c"], np.zeros((2, 1)), "", ""), r"values have shape \(2, 1\); \(1, 1\)"),
        (HeatMap([], [], np.zeros((0, 0)), "", ""), "at least one"),
        (Dots({"a": [Point(1, 1, "")]}, "x", "y", low={"a": []}), "low 'a' has 0 values for 1 places"),
    ],
)
def test_shapes_that_are_not_as_promised_are_refused(figure: Figure, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(figure)


def test_each_class_is_drawn_in_its_color() -> None:
    points = np.random.default_rng(0).normal(size=(400, 2))
    shown = pixels(draw(Scatter(points, np.arange(400) % 10)))
    colors = {tuple(pixel) for pixel in shown.reshape(-1, 3)}
    wanted = [tuple(int(code[i : i + 2], 16) for i in (1, 3, 5)) for code in LIGHT.classes]
    assert set(wanted) <= colors


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_points_and_many_classes(n: int) -> None:
    draw(Scatter(np.zeros((n, 2)), np.arange(n)))
    draw(Scatter(np.random.default_rng(0).normal(size=(90, 2)), np.arange(90)))


def test_texts_are_written_where_none_covers_another() -> None:
    points = np.array([[0.0, 0], [0, 0.01], [1, 1], [0, 1]])
    svg = draw_svg(Scatter(points, np.full(4, -1), texts=["first", "second", "$x^$", "fourth"]), "map")
    words = [text.text for text in ElementTree.fromstring(svg).iter("text")]
    assert [each for each in ("first", "second", "$x^$", "fourth") if each in words] == ["first", "$x^$", "fourth"]
    with pytest.raises(ValueError, match="texts has 1 values for 4 places"):
        draw(Scatter(points, np.full(4, -1), texts=["first"]))


def test_a_saved_figure_has_a_dark_twin_and_its_caption(tmp_path: Path) -> None:
    path = save_figure(tmp_path / "figures", "knn-near", FIGURES["lines"], "Near <b>", order=3)
    assert path == tmp_path / "figures" / "knn-near.png"
    assert path.read_bytes() == draw(FIGURES["lines"])
    assert (tmp_path / "figures" / "dark" / "knn-near.png").read_bytes() == draw(FIGURES["lines"], DARK)
    about = json.loads((tmp_path / "figures" / "knn-near.json").read_text())
    assert about == {"title": "Near <b>", "note": "Curves.", "kind": "lines", "order": 3, "owner": "", "subject": ""}


def test_curves_are_paired_the_loss_first_the_learning_rate_last() -> None:
    rows = [
        {"step": 0, "epoch": 0, "seconds": 1, "lr": 0.1, "val/loss": 3.0, "train/spread": 0.5, "extra": 1},
        {"step": 5, "epoch": 1, "seconds": 2, "lr": 0.2, "train/loss": 2.0},
        {"lr": 9},
    ]
    panels = loss_curves(rows)
    assert list(panels) == ["loss", "spread", "extra", "lr"]
    loss = panels["loss"]
    assert list(loss.x) == [0, 5]
    assert list(loss.y) == ["training", "validation"]
    assert np.isnan(loss.y["training"][0])
    assert loss.y["training"][1] == 2.0
    assert list(panels["lr"].y) == ["lr"]
    assert list(panels["lr"].y["lr"]) == [0.1, 0.2]
    assert loss_curves([]) == {}


@pytest.mark.parametrize("name", FIGURES)
def test_an_svg_stands_in_a_page_by_itself(name: str) -> None:
    svg = draw_svg(FIGURES[name], "f1")
    assert svg == draw_svg(FIGURES[name], "f1")
    root = ElementTree.fromstring(svg)  # no namespace, no doctype
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(set(ids)) == len(ids)
    assert all(name.startswith("f1-") for name in ids)
    referred = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', svg)
    assert {one or other for one, other in referred} <= set(ids)
    assert not re.search("<style|<metadata|font-family|https?:|<script", svg)


def test_a_long_label_of_the_vertical_axis_takes_two_lines_and_is_cut_after_them() -> None:
    def words(label: str) -> set[str]:
        parts = ElementTree.fromstring(draw_svg(Lines([1, 2, 3], {"a": [1, 2, 3]}, "steps", label), "f")).iter()
        return {"".join(each.itertext()).strip() for each in parts if each.tag.endswith("text")}

    long = "few label finetune accuracy, labels=0.0005 (%)"
    assert {"few label finetune accuracy,", "labels=0.0005 (%)"} <= words(long)
    assert "accuracy (%)" in words("accuracy (%)")
    assert any(line.endswith("…") for line in words("word " * 40))


def test_an_svg_follows_the_theme_of_its_page() -> None:
    styles = " ".join(element.attrib.get("style", "") for element in ElementTree.fromstring(svg_of("band")).iter())
    assert {"var(--paper)", "var(--ink)", "var(--muted)", "var(--curve-0)"} <= set(re.findall(r"var\(.*?\)", styles))
    assert not re.search("#[0-9a-f]{6}", styles)


def svg_of(name: str) -> str:
    return draw_svg(FIGURES[name], "f")


def test_words_of_an_svg_are_shown_as_they_are() -> None:
    for name in ("band", "bars", "heat map"):
        words = [text.text for text in ElementTree.fromstring(svg_of(name)).iter("text")]
        assert "<script>" in words
    assert "$x_y$" in [text.text for text in ElementTree.fromstring(svg_of("band")).iter("text")]
    assert "97.2 ± 1.0" in [text.text for text in ElementTree.fromstring(svg_of("bars")).iter("text")]
    numbers = [text.text for text in ElementTree.fromstring(svg_of("heat map")).iter("text")]
    assert [word for word in numbers if word and word[0].isdigit()] == ["1.0", "3.0", "4.0", "5.0", "6.0"]


@pytest.mark.parametrize(
    ("name", "links", "titles"),
    [
        ("band", ["a%20b/report.html?x&y"], ["seed 0: <b>"]),
        ("bars", ["r.html"], ["seed 0", "seed 1"]),
        ("heat map", ["r.html", "r.html"], ["cell", "cell"]),  # the cell and its number
        ("dots", ["r.html"], ["one", "two", "three"]),
    ],
)
def test_points_lead_to_their_reports_and_say_what_they_are(name: str, links: list[str], titles: list[str]) -> None:
    root = ElementTree.fromstring(svg_of(name))
    assert [anchor.attrib for anchor in root.iter("a")] == [{"href": link} for link in links]
    assert [title.text for title in root.iter("title")] == titles


def test_a_band_lies_between_its_edges_and_a_reference_at_its_height() -> None:
    """Places in the picture, read back from the paths of its SVG."""
    lines = Lines([0, 1], {"a": [1, 1]}, "", "", low={"a": [0, 0]}, high={"a": [2, 2]}, references={"s": [1.5, 1.5]})
    heights = {}
    for path in ElementTree.fromstring(draw_svg(lines, "f")).iter("path"):
        style, places = path.attrib.get("style", ""), re.findall(r"[ML] (\S+) (\S+)", path.attrib["d"])
        if "stroke-dasharray: 1.2" in style and len(places) == 2:
            heights["reference"] = float(places[-1][1])
        elif "var(--curve-0)" in style and len(places) == 2:
            heights["curve"] = float(places[-1][1])
    band = next(
        path
        for path in ElementTree.fromstring(draw_svg(lines, "f")).iter("path")
        if path.attrib["d"].count("L") > 3 and "-" in path.attrib["d"]
    )
    edges = sorted(float(y) for _, y in re.findall(r"[ML] (\S+) (\S+)", band.attrib["d"]))
    low, high = edges[0], edges[-1]
    assert high - low == pytest.approx(4 * (heights["curve"] - heights["reference"]), rel=1e-3)


def test_bars_end_where_their_values_say() -> None:
    shown = pixels(draw(Bars(["a", "b"], {"s": [40, 80]}, "v")))
    blue = tuple(int(LIGHT.curves[0][i : i + 2], 16) for i in (1, 3, 5))
    rows = (shown == blue).all(-1).sum(1)
    lengths = sorted({length for length in rows if length > 20})
    assert lengths[-1] / lengths[0] == pytest.approx(2, rel=0.02)


def test_the_largest_number_of_a_heat_map_is_strongest_in_color() -> None:
    cells = re.findall(r"opacity: ([\d.]+)", svg_of("heat map"))
    assert [float(cell) for cell in cells] == sorted(map(float, cells))
    assert len(cells) == 5
    flat = draw_svg(HeatMap(["r"], ["c", "d"], np.ones((1, 2)), "", ""), "f")
    assert len(set(re.findall(r"opacity: ([\d.]+)", flat))) == 1


def test_names_of_dots_never_hide_one_another() -> None:
    points = [Point(x, 1 + x / 1e4, "", "", f"name {x}") for x in range(14)]
    root = ElementTree.fromstring(draw_svg(Dots({"": points}, "x", "y"), "f"))
    heights = sorted(float(text.attrib["y"]) for text in root.iter("text") if (text.text or "").startswith("name"))
    assert len(heights) == 14
    assert min(np.diff(heights)) > 8
    many = [*points, Point(20, 1, "", "", "name too many")]
    assert "name" not in draw_svg(Dots({"": many}, "x", "y"), "f")


def test_a_caption_is_whole() -> None:
    captions = ["automobile, called truck (98%)", "9, called 3 (8%)", "b" * 90]
    across = plots._across([captions], 8)
    assert across == 4  # two lines of pictures
    lines = plots._wrapped(captions, plots.WIDTH / across)
    assert [" ".join(each) for each in lines[:2]] == captions[:2]
    assert "".join(lines[2]) == captions[2]
    assert plots._across([["4, called 6"] * 8], 8) == 8
    assert plots._across([], 16) == 16


@pytest.mark.parametrize("values", [[5.54517, 5.54518], [1e-7, 3e-7], [1e6, 2.5e6]])
def test_ticks_say_whole_numbers(values: list[float]) -> None:
    """Nothing is left to an offset or a factor at the end of an axis, where the legend stands."""
    svg = draw_svg(Lines([1, 2], {"a": values, "b": values}, "x", "y"), "ticks")
    words = [text.text or "" for text in ElementTree.fromstring(svg).iter("text")]
    assert not [
        word for word in words if word[:1] in "+\N{MULTIPLICATION SIGN}" or word in ("1e6", "1e\N{MINUS SIGN}7")
    ]
    ticks = [word for word in words if word[:1].isdigit() and len(word) > 3]
    assert len(set(ticks)) == len(ticks) > 2
