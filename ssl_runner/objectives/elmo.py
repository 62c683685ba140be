"""ELMo: predict the next token from those before it, and the previous token from those after it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Batch, BiCausalEncoder, Loss, Objective, TextSpec
from ssl_runner.losses.tokens import mean_nll, token_nll


class Neighbors(NamedTuple):
    next: Tensor  # (B, T - 1) int64: what follows each token but the last
    previous: Tensor  # (B, T - 1) int64: what stands before each token but the first; PAD where that is PAD


class ELMo(Objective[Tensor, Neighbors]):
    """Predict each token of a text from those before it, and from those after it, by one softmax.

        x = t,   y = (t_2 ... t_T, t_1 ... t_{T-1})
        loss = mean over n of -log p(t_{n+1} | t_1 ... t_n)  +  mean over n of -log p(t_{n-1} | t_n ... t_T)
        p = softmax(W h + b),   h: the first half of f(x)_n for what follows, the second for what stands before

    in nats per token, the two directions added; logged as `forward` and `backward`. The encoder's embedding, W and b
    are of both directions. Padding is not predicted. Afterwards `nn.layer_mix` mixes the layers for a task. The forward
    direction alone is a language model: its likelihoods are `log_likelihood`.

    Peters, Neumann, Iyyer, Gardner, Clark, Lee, Zettlemoyer 2018, "Deep contextualized word representations",
    https://arxiv.org/abs/1802.05365, section 3.1.
    Differs from the paper: a full softmax, not a sampled one; windows of a text do not hand on their states.
    """

    def __init__(self, encoder: BiCausalEncoder, spec: TextSpec) -> None:
        super().__init__()
        if spec.length < 2:
            raise ValueError(f"dataset.length is {spec.length}; objective=elmo needs 2 tokens or more")
        self.encoder: BiCausalEncoder = encoder
        self.pad = spec.special.pad
        self.softmax = nn.Linear(encoder.dim // 2, spec.vocabulary)

    def split(self, batch: Batch) -> tuple[Tensor, Neighbors]:
        """x (B, T) int64."""
        t = batch.data
        return t, Neighbors(t[:, 1:], t[:, :-1].masked_fill(t[:, 1:] == self.pad, self.pad))

    def loss(self, x: Tensor, y: Neighbors) -> Loss:
        padding = torch.arange(len(self.softmax.bias), device=x.device) == self.pad
        bias = self.softmax.bias.masked_fill(padding, -torch.inf)
        forward, backward = (
            mean_nll(states, self.softmax.weight, bias, target, self.pad)
            for states, target in zip(self._states(x), y, strict=True)
        )
        return Loss(forward + backward, {"forward": forward.detach(), "backward": backward.detach()})

    def predict(self, x: Tensor) -> Neighbors:
        """The most probable neighbors of each token; padding at padding."""
        following, previous = (scores.argmax(dim=2) for scores in self._scores(x))
        return Neighbors(
            following.masked_fill(x[:, :-1] == self.pad, self.pad), previous.masked_fill(x[:, 1:] == self.pad, self.pad)
        )

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        return -token_nll(self._scores(tokens)[0], tokens[:, 1:], self.pad)

    def next_logits(self, tokens: Tensor) -> Tensor:
        last = ((tokens != self.pad).sum(dim=1) - 1).clamp(min=0)
        onward, _ = self.encoder(tokens).tokens.chunk(2, dim=2)
        return self._score(onward[torch.arange(len(tokens), device=tokens.device), last]).float()

    def _scores(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T - 1, V) each: of the token after each but the last, and of the token before each but the first."""
        onward, back = self._states(x)
        return self._score(onward), self._score(back)

    def _states(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T - 1, D / 2) each: read onward, of every token but the last; read back, of every one but the first."""
        onward, back = self.encoder(x).tokens.chunk(2, dim=2)
        return onward[:, :-1], back[:, 1:]

    def _score(self, states: Tensor) -> Tensor:
        """(..., D / 2) -> (..., V); padding has -inf."""
        scores = self.softmax(states)
        scores[..., self.pad] = -torch.inf
        return scores
