"""The perceptron over a window, word by word."""

import pytest
import torch
from special_ids import PAD
from torch import Tensor

from ssl_runner.backbones.window_mlp import WindowMLP
from ssl_runner.interfaces import TextSpec

SPEC = TextSpec(length=7, vocabulary=30)


def encoder(window: int = 3, direct: int = 2) -> WindowMLP:
    torch.manual_seed(0)
    return WindowMLP(SPEC, window=window, embedding=4, width=5, direct=direct)


def rows() -> Tensor:
    torch.manual_seed(1)
    x = SPEC.to_input(SPEC.fake(3))
    x[1, 4:] = PAD
    return x


@pytest.mark.parametrize(("window", "direct"), [(1, 0), (1, 1), (3, 0), (3, 2), (3, 3), (9, 4)])
def test_it_is_the_perceptron_of_each_window(window: int, direct: int) -> None:
    model, x = encoder(window, direct), rows()
    tokens = model(x).tokens
    assert tokens.shape == (3, 7, 5 + 4 * direct)
    for b in range(3):
        for n in range(7):
            places = range(n - window + 1, n + 1)
            # vectors are read times the root of their width
            vectors = [2 * model.embedding.weight[x[b, i]] if i >= 0 else torch.zeros(4) for i in places]
            hidden = torch.tanh(model.hidden.weight @ torch.cat(vectors) + model.hidden.bias)
            expected = torch.cat([hidden, *vectors[window - direct :]])
            torch.testing.assert_close(tokens[b, n], expected)


@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_token_is_seen_within_the_window_alone(place: int) -> None:
    model, x = encoder(), rows()[:1]
    changed = x.clone()
    changed[0, place] = 7 if x[0, place] == 6 else 6
    differs = (model(x).tokens != model(changed).tokens).any(dim=2)[0]
    assert differs.tolist() == [place <= n < place + 3 for n in range(7)]


def test_padding_makes_no_difference_and_layers_are_means() -> None:
    model, x = encoder(), rows()
    features, alone = model(x, layers=True), model(x[1:2, :4])
    torch.testing.assert_close(features.tokens[1, :4], alone.tokens[0])
    torch.testing.assert_close(features.pooled[1], alone.tokens[0].mean(0))
    states = model.states(x)
    assert torch.equal(states[0], 2 * model.embedding(x))
    assert torch.equal(states[-1], features.tokens)
    torch.testing.assert_close(features.layers[0][1], states[0][1, :4].mean(0))
    assert torch.equal(features.layers[1], features.pooled)


@pytest.mark.parametrize(
    ("key", "value"), [("window", 0), ("embedding", 0), ("width", 0), ("direct", -1), ("direct", 4)]
)
def test_impossible_sizes_are_refused_by_name(key: str, value: int) -> None:
    settings = {"window": 3, "embedding": 4, "width": 5, "direct": 0} | {key: value}
    with pytest.raises(ValueError, match=rf"^backbone\.{key} is {value};"):
        WindowMLP(SPEC, **settings)
