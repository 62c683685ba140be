"""A learned weighted sum of all layers of an encoder."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LayerMix(nn.Module):
    """Mix the layers of an encoder by learned weights: `count` states, (B, T, D) each -> (B, T, D).

        mix = gamma sum_j s_j h_j,   s = softmax(w)

    w and gamma are learned with the downstream task. They start at w = 0 and gamma = 1: the mean of the layers.
    Raises ValueError for another number of layers, and for layers of different shapes. Peters, Neumann, Iyyer, Gardner,
    Clark, Lee, Zettlemoyer 2018, "Deep contextualized word representations", https://arxiv.org/abs/1802.05365,
    equation 1.
    Differs from the paper: the layers are not normalized first (there a choice), and w is not drawn towards 0.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        if count < 1:
            raise ValueError(f"the number of layers to mix is {count}; it must be at least 1")
        self.weight = nn.Parameter(torch.zeros(count))
        self.gamma = nn.Parameter(torch.ones(()))

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        shapes = [tuple(state.shape) for state in states]
        if len(states) != len(self.weight):
            raise ValueError(f"there are {len(states)} layers to mix; the weights are for {len(self.weight)}")
        if len(set(shapes)) > 1:
            raise ValueError(f"the layers to mix have shapes {', '.join(map(str, shapes))}; they must be the same")
        share = self.gamma * self.weight.softmax(0)
        mixed = share[0] * states[0]  # summed one by one: a stack would hold all layers once more
        for s, state in zip(share[1:], states[1:], strict=True):
            mixed = mixed + s * state
        return mixed
