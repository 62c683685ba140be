import json
import math
import sys
from pathlib import Path
from struct import unpack

import numpy as np
import pytest

from ssl_runner.figures import Figure, Lines, Pictures, Scatter
from ssl_runner.reporting.plots import DARK, DPI, LIGHT, WIDTH, draw, loss_curves, save_figure

GREY = np.linspace(0, 1, 3 * 4 * 6).reshape(3, 4, 6)
FIGURES = {
    "pictures": Pictures({"x": GREY, "y": np.stack([GREY] * 3, axis=-1)}, {"x": ["a", "b" * 90, "$^"]}, "A note."),
    "scatter": Scatter(np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 4 - 1, ["$x^$", "b"], "Points."),
    "lines": Lines([1, 10, 100], {"$a_^": [1, 2, 3], "b": [math.nan, 1, math.inf]}, "x", "y", True, "Curves."),
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

    from PIL import Image

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


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        (Pictures({"x": np.zeros((2, 4, 4, 2))}), r"pictures of 'x' have shape \(2, 4, 4, 2\)"),
        (Pictures({}), "no pictures"),
        (Scatter(np.zeros((3, 3)), np.zeros(3)), r"points have shape \(3, 3\)"),
        (Scatter(np.zeros((3, 2)), np.zeros(4)), "with 4 labels"),
        (Lines([1, 2], {"a": [1]}, "x", "y"), "curve 'a' has 1 values for 2 places"),
    ],
)
def test_shapes_that_are_not_as_promised_are_refused(figure: Figure, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(figure)


def test_each_class_is_drawn_in_its_colour() -> None:
    points = np.random.default_rng(0).normal(size=(400, 2))
    shown = pixels(draw(Scatter(points, np.arange(400) % 10)))
    colours = {tuple(pixel) for pixel in shown.reshape(-1, 3)}
    wanted = [tuple(int(code[i : i + 2], 16) for i in (1, 3, 5)) for code in LIGHT.classes]
    assert set(wanted) <= colours


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_points_and_many_classes(n: int) -> None:
    draw(Scatter(np.zeros((n, 2)), np.arange(n)))
    draw(Scatter(np.random.default_rng(0).normal(size=(90, 2)), np.arange(90)))


def test_a_saved_figure_has_a_dark_twin_and_its_caption(tmp_path: Path) -> None:
    path = save_figure(tmp_path / "figures", "knn-near", FIGURES["lines"], "Near <b>", order=3)
    assert path == tmp_path / "figures" / "knn-near.png"
    assert path.read_bytes() == draw(FIGURES["lines"])
    assert (tmp_path / "figures" / "dark" / "knn-near.png").read_bytes() == draw(FIGURES["lines"], DARK)
    about = json.loads((tmp_path / "figures" / "knn-near.json").read_text())
    assert about == {"title": "Near <b>", "note": "Curves.", "kind": "lines", "order": 3}


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
