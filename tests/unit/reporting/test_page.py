import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from comparisons import ERROR, KNN, LINEAR, compared

from ssl_runner.figures import Clips, Lines, Pictures, Scatter
from ssl_runner.reporting.comparison import Comparison
from ssl_runner.reporting.page import write_comparison, write_report
from ssl_runner.reporting.plots import save_figure
from ssl_runner.reporting.statistics import Interval
from ssl_runner.results.address import Address
from ssl_runner.results.metrics import Better, DataRef, Protocol, share
from ssl_runner.results.result import (
    Cost,
    Evaluation,
    Git,
    Name,
    Pretraining,
    Result,
    ResultError,
    write_result,
)

EVIL = "<script>alert(1)</script>"


def found(subject: str, accuracy: float, rate: float) -> Evaluation:
    return Evaluation(
        evaluator="linear",
        subject=subject,
        metrics=(share("accuracy", accuracy, headline=True),),
        on=DataRef(dataset="mnist_5k"),
        protocol=Protocol(
            terms={"layer": "pooled", "edge": ""}, chosen={"rate": rate}, measured={"subsets": {"1%": {"labels": 36}}}
        ),
        seconds=75.0,
    )


RESULT = Result(
    identity="5b1f0c9a",
    name=Name(dataset="mnist_5k", objective="simclr", backbone="convnet"),
    seed=3,
    status="done",
    command="ssl-run seed=3",
    started="2026-11-23T15:41:07+00:00",
    results=(found("pretrained", 0.95, 0.1), found("random_start", 0.8, 0.3)),
    pretraining=Pretraining(epochs=2, steps=10, examples=2560, loss_first=5.25, loss_last=2.5),
    cost=Cost(seconds=7500.0, peak_memory_mb=812.3, device="cpu", flops_per_step=22_847_283_200, flops=0),
    versions={"torch": "2.14.1"},
    git=Git(commit="da1f340", dirty=True),
    data={"fingerprint": "e3b0c4"},
)


class Page(HTMLParser):
    """What a browser would load and show of a page, and how its elements nest."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = re.sub(r"[ \n]+", " ", "".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "source", "link", "br"):
            self.open.append(tag)
        given = dict(attrs)
        self.loaded += [given[key] or "" for key in ("src", "srcset", "data", "poster") if key in given]
        if "href" in given and not (given["href"] or "").startswith("#"):  # else a part of the page itself
            (self.links if tag == "a" else self.loaded).append(given["href"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("dt", "dd", "td", "th", "li", "div", "p", "h2"):
            self.words.append(" ")

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def whole(folder: Path, result: Result = RESULT) -> Path:
    write_result(folder, result)
    (folder / "config.yaml").write_text("seed: 3\nname: <b>bold</b>\n")
    (folder / "metrics.csv").write_text("step,epoch,seconds,train/loss,val/loss\n1,0,1,5.0,\n2,1,2,nan,4.0\n")
    figures = folder / "figures"
    save_figure(figures, "task", Pictures({"x": np.zeros((2, 4, 4))}, note="What is x."), "What was asked", 0)
    owner, curve = RESULT.results[0].owner, Lines([1, 2], {"a": [1, 2]}, "x", "y")
    save_figure(figures, "a-curve", curve, "Control's curve", 1, owner, "random_start")
    save_figure(figures, "b-curve", curve, "Own curve", 1, owner, "pretrained")
    save_figure(figures, "projection-pca", Scatter(np.zeros((1, 2)), np.zeros(1)), "A plane", 2)
    return write_report(folder)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(whole(tmp_path_factory.mktemp("run")))


def test_the_report_shows_the_result_beside_its_control(page: Page) -> None:
    assert (
        "Linear accuracy is 95.0\xa0%, 15.0 points above random start (80.0\xa0%): it exceeds its control." in page.text
    )
    assert "+15.0 points" in page.text
    assert "not above" not in page.text


def test_the_report_shows_what_ran_and_what_it_cost(page: Page) -> None:
    for words in (
        "ssl-run seed=3",
        "commit da1f340, with uncommitted changes",
        "torch 2.14.1",
        "data, fingerprint e3b0c4",
        "2 h 5 min",
        "812 MB",
        "22.8 GFLOPs",
        "seed: 3",
    ):
        assert words in page.text, words


def test_the_protocol_says_what_was_chosen_for_whom(page: Page) -> None:
    assert "0.1 (pretrained), 0.3 (random start)" in page.text
    assert "subsets, 1%, labels 36" in page.text
    assert "edge none" in page.text
    assert "1 min 15 s" in page.text


def test_figures_stand_where_they_belong_the_pretrained_first(page: Page) -> None:
    places = [page.text.index(words) for words in ("What was asked", "Own curve", "Control's curve", "A plane")]
    assert places == sorted(places)
    sections = {
        name: page.source.index(f'<section id="{name}"') for name in ("task", "evaluations", "projection", "cost")
    }
    at = {words: page.source.index(f">{words}<") for words in ("What was asked", "Own curve", "A plane")}
    assert sections["task"] < at["What was asked"] < sections["evaluations"]
    assert sections["evaluations"] < at["Own curve"] < sections["projection"] < at["A plane"] < sections["cost"]


def test_figures_of_other_data_stand_with_the_evaluation_on_them(tmp_path: Path) -> None:
    own = RESULT.results[0]
    other = replace(own, on=DataRef(dataset="arrays", own=False, settings={"path": "/a b"}))
    curve = Lines([1, 2], {"a": [1, 2]}, "x", "y")
    files = [
        save_figure(tmp_path / "figures", "linear-curve", curve, title, 1, found.owner, "pretrained")
        for found, title in ((own, "Own curve"), (other, "Their curve"), (own, "Own curve again"))
    ]
    assert files[0] == files[2]
    assert files[1] not in files[::2]  # one evaluation's figure does not replace another's
    write_result(tmp_path, replace(RESULT, results=(own, other)))
    source = Page(write_report(tmp_path)).source
    words = ("linear", "Own curve again", "linear, on arrays, path /a b", "Their curve")
    places = [source.index(f">{each}<") for each in words]
    assert places == sorted(places)


def test_numbers_are_said_once_and_constants_in_a_line(tmp_path: Path) -> None:
    again = replace(RESULT.results[0], evaluator="layers"), replace(RESULT.results[1], evaluator="layers")
    write_result(tmp_path, replace(RESULT, results=(*RESULT.results, *again)))
    steps = "".join(f"{step},{9 - step},3,0.5\n" for step in range(5))
    (tmp_path / "metrics.csv").write_text(f"step,train/loss,lr,val/loss\n{steps}")
    page = Page(write_report(tmp_path))
    assert page.text.count("95.0") == 2  # the verdict and the table
    assert "The same as linear accuracy: layers accuracy." in page.text
    assert "lr: 3 throughout" in page.text
    assert len(page.loaded) == 2  # the loss, light and dark


def test_a_task_s_own_accuracy_stands_beside_chance(tmp_path: Path) -> None:
    metrics = (share("accuracy", 0.2), share("chance", 0.25, better=Better.NEITHER))
    asked = replace(RESULT.results[0], evaluator="pretext", metrics=metrics)
    write_result(tmp_path, replace(RESULT, results=(asked,)))
    page = Page(write_report(tmp_path))
    assert "pretext accuracy chance 25.0\xa0% not above chance" in page.text
    assert "On held-out examples: accuracy 20.0\xa0% (chance 25.0\xa0%)." in page.text
    assert "5.0 points below chance (25.0\xa0%): it does not exceed chance." in page.text


def test_a_loss_that_was_not_finite_is_named(page: Page) -> None:
    assert "Not finite at some steps, and not drawn there: train/loss." in page.text


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    assert page.open == []
    assert len(page.loaded) == 2 * 4  # four figures, each light and dark; the loss is two points, and so is text
    assert all(url.startswith("data:image/png;base64,") for url in page.loaded)
    assert page.links == []
    assert "script" not in page.tags
    assert "default-src 'none'" in page.source
    assert not re.search(r"url\(|@import|https?:", page.source)


def test_all_that_is_text_is_shown_as_text(tmp_path: Path) -> None:
    evil = replace(
        RESULT,
        identity=EVIL,
        name=Name(dataset=EVIL, objective=EVIL, backbone=EVIL),
        command=EVIL,
        started=EVIL,
        status=EVIL,
        results=(
            replace(
                RESULT.results[0],
                evaluator=EVIL,
                subject="pretrained",
                metrics=(share(EVIL, 1.0, headline=True, condition={EVIL: EVIL}),),
                protocol=Protocol(terms={EVIL: EVIL}, chosen={EVIL: EVIL}, measured={EVIL: EVIL}),
                on=DataRef(dataset=EVIL, own=False, settings={EVIL: EVIL}),
            ),
        ),
        versions={EVIL: EVIL},
        data={EVIL: EVIL},
        git=Git(commit=EVIL, dirty=False),
        cost=Cost(device=EVIL, precision=EVIL),
    )
    write_result(tmp_path, evil)
    (tmp_path / "config.yaml").write_text(EVIL)
    (tmp_path / "metrics.csv").write_text(f"step,train/{EVIL}\n1,1\n2,nan\n")
    title = f'"><img src=x onerror={EVIL}>'
    save_figure(tmp_path / "figures", "task", Pictures({"x": np.zeros((1, 2, 2))}, note=title), title)
    page = Page(write_report(tmp_path))
    assert "script" not in page.tags
    assert all(url.startswith("data:image/png;base64,") for url in page.loaded)
    assert page.text.count(EVIL) >= 12
    assert title in page.text


def test_parts_that_are_missing_are_named(tmp_path: Path) -> None:
    write_result(tmp_path, replace(RESULT, results=(), pretraining=None, git=None, cost=Cost(), status="stopped"))
    page = Page(write_report(tmp_path))
    for words in (
        "Nothing was evaluated",
        "No pictures of the task were saved",
        "There was no pretraining",
        "metrics.csv was not written, so no curves are drawn",
        "No projection was computed",
        "config.yaml is not in the run's folder",
        "not run from a git checkout",
        "stopped",
    ):
        assert words in page.text, words
    assert page.loaded == []
    assert page.open == []


def test_damaged_parts_do_not_keep_the_rest_from_being_shown(tmp_path: Path) -> None:
    whole(tmp_path)
    (tmp_path / "metrics.csv").write_text("step,train/loss\n1,x\n")
    (tmp_path / "figures" / "task.json").write_text('{"title": ')
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe")
    page = Page(write_report(tmp_path))
    assert "metrics.csv cannot be read: " in page.text
    assert "Its caption cannot be read." in page.text
    assert "95.0\xa0%" in page.text


def test_a_run_without_a_result_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="does not exist"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("own", "controls", "sentence"),
    [
        (0.95, {}, "Linear accuracy is 95.0 %. There is no control to compare it with."),
        (
            0.7,
            {"random_start": 0.8},
            "Linear accuracy is 70.0 %, 10.0 points below random start (80.0 %): it does not exceed random start.",
        ),
        (
            0.9,
            {"random_start": 0.8, "pixels": 0.95},
            "Linear accuracy is 90.0 %, 10.0 points above random start (80.0 %) and 5.0 points below pixels (95.0 %): "
            "it does not exceed pixels.",
        ),
        (0.8, {"random_start": 0.8}, "is 80.0 %, as random start (80.0 %): it does not exceed random start."),
        (math.nan, {}, "Linear accuracy is not a number. There is no control to compare it with."),
    ],
)
def test_the_first_sentence(tmp_path: Path, own: float, controls: dict[str, float], sentence: str) -> None:
    results = [found("pretrained", own, 0.1), *(found(name, value, 0.1) for name, value in controls.items())]
    write_result(tmp_path, replace(RESULT, results=tuple(results)))
    assert sentence in Page(write_report(tmp_path)).text.replace("\xa0", " ")


RATIOS = [0.25, 0.5, 0.75]


def swept(folder: Path) -> Comparison:
    """Three ratios and three seeds: the last cannot be told apart from the best, the first is not above its control."""
    runs = compared(folder, {"objective.ratio": RATIOS}, lambda v, _, s: v["objective.ratio"] + 0.01 * s, [LINEAR, KNN])
    cells = dict(runs.cells)
    cells["ratio=0.25", LINEAR.key] = cells["ratio=0.25", LINEAR.key]._replace(verdict="not above random start")
    for label in ("ratio=0.5", "ratio=0.75"):
        cells[label, LINEAR.key] = cells[label, LINEAR.key]._replace(tied=True)
    return runs._replace(cells=cells)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("compared")
    runs = swept(folder / "runs #1")
    for setting in runs.settings[:2]:
        report = setting.runs[0].folder / "report.html"
        report.parent.mkdir(parents=True)
        report.touch()
    page = write_comparison(folder / "pages" / "all.html", runs, "Masks <b>", ["runs/broken: half a file <b>"])
    return Page(page)


def test_the_comparison_shows_means_with_intervals_above_the_random_start(sweep: Page) -> None:
    assert "Masks <b>" in sweep.text
    assert "runs 9" in sweep.text
    assert "Differences between the runs: ratio (3)." in sweep.text
    assert "ratio=0.75 is ahead in linear accuracy: 76.0 ± 2.5\xa0% over 3 seeds, 25.0 ± 0.0 points above" in sweep.text
    assert "26.0 ± 2.5 50.0 not above random start" in sweep.text
    assert "51.0 ± 2.5\xa0= 50.0" in sweep.text
    assert "76.0 ± 2.5\xa0= 50.0" in sweep.text
    assert sweep.text.count("\xa0=") == 2
    assert "1 min 1 s" in sweep.text


def test_the_comparison_says_how_its_numbers_were_found_and_what_was_left_out(sweep: Page) -> None:
    assert sweep.tags.count("details") == 2
    assert "layer pooled" in sweep.text
    assert "k 20" in sweep.text
    assert "runs/broken: half a file <b>" in sweep.text
    assert "notes: 1" in sweep.text


def test_the_comparison_s_points_and_seeds_lead_to_the_reports_there_are(sweep: Page) -> None:
    addresses = [f"../runs%20%231/ratio%3D{ratio}-s0/report.html" for ratio in ("0.25", "0.5")]
    assert set(sweep.links) == set(addresses)
    assert sweep.links[:3] == [addresses[1]] * 2 + addresses[:1]  # the table's, best first, at both widths
    assert min(sweep.links.count(address) for address in addresses) >= 3  # a curve each for two columns, the cost
    titles = [title for title in re.findall("<title>([^<]*)", sweep.source) if title.startswith("ratio=0.25, seed")]
    assert "ratio=0.25, seed 2: 27.0 %" in titles


def test_the_comparison_loads_nothing_and_is_well_formed(sweep: Page) -> None:
    assert sweep.open == []
    assert sweep.loaded == []
    assert "script" not in sweep.tags
    assert sweep.tags.count("svg") == sweep.tags.count("figure") == 3
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in sweep.source
    assert not re.search(r"url\((?!#)|@import|https?:", sweep.source)
    ids = re.findall(r' id="([^"]*)"', sweep.source)
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'(?:href="|url\()#([^")]*)', sweep.source)) <= set(ids)
    drawn = sweep.source[sweep.source.index("<svg") :]
    assert set(re.findall(r"var\((--[^)]*)\)", drawn)) <= set(re.findall(r"(--[\w-]+):", sweep.source))


def test_all_that_is_text_in_a_comparison_is_shown_as_text(tmp_path: Path) -> None:
    column = LINEAR._replace(address=Address("linear", EVIL, {EVIL: EVIL}), protocol={EVIL: EVIL})
    axes = {"objective": [EVIL, "$x_y$"], "dataset": [EVIL], EVIL: [1, 2, 3]}
    runs = compared(tmp_path, axes, lambda v, *_: v[EVIL] / 9, [column])
    page = Page(write_comparison(tmp_path / "all.html", runs, EVIL, [EVIL]))
    assert "script" not in page.tags
    assert page.open == []
    assert page.text.count(EVIL) > 12
    assert "$x_y$" in page.text


def test_other_metrics_are_folded_away_and_one_seed_is_said_to_tell_nothing(tmp_path: Path) -> None:
    other = LINEAR._replace(address=Address("linear", "accuracy", {"split": "val"}), headline=False)
    runs = compared(tmp_path, {"a.x": [1, 2]}, lambda v, *_: v["a.x"] / 4, [LINEAR, other, ERROR], seeds=[0])
    tied = {key: cell._replace(tied=True) for key, cell in runs.cells.items()}
    page = Page(write_comparison(tmp_path / "all.html", runs._replace(cells=tied)))
    assert "other metrics, 1" in page.text
    assert "reconstruction mse lower is better" in page.text
    assert "so nothing is tested" in page.text
    assert "±" not in page.text
    assert "\xa0=" not in page.text


def test_each_dataset_has_a_table_of_its_own_with_what_differs_in_it(tmp_path: Path) -> None:
    axes = {"dataset": ["mnist", "cifar10"], "objective": ["simclr", "mae"], "a.x": [1, 2]}
    runs = compared(tmp_path, axes, lambda v, *_: 0.5 if (v["dataset"] == "mnist") == (v["a.x"] == 1) else None)
    page = Page(write_comparison(tmp_path / "all.html", runs))
    assert (
        "Results on mnist All with x=1. Best first, by linear accuracy. setting objective linear accuracy (%)"
        in page.text
    )
    assert (
        "Results on cifar10 All with x=2. Best first, by linear accuracy. setting objective linear accuracy (%)"
        in page.text
    )
    assert page.tags.count("table") == 2


def test_a_number_that_is_none_says_so(tmp_path: Path) -> None:
    runs = compared(tmp_path, {}, lambda *_: 0.5)
    lost = runs.cells["-", LINEAR.key]._replace(interval=Interval(math.nan, math.nan, math.nan, 3))
    page = Page(write_comparison(tmp_path / "all.html", runs._replace(cells={("-", LINEAR.key): lost})))
    assert "not a number" in page.text
    assert "The runs differ only in their seed." in page.text


def test_a_comparison_without_a_random_start_speaks_of_none(tmp_path: Path) -> None:
    runs = compared(tmp_path, {"a.x": [1, 2]}, lambda v, *_: v["a.x"] / 4)
    bare = runs._replace(cells={place: cell._replace(controls={}) for place, cell in runs.cells.items()})
    said = "Below each number, in gray"
    assert said in Page(write_comparison(tmp_path / "with.html", runs)).text
    assert said not in Page(write_comparison(tmp_path / "without.html", bare)).text


def test_nothing_to_compare_is_a_page_that_says_so(tmp_path: Path) -> None:
    page = Page(write_comparison(tmp_path / "all.html", Comparison((), (), (), {}), problems=["runs/a: broken"]))
    assert "There are no finished runs." in page.text
    assert "runs/a: broken" in page.text
    assert page.open == []


def test_clips_move_unless_the_reader_does_not_want_that(tmp_path: Path) -> None:
    save_figure(tmp_path / "figures", "task", Clips({"x": np.zeros((2, 3, 4, 4))}, note="Clips."), "What was asked")
    write_result(tmp_path, RESULT)
    html = write_report(tmp_path).read_text(encoding="utf-8")
    assert html.count("data:image/gif;base64,") == 1
    assert "@media (prefers-reduced-motion: reduce) { figure .moving { display: none; } }" in html
