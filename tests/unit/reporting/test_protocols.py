from typing import Any

import pytest
from made_runs import made_run

from ssl_runner.reporting.protocols import Number, columns, numbers, protocol, suffixes, together
from ssl_runner.reporting.results import Evaluation, Result

DATA = {"fingerprint": "abc", "pretrain": 100, "train": 90, "val": 10, "test": 50}
ON_DATA = {"train examples": 90, "val examples": 10, "test examples": 50, "fingerprint": "abc"}


def asked(evaluator: str, recorded: dict[str, Any], metric: str = "accuracy") -> tuple[dict[str, Any], dict[str, Any]]:
    run = made_run("a", metrics={evaluator: {"pretrained": {metric: 0.5}}}, protocol={evaluator: recorded}, data=DATA)
    return protocol(run.result, run.result.results[0], metric)


def test_what_the_linear_probe_chose_and_measured_is_no_protocol() -> None:
    terms, data = asked(
        "linear",
        {
            "evaluator": "linear probe",
            "layer": "pooled",
            "width": 128,
            "train": 90,
            "chosen on": "val (10 labels)",
            "settings": 24,
            "learning_rate": 0.3,
            "weight_decay": 0.01,
            "at the grid's edge": "",
            "seed": 3,
        },
    )
    assert terms == {"evaluator": "linear probe", "layer": "pooled", "settings": 24}
    assert data == {"train": 90, "chosen on": "val (10 labels)"} | ON_DATA


def test_the_learning_rate_of_fine_tuning_is_protocol_as_is_a_key_not_known() -> None:
    terms, _ = asked("finetune", {"evaluator": "fine-tuning of all weights", "learning_rate": 0.001, "new": [1, 2]})
    assert terms == {"evaluator": "fine-tuning of all weights", "learning_rate": 0.001, "new": (1, 2)}


def test_of_few_labels_the_subset_of_the_metric_counts() -> None:
    grid = {"learning_rate": 0.3, "weight_decay": 0.1, "at the grid's edge": "", "indices": "f00"}
    recorded = {
        "evaluator": "linear probe on few labels",
        "steps": 500,
        "subsets": {"1%": {"labels": 9, "val labels": 9} | grid, "10%": {"labels": 90, "val labels": 10} | grid},
        "left out": ["10 per class: too few"],
    }
    terms, data = asked("few_label", recorded, "accuracy@1%")
    assert terms == {"evaluator": "linear probe on few labels", "steps": 500}
    assert data == {"labels": 9, "val labels": 9} | ON_DATA
    terms, _ = asked("few_label", recorded, "slope")  # of no subset: of all
    assert dict(terms["subsets"])["1%"] == (("labels", 9), ("val labels", 9))


def test_on_other_data_the_runs_own_data_do_not_count() -> None:
    assert asked("knn on cifar10", {"k": 20, "train": 5}) == ({"k": 20, "train": 5}, {})
    other = {"k": 20, "fingerprint": "0f3a"}  # of the other data: figures of two sets of them never share a column
    assert asked("knn on cifar10", other) == (other, {})


def test_a_control_under_another_protocol_does_not_stand_beside() -> None:
    def found(subject: str, k: int, accuracy: float) -> Evaluation:
        return Evaluation(
            evaluator="knn",
            subject=subject,
            metrics={"accuracy": accuracy, "loss": 1.0},
            headline="accuracy",
            higher_is_better=True,
            protocol={"k": k, "seed": k},
        )

    run = made_run(
        "a", results=(found("pretrained", 200, 0.9), found("pixels", 200, 0.8), found("random_start", 20, 0))
    )
    accuracy, loss = numbers(run.result)
    assert accuracy == Number("knn", "accuracy", True, True, {"pretrained": 0.9, "pixels": 0.8}, {"k": 200}, {})
    assert (loss.metric, loss.headline, loss.higher_is_better) == ("loss", False, None)


def number(terms: dict[str, Any], **data: Any) -> Number:
    return Number("knn", "accuracy", True, True, {"pretrained": 0.5}, terms, data)


def test_terms_part_columns_on_all_data_and_data_only_within_a_section() -> None:
    k20, k200 = {"k": 20}, {"k": 200}
    found = [("mnist", number(k20, n=1)), ("cifar", number(k20, n=2)), ("cifar", number(k200, n=2))]
    assert columns(found) == [(k20, [0, 1]), (k200, [2])]
    found.append(("cifar", number(k20, n=3)))
    assert columns(found) == [
        (k20 | {"n": 1}, [0]),
        (k20 | {"n": 2}, [1]),
        (k20 | {"n": 3}, [3]),
        (k200, [2]),
    ]


def test_a_columns_protocol_says_by_section_what_is_not_the_same() -> None:
    found = [("mnist", number({"k": 20}, n=1)), ("cifar", number({"k": 20}, n=2))]
    assert together(found) == {"k": 20, "n": {"mnist": 1, "cifar": 2}}
    assert together(found[:1]) == {"k": 20, "n": 1}


@pytest.mark.parametrize(
    ("protocols", "said"),
    [
        ([{"k": 20, "layer": "pooled"}], [""]),
        ([{"k": 20, "t": 1}, {"k": 200, "t": 1}], ["{k=20}", "{k=200}"]),
        ([{"a": 1, "k": 1}, {"a": 1, "k": 2}, {"a": 2, "k": 3}], ["{k=1}", "{k=2}", "{k=3}"]),
        ([{"a": 1, "k": 1}, {"a": 1, "k": 2}, {"a": 2, "k": 2}], ["{a=1,k=1}", "{a=1,k=2}", "{a=2,k=2}"]),
        ([{}, {"k": 1}, {"k": None}], ["{k=-}", "{k=1}", "{k=null}"]),
        ([{"k": ("a,b",)}, {"k": ("a", "b")}], ['{k=["a,b"]}', "{k=[a,b]}"]),
    ],
)
def test_keys_are_told_apart_by_as_little_as_possible(protocols: list[dict[str, Any]], said: list[str]) -> None:
    assert suffixes(protocols) == said


def test_equal_protocols_cannot_be_told_apart() -> None:
    with pytest.raises(ValueError, match="no different"):
        suffixes([{"k": 1}, {"k": 1}])


def test_a_run_without_evaluations_has_no_numbers() -> None:
    result: Result = made_run("a", results=()).result
    assert list(numbers(result)) == []
