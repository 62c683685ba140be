"""An MLP over the last few tokens."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_runner.interfaces import CausalEncoder, Features, TextSpec
from ssl_runner.nn.embedding import embedded, token_embedding
from ssl_runner.nn.tokens import mean_of_tokens


class WindowMLP(CausalEncoder):
    """One hidden layer over the vectors of a token and of those before it, `window` in all.

        c = [e(t_{n - window + 1}), ..., e(t_n)],   token n: [tanh(d + H c), the last `direct` vectors of c]

    With a linear layer and softmax after it (objective=nnlm) that is the paper's b + W c + U tanh(d + H c), where
    `direct` says of how many words the direct connections W are: none, or all as in the paper. Before the first token
    the vectors are zero.

    Bengio, Ducharme, Vincent, Jauvin 2003, "A Neural Probabilistic Language Model",
    https://www.jmlr.org/papers/v3/bengio03a.html, section 2.
    Differs from the paper: the first words of a row are predicted too, from fewer; no mixture with a trigram.
    """

    def __init__(self, spec: TextSpec, *, window: int, embedding: int, width: int, direct: int) -> None:
        super().__init__()
        for name, value in (("window", window), ("embedding", embedding), ("width", width)):
            if value < 1:
                raise ValueError(f"backbone.{name} is {value}; it must be at least 1")
        if not 0 <= direct <= window:
            raise ValueError(f"backbone.direct is {direct}; it must lie in 0 to backbone.window, which is {window}")
        self.dim = width + direct * embedding
        self.window = window
        self.direct = direct * embedding
        self.special = spec.special
        self.embedding = token_embedding(spec.vocabulary, embedding, spec.special.pad)
        self.hidden = nn.Linear(window * embedding, width)

    def states(self, x: Tensor) -> tuple[Tensor, ...]:
        vectors = embedded(self.embedding, x)
        before = F.pad(vectors, (0, 0, self.window - 1, 0))
        context = before.unfold(1, self.window, 1).transpose(2, 3).flatten(2)  # (B, T, window * E), the oldest first
        hidden = self.hidden(context).tanh()
        return vectors, torch.cat((hidden, context[:, :, context.shape[2] - self.direct :]), dim=2)

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        states = self.states(x)
        means = tuple(mean_of_tokens(state, x, self.special.pad) for state in states) if layers else ()
        return Features(states[-1], means[-1] if layers else mean_of_tokens(states[-1], x, self.special.pad), means)
