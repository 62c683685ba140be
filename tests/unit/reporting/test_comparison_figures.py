import math
from pathlib import Path

import numpy as np
import pytest
from comparisons import ERROR, KNN, LINEAR, RANK, compared
from scipy import stats

from ssl_runner.figures import Bars, Dots, Figure, HeatMap, Lines
from ssl_runner.reporting.comparison import Column, Comparison
from ssl_runner.reporting.comparison_figures import (
    MOST_CURVES,
    MOST_FIGURES,
    MOST_STEPS,
    comparison_figures,
    log_scale,
    save_comparison_figures,
)
from ssl_runner.results.address import Address
from ssl_runner.results.metrics import Better, Unit

RATIOS = [0.25, 0.5, 0.75]


def drawn(comparison: Comparison) -> dict[str, Figure]:
    return {panel.title: panel.figure for panel in comparison_figures(comparison)}


def test_a_swept_number_is_a_curve_with_its_band(tmp_path: Path) -> None:
    runs = compared(tmp_path, {"objective.ratio": RATIOS}, lambda v, _, s: v["objective.ratio"] + 0.01 * s)
    folder = runs.settings[1].runs[2].folder
    (panel, *_) = comparison_figures(runs, {folder: "a%20b/report.html"})
    lines = panel.figure
    assert (panel.name, panel.title) == ("linear-accuracy-by-ratio", "Linear accuracy by ratio")
    assert isinstance(lines, Lines)
    assert list(lines.x) == RATIOS
    assert lines.y["pretrained"] == pytest.approx([26, 51, 76])
    half = 4.302652730 * 1 / math.sqrt(3)  # Student's t of 2 degrees of freedom; 25, 26, 27 deviate by 1
    assert lines.low["pretrained"] == pytest.approx([26 - half, 51 - half, 76 - half])
    assert lines.high["pretrained"] == pytest.approx([26 + half, 51 + half, 76 + half])
    assert lines.references == {"random start": [50, 50, 50]}
    assert not lines.log_x
    assert "Band: 95 % interval of the mean over 3 seeds." in lines.note
    points = lines.points["pretrained"]
    assert [(point.x, point.link) for point in points if point.link] == [(0.5, "a%20b/report.html")]
    assert points[5].title == "ratio=0.5, seed 2: 52.0 %"
    assert len(points) == 9


def test_one_seed_has_no_band_and_the_note_says_so(tmp_path: Path) -> None:
    runs = compared(tmp_path, {"objective.ratio": RATIOS}, lambda v, *_: v["objective.ratio"], seeds=[0])
    lines = drawn(runs)["Linear accuracy by ratio"]
    assert isinstance(lines, Lines)
    assert np.isnan(lines.low["pretrained"]).all()
    assert "One seed each" in lines.note
    assert "Band" not in lines.note


def test_other_axes_are_curves_the_best_of_them_in_the_settings_order(tmp_path: Path) -> None:
    names = [f"m{place}" for place in range(8)]
    axes = {"objective": names, "objective.ratio": RATIOS}
    runs = compared(tmp_path, axes, lambda v, *_: 0.1 * int(v["objective"][1]) + 0.1 * v["objective.ratio"])
    lines = drawn(runs)["Linear accuracy by ratio"]
    assert isinstance(lines, Lines)
    assert list(lines.y) == names[-MOST_CURVES:]
    assert "Shown are 6 of 8 curves" in lines.note


def test_an_axis_of_one_objective_leaves_the_others_out(tmp_path: Path) -> None:
    axes = {"objective": ["simclr", "mae"], "objective.ratio": [None, *RATIOS]}
    runs = compared(
        tmp_path, axes, lambda v, *_: None if (v["objective"] == "simclr") != (v["objective.ratio"] is None) else 0.9
    )
    lines = drawn(runs)["Linear accuracy by ratio"]
    assert isinstance(lines, Lines)
    assert list(lines.y) == ["pretrained"]  # all of one objective: nothing to tell apart
    assert list(lines.x) == RATIOS


def test_numbers_swept_as_one_are_a_curve_over_each(tmp_path: Path) -> None:
    axes = {"backbone.width": [8, 16, 32], "backbone.depth": [1, 2, 3]}
    pairs = dict(zip(*axes.values(), strict=True))
    runs = compared(tmp_path, axes, lambda v, *_: 0.9 if v["backbone.depth"] == pairs[v["backbone.width"]] else None)
    figures = drawn(runs)
    assert isinstance(figures["Linear accuracy by width"], Lines)
    assert figures["Linear accuracy by width"].log_x
    assert isinstance(figures["Linear accuracy by depth"], Lines)
    assert "width changed together with it" in figures["Linear accuracy by depth"].note
    assert not any(isinstance(figure, HeatMap) for figure in figures.values())


def test_a_random_search_is_dots(tmp_path: Path) -> None:
    places = {1e-4: 0.3, 1e-3: 0.9, 1e-2: 0.1, 1e-1: 0.5}
    axes = {"optimizer.lr": sorted(places), "objective.ratio": sorted(places.values())}
    runs = compared(tmp_path, axes, lambda v, *_: 0.8 if places[v["optimizer.lr"]] == v["objective.ratio"] else None)
    dots = drawn(runs)["Linear accuracy by lr"]
    assert isinstance(dots, Dots)
    assert [point.x for point in dots.points[""]] == sorted(places)
    assert dots.log_x


def test_choices_are_bars_beside_their_random_start(tmp_path: Path) -> None:
    axes = {"objective": ["simclr", "mae", "rotation"], "backbone": ["convnet", "vit"]}
    score = {"simclr": 0.9, "mae": 0.8, "rotation": 0.6, "convnet": 0.0, "vit": -0.1}
    runs = compared(tmp_path, axes, lambda v, _, s: score[v["objective"]] + score[v["backbone"]] + 0.01 * s)
    bars = drawn(runs)["Linear accuracy by objective and backbone"]
    assert isinstance(bars, Bars)
    assert list(bars.labels) == ["simclr", "mae", "rotation"]
    assert bars.values["convnet"] == pytest.approx([91, 81, 61])
    assert bars.values["vit"] == pytest.approx([81, 71, 51])
    assert bars.references["vit"] == [50, 50, 50]
    assert [(point.x, round(point.y)) for point in bars.points["vit"]][:3] == [(0, 80), (0, 81), (0, 82)]


def test_choices_that_do_not_go_each_with_each_share_a_label(tmp_path: Path) -> None:
    axes = {"objective": ["simclr", "mae"], "backbone": ["convnet", "vit"]}
    score = {("simclr", "convnet"): 0.8, ("mae", "vit"): 0.9, ("simclr", "vit"): 0.7}
    runs = compared(tmp_path, axes, lambda v, *_: score.get((v["objective"], v["backbone"])))
    bars = drawn(runs)["Linear accuracy by objective and backbone"]
    assert isinstance(bars, Bars)
    assert list(bars.labels) == ["mae, vit", "simclr, convnet", "simclr, vit"]


def test_a_choice_that_follows_from_another_is_no_label_but_is_named(tmp_path: Path) -> None:
    axes = {"objective": ["simclr", "mae"], "backbone": ["convnet", "vit"], "optimizer.lr": [0.1, 0.2]}
    whole = {("simclr", "convnet", 0.1), ("mae", "vit", 0.2)}
    runs = compared(tmp_path, axes, lambda v, *_: 0.9 if tuple(v.values()) in whole else None)
    bars = drawn(runs)["Linear accuracy by objective"]
    assert isinstance(bars, Bars)
    assert list(bars.labels) == ["simclr", "mae"]
    assert "backbone and lr changed together with it" in bars.note


def test_a_bar_is_the_best_of_what_was_swept_and_says_so(tmp_path: Path) -> None:
    axes = {"objective": ["simclr", "mae"], "optimizer.lr": [0.1, 0.2, 0.3]}
    runs = compared(tmp_path, axes, lambda v, c, s: v["optimizer.lr"] + (v["objective"] == "mae"), [ERROR])
    bars = drawn(runs)["Reconstruction mse by objective"]
    assert isinstance(bars, Bars)
    assert list(bars.labels) == ["simclr", "mae"]
    assert bars.values[""] == pytest.approx([0.1, 1.1])  # lower is better
    assert "best over lr" in bars.note
    assert "Lower is better." in bars.note


def test_two_axes_are_a_heat_map_blank_where_nothing_ran(tmp_path: Path) -> None:
    axes = {"views.first": ["crop", "blur", "noise"], "views.second": ["crop", "blur", "noise"]}
    runs = compared(
        tmp_path,
        axes,
        lambda v, *_: None if v["views.first"] == v["views.second"] == "blur" else len(v["views.first"]) / 10,
    )
    figures = drawn(runs)
    heat = figures["Linear accuracy by first and second"]
    assert isinstance(heat, HeatMap)
    assert list(heat.rows) == list(heat.columns) == ["crop", "blur", "noise"]
    np.testing.assert_allclose(heat.values, [[40, 40, 40], [40, math.nan, 40], [50, 50, 50]])
    assert heat.span == pytest.approx((40, 50))
    assert len(heat.points) == 8
    assert not any(isinstance(figure, Bars) for figure in figures.values())  # the map says it all


def test_a_third_axis_makes_maps_of_one_scale(tmp_path: Path) -> None:
    axes = {"objective": ["simclr", "mae"], "a.x": [1, 2, 3], "a.y": [1, 2, 4]}
    runs = compared(tmp_path, axes, lambda v, *_: (v["a.x"] * v["a.y"] + (v["objective"] == "mae")) / 20)
    maps = {title: figure for title, figure in drawn(runs).items() if isinstance(figure, HeatMap)}
    assert list(maps) == ["Linear accuracy by x and y, mae", "Linear accuracy by x and y, simclr"]
    assert all(heat.span == pytest.approx((5, 65)) for heat in maps.values())


def test_dots_with_long_names_say_by_their_color_what_a_legend_can(tmp_path: Path) -> None:
    axes = {"objective": ["autoencoder", "rotation"], "pretrain_examples": [500, 54_000]}
    dots = drawn(compared(tmp_path, axes, lambda v, *_: v["pretrain_examples"] / 1e5))["Linear accuracy against cost"]
    assert isinstance(dots, Dots)
    assert {name: [point.name for point in points] for name, points in dots.points.items()} == {
        "autoencoder": ["54000", "500"],
        "rotation": ["54000", "500"],
    }
    assert dots.note.endswith("Beside each dot: pretrain_examples.")


def test_accuracy_against_cost_names_its_dots(tmp_path: Path) -> None:
    axes = {"objective": ["simclr", "mae"], "optimizer.lr": [0.1, 0.2]}
    dots = drawn(compared(tmp_path, axes, lambda v, *_: v["optimizer.lr"]))["Linear accuracy against cost"]
    assert isinstance(dots, Dots)
    assert {name: [(p.x, p.name) for p in points] for name, points in dots.points.items()} == {
        "simclr": [(61, "simclr, lr=0.2"), (61, "simclr, lr=0.1")],
        "mae": [(61, "mae, lr=0.2"), (61, "mae, lr=0.1")],
    }


def test_a_condition_that_is_a_number_is_a_curve(tmp_path: Path) -> None:
    columns = [
        Column(Address("few_label", "accuracy", {"labels": share}), Unit.SHARE, Better.HIGHER, True, {})
        for share in (0.01, 0.1, 1.0)
    ]
    values = {0.01: 0.018, 0.1: 0.18, 1.0: 0.5}
    runs = compared(tmp_path, {}, lambda v, c, s: values[c.address.condition["labels"]], columns)
    lines = drawn(runs)["Few label accuracy by labels"]
    assert isinstance(lines, Lines)
    assert list(lines.x) == [0.01, 0.1, 1.0]
    assert lines.y == {"pretrained": pytest.approx([1.8, 18, 50])}
    assert lines.references == {"random start": [50, 50, 50]}
    assert lines.log_x


def test_the_interval_of_a_share_ends_at_0_and_100(tmp_path: Path) -> None:
    values = {0: 0.99, 1: 0.90, 2: 0.999}
    runs = compared(tmp_path, {"a.x": [1, 2, 3]}, lambda v, c, s: values[s] if v["a.x"] > 1 else 1 - values[s])
    lines = drawn(runs)["Linear accuracy by x"]
    assert isinstance(lines, Lines)
    assert lines.high["pretrained"][1:] == [100, 100]
    assert lines.low["pretrained"][0] == 0
    dots = drawn(runs)["Linear accuracy against cost"]
    assert isinstance(dots, Dots)
    ends = [value for parts in (dots.low, dots.high) for values in parts.values() for value in values]
    assert all(0 <= value <= 100 for value in ends)


def test_ranks_agree_as_scipy_says_whichever_way_is_better(tmp_path: Path) -> None:
    found = {
        LINEAR.key: [0.1, 0.2, 0.3, 0.4, 0.5],
        KNN.key: [0.1, 0.3, 0.2, 0.5, 0.4],
        ERROR.key: [5, 4, 3, 1, 2],
        RANK.key: [1, 2, 3, 4, 5],
    }
    runs = compared(
        tmp_path, {"a.x": list(range(5))}, lambda v, c, s: found[c.key][v["a.x"]], [LINEAR, KNN, ERROR, RANK]
    )
    heat = drawn(runs)["Agreement of the evaluations"]
    assert isinstance(heat, HeatMap)
    assert list(heat.rows) == ["linear accuracy", "knn accuracy", "reconstruction mse"]  # a rank is no merit
    assert heat.values[0, 1] == pytest.approx(1 - 6 * 4 / (5 * 24))  # 1 - 6 sum d^2 / (n (n^2 - 1))
    assert heat.values[0, 2] == pytest.approx(-stats.spearmanr(found[LINEAR.key], found[ERROR.key]).statistic)
    np.testing.assert_allclose(heat.values, heat.values.T)
    np.testing.assert_allclose(np.diag(heat.values), 1)


@pytest.mark.parametrize("settings", [1, 2, 3])
def test_few_settings_have_no_rank_correlation(tmp_path: Path, settings: int) -> None:
    runs = compared(tmp_path, {"a.x": list(range(settings))}, lambda v, *_: v["a.x"] / 9, [LINEAR, KNN])
    assert "Agreement of the evaluations" not in drawn(runs)


def test_training_curves_are_means_over_seeds_one_picture_an_objective(tmp_path: Path) -> None:
    runs = compared(tmp_path, {"objective": ["simclr", "mae"]}, lambda *_: 0.9, seeds=[0, 1])
    for setting in runs.settings:
        for seed, run in setting.runs.items():
            run.folder.mkdir()
            last = 1000 if seed else 800
            rows = "".join(f"{step},{step + 10 * seed},\n" for step in range(0, last + 1))
            (run.folder / "metrics.csv").write_text(f"step,train/loss,val/knn_accuracy\n{rows}5,,0.5\n9,,0.7\n")
    (runs.settings[1].runs[1].folder / "metrics.csv").write_text("step,train/loss\n1,what\n2,3\n")  # broken: left out
    figures = drawn(runs)
    loss = figures["Training loss, simclr"]
    assert isinstance(loss, Lines)
    assert len(loss.x) <= MOST_STEPS
    y = np.array(loss.y["pretrained"])
    there = np.array(loss.x) <= 800
    np.testing.assert_allclose(y[there], np.array(loss.x)[there] + 5)
    assert np.isnan(y[~there]).all()  # not all seeds went so far
    other = figures["Training loss, mae"]
    assert isinstance(other, Lines)
    np.testing.assert_allclose(other.y["pretrained"], other.x)
    accuracy = figures["k-NN accuracy while training"]
    assert isinstance(accuracy, Lines)
    assert accuracy.y["mae"] == pytest.approx([50, 70])


def test_datasets_never_share_a_picture(tmp_path: Path) -> None:
    axes = {"dataset": ["mnist", "cifar10"], "objective.ratio": RATIOS}
    runs = compared(tmp_path, axes, lambda v, *_: v["objective.ratio"] / (1 + (v["dataset"] == "cifar10")))
    figures = drawn(runs)
    for dataset, most in (("mnist", 75), ("cifar10", 37.5)):
        lines = figures[f"Linear accuracy by ratio, on {dataset}"]
        assert isinstance(lines, Lines)
        assert lines.y["pretrained"][-1] == pytest.approx(most)


def test_the_linear_probe_comes_first_and_descriptions_last(tmp_path: Path) -> None:
    columns = [RANK, KNN, LINEAR]
    titles = list(drawn(compared(tmp_path, {"a.x": [1, 2, 3]}, lambda v, *_: v["a.x"] / 9, columns)))
    wanted = ["Linear accuracy by x", "Knn accuracy by x", "Geometry effective rank by x"]
    assert titles[0] == wanted[0]
    assert [title for title in titles if title in wanted] == wanted


def test_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    runs = compared(tmp_path, {"a.x": [1, 2, 3, 4]}, lambda v, *_: math.nan if v["a.x"] == 2 else 0.5, seeds=[0])
    lines = drawn(runs)["Linear accuracy by x"]
    assert isinstance(lines, Lines)
    assert list(lines.x) == [1, 3, 4]


def test_nothing_to_compare_is_no_picture(tmp_path: Path) -> None:
    assert comparison_figures(Comparison((), (), (), {})) == []
    assert comparison_figures(compared(tmp_path, {}, lambda *_: 0.5)) == []


@pytest.mark.parametrize(
    ("places", "log"),
    [([1, 19], False), ([1, 20], True), ([1, 2, 4], True), ([1, 2, 3], False), ([0, 1, 100], False), ([5], False)],
)
def test_when_an_axis_is_logarithmic(places: list[float], log: bool) -> None:
    assert log_scale(places) is log


def test_pictures_are_saved_under_names_of_their_own(tmp_path: Path) -> None:
    axes = {"objective": ["<script>", "$x_y$"], "a.x": [1, 2, 3], "a.y": [1, 2, 3]}
    runs = compared(tmp_path / "runs", axes, lambda v, *_: v["a.x"] / 9, [LINEAR, KNN, ERROR, RANK])
    paths = save_comparison_figures(tmp_path / "figures", runs)
    assert len({path.name for path in paths}) == len(paths) == MOST_FIGURES
    assert paths[0] == tmp_path / "figures" / "linear-accuracy-by-x.png"
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
