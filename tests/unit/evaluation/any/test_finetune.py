import pytest
import torch
from findings import keys, value

from ssl_runner.evaluation.any.finetune import FineTune
from ssl_runner.evaluation.any.linear import LinearProbe
from ssl_runner.evaluation.any.logistic import Grid
from ssl_runner.evaluation.any.subject import TOLD
from ssl_runner.evaluation.any.tuning import Recipe

RECIPE = {
    "epochs": 15,
    "least_steps": 1,
    "batch_size": 16,
    "learning_rate": 0.03,
    "weight_decay": 0.01,
    "layer_decay": 1.0,
}


def tuning(**changes):
    return FineTune(recipe=Recipe(**RECIPE | changes), views=None)


def test_it_learns_what_the_frozen_features_do_not_hold(subject):
    found = tuning()(subject("blocks"))
    grid = {"learning_rates": [0.1, 0.3], "weight_decays": [1e-3, 0.1], "steps": 50, "batch_size": 16}
    frozen = LinearProbe(layer="pooled", grid=Grid(**grid))(subject("blocks"))
    assert keys(found) == [(name, split, ()) for split in TOLD for name in ("accuracy", "balanced_accuracy")]
    assert value(found, "accuracy") > 0.95 > 0.9 > value(frozen, "accuracy")
    assert value(found, "accuracy", "val") > 0.9


def test_frozen_parameters_are_trained_too_and_stay_frozen_outside(subject, encoders):
    encoders["blocks"].requires_grad_(False)
    assert value(tuning()(subject("blocks")), "accuracy") > 0.95
    assert not any(p.requires_grad for p in encoders["blocks"].parameters())


def test_the_original_is_left_as_it_was(subject, encoders):
    net = encoders["blocks"].train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(0)
    following = torch.rand(2)
    torch.manual_seed(0)
    tuning(epochs=1)(subject(net))
    assert torch.equal(torch.rand(2), following)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_seed_repeats(subject):
    tune = tuning(epochs=2)
    first, second = tune(subject("blocks", seed=1)), tune(subject("blocks", seed=1))
    assert (first.metrics, first.protocol) == (second.metrics, second.protocol)


def test_divergence_is_told(subject):
    with pytest.raises(ValueError, match=r"fine-tuning diverged.*set a learning_rate below 1e\+20"):
        tuning(learning_rate=1e20)(subject("blocks"))


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 1}, {"learning_rate": 0.0}, {"weight_decay": -0.1}], ids=str
)
def test_refusals(wrong):
    with pytest.raises(ValueError, match=rf"evaluation\.finetune\.recipe\.{next(iter(wrong))} is"):
        tuning(**wrong)
