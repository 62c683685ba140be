import copy

import pytest
import torch
from torch.nn import functional as F

from ssl_runner.evaluation.finetune import FineTune, _Classifier, _pace
from ssl_runner.evaluation.linear import LinearProbe

SETTINGS = {"epochs": 15, "batch_size": 16, "learning_rate": 0.03, "weight_decay": 0.01}


def test_it_learns_what_the_frozen_features_do_not_hold(subject):
    found = FineTune(**SETTINGS)(subject("blocks"))
    grid = {"learning_rates": [0.1, 0.3], "weight_decays": [1e-3, 0.1], "steps": 50, "batch_size": 16}
    frozen = LinearProbe(layer="pooled", **grid)(subject("blocks"))
    assert found.metrics["accuracy"] > 0.95 > 0.9 > frozen.metrics["accuracy"]


def test_frozen_parameters_are_trained_too_and_stay_frozen_outside(subject, encoders):
    encoders["blocks"].requires_grad_(False)
    assert FineTune(**SETTINGS)(subject("blocks")).metrics["accuracy"] > 0.95
    assert not any(p.requires_grad for p in encoders["blocks"].parameters())


def test_the_original_is_left_as_it_was(subject, encoders):
    net = encoders["blocks"].train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(0)
    following = torch.rand(2)
    torch.manual_seed(0)
    FineTune(**SETTINGS | {"epochs": 1})(subject(net))
    assert torch.equal(torch.rand(2), following)
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_seed_repeats(subject):
    tune = FineTune(**SETTINGS | {"epochs": 2})
    assert tune(subject("blocks", seed=1)) == tune(subject("blocks", seed=1))


def test_one_step_is_adamw(subject, encoders, table):
    """One batch of all examples and two epochs: a step at the pace of 1/2, and one at 0, which moves nothing."""
    net = encoders["blocks"]
    net.first[3].p = 0.0
    ours = _Classifier(net, subject(net).features("train").data, 4)
    torch.nn.init.normal_(
        ours.head.weight, generator=torch.Generator().manual_seed(0)
    )  # at 0 the encoder's gradient is 0
    start = copy.deepcopy(ours)
    tune = FineTune(epochs=2, batch_size=60, learning_rate=0.01, weight_decay=0.1)
    tune._train(ours, table.spec, table.examples("train"), torch.device("cpu"))
    x, y = table.spec.to_input(table.examples("train").data), table.examples("train").label
    F.cross_entropy(start.train()(x), y).backward()
    rate = 0.01 * _pace(0.5)
    for (name, before), after in zip(start.named_parameters(), ours.parameters(), strict=True):
        kept = before * (1 - rate * 0.1) if before.ndim > 1 else before
        expected = kept - rate * before.grad.sign()  # Adam's first step has the size of the rate, whatever the gradient
        clear = before.grad.abs() > 1e-4
        assert clear.any() or name == "encoder.first.0.bias"  # which BatchNorm takes off again
        assert torch.allclose(after[clear], expected[clear], atol=1e-5), name


def test_pace():
    assert [_pace(p) for p in (0.05, 0.1, 0.55, 1.0)] == pytest.approx([0.5, 1.0, 0.5, 0.0])


def test_divergence_is_told(subject):
    with pytest.raises(ValueError, match=r"fine-tuning diverged.*evaluation\.finetune\.learning_rate below 1e\+20"):
        FineTune(**SETTINGS | {"learning_rate": 1e20})(subject("blocks"))


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 1}, {"learning_rate": 0.0}, {"weight_decay": -0.1}], ids=str
)
def test_refusals(wrong):
    with pytest.raises(ValueError, match=rf"evaluation\.finetune\.{next(iter(wrong))} is"):
        FineTune(**SETTINGS | wrong)
