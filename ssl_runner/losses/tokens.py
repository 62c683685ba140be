"""Log-likelihood of the tokens of a text. V ids of the vocabulary; `pad` is padding."""

import torch.nn.functional as F
from torch import Tensor

from ssl_runner.losses.precision import float32
from ssl_runner.nn.gather import divisor


@float32
def token_nll(logits: Tensor, target: Tensor, pad: int) -> Tensor:
    """(..., V) scores and (...) ids -> (...) nats of each token; 0 where it is padding."""
    nll = F.cross_entropy(logits.flatten(0, -2), target.flatten(), ignore_index=pad, reduction="none")
    return nll.view_as(target)


def mean_of_real(values: Tensor, target: Tensor, pad: int) -> Tensor:
    """(...) values of tokens and (...) ids -> () the mean over all tokens but padding; 0 if there are none.

    Of several processes' tokens, in the mean over processes."""
    real = target != pad
    return (values * real).sum() / divisor(real.sum())
