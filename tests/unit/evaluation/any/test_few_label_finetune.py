import hashlib

import pytest
import torch
from findings import keys, value

from ssl_runner.data.any.splits import nested_subsets
from ssl_runner.evaluation.any import few_label_finetune
from ssl_runner.evaluation.any.few_label_finetune import FewLabelFineTune
from ssl_runner.evaluation.any.finetune import FineTune
from ssl_runner.evaluation.any.tuning import Recipe, calibrated, fine_tune, tuned_accuracies
from ssl_runner.interfaces import Examples

RECIPE = {
    "epochs": 2,
    "least_steps": 7,
    "batch_size": 16,
    "learning_rate": 0.03,
    "weight_decay": 0.01,
    "layer_decay": 1.0,
}


def tune(fractions=(0.1, 0.5, 1.0), **changes):
    return FewLabelFineTune(fractions=list(fractions), recipe=Recipe(**RECIPE | changes), views=None)


def test_each_number_is_fine_tuning_on_its_subset(subject, table):
    frozen = subject("blocks", seed=2)
    found = tune()(frozen)
    train = table.examples("train")
    subsets = nested_subsets(train.label, fractions=[0.1, 0.5, 1.0], per_class=[], seed=2)
    assert keys(found) == [
        ("accuracy", split, (("labels", part),)) for part in (0.1, 0.5, 1.0) for split in ("test", "val")
    ]
    for few, subset in subsets.items():
        examples = Examples(train.data[subset], train.label[subset])
        network = fine_tune(frozen, calibrated(frozen, Recipe(**RECIPE)), examples, Recipe(**RECIPE))
        alone = tuned_accuracies(network, frozen, 16, condition=few.condition)
        assert [each for each in found.metrics if each.condition == few.condition] == alone
        measured = found.protocol.measured[str(few)]
        assert measured["train labels"] == len(subset)
        assert measured["indices"] == hashlib.sha256(subset.numpy().tobytes()).hexdigest()[:16]
    assert [found.protocol.measured[str(few)]["steps"] for few in subsets] == [7, 7, 7]


def test_all_labels_equal_fine_tuning(subject):
    """Where the epochs make more steps than the least, and the same batches: to the last digit."""
    found = tune(fractions=[1.0], least_steps=1)(subject("blocks", seed=1))
    whole = FineTune(recipe=Recipe(**RECIPE | {"least_steps": 1}), views=None)(subject("blocks", seed=1))
    for split in ("test", "val"):
        assert value(found, "accuracy", split, labels=1.0) == value(whole, "accuracy", split)


def test_subsets_are_nested_and_stratified_and_no_other_label_is_read(subject, monkeypatch, table):
    calls = []

    def record(asked, start, examples, recipe, views):
        calls.append(examples)
        return fine_tune(asked, start, examples, recipe, views)

    monkeypatch.setattr(few_label_finetune, "fine_tune", record)
    tune(epochs=1, least_steps=1)(subject("label"))
    rows = [{tuple(image.flatten().tolist()) for image in examples.data} for examples in calls]
    assert [len(each) for each in rows] == [6, 30, 60]
    assert rows[0] < rows[1] < rows[2]
    for examples in calls:
        count = examples.label.bincount(minlength=4)
        assert count.max() - count.min() <= 1


def test_more_labels_are_worth_more_to_a_network_that_must_learn(subject):
    """From 6 labels to 60, for one whose frozen features do not hold the class."""
    found = tune(fractions=[0.1, 1.0], epochs=15, least_steps=60)(subject("blocks"))
    assert value(found, "accuracy", labels=1.0) > 0.95 > value(found, "accuracy", labels=0.1) + 0.1


def test_the_curve_goes_up_in_labels(subject):
    curve = tune(fractions=[1.0, 0.1])(subject("blocks")).figures["accuracy by labels"]
    assert curve.x == [6, 60]
    assert curve.log_x
    assert len(curve.y["accuracy"]) == 2


def test_a_seed_repeats_and_the_original_is_left_as_it_was(subject, encoders):
    net = encoders["blocks"]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert tune()(subject(net, seed=1)) == tune()(subject(net, seed=1))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    "wrong",
    [
        {"fractions": []},
        {"fractions": [0.0]},
        {"fractions": [0.5, 1.5]},
        {"epochs": 0},
        {"least_steps": 0},
        {"batch_size": 1},
        {"learning_rate": 0.0},
        {"weight_decay": -0.1},
    ],
    ids=str,
)
def test_refusals(wrong):
    with pytest.raises(ValueError, match=rf"evaluation\.few_label_finetune\.(recipe\.)?{next(iter(wrong))} is"):
        tune(**wrong)
