"""N-gram model: predict the next token by counts."""

import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, CountEncoder, Loss, Objective, TextSpec
from ssl_runner.losses.tokens import mean_of_real
from ssl_runner.nn.gather import gather


class Known(NamedTuple):
    tokens: Tensor  # (B, T - 1) int64
    example: Tensor  # (B,) int64: which of the split they are; none is counted twice


class NGramModel(Objective[Known, Tensor]):
    """Predict each token from counts of n-grams with the tokens before it; nothing is trained by gradients.

        x = t[:-1],   y = t[1:],   loss = -log p(y_n | x_1 .. x_n)                                        nats per token

    p is the encoder's (`backbones.ngram`); after each step the batch is counted. In training the loss is that of single
    words, p(w) = (c(w) + 1) / (sum of c + vocabulary), by the counts so far: tables of longer n-grams are made of all
    counts at once. In eval mode, as on held-out data, it is that of the whole model. Logged: `bits`, the loss in bits
    per token.

    One pass over the data is all it takes, and an example that comes again counts once. An epoch leaves out the last
    batch where it is not full; a second epoch, in another order, brings what is missing. Learning rate and schedule say
    nothing: the optimizer's one parameter is there because it must have one, and stays 0.

    Kneser, Ney 1995, https://doi.org/10.1109/ICASSP.1995.479394; Chen, Goodman 1999,
    https://doi.org/10.1006/csla.1999.0128.
    Differs from the papers: as `backbones.ngram` says.
    """

    counts_examples: ClassVar[bool] = True

    def __init__(self, encoder: CountEncoder, spec: TextSpec) -> None:
        super().__init__()
        self.encoder: CountEncoder = encoder
        self.pad = spec.special.pad
        self.unused = nn.Parameter(torch.zeros(()))

    def split(self, batch: Batch) -> tuple[Known, Tensor]:
        """y (B, T - 1) int64."""
        return Known(batch.data[:, :-1], batch.index), batch.data[:, 1:]

    def loss(self, x: Known, y: Tensor) -> Loss:
        with torch.no_grad():
            likelihood = self._single(y) if self.training else self.encoder.log_probability(x.tokens, y)
            error = mean_of_real(-likelihood, y, self.pad)
        return Loss(error + 0 * self.unused, {"bits": error / math.log(2)}, carry=(x, y))

    def after_step(self, carries: Sequence[tuple[Known, Tensor]], progress: float) -> None:
        for x, y in carries:
            self.encoder.absorb(gather(x.tokens), gather(y), gather(x.example))

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        return self.encoder.log_probability(tokens[:, :-1], tokens[:, 1:])

    def next_logits(self, tokens: Tensor) -> Tensor:
        return self.encoder.log_probabilities(tokens)

    def _single(self, y: Tensor) -> Tensor:
        """(B, T - 1): log p(y) without context; 0 where it is padding."""
        counts = self.encoder.counts
        return ((counts[y] + 1) / (counts.sum() + len(counts))).log().masked_fill(y == self.pad, 0.0)
