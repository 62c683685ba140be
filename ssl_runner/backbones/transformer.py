"""Transformers over the tokens of a text: causal (GPT) and bidirectional (BERT)."""

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import CausalEncoder, Features, TextSpec, TokenEncoder
from ssl_runner.nn.embedding import token_embedding
from ssl_runner.nn.tokens import mean_of_tokens, segments
from ssl_runner.nn.transformer import Norm, Transformer


class GPT(CausalEncoder):
    """A causal Transformer: each token sees itself and those before it.

    The embeddings of token and position, learned, are added and scaled by the root of `dim` (Vaswani et al. 2017,
    section 3.4); pre-norm blocks follow. `positions`: how many there are; null: as many as `dataset.length`.

    Radford, Narasimhan, Salimans, Sutskever 2018, "Improving Language Understanding by Generative Pre-Training",
    https://cdn.openai.com/research-covers/language-unsupervised/language_understanding_paper.pdf; pre-norm as in
    Radford et al. 2019 (GPT-2). Differs from the papers: no dropout of attention weights, which keeps attention in its
    fused form; initialization as in `nn.transformer`. Padding stands at the end, where no token before it sees it: it
    is computed like any other token, and costs as much.
    """

    def __init__(
        self,
        spec: TextSpec,
        *,
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        norm: Norm,
        dropout: float,
        positions: int | None,
    ) -> None:
        super().__init__()
        _check(dim, depth, heads, mlp_ratio, norm, dropout)
        self.dim = dim
        self.special = spec.special
        self.embedding = token_embedding(spec.vocabulary, dim, spec.special.pad)
        self.positions = _embedding(_places(spec, positions), dim)
        self.reach = spec.length
        self.drop = nn.Dropout(dropout)
        self.transformer = Transformer(dim, depth, heads, mlp_ratio=mlp_ratio, causal=True, norm=norm, dropout=dropout)

    def states(self, x: Tensor) -> tuple[Tensor, ...]:
        tokens = self._embed(x)
        return tokens, *self.transformer.layers(tokens)

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        if layers:
            return _features(x, self.states(x), self.special.pad)
        tokens = self.transformer(self._embed(x))
        return Features(tokens, mean_of_tokens(tokens, x, self.special.pad))

    def _embed(self, x: Tensor) -> Tensor:
        return self.drop((self.embedding(x) + _first(self.positions, x)) * self.dim**0.5)


class BERT(TokenEncoder):
    """A bidirectional Transformer: each token sees all tokens.

    The embeddings of token and position, learned, are added and scaled by the root of `dim`; pre-norm blocks follow.
    To tokens of the second segment, which is what follows the first separator, a learned vector is added that begins at
    zero: an encoder that was pretrained without second segments reads them as it reads the first. `positions` as in
    `GPT`.

    Devlin, Chang, Lee, Toutanova 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language
    Understanding", https://arxiv.org/abs/1810.04805. Differs from the paper: pre-norm; no norm of the embeddings; a
    vector for the second segment alone, from zero on (there both have one, from N(0, 0.02^2) on; that of the first can
    be taken into the positions); no dropout of attention weights; initialization as in `nn.transformer`; the features
    are the mean over the tokens, not the first one through a layer of its own.

    Padding is never looked at. On a CPU a batch without any is computed without a mask; on another device that would
    make the host wait for the batch, and the mask is always given. Batches are not cut to their longest example, for
    the same reason: padding costs as much as tokens, so pretrain on windows, which have none.
    """

    def __init__(
        self,
        spec: TextSpec,
        *,
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        norm: Norm,
        dropout: float,
        positions: int | None,
    ) -> None:
        super().__init__()
        _check(dim, depth, heads, mlp_ratio, norm, dropout)
        self.dim = dim
        self.special = spec.special
        self.embedding = token_embedding(spec.vocabulary, dim, spec.special.pad)
        self.positions = _embedding(_places(spec, positions), dim)
        self.reach = spec.length
        self.segments = nn.Embedding(2, dim, padding_idx=0)  # the first adds nothing, and no gradient moves it
        nn.init.zeros_(self.segments.weight)
        self.drop = nn.Dropout(dropout)
        self.transformer = Transformer(dim, depth, heads, mlp_ratio=mlp_ratio, norm=norm, dropout=dropout)

    def states(self, x: Tensor) -> tuple[Tensor, ...]:
        tokens = self._embed(x)
        return tokens, *self.transformer.layers(tokens, _seen(x, self.special.pad))

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        if layers:
            return _features(x, self.states(x), self.special.pad)
        tokens = self.transformer(self._embed(x), _seen(x, self.special.pad))
        return Features(tokens, mean_of_tokens(tokens, x, self.special.pad))

    def _embed(self, x: Tensor) -> Tensor:
        embedded = self.embedding(x) + _first(self.positions, x) + self.segments(segments(x, self.special.sep))
        return self.drop(embedded * self.dim**0.5)


def _check(dim: int, depth: int, heads: int, mlp_ratio: float, norm: str, dropout: float) -> None:
    if dim < 1 or heads < 1 or dim % heads:
        raise ValueError(f"backbone.heads is {heads}; it must divide backbone.dim, which is {dim}")
    if depth < 1:
        raise ValueError(f"backbone.depth is {depth}; it must be at least 1")
    if round(dim * mlp_ratio) < 1:
        raise ValueError(f"backbone.mlp_ratio is {mlp_ratio}; it must be above 0")
    if norm not in ("layer", "rms", "dyt"):
        raise ValueError(f"backbone.norm is {norm!r}; it must be layer, rms or dyt")
    if not 0 <= dropout < 1:
        raise ValueError(f"backbone.dropout is {dropout}; it must lie in [0, 1)")


def _places(spec: TextSpec, positions: int | None) -> int:
    """How many positions to learn. Raises ValueError where the data have more."""
    if positions is None:
        return spec.length
    if positions < spec.length:
        raise ValueError(
            f"dataset.length is {spec.length} tokens and backbone.positions {positions}; lower "
            "dataset.length, or set backbone.positions to at least as many or to null"
        )
    return positions


def _embedding(count: int, dim: int) -> nn.Embedding:
    """As many vectors, as long as those of tokens are."""
    table = nn.Embedding(count, dim)
    nn.init.normal_(table.weight, std=dim**-0.5)
    return table


def _first(positions: nn.Embedding, x: Tensor) -> Tensor:
    """(T, D): the vectors of the first T positions. Raises ValueError where there are fewer."""
    count = x.shape[1]
    if count > positions.num_embeddings:
        raise ValueError(
            f"a sequence has {count} tokens (dataset.length) and the encoder {positions.num_embeddings} positions: "
            "lower dataset.length, or pretrain with backbone.positions of at least as many"
        )
    return positions.weight[:count]


def _seen(x: Tensor, pad: int) -> Tensor | None:
    """(B, 1, 1, T) bool: what is no padding; None where that is known to be all. Of nothing but padding: the first."""
    seen = x != pad
    if x.device.type == "cpu" and not torch.compiler.is_compiling() and bool(seen.all()):
        return None
    seen[:, 0] = True  # a softmax over nothing would be NaN
    return seen[:, None, None, :]


def _features(x: Tensor, states: tuple[Tensor, ...], pad: int) -> Features:
    """Of the embedding and every block: the last one's tokens, and every block's mean."""
    means = tuple(mean_of_tokens(state, x, pad) for state in states[1:])
    return Features(states[-1], means[-1], means)
