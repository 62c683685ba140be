"""Scores of tokens from features. D width of the features, E of the embedding, V ids of the vocabulary."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_runner.interfaces import TextEncoder


class TokenScores(nn.Module):
    """Score every token of the vocabulary: (..., D) -> (..., V), up to a constant log p; padding has -inf.

        score = W h + b

    `output`: W is the encoder's embedding itself (tied), behind a linear layer where E is not D, or weights of its own
    (own), which begin as `TextEncoder.head` where published weights brought one. Press, Wolf 2017, "Using
    the Output Embedding to Improve Language Models", https://arxiv.org/abs/1608.05859.
    With -inf no gradient reaches the vector of padding, which stays zero.
    """

    closed: Tensor  # (V,): -inf for padding

    def __init__(self, encoder: TextEncoder, output: Literal["tied", "own"]) -> None:
        super().__init__()
        count, width = encoder.embedding.weight.shape
        self.bias = nn.Parameter(torch.zeros(count))
        self.weight: nn.Parameter | None = None
        self.project: nn.Module = nn.Identity()
        match output:
            case "own":
                drawn = torch.randn(count, encoder.dim) * encoder.dim**-0.5
                self.weight = nn.Parameter(drawn if encoder.head is None else encoder.head.clone())
            case "tied":
                if encoder.dim != width:
                    self.project = nn.Linear(encoder.dim, width, bias=False)
            case _:
                raise ValueError(f"objective.output is {output!r}; it must be tied or own")
        self.register_buffer("closed", torch.zeros(count), persistent=False)
        self.closed[encoder.special.pad] = -torch.inf

    def forward(self, states: Tensor, embedding: nn.Embedding) -> Tensor:
        """`embedding`: the encoder's, which is not this module's own, so that it is saved and counted once."""
        return F.linear(*self.product(states, embedding))

    def product(self, states: Tensor, embedding: nn.Embedding) -> tuple[Tensor, Tensor, Tensor]:
        """h, W and b, for losses that do not need all scores at once."""
        weight = embedding.weight if self.weight is None else self.weight
        return self.project(states), weight, self.bias + self.closed
