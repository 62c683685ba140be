"""Decode a sentence from its vector by a Transformer. B batch, T tokens, D width of the encoder."""

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import TextEncoder, TextSpec
from ssl_runner.nn.embedding import embedded
from ssl_runner.nn.transformer import Transformer, init_linear
from ssl_runner.nn.vocabulary import TokenScores


class SentenceDecoder(nn.Module):
    """Decode a text autoregressively by a causal Transformer that attends to one vector, that of the sentence.

    Attention to a single key gives its value, whatever the query: so each block reads its input plus a linear layer of
    the vector. Wang, Reimers, Gurevych 2021 (TSDAE), https://arxiv.org/abs/2104.06979, section 3. Token vectors are
    the encoder's, to read and to score; positions are learned.
    """

    def __init__(self, encoder: TextEncoder, spec: TextSpec, *, dim: int, depth: int, heads: int) -> None:
        super().__init__()
        if dim < 1 or heads < 1 or dim % heads:
            raise ValueError(f"objective.decoder_heads is {heads}; it must divide objective.decoder_dim, {dim}")
        self.special = spec.special
        self.embed = nn.Linear(encoder.embedding.embedding_dim, dim)
        self.positions = nn.Parameter(torch.randn(spec.length, dim))
        self.values = nn.ModuleList(nn.Linear(encoder.dim, dim) for _ in range(depth))
        self.transformer = Transformer(dim, depth, heads, mlp_ratio=4.0, causal=True)
        self.out = nn.Linear(dim, encoder.dim)
        self.scores = TokenScores(encoder, "tied")
        for part in (self.embed, self.values, self.out):
            part.apply(init_linear)

    def forward(self, z: Tensor, tokens: Tensor, embedding: nn.Embedding) -> Tensor:
        """(B, D), (B, T) -> (B, T, vocabulary): log p of the token after each, up to a number each."""
        x = self.embed(embedded(embedding, tokens)) + self.positions[: tokens.shape[1]]
        for value, block in zip(self.values, self.transformer.blocks, strict=True):
            x = block(x + value(z)[:, None])
        scores: Tensor = self.scores(self.out(self.transformer.norm(x)), embedding)
        return scores

    def write(self, z: Tensor, length: int, embedding: nn.Embedding) -> Tensor:
        """(B, D) -> (B, `length`): CLS, then each time the most probable token; after SEP, PAD."""
        special = self.special
        tokens = torch.full((len(z), 1), special.cls, device=z.device)
        ended = torch.zeros_like(tokens, dtype=torch.bool)
        for _ in range(length - 1):
            scores = self(z, tokens, embedding)[:, -1:]
            scores[:, :, [special.pad, special.unk, special.cls, special.mask]] = -torch.inf  # of no text
            token = scores.argmax(dim=2).masked_fill(ended, special.pad)
            ended = ended | (token == special.sep)
            tokens = torch.cat((tokens, token), dim=1)
        return tokens
