"""The pre-norm Transformer. B batch, N tokens, D width, H heads."""

from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head self-attention: (B, N, D) -> (B, N, D). Vaswani et al. 2017, https://arxiv.org/abs/1706.03762."""

    def __init__(self, dim: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"the Transformer's width is {dim} and its heads are {heads}; heads must divide the width")
        self.heads = heads
        self.causal = causal
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)  # (B, H, N, D / H) each
        x = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(x.transpose(1, 2).reshape(b, n, d))


class Block(nn.Module):
    """Attention and a two-layer perceptron (GELU), each added to its input and reading it through a LayerNorm."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float, *, causal: bool = False) -> None:
        super().__init__()
        hidden = round(dim * mlp_ratio)
        if hidden < 1:
            raise ValueError(f"mlp_ratio is {mlp_ratio}; it must give at least one hidden unit")
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attention = Attention(dim, heads, causal=causal)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """`depth` blocks and a last LayerNorm: (B, N, D) -> (B, N, D). `causal`: token n sees only tokens <= n.

    Initialisation as in ViT: weights from a normal of deviation 0.02 cut at two deviations, biases zero.
    """

    def __init__(self, dim: int, depth: int, heads: int, *, mlp_ratio: float, causal: bool = False) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"the Transformer's depth is {depth}; it must be at least 1")
        self.blocks = nn.ModuleList(Block(dim, heads, mlp_ratio, causal=causal) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.apply(init_linear)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def layers(self, x: Tensor) -> list[Tensor]:
        """The output of each block, (B, N, D) each; the last after the last LayerNorm: it is what `forward` gives."""
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        outputs[-1] = self.norm(x)
        return outputs


def init_linear(module: nn.Module) -> None:
    """Initialise a linear layer: Xavier, uniform, as MAE does; leave any other module. For `nn.Module.apply`.

    ViT's deviation of 0.02 suits a width of 768: at 96 it leaves attention all but uniform for hundreds of steps.
    """
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
