import pytest
import torch
from torch import Tensor

from ssl_runner.evaluation.finetune import FineTune
from ssl_runner.evaluation.linear import LinearProbe
from ssl_runner.interfaces import Views

SETTINGS = {"epochs": 15, "batch_size": 16, "learning_rate": 0.03, "weight_decay": 0.01, "views": None}


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


class Tilted(Views):
    """Both halves of a coin: the image, and another one."""

    def __init__(self, *, views: int) -> None:
        super().__init__()
        self.views = views

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x, x.roll(1, dims=2)][: self.views])


def test_the_protocol_says_which_views_are_taken(subject):
    none, both = (FineTune(**SETTINGS | {"epochs": 1, "views": v})(subject("label")) for v in (None, Tilted(views=2)))
    assert none.protocol["augmentation"] == "none"
    assert both.protocol["augmentation"] == {"kind": "Tilted", "views": 2}


def test_divergence_is_told(subject):
    with pytest.raises(ValueError, match=r"fine-tuning diverged.*set a learning_rate below 1e\+20"):
        FineTune(**SETTINGS | {"learning_rate": 1e20})(subject("blocks"))


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch_size": 1}, {"learning_rate": 0.0}, {"weight_decay": -0.1}], ids=str
)
def test_refusals(wrong):
    with pytest.raises(ValueError, match=rf"evaluation\.finetune\.{next(iter(wrong))} is"):
        FineTune(**SETTINGS | wrong)
