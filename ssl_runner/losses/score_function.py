"""Gradients of expectations over discrete draws."""

import torch
from torch import Tensor

from ssl_runner.losses.precision import float32


@float32
def score_surrogate(log_q: Tensor, value: Tensor, *, baseline: bool) -> Tensor:
    """A number of each example whose gradient estimates that of E_q[value], (S, B) and (S, B) -> (B,).

        grad E_q[f] = E_q[(f - b) grad log q],   b_s = mean of the f of all other draws

    `log_q`: of S independent draws; `value`: f of each, without gradient. The value is the mean of f. With `baseline`
    the other draws of the example are the control variate, which leaves no bias, since they are independent of its own;
    at least 2 draws are needed. Williams 1992 (REINFORCE), https://doi.org/10.1007/BF00992696; Ranganath, Gerrish,
    Blei 2014, "Black Box Variational Inference", https://arxiv.org/abs/1401.0118; Mnih, Rezende 2016,
    https://arxiv.org/abs/1602.06725.
    """
    f = value.detach()
    reference = (f.sum(dim=0) - f) / (len(f) - 1) if baseline else torch.zeros_like(f)
    score = ((f - reference) * log_q).mean(dim=0)
    return f.mean(dim=0) + score - score.detach()
