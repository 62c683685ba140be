import math
from typing import Any

import pytest
from made_runs import made_metric

from ssl_runner.reporting.rows import Row, result_rows, show, show_difference, show_interval, subject_name, subjects
from ssl_runner.reporting.statistics import Interval
from ssl_runner.results.address import Address
from ssl_runner.results.metrics import Better, DataRef, Metric, Protocol, Unit
from ssl_runner.results.result import Evaluation, Name, Result


def result(*found: Evaluation) -> Result:
    name = Name(dataset="d", objective="o", backbone="b")
    return Result(identity="i", name=name, seed=0, status="done", command="", started="", results=found)


def found(evaluator: str, subject: str, *metrics: Metric, own: bool = True, **terms: Any) -> Evaluation:
    on = DataRef(dataset="d") if own else DataRef(dataset="stl10", own=False, settings={"label": "ship"})
    return Evaluation(evaluator=evaluator, subject=subject, metrics=metrics, on=on, protocol=Protocol(terms=terms))


def row(values: dict[str, float], unit: Unit = Unit.SHARE, better: Better = Better.HIGHER) -> Row:
    return Row(Address("linear", "accuracy"), unit, better, values)


def test_headlines_stand_beside_their_controls_the_pretrained_first() -> None:
    val = made_metric(value=0.91, split="val", headline=False)
    rows = result_rows(
        result(
            found("linear", "pixels", made_metric(value=0.9), val),
            found("linear", "random_start", made_metric(value=0.8)),
            found("linear", "pretrained", made_metric(value=0.95)),
            found("nothing", "pretrained"),
        )
    )
    assert [str(r.address) for r in rows] == ["linear.accuracy"]
    assert list(rows[0].values.items()) == [("pretrained", 0.95), ("random_start", 0.8), ("pixels", 0.9)]
    assert subjects(rows) == ["pretrained", "random_start", "pixels"]


def test_each_condition_of_a_headline_is_a_row() -> None:
    shares = [made_metric(value=value, condition={"labels": labels}) for labels, value in ((0.01, 0.5), (0.1, 0.6))]
    rows = result_rows(result(found("few_label", "pretrained", *shares, made_metric("nmi", 1.0, headline=False))))
    assert [str(r.address) for r in rows] == ["few_label.accuracy[labels=0.01]", "few_label.accuracy[labels=0.1]"]
    assert rows[0].label == "few label accuracy, labels=0.01"


def test_protocols_do_not_share_a_row_nor_do_data() -> None:
    rows = result_rows(
        result(
            found("linear", "pretrained", made_metric(value=0.5), layer="pooled"),
            found("linear", "random_start", made_metric(value=0.1), layer="pooled"),
            found("linear", "pretrained", made_metric(value=0.6), layer=-2),
            found("linear", "pretrained", made_metric(value=0.7), layer="pooled", own=False),
        )
    )
    assert {str(r.address): r.values["pretrained"] for r in rows} == {
        "linear.accuracy{layer=pooled}": 0.5,
        "linear.accuracy{layer=-2}": 0.6,
        "linear.accuracy{on=stl10,label=ship,layer=pooled}": 0.7,
    }
    assert [len(r.values) for r in rows] == [2, 1, 1]
    assert rows[2].label == "linear accuracy on stl10, label=ship, layer=pooled"


@pytest.mark.parametrize(
    ("values", "better", "verdict"),
    [
        ({"pretrained": 0.9, "random_start": 0.8, "pixels": 0.85}, Better.HIGHER, ""),
        ({"pretrained": 0.9, "random_start": 0.95}, Better.HIGHER, "not above random start"),
        ({"pretrained": 0.9, "random_start": 0.9}, Better.HIGHER, "not above random start"),
        ({"pretrained": 0.9, "random_start": 0.8, "pixels": 0.95}, Better.HIGHER, "not above pixels"),
        ({"pretrained": 0.1, "random_start": 0.8, "pixels": 0.95}, Better.HIGHER, "not above random start or pixels"),
        ({"pretrained": 0.1, "random_start": 0.2}, Better.LOWER, ""),
        ({"pretrained": 0.3, "random_start": 0.2}, Better.LOWER, "not below random start"),
        (
            {"pretrained": 0.90001, "random_start": 0.9},
            Better.HIGHER,
            "not above random start",
        ),  # shown alike: no claim
        ({"pretrained": math.nan, "random_start": 0.9}, Better.HIGHER, "not a number"),
        ({"pretrained": 0.9, "random_start": math.nan}, Better.HIGHER, ""),
        ({"pretrained": 0.9}, Better.HIGHER, ""),
        ({"random_start": 0.9}, Better.HIGHER, ""),
    ],
)
def test_a_result_that_does_not_beat_a_control_says_so(values: dict[str, float], better: Better, verdict: str) -> None:
    assert row(values, better=better).verdict == verdict


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        (Unit.SHARE, 0.97049, "97.0 %"),
        (Unit.SHARE, 1.0, "100.0 %"),
        (Unit.SHARE, 0.0, "0.0 %"),
        (Unit.SHARE, math.nan, "not a number"),
        (Unit.PLAIN, -math.inf, "-inf"),
        (Unit.PLAIN, 0.61116, "0.611"),
        (Unit.PLAIN, 0.01234, "0.0123"),
        (Unit.PLAIN, 0.0000123, "1.23e-05"),
        (Unit.PLAIN, 0.0, "0.000"),
        (Unit.PLAIN, 43.271, "43.27"),
        (Unit.PLAIN, -272.46, "-272.5"),
        (Unit.PLAIN, 12345.6, "12,346"),
    ],
)
def test_numbers_as_a_person_reads_them(unit: Unit, value: float, text: str) -> None:
    assert show(unit, value) == text


@pytest.mark.parametrize(
    ("unit", "values", "text"),
    [
        (Unit.SHARE, (0.971, 0.835), "+13.6 points"),
        (Unit.SHARE, (0.80, 0.835), "-3.5 points"),
        (Unit.PLAIN, (43.271, 21.9), "+21.37"),
        (Unit.PLAIN, (0.5, 0.48), "+0.020"),
        (Unit.PLAIN, (math.nan, 0.48), "-"),
        (Unit.PLAIN, (math.inf, 0.48), "+inf"),
    ],
)
def test_differences_have_a_sign_and_the_digits_of_their_numbers(unit: Unit, values: tuple, text: str) -> None:
    assert show_difference(unit, *values) == text
    assert row({"pretrained": values[0], "random_start": values[1]}, unit).shown_difference == text


@pytest.mark.parametrize(
    ("unit", "interval", "text"),
    [
        (Unit.SHARE, (0.97249, 0.96949, 0.97549, 3), "97.2 ± 0.3 %"),
        (Unit.SHARE, (0.97249, math.nan, math.nan, 1), "97.2 %"),
        (Unit.SHARE, (math.nan, math.nan, math.nan, 3), "not a number"),
        (Unit.PLAIN, (43.271, 33.0, 53.542, 3), "43.27 ± 10.27"),
        (Unit.PLAIN, (0.5, 0.5, 0.5, 2), "0.500 ± 0.000"),
        (Unit.PLAIN, (1.2e-5, 1.0e-5, 1.4e-5, 2), "1.20e-05 ± 2.0e-06"),
        (Unit.PLAIN, (1.2e-5, math.nan, math.nan, 1), "1.20e-05"),
    ],
)
def test_a_mean_with_half_its_interval(unit: Unit, interval: tuple, text: str) -> None:
    assert show_interval(unit, Interval(*interval)) == text


def test_no_difference_without_a_random_start() -> None:
    assert row({"pretrained": 0.9, "pixels": 0.1}).shown_difference == "-"
    assert row({"random_start": 0.9}).shown_difference == "-"


def test_only_shares_of_one_are_bars() -> None:
    assert row({"pretrained": 0.9}).bars
    assert not row({"pretrained": math.nan}).bars
    assert not row({"pretrained": 0.9}, Unit.PLAIN).bars


def test_an_unknown_subject_comes_last_under_its_own_name() -> None:
    assert subjects([row({"supervised_net": 1.0, "pixels": 0.5})]) == ["pixels", "supervised_net"]
    assert subject_name("supervised_net") == "supervised net"
