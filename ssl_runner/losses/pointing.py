"""Copying of values by attention."""

import math

import torch
from torch import Tensor

from ssl_runner.losses.precision import float32

ABSENT = 1e-6  # added to probabilities: the class of no place that can be pointed to has none


@float32
def copied(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Copy values by attention of queries to keys: (B, Q, E), (B, N, E), (B, N, K) -> (B, Q, K).

    copied_i = sum_j a_ij values_j,   a_ij = softmax_j(queries_i . keys_j / sqrt(E))
    """
    weight = torch.softmax(queries @ keys.mT / math.sqrt(queries.shape[2]), dim=2)
    return weight @ values.to(weight.dtype)


@float32
def negative_log(probabilities: Tensor, target: Tensor) -> Tensor:
    """(B, Q, K) probabilities and (B, Q) classes -> () nats per class asked for; at most -log 1e-6."""
    chosen = probabilities.gather(2, target[..., None])
    return -(chosen + ABSENT).log().mean()
