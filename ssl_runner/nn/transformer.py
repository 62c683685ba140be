"""The pre-norm Transformer. B batch, N tokens, D width, H heads."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_runner.nn.patches import gather_places

Norm = Literal["layer", "rms", "dyt"]


class DyT(nn.Module):
    """Squash each feature instead of normalizing it: (..., D) -> (..., D), y = weight * tanh(alpha x) + bias.

    `alpha` is one number, learned from 0.5 on; `weight` and `bias` are of width D, from 1 and 0 on. Zhu, Chen, He,
    LeCun, Liu 2025, "Transformers without Normalization", https://arxiv.org/abs/2503.10622, algorithm 1.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor([0.5]))
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, self.weight, torch.tanh(self.alpha * x))


def norm_of(norm: Norm, dim: int) -> nn.Module:
    """The layer that keeps a token's scale: LayerNorm, RMSNorm (Zhang, Sennrich 2019, https://arxiv.org/abs/1910.07467)
    or DyT. Raises ValueError for any other name."""
    match norm:
        case "layer":
            return nn.LayerNorm(dim, eps=1e-6)
        case "rms":
            return nn.RMSNorm(dim, eps=1e-6)
        case "dyt":
            return DyT(dim)
    raise ValueError(f"the norm is {norm!r}; it must be layer, rms or dyt")


def attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None, causal: bool) -> Tensor:
    """softmax(q k^T / sqrt(d)) v: (B, H, N, d) each -> (B, H, N, d).

    On a CPU always in float32: in bfloat16 torch's kernel took 2 to 14 times as long backwards.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        with torch.autocast("cpu", enabled=False):
            return attend(q.float(), k.float(), v.float(), seen, causal).to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=causal)


class Attention(nn.Module):
    """Multi-head self-attention: (B, N, D) -> (B, N, D). Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.

    `seen` (B, 1, 1, N) bool: the tokens that may be looked at, at least one an example. None: all; not for causal ones.
    `rows` (B, M) int64: the tokens whose outputs are wanted, (B, M, D). None: all; not for causal ones.
    """

    def __init__(self, dim: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"the Transformer's width is {dim} and its heads are {heads}; heads must divide the width")
        self.heads = heads
        self.causal = causal
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, seen: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)  # (B, H, N, D / H) each
        if rows is not None:
            q = q.gather(2, rows[:, None, :, None].expand(-1, self.heads, -1, d // self.heads))
        x = attend(q, k, v, seen, self.causal)
        return self.out(x.transpose(1, 2).flatten(2))


class DropPath(nn.Module):
    """Leave out what a branch adds, for each example with probability `share`, in training: (B, ...) -> (B, ...).

    What stays is divided by 1 - `share`. Huang, Sun, Liu, Sedra, Weinberger 2016, "Deep Networks with Stochastic
    Depth", https://arxiv.org/abs/1603.09382 (there the other branch is scaled in evaluation instead).
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if self.share == 0 or not self.training:
            return x
        kept = torch.rand(len(x), device=x.device) >= self.share
        return x * (kept.to(x.dtype) / (1 - self.share)).view(-1, *[1] * (x.ndim - 1))


class Block(nn.Module):
    """Attention and a two-layer perceptron (GELU), each added to its input and reading it through a norm.

    `dropout`: the share of what each of the two adds that is dropped in training; `drop_path`: the probability with
    which either adds nothing to an example. `seen`, `rows`: see `Attention`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        mlp_ratio: float,
        *,
        causal: bool = False,
        norm: Norm = "layer",
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        hidden = round(dim * mlp_ratio)
        if hidden < 1:
            raise ValueError(f"mlp_ratio is {mlp_ratio}; it must give at least one hidden unit")
        self.norm1 = norm_of(norm, dim)
        self.attention = Attention(dim, heads, causal=causal)
        self.norm2 = norm_of(norm, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.drop = nn.Sequential(nn.Dropout(dropout), DropPath(drop_path)) if drop_path else nn.Dropout(dropout)

    def forward(self, x: Tensor, seen: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        added = self.drop(self.attention(self.norm1(x), seen, rows))
        x = (x if rows is None else gather_places(x, rows)) + added
        return x + self.drop(self.mlp(self.norm2(x)))


class Transformer(nn.Module):
    """`depth` blocks and a last norm: (B, N, D) -> (B, N, D). `causal`: token n sees only tokens <= n.

    `drop_path`: that of the last block; it rises linearly from 0 in the first. Initialization: `init_linear`. `seen`,
    `rows`: see `Attention`.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        *,
        mlp_ratio: float,
        causal: bool = False,
        norm: Norm = "layer",
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"the Transformer's depth is {depth}; it must be at least 1")
        self.blocks = nn.ModuleList(
            Block(
                dim,
                heads,
                mlp_ratio,
                causal=causal,
                norm=norm,
                dropout=dropout,
                drop_path=drop_path * place / max(depth - 1, 1),
            )
            for place in range(depth)
        )
        self.norm = norm_of(norm, dim)
        self.apply(init_linear)

    def forward(self, x: Tensor, seen: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        *earlier, last = self.blocks
        for block in earlier:
            x = block(x, seen)
        return self.norm(last(x, seen, rows))

    def layers(self, x: Tensor, seen: Tensor | None = None) -> list[Tensor]:
        """The output of each block, (B, N, D) each; the last after the last norm: it is what `forward` gives."""
        outputs = []
        for block in self.blocks:
            x = block(x, seen)
            outputs.append(x)
        outputs[-1] = self.norm(x)
        return outputs


def init_linear(module: nn.Module) -> None:
    """Initialize a linear layer: Xavier, uniform, as MAE does; leave any other module. For `nn.Module.apply`.

    ViT's deviation of 0.02 suits a width of 768: at 96 it leaves attention all but uniform for hundreds of steps.
    """
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
