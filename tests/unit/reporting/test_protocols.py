from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from made_runs import made_metric, made_run

from ssl_runner.reporting.protocols import Number, apart, columns, numbers, together
from ssl_runner.results.metrics import DataRef, Metric, Precision, Protocol
from ssl_runner.results.result import Evaluation, Result


def found(subject: str, value: float, **terms: Any) -> Evaluation:
    return Evaluation(
        evaluator="knn",
        subject=subject,
        metrics=(made_metric(value=value), made_metric("loss", 1.0, headline=False)),
        on=DataRef(dataset="mnist"),
        protocol=Protocol(terms=terms, chosen={"rate": value}, measured={"width": value}),
    )


def test_a_control_under_another_protocol_does_not_stand_beside_whatever_it_chose_and_measured() -> None:
    run = made_run("a", results=(found("pretrained", 0.9, k=200), found("pixels", 0.8, k=200), found("start", 0, k=20)))
    accuracy, loss = numbers(run.result)
    assert accuracy.values == {"pretrained": 0.9, "pixels": 0.8}
    assert accuracy.terms == {"k": 200}
    assert (loss.metric.name, loss.metric.headline, loss.values["pixels"]) == ("loss", False, 1.0)


def test_a_control_on_other_data_does_not_stand_beside() -> None:
    other = replace(found("pixels", 0.8, k=20), on=DataRef(dataset="mnist", own=False, settings={"label": "place"}))
    accuracy, _ = numbers(made_run("a", results=(found("pretrained", 0.9, k=20), other)).result)
    assert accuracy.values == {"pretrained": 0.9}


def test_terms_of_one_metric_and_the_precision_are_terms() -> None:
    accuracy = made_metric(terms={"file": "3f2a"})
    evaluation = replace(
        found("pretrained", 0.9, layer=[1, 2]),
        metrics=(accuracy,),
        precision=Precision(pretraining="bfloat16", evaluation="float32"),
    )
    (number,) = numbers(made_run("a", results=(evaluation,)).result)
    assert number.terms == {
        "layer": (1, 2), "file": "3f2a", "precision": "bfloat16", "evaluation precision": "float32",
    }  # fmt: skip


def number(terms: Mapping[str, Any], fingerprint: str = "", own: bool = True, metric: Metric | None = None) -> Number:
    on = DataRef(dataset="mnist", own=own, fingerprint=fingerprint)
    return Number("knn", metric or made_metric(), {"pretrained": 0.5}, dict(terms), on)


def test_terms_part_columns_on_all_data_and_data_only_within_a_section() -> None:
    k20, k200 = {"k": 20}, {"k": 200}
    found = [("mnist", number(k20, "a")), ("cifar", number(k20, "b")), ("cifar", number(k200, "b"))]
    assert columns(found) == [(k20, [0, 1]), (k200, [2])]
    found.append(("cifar", number(k20, "c")))
    assert columns(found) == [
        ({"k": 20, "fingerprint": "a"}, [0]),
        ({"k": 20, "fingerprint": "b"}, [1]),
        ({"k": 20, "fingerprint": "c"}, [3]),
        ({"k": 200}, [2]),
    ]


def test_figures_of_two_sets_of_other_data_never_share_a_column() -> None:
    found = [("mnist", number({}, "a", own=False)), ("cifar", number({}, "b", own=False))]
    assert columns(found) == [({"on": "mnist", "fingerprint": "a"}, [0]), ({"on": "mnist", "fingerprint": "b"}, [1])]
    assert columns(found[:1]) == [({"on": "mnist"}, [0])]


def test_a_columns_protocol_says_by_section_what_is_not_the_same() -> None:
    found = [("mnist", number({"k": 20}, "a")), ("cifar", number({"k": 20}, "b"))]
    assert together(found) == {"k": 20, "data": "mnist", "fingerprint": {"mnist": "a", "cifar": "b"}}
    assert together(found[:1]) == {"k": 20, "data": "mnist", "fingerprint": "a"}


@pytest.mark.parametrize(
    ("protocols", "told"),
    [
        ([{"k": 20, "layer": "pooled"}], [{}]),
        ([{"k": 20, "t": 1}, {"k": 200, "t": 1}], [{"k": 20}, {"k": 200}]),
        ([{"a": 1, "k": 1}, {"a": 1, "k": 2}, {"a": 2, "k": 3}], [{"k": 1}, {"k": 2}, {"k": 3}]),
        (
            [{"a": 1, "k": 1}, {"a": 1, "k": 2}, {"a": 2, "k": 2}],
            [{"a": 1, "k": 1}, {"a": 1, "k": 2}, {"a": 2, "k": 2}],
        ),
        ([{}, {"k": 1}, {"k": None}], [{}, {"k": 1}, {"k": None}]),
    ],
)
def test_protocols_are_told_apart_by_as_little_as_possible(
    protocols: list[dict[str, Any]], told: list[dict[str, Any]]
) -> None:
    assert apart(protocols) == told


def test_what_would_be_long_is_a_digest_and_each_has_its_own() -> None:
    told = apart([{f"k{place}": "x" * 40 for place in range(4)} | {"rate": "y" * 80 + end} for end in "ab"])
    assert [list(each) for each in told] == [["protocol"], ["protocol"]]
    assert len({each["protocol"] for each in told}) == 2
    assert all(len(each["protocol"]) == 8 for each in told)


def test_a_run_without_evaluations_has_no_numbers() -> None:
    result: Result = made_run("a", results=()).result
    assert list(numbers(result)) == []
