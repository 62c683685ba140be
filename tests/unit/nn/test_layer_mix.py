"""The mix of layers, by hand."""

import math

import pytest
import torch

from ssl_runner.nn.layer_mix import LayerMix


def test_it_starts_as_the_mean_of_the_layers() -> None:
    states = tuple(torch.randn(2, 5, 4) for _ in range(3))
    torch.testing.assert_close(LayerMix(3)(states), torch.stack(states).mean(0))


def test_the_weights_are_a_softmax_times_gamma() -> None:
    mix = LayerMix(2)
    with torch.no_grad():
        mix.weight.copy_(torch.tensor([math.log(3), 0.0]))  # shares 3/4 and 1/4
        mix.gamma.fill_(2)
    states = (torch.full((1, 1, 2), 4.0), torch.tensor([[[8.0, -8.0]]]))
    torch.testing.assert_close(mix(states), torch.tensor([[[10.0, 2.0]]]))


def test_it_learns_which_layer_says_it() -> None:
    torch.manual_seed(0)
    states = tuple(torch.randn(8, 5, 4) for _ in range(3))
    mix = LayerMix(3)
    optimizer = torch.optim.Adam(mix.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        (mix(states) - 3 * states[1]).square().mean().backward()
        optimizer.step()
    assert mix.weight.softmax(0)[1] > 0.95
    assert mix.gamma.item() == pytest.approx(3, abs=0.1)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        LayerMix(0)
    with pytest.raises(ValueError, match="there are 1 layers to mix; the weights are for 2"):
        LayerMix(2)((torch.zeros(1, 2, 3),))
    with pytest.raises(ValueError, match=r"\(1, 2, 3\), \(1, 2, 6\); they must be the same"):
        LayerMix(2)((torch.zeros(1, 2, 3), torch.zeros(1, 2, 6)))
