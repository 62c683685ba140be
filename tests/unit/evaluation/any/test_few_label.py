import hashlib

import pytest
from findings import keys, value

from ssl_runner.data.any.splits import nested_subsets
from ssl_runner.evaluation.any import logistic
from ssl_runner.evaluation.any.few_label import FewLabel
from ssl_runner.evaluation.any.logistic import Grid, fit_linear

GRID = {"learning_rates": [0.1, 0.3], "weight_decays": [1e-3, 0.1], "steps": 50, "batch_size": 16}


def probe(fractions=(0.1, 0.5, 1.0), per_class=(2,)):
    return FewLabel(layer="pooled", fractions=list(fractions), per_class=list(per_class), grid=Grid(**GRID))


def recorded(monkeypatch):
    """What fit_linear was called with."""
    calls = []

    def record(x, y, x_val, y_val, *rest, **settings):
        calls.append((x, y, x_val, y_val))
        return fit_linear(x, y, x_val, y_val, *rest, **settings)

    monkeypatch.setattr(logistic, "fit_linear", record)
    return calls


def test_each_number_is_the_probe_of_its_subset(subject):
    frozen = subject("blocks", seed=2)
    found = probe()(frozen)
    train, val, test = (frozen.features(split) for split in ("train", "val", "test"))
    subsets = nested_subsets(train.label, fractions=[0.1, 0.5, 1.0], per_class=[2], seed=2)
    held = nested_subsets(val.label, fractions=[6 / 30, 1.0, 8 / 30], per_class=[], seed=2)
    by_size = {len(index): index for index in held.values()}
    assert keys(found) == [
        ("accuracy", split, tuple(few.condition.items())) for few in subsets for split in ("test", "val")
    ]
    assert [few.condition for few in subsets] == [{"labels": 0.1}, {"labels": 0.5}, {"labels": 1.0}, {"per_class": 2}]
    for few, subset in subsets.items():
        chosen = by_size[min(30, len(subset))]
        fit = fit_linear(
            train.data[subset], train.label[subset], val.data[chosen], val.label[chosen], 4, Grid(**GRID), seed=2
        )
        assert value(found, "accuracy", **few.condition) == fit.accuracy(test.data, test.label)
        assert value(found, "accuracy", "val", **few.condition) == fit.accuracy(val.data, val.label)
        assert found.protocol.chosen[str(few)] == fit.chosen
        measured = found.protocol.measured[str(few)]
        assert measured["train labels"] == len(subset)
        assert measured["val labels"] == min(30, len(subset))
        assert measured["indices"] == hashlib.sha256(subset.numpy().tobytes()).hexdigest()[:16]


def test_subsets_are_nested_stratified_and_val_is_no_larger(subject, monkeypatch):
    calls = recorded(monkeypatch)
    probe(per_class=(3,))(subject("label"))
    sizes = []
    for x, y, _, y_val in calls:
        sizes.append(len(x))
        assert len(y_val) <= len(y)
        assert y.bincount().max() - y.bincount().min() <= 1
    assert sizes == [6, 30, 60, 12]


def test_all_labels_equal_the_linear_probe(subject):
    from ssl_runner.evaluation.any.linear import LinearProbe

    found, whole = probe()(subject("blocks")), LinearProbe(layer="pooled", grid=Grid(**GRID))(subject("blocks"))
    every = value(found, "accuracy", labels=1.0)
    assert every == pytest.approx(value(whole, "accuracy"), abs=0.026)  # one of 40: order


def test_a_class_too_small_is_left_out_and_told(subject):
    found = probe(fractions=[0.5], per_class=[2, 16])(subject("label"))
    assert {condition for _, _, condition in keys(found)} == {(("labels", 0.5),), (("per_class", 2),)}
    assert found.protocol.measured["left out"] == ["16 per class: the smallest class of train has 15"]
    with pytest.raises(ValueError, match=r"per_class is \[16\], and the smallest class of train has 15"):
        probe(fractions=[], per_class=[16])(subject("label"))


def test_the_curve_goes_up_in_labels(subject):
    curve = probe()(subject("blocks")).figures["accuracy by labels"]
    assert curve.x == [6, 8, 30, 60]
    assert curve.log_x
    assert len(curve.y["accuracy"]) == 4


@pytest.mark.parametrize(("encoder", "accuracy"), [("label", 1.0), ("constant", 0.25)])
def test_best_and_worst(subject, encoder, accuracy):
    assert {each.value for each in probe()(subject(encoder)).metrics if each.split == "test"} == {accuracy}


@pytest.mark.parametrize(
    ("fractions", "per_class", "message"),
    [
        ([], [], "both empty"),
        ([0.0], [], "few_label.fractions is"),
        ([1.5], [], "few_label.fractions is"),
        ([0.1], [0], "few_label.per_class is"),
    ],
)
def test_refusals(fractions, per_class, message):
    with pytest.raises(ValueError, match=message):
        probe(fractions, per_class)
