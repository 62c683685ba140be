import math
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from made_runs import made_config, made_metric, made_run, seeds
from scipy import stats

from ssl_runner.reporting.comparison import Cell, Comparison, compare, each_run, select, sort
from ssl_runner.reporting.statistics import interval
from ssl_runner.results.metrics import Better, DataRef
from ssl_runner.results.result import Cost, Run

GOOD, CLOSE, BAD = [0.90, 0.91, 0.92, 0.93], [0.91, 0.90, 0.92, 0.92], [0.70, 0.72, 0.71, 0.74]


def ratios(**accuracies: list[float]) -> list[Run]:
    return [run for ratio, values in accuracies.items() for run in seeds(values, objective__ratio=float(ratio[1:]))]


def cell(comparison: Comparison, label: str, column: str = "linear.accuracy") -> Cell:
    return comparison.cells[label, column]


def labels(comparison: Comparison) -> list[str]:
    return [setting.label for setting in comparison.settings]


def test_seeds_of_one_setting_are_put_together() -> None:
    comparison = compare(ratios(r5=GOOD, r1=BAD))
    assert labels(comparison) == ["ratio=1.0", "ratio=5.0"]
    assert comparison.settings[1].values == {"objective.ratio": 5.0}
    assert list(comparison.settings[1].runs) == [0, 1, 2, 3]
    assert cell(comparison, "ratio=5.0").values == dict(enumerate(GOOD))
    assert [column.key for column in comparison.columns] == ["linear.accuracy"]
    assert comparison.problems == ()


def test_runs_that_differ_in_nothing_but_their_seed() -> None:
    comparison = compare(seeds(GOOD))
    assert (labels(comparison), comparison.axes) == (["-"], ())
    assert cell(comparison, "-").tied  # the best of one
    assert compare([]) == Comparison((), (), (), {}, ())


def test_intervals_are_those_of_scipy() -> None:
    control = [0.80, 0.85, 0.80, 0.79]
    found = cell(compare(seeds(GOOD, control)), "-")
    differences = [good - start for good, start in zip(GOOD, control, strict=True)]
    for seen, values in (
        (found.interval, GOOD),
        (found.controls["random_start"], control),
        (found.differences["random_start"], differences),
    ):
        low, high = stats.t.interval(0.95, 3, loc=sum(values) / 4, scale=stats.sem(values))
        assert seen == pytest.approx((sum(values) / 4, low, high, 4))
    assert found.control_values == {"random_start": dict(enumerate(control))}


def test_tests_are_scipys_paired_ones_corrected_by_holm() -> None:
    comparison = compare(ratios(r1=GOOD, r2=CLOSE, r3=BAD, r4=[0.85, 0.88, 0.86, 0.90]))
    p = {
        label: stats.ttest_rel(GOOD, [cell(comparison, label).values[seed] for seed in range(4)]).pvalue
        for label in ("ratio=2.0", "ratio=3.0", "ratio=4.0")
    }
    first, second, third = sorted(p, key=lambda label: p[label])
    corrected = {first: 3 * p[first], second: max(3 * p[first], 2 * p[second])}
    corrected[third] = max(corrected[second], p[third])
    for label, value in corrected.items():
        assert cell(comparison, label).p == pytest.approx(value)
        assert cell(comparison, label).tied == (value > 0.05)
    assert [label for label in labels(comparison) if cell(comparison, label).tied] == ["ratio=1.0", "ratio=2.0"]
    assert math.isnan(cell(comparison, "ratio=1.0").p)


def test_where_less_is_better_the_best_is_the_lowest() -> None:
    def error(run: Run) -> Run:
        (found,) = run.result.results
        lower = tuple(replace(metric, better=Better.LOWER) for metric in found.metrics)
        return run._replace(result=replace(run.result, results=(replace(found, metrics=lower),)))

    comparison = compare([error(run) for run in ratios(r1=GOOD, r2=BAD)])
    assert [cell(comparison, label).tied for label in labels(comparison)] == [False, True]


def test_one_seed_is_neither_the_best_nor_like_it() -> None:
    comparison = compare([*seeds(GOOD, objective__ratio=1.0), *seeds([0.99], objective__ratio=2.0)])
    assert cell(comparison, "ratio=1.0").tied
    assert not cell(comparison, "ratio=2.0").tied
    assert math.isnan(cell(comparison, "ratio=2.0").p)
    assert not any(found.tied for found in compare(ratios(r1=[0.9], r2=[0.1])).cells.values())


def test_without_two_common_seeds_nothing_is_significantly_different() -> None:
    others = seeds([*GOOD, *BAD], objective__ratio=2.0)[4:]
    comparison = compare([*seeds(GOOD, objective__ratio=1.0), *others])
    assert cell(comparison, "ratio=2.0").tied
    assert math.isnan(cell(comparison, "ratio=2.0").p)


def test_what_is_better_on_the_common_seeds_cannot_be_worse() -> None:
    best = seeds([0.99, 0.71, 0.72, 0.73], objective__ratio=1.0)  # by its first seed alone
    other = seeds([0.00, 0.72, 0.732, 0.741], objective__ratio=2.0)[1:]
    comparison = compare([*best, *other])
    assert cell(comparison, "ratio=1.0").interval.mean > cell(comparison, "ratio=2.0").interval.mean
    assert stats.ttest_rel([0.71, 0.72, 0.73], [0.72, 0.732, 0.741]).pvalue < 0.05
    assert cell(comparison, "ratio=2.0").tied


def test_a_description_has_no_best() -> None:
    runs = [
        made_run(str(seed), made_config(seed=seed), {"geometry": {"pretrained": {"rank": 3.0 + seed}}},
                 better=Better.NEITHER)
        for seed in (0, 1)
    ]  # fmt: skip
    found = cell(compare(runs), "-", "geometry.rank")
    assert (found.verdict, found.tied) == ("", False)


@pytest.mark.parametrize(
    ("accuracies", "control", "verdict"),
    [
        ([0.90, 0.91, 0.92], [0.80, 0.81, 0.83], ""),
        ([0.90, 0.91, 0.92], [0.80, 0.95, 0.83], "not above random start"),  # the interval holds 0
        ([0.80, 0.81, 0.83], [0.90, 0.91, 0.92], "not above random start"),
        ([0.9], [0.8], ""),
        ([0.8], [0.9], "not above random start"),
        ([0.90001], [0.9], "not above random start"),  # shown alike
        ([0.9, math.nan, 0.9], [0.8, 0.8, 0.8], "not a number in 1 of 3 seeds"),
        ([math.inf], [0.8], "not a number"),
        ([0.9, 0.9], [math.nan, math.nan], ""),
    ],
)
def test_verdicts(accuracies: list[float], control: list[float], verdict: str) -> None:
    assert cell(compare(seeds(accuracies, control)), "-").verdict == verdict


def test_a_lost_seed_leaves_no_mean_and_no_best() -> None:
    comparison = compare(ratios(r1=[0.99, math.nan], r2=[0.5, 0.6]))
    lost, other = cell(comparison, "ratio=1.0"), cell(comparison, "ratio=2.0")
    assert math.isnan(lost.interval.mean)
    assert not lost.tied
    assert other.tied
    assert lost.values[0] == 0.99


def test_of_the_same_run_twice_the_later_counts_and_the_other_is_named() -> None:
    (run,) = seeds([0.5])
    later = run._replace(
        folder=run.folder / "again", result=replace(run.result, started="2026-11-24T00:00:00", results=())
    )
    comparison = compare([later, run])
    assert comparison.settings[0].runs == {0: later}
    assert comparison.problems == (
        f"{run.folder} is skipped: {later.folder} has the same setting and seed and started later",
    )


def test_numbers_of_different_protocols_never_share_a_column() -> None:
    def run(seed: int, k: int, **config: Any) -> Run:
        metrics = {"knn": {"pretrained": {"accuracy": k / 1000}}}
        return made_run(f"{seed}-{k}", made_config(seed=seed, **config), metrics, terms={"knn": {"k": k}})

    comparison = compare([run(0, 20), run(1, 200), run(2, 20)])
    assert [column.key for column in comparison.columns] == ["knn.accuracy{k=20}", "knn.accuracy{k=200}"]
    assert cell(comparison, "-", "knn.accuracy{k=20}").values == {0: 0.02, 2: 0.02}
    assert cell(comparison, "-", "knn.accuracy{k=200}").values == {1: 0.2}
    assert comparison.columns[1].protocol == {"k": 200, "data": "mnist", "fingerprint": ""}


def test_other_data_under_one_name_part_columns_but_datasets_are_sections() -> None:
    def run(seed: int, accuracy: float, data: str, **config: Any) -> Run:
        metrics = {"linear": {"pretrained": {"accuracy": accuracy}}}
        on = DataRef(dataset=config.get("dataset", "mnist"), fingerprint=data)
        return made_run(f"{accuracy}", made_config(seed=seed, **config), metrics, on=on)

    comparison = compare([run(0, 0.5, "a"), run(1, 0.6, "b")])
    assert [column.key for column in comparison.columns] == [
        "linear.accuracy{fingerprint=a}",
        "linear.accuracy{fingerprint=b}",
    ]
    runs = [run(seed, 0.9 + seed / 100, "a", dataset="mnist") for seed in (0, 1)]
    runs += [run(seed, 0.5 + seed / 90, "b", dataset="cifar") for seed in (0, 1)]
    comparison = compare(runs)
    assert [setting.section for setting in comparison.settings] == ["mnist", "cifar"]
    (column,) = comparison.columns
    assert column.protocol["fingerprint"] == {"mnist": "a", "cifar": "b"}
    assert all(found.tied for found in comparison.cells.values())  # each is the best on its data


def test_all_evaluated_on_one_other_dataset_are_held_against_each_other() -> None:
    runs = [
        made_run(
            f"{dataset}{seed}",
            made_config(dataset=dataset, seed=seed),
            {"linear": {"pretrained": {"accuracy": accuracy + seed / (90 if dataset == "mnist" else 100)}}},
            on=DataRef(dataset="stl10", own=False, fingerprint="f0"),
        )
        for dataset, accuracy in (("mnist", 0.3), ("cifar", 0.7))
        for seed in (0, 1, 2)
    ]
    comparison = compare(runs)
    assert [cell(comparison, label, "linear.accuracy{on=stl10}").tied for label in labels(comparison)] == [False, True]


def test_costs_are_means_of_what_was_measured() -> None:
    runs = seeds(GOOD)
    runs = [run._replace(result=replace(run.result, cost=Cost(seconds=10.0 * n))) for n, run in enumerate(runs)]
    (setting,) = compare(runs).settings
    assert setting.cost("seconds") == interval([0, 10, 20, 30])
    assert setting.cost("peak_memory_mb") is None


def test_each_run_by_itself() -> None:
    whole = compare([*seeds([0.9, 0.5], [0.8, 0.8], objective__ratio=1.0), *seeds([0.7], objective__ratio=2.0)])
    comparison = each_run(whole)
    assert labels(comparison) == ["ratio=1.0 seed=0", "ratio=1.0 seed=1", "ratio=2.0 seed=0"]
    assert [axis.key for axis in comparison.axes] == ["objective.ratio", "seed"]
    assert cell(comparison, "ratio=1.0 seed=1").verdict == "not above random start"
    assert cell(comparison, "ratio=1.0 seed=1").controls["random_start"].mean == 0.8
    assert labels(each_run(compare(seeds([0.9, 0.5])))) == ["seed=0", "seed=1"]


def several() -> Comparison:
    few = [made_metric(value=value, condition={"labels": share}) for share, value in ((0.01, 0.5), (0.1, 0.6))]
    val = made_metric(value=0.95, split="val", headline=False)
    metrics = {
        "linear": [made_metric(), val],
        "knn": [made_metric(value=0.8)],
        "few_label": few,
        "geometry": [made_metric("rank", 3.0)],
    }
    return compare([made_run("a", None, {name: {"pretrained": values} for name, values in metrics.items()})])


ONE, TEN = "few_label.accuracy[labels=0.01]", "few_label.accuracy[labels=0.1]"
VAL = "linear.accuracy[split=val]"


@pytest.mark.parametrize(
    ("words", "everything", "kept"),
    [
        (["knn", "linear"], False, ["knn.accuracy", "linear.accuracy"]),
        (["linear"], True, ["linear.accuracy", VAL]),
        ([VAL, "rank"], False, [VAL, "geometry.rank"]),
        ([TEN, "few_label"], False, [TEN, ONE]),
        (["accuracy"], False, ["linear.accuracy", "knn.accuracy", ONE, TEN]),
    ],
)
def test_selecting_columns(words: list[str], everything: bool, kept: list[str]) -> None:
    assert [column.key for column in select(several(), words, everything).columns] == kept


def test_selecting_what_is_not_there() -> None:
    with pytest.raises(
        ValueError, match=r"'nmi' is not a column; choose one of: linear\.accuracy, linear\.accuracy\[split"
    ):
        select(several(), ["knn", "nmi"], False)


@pytest.mark.parametrize(
    ("by", "order"),
    [
        ("linear", "231"),
        ("linear.accuracy:asc", "132"),
        ("accuracy:desc", "231"),
        ("ratio", "123"),
        ("objective.ratio:desc", "321"),
        ("seconds", "213"),
        ("seconds:desc", "312"),
    ],
)
def test_sorting(by: str, order: str) -> None:
    runs = [
        run._replace(result=replace(run.result, cost=Cost(seconds=seconds)))
        for run, seconds in zip(ratios(r1=[0.1], r2=[0.9], r3=[0.5]), (2.0, 1.0, 3.0), strict=True)
    ]
    sorted_ = sort(compare(runs), by)
    assert [setting.label for setting in sorted_.settings] == [f"ratio={digit}.0" for digit in order]


def test_what_is_missing_or_lost_comes_last_and_sections_stay_together() -> None:
    runs = [*seeds([0.9], objective__ratio=2.0), *seeds([math.nan], objective__ratio=1.0), *seeds([0.4], batch_size=8)]
    runs.append(made_run("other", made_config("rotation"), {"knn": {"pretrained": {"accuracy": 1.0}}}))
    runs += [*seeds([0.1], dataset="cifar"), *seeds([0.2], dataset="cifar", batch_size=8)]
    comparison = compare(runs)
    for by, best_first in (("linear", True), ("linear:asc", False)):
        sorted_ = sort(comparison, by)
        means = [
            found.interval.mean if (found := sorted_.cells.get((label, "linear.accuracy"))) else None
            for label in labels(sorted_)
        ]
        assert [setting.section for setting in sorted_.settings] == ["mnist"] * 4 + ["cifar"] * 2
        assert means[:2] == sorted([0.9, 0.4], reverse=best_first)
        assert means[2] is None or math.isnan(means[2])
        assert means[4:] == sorted([0.1, 0.2], reverse=best_first)


def test_sorting_by_what_is_no_column_or_several() -> None:
    with pytest.raises(ValueError, match=r"'nmi' is not a column; choose one of: linear\.accuracy"):
        sort(several(), "nmi")
    with pytest.raises(ValueError, match=r"'accuracy' is more than one column; choose one of: linear\.accuracy, knn\."):
        sort(several(), "accuracy")


def test_labels_are_told_apart_whatever_the_values() -> None:
    values: list[Any] = [1, "1", True, None, "true", "a b", [1, 2], "[1,2]", 0.1, "0.1"]
    runs = [made_run(str(place), made_config(extra=value)) for place, value in enumerate(values)]
    found = labels(compare(runs))
    assert len(found) == len(values) - 1  # 1 and true are one number to Python
    assert not [pair for pair in combinations(found, 2) if pair[0] == pair[1]]
