"""Predict the features of places from those of others."""

import torch
from torch import Tensor, nn

from ssl_runner.nn.positions import sincos_grid
from ssl_runner.nn.transformer import Transformer


class PlacePredictor(nn.Module):
    """Predict the features of places of a grid that are asked for, from the features of those that are known.

    A narrow Transformer over the known tokens, and a learned token for each place that is asked for; fixed sine-cosine
    positions tell places apart: 2-D of images, 3-D of clips. Assran et al. 2023 (I-JEPA),
    https://arxiv.org/abs/2301.08243, section 3; Bardes et al. 2024 (V-JEPA), https://arxiv.org/abs/2404.08471,
    section 3. Weights are Xavier, uniform, biases 0, the learned token normal of deviation 0.02.
    """

    positions: Tensor  # (N, dim)

    def __init__(self, width: int, *, dim: int, depth: int, heads: int, grid: tuple[int, ...]) -> None:
        """`width`: of the features, given and predicted; `dim`: of the Transformer's tokens."""
        super().__init__()
        self.embed = nn.Linear(width, dim)
        self.asked_token = nn.Parameter(torch.empty(dim))
        self.register_buffer("positions", sincos_grid(dim, grid), persistent=False)
        self.transformer = Transformer(dim, depth, heads, mlp_ratio=4.0)
        self.predict = nn.Linear(dim, width)
        for layer in (self.embed, self.predict):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.asked_token, std=0.02)

    def forward(self, tokens: Tensor, keep: Tensor, asked: Tensor) -> Tensor:
        """Features (B, K, width) of the places `keep` (B, K), and (B, M, T) places of M blocks -> (B, M, T, width).

        Each block is predicted by itself: nothing of it depends on where the others are.
        """
        blocks, count = asked.shape[1:]
        known = self.embed(tokens) + self.positions[keep]
        known = known.repeat_interleave(blocks, dim=0)  # (B M, K, dim)
        unknown = (self.asked_token + self.positions[asked.flatten(0, 1)]).to(known.dtype)
        last = torch.arange(known.shape[1], known.shape[1] + count, device=keep.device).expand(len(known), -1)
        found = self.transformer(torch.cat((known, unknown), dim=1), rows=last)
        return self.predict(found).unflatten(0, (-1, blocks))
