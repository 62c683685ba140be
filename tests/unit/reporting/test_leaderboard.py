"""What is ahead, by how much, and with which certainty."""

from dataclasses import replace
from pathlib import Path

import pytest
from comparisons import ERROR, LINEAR, RANK, compared

from ssl_runner.figures import Dots, Parallel
from ssl_runner.reporting.comparison import Comparison, Setting
from ssl_runner.reporting.leaderboard import best_first, main_column, search_of, verdict
from ssl_runner.reporting.plots import draw, draw_svg
from ssl_runner.reporting.search_figures import search_figures, searched
from ssl_runner.results.address import Address

RATES = [0.001, 0.01, 0.1]
VAL = LINEAR._replace(address=Address("linear", "accuracy", {"split": "val"}), headline=False)


def said(comparison: Comparison) -> str:
    return verdict(comparison, comparison.settings, comparison.axes, search_of(comparison))


def test_the_best_is_named_with_its_lead_and_whether_it_is_sure(tmp_path: Path) -> None:
    made = compared(tmp_path, {"a.x": [1, 2, 3]}, lambda v, _, seed: 0.2 * v["a.x"] + 0.01 * seed, start=0.1)
    cells = {
        key: cell._replace(tied=key[0] == "x=3", p=float("nan") if key[0] == "x=3" else 0.01)
        for key, cell in made.cells.items()
    }
    assert said(made._replace(cells=cells)) == (
        "x=3 is ahead in linear accuracy: 61.0 ± 2.5 % over 3 seeds, 20.0 ± 0.0 points above x=2, the second of 3; "
        "significantly so (paired t-test over 3 common seeds, p = 0.01 after Holm's correction). "
        "It is above the same backbone, randomly initialized (10.0 %)."
    )
    tied = {key: cell._replace(tied=True, p=0.4) for key, cell in made.cells.items()}
    assert "not significantly so" in said(made._replace(cells=tied))
    assert "2 settings cannot be told from it" in said(made._replace(cells=tied))


def test_one_seed_says_nothing_of_chance_and_lower_may_be_better(tmp_path: Path) -> None:
    made = compared(tmp_path, {"a.x": [1, 2]}, lambda v, *_: v["a.x"], [ERROR], seeds=[0], start=9)
    told = said(made)
    assert told.startswith("x=1 is ahead in reconstruction mse: 1.00, 1.00 below x=2, the second of 2; one seed each")
    assert "so whether that is more than chance is unknown" in told
    assert said(compared(tmp_path, {"a.x": [1, 2]}, lambda v, *_: v["a.x"], [RANK])) == ""


def test_settings_without_a_number_come_last(tmp_path: Path) -> None:
    made = compared(tmp_path, {"a.x": [1, 2, 3]}, lambda v, column, _: v["a.x"] / 9)
    cells = {key: cell for key, cell in made.cells.items() if key[0] != "x=3"}
    ordered = best_first(made._replace(cells=cells), made.settings, main_column(made.columns))
    assert [setting.label for setting in ordered] == ["x=2", "x=1", "x=3"]


@pytest.fixture
def trials(tmp_path: Path) -> Comparison:
    """Three settings found at random by a figure of val, which has another order than that of test."""
    axes = {"optimizer.lr": RATES, "objective/loss": ["a", "b"]}
    made = compared(tmp_path, axes, lambda v, column, _: 0.5 + v["optimizer.lr"] * (1 if column is VAL else -1),
                    [LINEAR, VAL], seeds=[0])  # fmt: skip
    sweep = {"search": "random", "metric": "linear.accuracy[split=val]"}

    def searched_for(place: int, setting: Setting) -> Setting:
        runs = {
            seed: run._replace(result=replace(run.result, started=f"2026-11-30T1{place}", config={"sweep": sweep}))
            for seed, run in setting.runs.items()
        }
        return setting._replace(runs=runs)

    return made._replace(settings=tuple(searched_for(place, each) for place, each in enumerate(made.settings)))


def test_a_search_is_shown_by_the_figure_that_chose(trials: Comparison) -> None:
    search = search_of(trials)
    assert search is not None
    assert search.column.key == VAL.key
    assert "lr=0.1, a is ahead in linear accuracy, split=val" in said(trials)
    assert "6 finished trials, drawn at random" in searched(trials, search)
    history, settings = (panel.figure for panel in search_figures(trials, search, {}))
    assert isinstance(history, Dots)
    assert [len(points) for points in history.points.values()] == [5, 1]
    assert history.points["the best"][0].x == 5  # the fifth of six to start
    assert isinstance(settings, Parallel)
    assert list(settings.axes) == ["lr", "objective/loss", "linear accuracy, split=val (%)"]
    assert settings.log == ["lr"]
    assert draw(settings)[:4] == b"\x89PNG"
    words = draw_svg(settings, "search")
    assert all(word in words for word in (">0.001<", ">0.1<", ">a<", ">b<"))


def test_a_grid_is_no_search(tmp_path: Path) -> None:
    assert search_of(compared(tmp_path, {"a.x": [1, 2]}, lambda v, *_: v["a.x"] / 9)) is None
    with pytest.raises(ValueError, match="two axes or more"):
        draw(Parallel({"a": [1, 2]}, 0, [1, 0.5]))
