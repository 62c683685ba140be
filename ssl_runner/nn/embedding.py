"""Token embeddings of encoders of text. B batch, T tokens, E width."""

import torch
from torch import Tensor, nn


def token_embedding(vocabulary: int, width: int, pad: int) -> nn.Embedding:
    """Vectors of length about 1, normal, so that scores of tokens by the same vectors begin near each other.

    That of `pad` is zero, and no gradient moves it. Read them by `embedded`.
    """
    table = nn.Embedding(vocabulary, width, padding_idx=pad)
    nn.init.normal_(table.weight, std=width**-0.5)
    with torch.no_grad():
        table.weight[pad].zero_()
    return table


def embedded(table: nn.Embedding, x: Tensor) -> Tensor:
    """(B, T) ids -> (B, T, E): the vectors times the root of E, so that what reads them gets numbers of deviation 1.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.4.
    """
    return table(x) * table.embedding_dim**0.5
