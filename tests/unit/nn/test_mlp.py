import pytest
import torch
from torch import nn

from ssl_runner.nn.mlp import MLP


def test_without_norms_it_is_two_matrix_products_with_a_relu_between():
    mlp = MLP([3, 4, 2], norm="none")
    first, _, last = mlp.layers
    with torch.no_grad():
        first.bias.fill_(0.1)
        last.bias.fill_(-0.2)
    x = torch.randn(5, 3)
    expected = (x @ first.weight.T + 0.1).clamp(min=0) @ last.weight.T - 0.2
    torch.testing.assert_close(mlp(x), expected)


@pytest.mark.parametrize(
    ("norm", "last_norm", "kinds"),
    [
        ("batch", "none", [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]),
        ("layer", "none", [nn.Linear, nn.LayerNorm, nn.ReLU, nn.Linear, nn.LayerNorm, nn.ReLU, nn.Linear]),
        ("none", "batch", [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear, nn.BatchNorm1d]),
    ],
)
def test_the_order_of_layers(norm, last_norm, kinds):
    assert [type(layer) for layer in MLP([3, 4, 5, 2], norm=norm, last_norm=last_norm).layers] == kinds


def test_only_layers_before_a_batch_norm_have_no_bias():
    def biases(mlp):
        return [layer.bias is not None for layer in mlp.layers if isinstance(layer, nn.Linear)]

    assert biases(MLP([3, 4, 2], norm="batch")) == [False, True]
    assert biases(MLP([3, 4, 2], norm="layer")) == [True, True]
    assert biases(MLP([3, 4, 2], norm="none", last_norm="batch")) == [True, False]


def test_the_last_batch_norm_gives_mean_zero_and_variance_one_and_learns_nothing():
    mlp = MLP([3, 4, 2], norm="batch", last_norm="batch")
    z = mlp(torch.randn(64, 3))
    torch.testing.assert_close(z.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.var(0, correction=0), torch.ones(2), atol=1e-3, rtol=0)
    assert list(mlp.layers[-1].parameters()) == []


def test_two_widths_are_one_linear_layer():
    assert [type(layer) for layer in MLP([3, 2], norm="batch").layers] == [nn.Linear]


def test_the_scale_of_activations_is_kept():
    torch.manual_seed(0)
    x = torch.randn(512, 256)
    mlp = MLP([256, 256, 256, 256], norm="none")
    assert 0.7 < mlp(x).std().item() < 1.4


@pytest.mark.parametrize("widths", [[], [3], [3, 0]])
def test_impossible_widths_are_refused(widths):
    with pytest.raises(ValueError, match="at least two are needed"):
        MLP(widths, norm="none")


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="must be batch, layer or none"):
        MLP([3, 4, 2], norm="instance")
