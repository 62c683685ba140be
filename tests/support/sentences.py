"""Small encoders of text for tests, and sentences of which the right answer can be worked out."""

import torch
from special_ids import CLS, PAD, SEP
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, CausalEncoder, Features, TextSpec, TokenEncoder

SPEC = TextSpec(length=8, vocabulary=20)


class Words(TokenEncoder):
    """Each word's vector and their mean through a linear layer, with dropout; padding is not seen."""

    def __init__(self, spec: TextSpec = SPEC, dim: int = 6, dropout: float = 0.0) -> None:
        super().__init__()
        self.special = spec.special
        self.dim = dim
        self.embedding = nn.Embedding(spec.vocabulary, dim, padding_idx=PAD)
        self.layer = nn.Linear(2 * dim, dim)
        self.drop = nn.Dropout(dropout)

    def states(self, x: Tensor) -> tuple[Tensor, ...]:
        words = self.embedding(x)
        mean = _mean(words, x)[:, None].expand_as(words)
        return words, self.layer(self.drop(torch.cat((words, mean), dim=2)))

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        tokens = self.states(x)[-1]
        return Features(tokens, _mean(tokens, x))


class Running(CausalEncoder):
    """A GRU."""

    def __init__(self, spec: TextSpec = SPEC, dim: int = 6) -> None:
        super().__init__()
        self.special = spec.special
        self.dim = dim
        self.embedding = nn.Embedding(spec.vocabulary, dim - 1, padding_idx=PAD)
        self.gru = nn.GRU(dim - 1, dim, batch_first=True)

    def states(self, x: Tensor) -> tuple[Tensor, ...]:
        words = self.embedding(x)
        return words, self.gru(words)[0]

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        tokens = self.states(x)[-1]
        return Features(tokens, _mean(tokens, x))


def _mean(states: Tensor, x: Tensor) -> Tensor:
    kept = (x != PAD).float()[:, :, None]
    return (states * kept).sum(1) / kept.sum(1)


def made(lengths: list[int], seed: int = 0, spec: TextSpec = SPEC) -> Batch:
    """[CLS], so many random words, [SEP], padding."""
    generator = torch.Generator().manual_seed(seed)
    data = torch.full((len(lengths), spec.length), PAD)
    for row, count in enumerate(lengths):
        words = torch.randint(6, spec.vocabulary, (count,), generator=generator)
        data[row, : count + 2] = torch.cat((torch.tensor([CLS]), words, torch.tensor([SEP])))
    return Batch(data, torch.full((len(lengths),), -1), torch.arange(len(lengths)))


def padded(tokens: Tensor, by: int) -> Tensor:
    """(..., T) -> (..., T + by)."""
    return nn.functional.pad(tokens, (0, by), value=PAD)
