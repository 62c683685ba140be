"""ELECTRA: tell, of every token, whether a small generator has replaced it."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, Loss, Objective, TextSpec, TokenEncoder
from ssl_runner.losses.precision import float32
from ssl_runner.losses.tokens import mean_of_real, token_nll
from ssl_runner.nn.embedding import embedded
from ssl_runner.nn.gather import divisor
from ssl_runner.nn.transformer import Transformer, init_linear
from ssl_runner.nn.vocabulary import TokenScores


class Masked(NamedTuple):
    text: Tensor  # (B, T) int64, some tokens [MASK]
    places: Tensor  # (B, K) int32, ascending: the masked ones; -1 where they are fewer than K
    drawn: Tensor  # (B, K) in [0, 1): by which the generator's tokens are drawn


class Original(NamedTuple):
    tokens: Tensor  # (B, K) int64: what stood at the masked places; PAD where an example masks fewer than K
    places: Tensor  # (B, K) int32: these places again, for the labels


class Electra(Objective[Masked, Original]):
    """Tell original tokens from those that a generator, a small masked language model, has put in their place.

        x = t with t_i, i in M, masked,   y = t_i for i in M
        t'_i ~ p_G(. | x) for i in M, else t_i;   r_i = 1 if t'_i is not t_i
        loss = mean over M of -log p_G(t_i | x) + weight mean over all i of -log p(r_i | f(t'))
                                                                                 nats per masked token, nats per token

    f, with a two-layer head, is the discriminator, and what is kept. Drawn tokens carry no gradient, so the generator
    is trained by likelihood alone. Both share the table of token vectors. With few masked tokens a loss over all tokens
    teaches more than one over M. M: `ratio` of an example's tokens that are not special, 1 at least.
    Clark, Luong, Le, Manning 2020, "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators",
    https://arxiv.org/abs/2003.10555, section 2 and 3.2.
    Differs from the paper: the generator has positions of its own; it is narrower and as deep as it is told, there a
    quarter to a half as wide and as deep as the discriminator; tokens are drawn by inverting the distribution function.
    """

    def __init__(
        self,
        encoder: TokenEncoder,
        spec: TextSpec,
        *,
        ratio: float,
        weight: float,
        generator_dim: int,
        generator_depth: int,
        generator_heads: int,
    ) -> None:
        super().__init__()
        if not 0 < ratio < 1:
            raise ValueError(f"objective.ratio is {ratio}; it must lie in (0, 1) (paper: 0.15)")
        if not weight > 0:
            raise ValueError(f"objective.weight is {weight}; it must be above 0 (paper: 50)")
        if spec.length < 3:
            raise ValueError(f"dataset.length is {spec.length}; with the special tokens an example has 3 or more")
        self.encoder = encoder
        self.special = spec.special
        self.ratio = ratio
        self.weight = weight
        self.most = max(1, round(ratio * (spec.length - 2)))
        self.generator = Generator(encoder, spec, generator_dim, generator_depth, generator_heads)
        self.judge = nn.Sequential(nn.Linear(encoder.dim, encoder.dim), nn.GELU(), nn.Linear(encoder.dim, 1))
        self.judge.apply(init_linear)

    def split(self, batch: Batch) -> tuple[Masked, Original]:
        text = self._framed(batch.data)
        ordinary = ~self.special.among(text)
        order = torch.rand(text.shape, device=text.device).masked_fill(~ordinary, 2).argsort(dim=1)[:, : self.most]
        wanted = (self.ratio * ordinary.sum(dim=1, keepdim=True) + 0.5).floor().clamp(min=1)
        asked = torch.arange(order.shape[1], device=text.device) < wanted
        asked = asked & ordinary.gather(1, order)
        places, rank = order.sort(dim=1)
        asked = asked.gather(1, rank)
        tokens = text.gather(1, places)
        shown = text.scatter(1, places, torch.where(asked, self.special.mask, tokens))
        where = places.masked_fill(~asked, -1).int()
        drawn = torch.rand(places.shape, device=text.device)
        return Masked(shown, where, drawn), Original(tokens.masked_fill(~asked, self.special.pad), where)

    def loss(self, x: Masked, y: Original) -> Loss:
        pad = self.special.pad
        scores = self.generator(x.text, x.places.long().clamp(min=0), self.encoder.embedding)
        likelihood = mean_of_real(token_nll(scores, y.tokens, pad), y.tokens, pad)

        guess = drawn_from(scores.detach(), x.drawn)
        replaced = _put(torch.zeros_like(x.text), y.places, (guess != y.tokens).long())
        logits = self.judge(self.encoder(_put(x.text, x.places, guess)).tokens).squeeze(2)
        real = (~self.special.among(x.text)) | (x.text == self.special.mask)
        value = _binary(logits, replaced, real)
        count = divisor(real.sum())
        logs = {
            "generator_loss": likelihood.detach(),
            "judge_loss": value.detach(),
            "accuracy": (((logits > 0) == (replaced == 1)) & real).sum() / count,
            "chance": ((replaced == 0) & real).sum() / count,  # of calling every token original
        }
        return Loss(likelihood + self.weight * value, logs)

    def _framed(self, t: Tensor) -> Tensor:
        """Replace the first and last token of a full row by [CLS] and [SEP]; shorter rows already have them."""
        text = t.clone()
        text[:, 0] = self.special.cls
        text[:, -1] = torch.where(t[:, -1] == self.special.pad, self.special.pad, self.special.sep)
        return text


class Generator(nn.Module):
    """A small Transformer that scores tokens at masked places, with the discriminator's token vectors.

    (B, T) ids and (B, K) places -> (B, K, V)."""

    def __init__(self, encoder: TokenEncoder, spec: TextSpec, dim: int, depth: int, heads: int) -> None:
        super().__init__()
        width = encoder.embedding.embedding_dim
        if dim < 1 or heads < 1 or dim % heads:
            raise ValueError(f"objective.generator_heads is {heads}; it must divide objective.generator_dim, {dim}")
        self.pad = spec.special.pad
        self.embed = nn.Linear(width, dim)
        self.positions = nn.Parameter(torch.randn(spec.length, dim))
        self.transformer = Transformer(dim, depth, heads, mlp_ratio=4.0)
        self.transform = nn.Sequential(nn.Linear(dim, encoder.dim), nn.GELU(), nn.LayerNorm(encoder.dim, eps=1e-6))
        self.scores = TokenScores(encoder, "tied")
        for part in (self.embed, self.transform):
            part.apply(init_linear)

    def forward(self, text: Tensor, places: Tensor, embedding: nn.Embedding) -> Tensor:
        tokens = self.embed(embedded(embedding, text)) + self.positions[: text.shape[1]]
        seen = (text != self.pad)[:, None, None, :]
        states = self.transformer(tokens, seen, places)
        scores: Tensor = self.scores(self.transform(states), embedding)
        return scores


@float32
def drawn_from(scores: Tensor, drawn: Tensor) -> Tensor:
    """Draw from softmax(scores): (B, K, V) and (B, K) uniform in [0, 1) -> (B, K) int64, the first id up to which the
    probabilities sum to more."""
    total = scores.softmax(dim=-1).cumsum(dim=-1)
    found = torch.searchsorted(total, (drawn.to(total.dtype) * total[..., -1])[..., None].contiguous(), right=True)
    return found.squeeze(-1).clamp_max(scores.shape[-1] - 1)


def _put(text: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """(B, T) with `values` (B, K) at `places` (B, K); a place of -1 is none."""
    length = text.shape[1]
    longer = F.pad(text, (0, 1))  # a last column takes what is to go nowhere
    where = places.long() % (length + 1)
    return longer.scatter(1, where, values)[:, :length]


@float32
def _binary(logits: Tensor, label: Tensor, real: Tensor) -> Tensor:
    """The mean of -log p(label) over real tokens; (B, T) each -> (), of several processes in the mean over them."""
    costs = F.binary_cross_entropy_with_logits(logits, label.to(logits.dtype), reduction="none")
    return (costs * real).sum() / divisor(real.sum())
