import pytest
import torch
from findings import value

from ssl_runner.evaluation.any import logistic
from ssl_runner.evaluation.any.controls import Pixels
from ssl_runner.evaluation.any.few_label import FewLabel
from ssl_runner.evaluation.any.linear import LinearProbe
from ssl_runner.evaluation.any.logistic import Grid
from ssl_runner.evaluation.any.subject import evaluating, named_layer, seeded


def test_features_are_those_of_eval_mode_in_order(subject, table, encoders):
    net = encoders["blocks"].train()
    features = subject(net).features("test")
    assert net.training
    assert all(part.training for part in net.modules())
    expected = net.eval()(table.examples("test").data.float() / 255, layers=True)
    assert features.data.dtype == torch.float32
    assert torch.allclose(features.data, expected.pooled, atol=1e-6)
    assert torch.equal(features.label, table.examples("test").label)
    assert torch.allclose(subject(net).features("test", "-2").data, expected.layers[0], atol=1e-6)
    assert torch.allclose(subject(net).features("test", "-1").data, expected.layers[1], atol=1e-6)


def test_features_can_be_trained_on(subject):
    data = subject("blocks").features("train").data
    weight = torch.zeros(6, requires_grad=True)
    (data @ weight).sum().backward()  # tensors of inference mode would be refused
    assert torch.allclose(weight.grad, data.sum(dim=0))


def test_extraction_happens_once(subject, encoders, monkeypatch):
    frozen = subject("blocks")
    first = frozen.features("val")
    monkeypatch.setattr(encoders["blocks"], "forward", None)
    assert frozen.features("val").data is first.data


def test_features_are_of_full_precision_where_training_is_not(subject):
    full = subject("blocks").features("val").data
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = subject("blocks").features("val").data
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, full)  # to a millionth; rounded ones differ by a thousandth and more


def test_a_layer_that_is_not_there_is_refused(subject):
    with pytest.raises(ValueError, match="layer is -3; this backbone has 2 blocks: set layer to pooled, or -1 to -2"):
        subject("blocks").features("val", "-3")


def test_a_diverged_encoder_is_refused(subject, encoders):
    with torch.no_grad():
        encoders["blocks"].second.bias[0] = torch.nan
    with pytest.raises(ValueError, match="the encoder has diverged: 30 of 30 examples of val"):
        subject("blocks").features("val")


def test_one_pass_gives_all_blocks(subject, encoders, monkeypatch):
    frozen = subject("blocks")
    last = frozen.features("val", "-1").data
    monkeypatch.setattr(encoders["blocks"], "forward", None)
    assert frozen.features("val", "-2").data.shape[1] == 8
    assert frozen.features("val", "-1").data is last


def test_pixels_stand_for_every_layer(subject, table):
    frozen = subject(Pixels(table.spec))
    for layer in ("pooled", "-2"):
        assert torch.equal(frozen.features("test", layer).data, table.examples("test").data.flatten(1).float() / 255)


@pytest.mark.parametrize(("given", "name"), [("pooled", "pooled"), (-2, "-2"), ("-1", "-1")])
def test_named_layer(given, name):
    assert named_layer("evaluation.knn.layer", given) == name


@pytest.mark.parametrize("wrong", [0, 2, "last", "-", "-0"])
def test_named_layer_refuses(wrong):
    with pytest.raises(ValueError, match=r"^evaluation\.knn\.layer is .*; it must be pooled, or the number of a block"):
        named_layer("evaluation.knn.layer", wrong)


def test_evaluating_restores_each_part(encoders):
    net = encoders["blocks"].train()
    net.first[1].eval()
    before = [part.training for part in net.modules()]
    with evaluating(net):
        assert not any(part.training for part in net.modules())
    assert [part.training for part in net.modules()] == before


def test_seeded_repeats_and_leaves_no_trace():
    torch.manual_seed(5)
    following = torch.rand(3)
    torch.manual_seed(5)
    with seeded(1):
        first = torch.rand(3)
    assert torch.equal(torch.rand(3), following)
    with seeded(1):
        assert torch.equal(torch.rand(3), first)


def test_one_pass_gives_all_layers_and_one_fit_serves_all_probes(subject, encoders, monkeypatch):
    grid = Grid(learning_rates=[0.1], weight_decays=[0.1], steps=5, batch_size=16)
    passes, fits = [], []
    encoders["blocks"].register_forward_hook(lambda *_: passes.append(1))
    fit = logistic.fit_linear
    monkeypatch.setattr(logistic, "fit_linear", lambda *args, **named: fits.append(1) or fit(*args, **named))
    frozen = subject("blocks", blocks=True, batch_size=1000)
    probes = [
        LinearProbe(layer="pooled", grid=grid),
        FewLabel(layer="pooled", fractions=[1.0], per_class=[], grid=grid),
        LinearProbe(layer="-1", grid=grid),  # whose features are the pooled ones
    ]
    linear, few, last = (probe(frozen) for probe in probes)
    assert len(passes) == 3  # train, val, test
    assert len(fits) == 1
    assert value(linear, "accuracy") == value(few, "accuracy", labels=1.0) == value(last, "accuracy")
    LinearProbe(layer="-2", grid=grid)(frozen)
    assert len(passes) == 3
    assert len(fits) == 2
