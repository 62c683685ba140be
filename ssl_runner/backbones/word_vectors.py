"""A table of word vectors."""

from typing import Literal

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Features, TextSpec, WordEncoder
from ssl_runner.nn.tokens import mean_of_tokens


class WordVectors(WordEncoder):
    """A vector of dimension `width` for each id of the vocabulary, independent of context.

    `tokens` are the rows, `pooled` their mean over what is no padding, and the only block that `layers` has.
    `gradient`: sparse leaves rows that a batch does not hold out of its gradient and of the optimizer's step. It is for
    optimizers that take it (Adagrad, SparseAdam, SGD), and pays where the vocabulary is large beside the batch.
    Weights: uniform within 0.5 / width on either side of 0, as word2vec's; that of PAD is zero and stays so.
    """

    def __init__(self, spec: TextSpec, *, width: int, gradient: Literal["dense", "sparse"]) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"backbone.width is {width}; it must be at least 1 number a word")
        self.dim = width
        self.special = spec.special
        self.embedding = nn.Embedding(spec.vocabulary, width, padding_idx=spec.special.pad, sparse=gradient == "sparse")
        nn.init.uniform_(self.embedding.weight, -0.5 / width, 0.5 / width)
        with torch.no_grad():
            self.embedding.weight[spec.special.pad].zero_()

    def states(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.embedding(x),)

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        tokens = self.embedding(x)
        pooled = mean_of_tokens(tokens, x, self.special.pad)
        return Features(tokens, pooled, (pooled,) if layers else ())
