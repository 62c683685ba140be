"""The perceptron against matrix products, vector by vector."""

import pytest
import torch

from ssl_runner.backbones.mlp import VectorMLP
from ssl_runner.interfaces import VectorSpec


def test_each_vector_by_itself() -> None:
    torch.manual_seed(0)
    encoder = VectorMLP(VectorSpec(count=2, width=4), widths=[5, 3])
    x = torch.randn(6, 2, 4)
    features = encoder(x)
    first, second = (stage[0] for stage in encoder.stages)
    for b in range(6):
        for n in range(2):
            hidden = (first.weight @ x[b, n] + first.bias).clamp_min(0)
            expected = (second.weight @ hidden + second.bias).clamp_min(0)
            torch.testing.assert_close(features.tokens[b, n], expected)
    torch.testing.assert_close(features.pooled, features.tokens.mean(1))
    assert encoder(x[:, :1]).pooled.shape == (6, 3)


@pytest.mark.parametrize("widths", [[], [3, 0]])
def test_what_is_refused(widths: list[int]) -> None:
    with pytest.raises(ValueError, match=r"backbone\.widths"):
        VectorMLP(VectorSpec(count=2, width=4), widths=widths)
