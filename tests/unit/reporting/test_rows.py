import math

import pytest

from ssl_runner.reporting.results import Evaluation, Name, Result
from ssl_runner.reporting.rows import Row, result_rows, show, show_difference, show_interval, subject_name, subjects
from ssl_runner.reporting.statistics import Interval


def result(*found: Evaluation) -> Result:
    name = Name(dataset="d", objective="o", backbone="b")
    return Result(identity="i", name=name, seed=0, status="done", command="", started="", results=found)


def found(
    evaluator: str, subject: str, metrics: dict[str, float], layer: str = "pooled", up: bool = True
) -> Evaluation:
    return Evaluation(
        evaluator=evaluator,
        subject=subject,
        metrics=metrics,
        headline=next(iter(metrics), ""),
        higher_is_better=up,
        protocol={"layer": layer},
    )


def row(values: dict[str, float], metric: str = "accuracy", up: bool = True) -> Row:
    return Row("linear", metric, "", True, up, values)


def test_headlines_stand_beside_their_controls_the_pretrained_first() -> None:
    rows = result_rows(
        result(
            found("linear", "pixels", {"accuracy": 0.9, "val_accuracy": 0.91}),
            found("linear", "random_start", {"accuracy": 0.8}),
            found("linear", "pretrained", {"accuracy": 0.95}),
            found("nothing", "pretrained", {}),
        )
    )
    assert [r.key for r in rows] == ["linear.accuracy"]
    assert list(rows[0].values.items()) == [("pretrained", 0.95), ("random_start", 0.8), ("pixels", 0.9)]
    assert subjects(rows) == ["pretrained", "random_start", "pixels"]


def test_each_condition_of_a_headline_is_a_row_and_only_the_first_is_the_headline() -> None:
    rows = result_rows(result(found("few_label", "pretrained", {"accuracy@1%": 0.5, "accuracy@10%": 0.6, "nmi": 1.0})))
    assert [(r.key, r.headline) for r in rows] == [("few_label.accuracy@1%", True), ("few_label.accuracy@10%", False)]
    assert rows[0].label == "few label accuracy at 1%"


def test_layers_do_not_share_a_row() -> None:
    rows = result_rows(
        result(found("linear", "pretrained", {"accuracy": 0.5}), found("linear", "pretrained", {"accuracy": 0.6}, "-2"))
    )
    assert [r.key for r in rows] == ["linear.accuracy", "linear.accuracy[-2]"]
    assert rows[1].label == "linear accuracy, layer -2"


@pytest.mark.parametrize(
    ("values", "up", "verdict"),
    [
        ({"pretrained": 0.9, "random_start": 0.8, "pixels": 0.85}, True, ""),
        ({"pretrained": 0.9, "random_start": 0.95}, True, "not above random start"),
        ({"pretrained": 0.9, "random_start": 0.9}, True, "not above random start"),
        ({"pretrained": 0.9, "random_start": 0.8, "pixels": 0.95}, True, "not above pixels"),
        ({"pretrained": 0.1, "random_start": 0.8, "pixels": 0.95}, True, "not above random start or pixels"),
        ({"pretrained": 0.1, "random_start": 0.2}, False, ""),
        ({"pretrained": 0.3, "random_start": 0.2}, False, "not below random start"),
        ({"pretrained": 0.90001, "random_start": 0.9}, True, "not above random start"),  # shown alike: no claim
        ({"pretrained": math.nan, "random_start": 0.9}, True, "not a number"),
        ({"pretrained": 0.9, "random_start": math.nan}, True, ""),
        ({"pretrained": 0.9}, True, ""),
        ({"random_start": 0.9}, True, ""),
    ],
)
def test_a_result_that_does_not_beat_a_control_says_so(values: dict[str, float], up: bool, verdict: str) -> None:
    assert row(values, up=up).verdict == verdict


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("accuracy", 0.97049, "97.0 %"),
        ("val_accuracy@10%", 1.0, "100.0 %"),
        ("accuracy", 0.0, "0.0 %"),
        ("accuracy", math.nan, "not a number"),
        ("loss", -math.inf, "-inf"),
        ("nmi", 0.61116, "0.611"),
        ("mse", 0.01234, "0.0123"),
        ("mse", 0.0000123, "1.23e-05"),
        ("nll", 0.0, "0.000"),
        ("rank", 43.271, "43.27"),
        ("rank", -272.46, "-272.5"),
        ("perplexity", 12345.6, "12,346"),
    ],
)
def test_numbers_as_a_person_reads_them(metric: str, value: float, text: str) -> None:
    assert show(metric, value) == text


@pytest.mark.parametrize(
    ("metric", "values", "text"),
    [
        ("accuracy", (0.971, 0.835), "+13.6 points"),
        ("accuracy", (0.80, 0.835), "-3.5 points"),
        ("rank", (43.271, 21.9), "+21.37"),
        ("nmi", (0.5, 0.48), "+0.020"),
        ("nmi", (math.nan, 0.48), "-"),
        ("loss", (math.inf, 0.48), "+inf"),
    ],
)
def test_differences_have_a_sign_and_the_digits_of_their_numbers(metric: str, values: tuple, text: str) -> None:
    assert show_difference(metric, *values) == text
    assert row({"pretrained": values[0], "random_start": values[1]}, metric).shown_difference == text


@pytest.mark.parametrize(
    ("metric", "interval", "text"),
    [
        ("accuracy", (0.97249, 0.96949, 0.97549, 3), "97.2 ± 0.3 %"),
        ("accuracy", (0.97249, math.nan, math.nan, 1), "97.2 %"),
        ("accuracy", (math.nan, math.nan, math.nan, 3), "not a number"),
        ("rank", (43.271, 33.0, 53.542, 3), "43.27 ± 10.27"),
        ("nmi", (0.5, 0.5, 0.5, 2), "0.500 ± 0.000"),
        ("mse", (1.2e-5, 1.0e-5, 1.4e-5, 2), "1.20e-05 ± 2.0e-06"),
        ("mse", (1.2e-5, math.nan, math.nan, 1), "1.20e-05"),
    ],
)
def test_a_mean_with_half_its_interval(metric: str, interval: tuple, text: str) -> None:
    assert show_interval(metric, Interval(*interval)) == text


def test_no_difference_without_a_random_start() -> None:
    assert row({"pretrained": 0.9, "pixels": 0.1}).shown_difference == "-"
    assert row({"random_start": 0.9}).shown_difference == "-"


def test_only_shares_of_one_are_bars() -> None:
    assert row({"pretrained": 0.9}).bars
    assert not row({"pretrained": math.nan}).bars
    assert not row({"pretrained": 0.9}, "nmi").bars


def test_an_unknown_subject_comes_last_under_its_own_name() -> None:
    assert subjects([row({"supervised_net": 1.0, "pixels": 0.5})]) == ["pixels", "supervised_net"]
    assert subject_name("supervised_net") == "supervised net"
