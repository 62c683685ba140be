"""The table of vectors with which an encoder of text begins."""

import torch
from torch import nn

from ssl_runner.interfaces import PAD


def token_embedding(vocabulary: int, width: int) -> nn.Embedding:
    """Vectors of length about 1, normal, so that the scores of tokens by the same vectors begin small.

    That of PAD is zero, and no gradient moves it.
    """
    table = nn.Embedding(vocabulary, width, padding_idx=PAD)
    nn.init.normal_(table.weight, std=width**-0.5)
    with torch.no_grad():
        table.weight[PAD].zero_()
    return table
