import pytest
from findings import keys, value

from ssl_runner.evaluation.any.linear import LinearProbe
from ssl_runner.evaluation.any.logistic import Grid, fit_linear
from ssl_runner.evaluation.any.subject import TOLD
from ssl_runner.interfaces import Examples

SETTINGS = {"learning_rates": [0.1, 0.3], "weight_decays": [1e-3, 0.1], "steps": 50, "batch_size": 16}


def test_it_is_the_classifier_chosen_on_val(subject):
    frozen = subject("blocks", seed=4)
    found = LinearProbe(layer=-2, grid=Grid(**SETTINGS))(frozen)
    train, val, test = (frozen.features(split, "-2") for split in ("train", "val", "test"))
    fit = fit_linear(train.data, train.label, val.data, val.label, 4, Grid(**SETTINGS), seed=4)
    assert keys(found) == [(name, split, ()) for split in TOLD for name in ("accuracy", "balanced_accuracy")]
    assert [each.split for each in found.predictions] == list(TOLD)
    assert value(found, "accuracy") == fit.accuracy(test.data, test.label)
    assert value(found, "accuracy", "val") == pytest.approx(fit.val_accuracy, abs=1e-6)
    assert found.protocol.chosen == {"learning_rate": fit.learning_rate, "weight_decay": fit.weight_decay}
    assert {"train examples": 60, "val examples": 30, "test examples": 40}.items() <= found.protocol.measured.items()


def test_test_labels_do_not_influence_the_choice(subject, table):
    probe = LinearProbe(layer="pooled", grid=Grid(**SETTINGS))
    first = probe(subject("blocks"))
    table.splits["test"] = Examples(table.examples("test").data, (table.examples("test").label + 1) % 4)
    second = probe(subject("blocks"))
    assert first.protocol == second.protocol
    assert value(first, "accuracy", "val") == value(second, "accuracy", "val")
    assert value(first, "accuracy") != value(second, "accuracy")


@pytest.mark.parametrize(("encoder", "accuracy"), [("label", 1.0), ("constant", 0.25)])
def test_best_and_worst(subject, encoder, accuracy):
    found = LinearProbe(layer="pooled", grid=Grid(**SETTINGS))(subject(encoder))
    assert value(found, "accuracy") == accuracy


def test_refusals():
    with pytest.raises(ValueError, match=r"evaluation\.linear\.grid\.steps is 0"):
        LinearProbe(layer="pooled", grid=Grid(**SETTINGS | {"steps": 0}))
    with pytest.raises(ValueError, match=r"evaluation\.linear\.layer"):
        LinearProbe(layer="first", grid=Grid(**SETTINGS))
