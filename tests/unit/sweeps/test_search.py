"""Random and guided searches: which runs they ask for, and what they learn from."""

import csv
import math
from pathlib import Path

import pytest

from ssl_runner.config.errors import ConfigError
from ssl_runner.config.loader import Loader
from ssl_runner.results.metrics import Better, DataRef, Metric, Unit, share
from ssl_runner.results.result import Evaluation, Name, Result
from ssl_runner.sweeps.plan import Axes, Composer, Interval, read_axes
from ssl_runner.sweeps.scheduler import Outcome
from ssl_runner.sweeps.search import Guided, draw

AXES = Axes([], {"objective": ["a", "b"], "seed": ["0", "1"]}, {}, frozenset())


def test_a_draw_without_intervals_takes_each_setting_once_with_every_seed() -> None:
    drawn = draw(AXES, 20, 0)
    assert sorted((each["objective"], each["seed"]) for each in drawn) == [
        ("a", "0"), ("a", "1"), ("b", "0"), ("b", "1"),
    ]  # fmt: skip
    assert len(draw(AXES, 1, 0)) == 2


def test_a_draw_from_intervals_repeats_under_a_seed_and_stays_inside() -> None:
    axes = AXES._replace(intervals={"lr": Interval(1e-4, 1e-1, True), "ratio": Interval(0.2, 0.9, False)})
    drawn = draw(axes, 200, 3)
    assert drawn == draw(axes, 200, 3) != draw(axes, 200, 4)
    rates, ratios = ([float(each[key]) for each in drawn[:200]] for key in ("lr", "ratio"))
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    assert all(0.2 <= ratio <= 0.9 for ratio in ratios)
    assert 60 <= sum(rate < 10**-2.5 for rate in rates) <= 140  # half of them, on a log scale
    assert drawn[0]["lr"] == drawn[200]["lr"]
    assert (drawn[0]["seed"], drawn[200]["seed"]) == ("0", "1")


@pytest.fixture
def loader() -> Loader:
    return Loader()


def guided(loader: Loader, output: Path, *words: str) -> Guided:
    pytest.importorskip("optuna")
    from ssl_runner.commands.sweep import first

    fixed = ["dataset=fake_images", f"output={output}", "evaluation=[linear]", "sweep.search=optuna", *words]
    found = read_axes(Composer(loader, "config", [], []), fixed)
    composer = Composer(loader, "config", [], found.fixed)
    return Guided(composer, found, first(composer, found).config, output / "sweeps" / "search")


def error(value: float) -> Metric:
    return Metric(name="error", value=1 - value, unit=Unit.PLAIN, better=Better.LOWER, split="val")


def result(seed: int, value: float) -> Result:
    found = Evaluation(
        evaluator="linear",
        subject="pretrained",
        metrics=(share("accuracy", 0.0, headline=True), share("accuracy", value, split="val"), error(value)),
        on=DataRef(dataset="fake_images"),
    )
    name = Name(dataset="fake_images", objective="simclr", backbone="convnet")
    return Result(identity="", name=name, seed=seed, status="done", command="", started="", results=(found,))


@pytest.mark.filterwarnings("ignore::Warning:optuna")
@pytest.mark.parametrize("metric", ["linear.accuracy[split=val]", "linear.error[split=val]"])
@pytest.mark.sampled(1)
def test_a_guided_search_finds_the_top_of_a_hill_and_goes_on_where_it_was(
    loader: Loader, tmp_path: Path, metric: str
) -> None:
    """The least error and the greatest accuracy are one and the same."""
    words = ["optimizer.lr=tag(log,interval(1e-5,1e-1))", "sweep.trials=25", f'sweep.metric="{metric}"']

    def spend(search: Guided, most: int) -> list[float]:
        rates: list[float] = []
        while len(rates) < most and (job := search.next()) is not None:
            rate = job.config.optimizer["lr"]
            rates.append(rate)
            search.ended(Outcome(job, "done"), result(0, -abs(math.log10(rate) + 3)))
        return rates

    first = spend(guided(loader, tmp_path, *words), 10)
    search = guided(loader, tmp_path, *words)
    second = spend(search, 100)
    assert len(first) == 10
    assert len(second) == 15
    assert search.waiting() == 0
    assert search.next() is None
    assert any(3e-4 < rate < 3e-3 for rate in second)
    assert f"best {metric}: " in search.best()


@pytest.mark.filterwarnings("ignore::Warning:optuna")
def test_a_killed_search_asks_again_for_what_was_running(loader: Loader, tmp_path: Path) -> None:
    words = ["optimizer.lr=interval(0.1,0.2)", "sweep.trials=3"]
    lost = guided(loader, tmp_path, *words).next()
    again = guided(loader, tmp_path, *words)
    found = again.next()
    assert lost is not None
    assert found is not None
    assert found.identity == lost.identity
    assert again.waiting() == 2


@pytest.mark.filterwarnings("ignore::Warning:optuna")
def test_a_run_below_the_median_of_the_others_is_hopeless(
    loader: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssl_runner.sweeps.search.LOOK", 0.0)
    search = guided(loader, tmp_path, "optimizer.lr=interval(0.1,0.2)", "sweep.trials=9")
    for value in (0.5, 0.6, 0.7, 0.8, 0.1, 0.9):
        job = search.next()
        assert job is not None
        job.folder.mkdir(parents=True)
        with (job.folder / "metrics.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["step", "val/knn_accuracy"], [10, value], [20, value]])
        assert search.hopeless(job) == (value == 0.1)
        search.ended(Outcome(job, "pruned" if value == 0.1 else "done"), None if value == 0.1 else result(0, value))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sweep.metric=linear.accuracy"], r"a metric of the validation split, such as linear\.accuracy\[split=val\]"),
        (["sweep.metric=accuracy"], "is not a column"),
        (['sweep.metric="knn.accuracy[split=val]"'], "`evaluation` computes linear"),
        (["seed=0,1"], "a guided search takes one"),
    ],
)
def test_what_a_guided_search_cannot_do_is_refused(loader: Loader, tmp_path: Path, words: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        guided(loader, tmp_path, "optimizer.lr=interval(0.1,0.2)", *words)
    assert not list(tmp_path.iterdir())
