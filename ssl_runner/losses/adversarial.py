"""Adversarial losses of a generator of images and a discriminator.

    min over the maker, max over the judge of   E log D(real) + E log(1 - D(made)),   D = sigmoid of the judge's logit

Goodfellow et al. 2014, "Generative Adversarial Networks", https://arxiv.org/abs/1406.2661, eq. 1. A step moves both
players: the sum of `judge_loss` of made images that are detached, and of `maker_loss` of a judge that is `held`, gives
each its own gradient in one backward pass.
"""

import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ssl_runner.losses.precision import float32


@float32
def judge_loss(real: Tensor, made: Tensor) -> Tensor:
    """(B,) logits of real and of generated images -> () - log D(real) - log(1 - D(made)), nats per pair.

    >>> import torch
    >>> round(judge_loss(torch.zeros(2), torch.zeros(2)).item(), 4)  # a judge who cannot tell: 2 log 2
    1.3863
    """
    return F.softplus(-real).mean() + F.softplus(made).mean()


@float32
def maker_loss(made: Tensor) -> Tensor:
    """(B,) logits of generated images -> () log(1 - D(made)), nats per image; the minimax form, at most 0."""
    return -F.softplus(made).mean()


@float32
def non_saturating_loss(made: Tensor) -> Tensor:
    """(B,) logits of generated images -> () - log D(made), nats per image: it has the fixed points of `maker_loss`, and
    a gradient where the judge is sure. Goodfellow et al. 2014, section 3."""
    return F.softplus(-made).mean()


def held(judge: nn.Module, x: Tensor) -> Tensor:
    """`judge(x)` with its parameters held constant: gradients reach only x."""
    fixed = {name: value.detach() for name, value in judge.named_parameters()}
    return functional_call(judge, fixed, (x,))
