"""Decode text from a vector. B batch, T tokens, L width of the vector."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_runner.interfaces import TextSpec


class TokenDecoder(nn.Module):
    """Decode a text autoregressively from a vector of width `width`, which is an input of each step.

        h_n = GRU(h_{n-1}, [e(token n), z]),   p(token n + 1 | tokens up to n, z) = softmax(E W h_n + b)

    `hidden`: width of the GRU; `dim`: of the embeddings e, whose table E also scores the tokens (Press, Wolf 2017,
    https://arxiv.org/abs/1608.05859). `word_dropout`: in training, the part of the words read that are given as UNK,
    so that the vector is needed (Bowman et al. 2016, https://arxiv.org/abs/1511.06349, section 3.1); special ids stay.
    """

    def __init__(self, spec: TextSpec, width: int, *, dim: int, hidden: int, word_dropout: float) -> None:
        super().__init__()
        if dim < 1 or hidden < 1:
            raise ValueError(
                f"objective.decoder_dim is {dim} and objective.decoder_hidden {hidden}; both must be at least 1"
            )
        if not 0 <= word_dropout <= 1:
            raise ValueError(
                f"objective.word_dropout is {word_dropout}; it is a fraction of the words and must lie in [0, 1]"
            )
        self.word_dropout = word_dropout
        self.special = special = spec.special
        self.embedding = nn.Embedding(spec.vocabulary, dim, padding_idx=special.pad)
        nn.init.normal_(self.embedding.weight, std=dim**-0.5)
        with torch.no_grad():
            self.embedding.weight[special.pad].zero_()
        self.gru = nn.GRU(dim + width, hidden, batch_first=True)
        self.out = nn.Linear(hidden, dim)
        self.bias = nn.Parameter(torch.zeros(spec.vocabulary))

    def forward(self, z: Tensor, tokens: Tensor) -> Tensor:
        """(B, L), (B, T) -> (B, T - 1, vocabulary): log p of tokens 1 ... T - 1, up to a number each."""
        read = tokens[:, :-1]
        if self.training and self.word_dropout > 0:
            dropped = (torch.rand(read.shape, device=read.device) < self.word_dropout) & ~self.special.among(read)
            read = read.masked_fill(dropped, self.special.unk)
        states, _ = self.gru(self._input(z, read))
        return self._scores(states)

    def write(self, z: Tensor, length: int) -> Tensor:
        """(B, L) -> (B, `length`): CLS, then each time the most probable token; after SEP, PAD."""
        special = self.special
        token = torch.full((len(z), 1), special.cls, device=z.device)
        ended = torch.zeros_like(token, dtype=torch.bool)
        written, state = [token], None
        for _ in range(length - 1):
            states, state = self.gru(self._input(z, token), state)
            scores = self._scores(states)
            scores[:, :, [special.pad, special.unk, special.cls, special.mask]] = -torch.inf  # of no text
            token = scores.argmax(dim=2).masked_fill(ended, special.pad)
            ended = ended | (token == special.sep)
            written.append(token)
        return torch.cat(written, dim=1)

    def _input(self, z: Tensor, tokens: Tensor) -> Tensor:
        return torch.cat((self.embedding(tokens), z[:, None].expand(-1, tokens.shape[1], -1)), dim=2)

    def _scores(self, states: Tensor) -> Tensor:
        return F.linear(self.out(states), self.embedding.weight, self.bias)
