"""Language model: predict the next token from those before it."""

import math
from typing import Literal

import torch
from torch import Tensor

from ssl_runner.interfaces import Batch, CausalEncoder, Loss, Objective, TextSpec
from ssl_runner.losses.tokens import mean_nll, token_nll
from ssl_runner.nn.vocabulary import TokenScores


class LanguageModel(Objective[Tensor, Tensor]):
    """Predict each token of a text from those before it.

        x = t_1 ... t_{T-1},   y = t_2 ... t_T
        loss = mean over n of -log p(t_{n+1} | t_1 ... t_n),   p = softmax(W f(x)_n + b)                nats per token

    Padding is not predicted. `output`: W is the embedding (tied) or has weights of its own (own). Logged: `bits`, the
    loss in bits per token; 2^bits is the perplexity.

    Bengio, Ducharme, Vincent, Jauvin 2003, "A Neural Probabilistic Language Model",
    https://www.jmlr.org/papers/v3/bengio03a.html; with a Transformer: Radford, Narasimhan, Salimans, Sutskever 2018,
    https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf; tied weights: Press,
    Wolf 2017, https://arxiv.org/abs/1608.05859.
    Differs from the papers: any causal encoder; no text is carried over from one window to the next.
    """

    def __init__(self, encoder: CausalEncoder, spec: TextSpec, *, output: Literal["tied", "own"]) -> None:
        super().__init__()
        if spec.length < 2:
            raise ValueError(f"dataset.length is {spec.length}; a language model needs 2 tokens or more")
        self.encoder: CausalEncoder = encoder
        self.pad = spec.special.pad
        self.scores = TokenScores(encoder, output)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """x and y (B, T - 1) int64."""
        return batch.data[:, :-1], batch.data[:, 1:]

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        value = mean_nll(*self.scores.product(self.encoder(x).tokens, self.encoder.embedding), y, self.pad)
        return Loss(value, {"bits": value.detach() / math.log(2)})

    def predict(self, x: Tensor) -> Tensor:
        """(B, T - 1): the most probable next token at each position; padding after the text."""
        return self._scores(x).argmax(dim=2).masked_fill(x == self.pad, self.pad)

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        return -token_nll(self._scores(tokens[:, :-1]), tokens[:, 1:], self.pad)

    def next_logits(self, tokens: Tensor) -> Tensor:
        last = ((tokens != self.pad).sum(dim=1) - 1).clamp(min=0)
        states = self.encoder(tokens).tokens
        here = states[torch.arange(len(tokens), device=tokens.device), last]
        return self.scores(here, self.encoder.embedding).float()

    def _scores(self, x: Tensor) -> Tensor:
        """(B, T) -> (B, T, V)."""
        return self.scores(self.encoder(x).tokens, self.encoder.embedding)
