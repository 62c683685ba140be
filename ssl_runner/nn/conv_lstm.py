"""Convolutional LSTM."""

import torch
from torch import Tensor, nn

State = tuple[Tensor, Tensor]


class ConvLSTM(nn.Module):
    """An LSTM with 3 x 3 convolutions in place of matrix products: one step, (B, dim_in, h, w) -> (B, dim, h, w).

        i, f, o = sigma(W [x, h]),   g = tanh(W [x, h]),   c' = f c + i g,   h' = o tanh(c')

    Shi, Chen, Wang, Yeung, Wong, Woo 2015, "Convolutional LSTM Network", https://arxiv.org/abs/1506.04214, eq. 3.
    Differs from the paper: gates do not look at c (no peepholes). The forget gate's bias begins at 1.
    """

    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.gates = nn.Conv2d(dim_in + dim, 4 * dim, 3, padding=1)
        nn.init.zeros_(self.gates.bias)  # type: ignore[arg-type]
        nn.init.ones_(self.gates.bias[dim : 2 * dim])  # type: ignore[index]

    def forward(self, x: Tensor, state: State | None) -> State:
        """The state after x: output and cell. None: the initial state."""
        if state is None:
            empty = x.new_zeros(len(x), self.dim, *x.shape[2:])
            state = (empty, empty)
        put, keep, show, new = self.gates(torch.cat((x, state[0]), dim=1)).chunk(4, dim=1)
        memory = keep.sigmoid() * state[1] + put.sigmoid() * new.tanh()
        return show.sigmoid() * memory.tanh(), memory
