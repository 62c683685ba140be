"""Recurrent networks over the tokens of a text, unidirectional and bidirectional."""

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import BiCausalEncoder, CausalEncoder, Features, TextSpec
from ssl_runner.nn.embedding import embedded, token_embedding
from ssl_runner.nn.tokens import mean_of_tokens


class LSTM(CausalEncoder):
    """A stack of LSTM layers, from the first token to the last.

    `dropout` is of what goes up from the embedding and from each layer, never of what goes on in time. Every row begins
    with a state of zeros. Padding stands at the end, where no token before it reads it.

    Hochreiter, Schmidhuber 1997, "Long Short-Term Memory", https://doi.org/10.1162/neco.1997.9.8.1735; dropout as in
    Zaremba, Sutskever, Vinyals 2014, "Recurrent Neural Network Regularization", https://arxiv.org/abs/1409.2329.
    Differs from the papers: the gates are those of torch.nn.LSTM, which forget too; the state is not handed on from one
    window of a text to the next.
    """

    def __init__(self, spec: TextSpec, *, layers: int, width: int, dropout: float) -> None:
        super().__init__()
        _check(layers, width, dropout)
        self.dim = width
        self.special = spec.special
        self.embedding = token_embedding(spec.vocabulary, width, spec.special.pad)
        self.drop = nn.Dropout(dropout)
        self.layers = _layers(layers, width)

    def states(self, x: Tensor) -> tuple[Tensor, ...]:
        states = [self.drop(embedded(self.embedding, x))]
        for layer in self.layers:
            states.append(self.drop(layer(states[-1])[0]))
        return tuple(states)

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        return _features(x, self.states(x), layers, self.special.pad)


class BiLSTM(BiCausalEncoder):
    """Two stacks of long short-term memory over one embedding, which never meet: one reads from the first token to the
    last, the other from the last to the first.

    `width` is that of each direction: `dim` is twice that, and in every layer the first half has read the tokens up to
    a place and the second those from it on. The embedding as a layer is given twice, once for each half. The backward
    direction begins at the last token that is no padding. `dropout` as in `LSTM`.

    Peters, Neumann, Iyyer, Gardner, Clark, Lee, Zettlemoyer 2018, "Deep contextualized word representations" (ELMo),
    https://arxiv.org/abs/1802.05365, section 3.1.
    Differs from the paper: tokens have vectors of their own, not made of their characters; no projections from larger
    layers and no residual connections between layers.
    """

    def __init__(self, spec: TextSpec, *, layers: int, width: int, dropout: float) -> None:
        super().__init__()
        _check(layers, width, dropout)
        self.dim = 2 * width
        self.special = spec.special
        self.embedding = token_embedding(spec.vocabulary, width, spec.special.pad)
        self.drop = nn.Dropout(dropout)
        self.forwards = _layers(layers, width)
        self.backwards = _layers(layers, width)

    def states(self, x: Tensor) -> tuple[Tensor, ...]:
        order = _reversed(x, self.special.pad)
        onward = self.drop(embedded(self.embedding, x))
        back = _reordered(onward, order)  # of each layer, in the order of reading
        states = [torch.cat((onward, onward), dim=2)]
        for forwards, backwards in zip(self.forwards, self.backwards, strict=True):
            onward, back = self.drop(forwards(onward)[0]), self.drop(backwards(back)[0])
            states.append(torch.cat((onward, _reordered(back, order)), dim=2))
        return tuple(states)

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        return _features(x, self.states(x), layers, self.special.pad)


def _check(layers: int, width: int, dropout: float) -> None:
    if layers < 1:
        raise ValueError(f"backbone.layers is {layers}; it must be at least 1")
    if width < 1:
        raise ValueError(f"backbone.width is {width}; it must be at least 1")
    if not 0 <= dropout < 1:
        raise ValueError(f"backbone.dropout is {dropout}; it must lie in [0, 1)")


def _layers(count: int, width: int) -> nn.ModuleList:
    """One by one, because torch gives the states of the last layer of a stack alone."""
    return nn.ModuleList(nn.LSTM(width, width, batch_first=True) for _ in range(count))


def _reversed(x: Tensor, pad: int) -> Tensor:
    """(B, T) ids -> (B, T) int64: the places of each row from its last token to its first, then those of padding.

    >>> _reversed(torch.tensor([[7, 8, 9, 0]]), 0)
    tensor([[2, 1, 0, 3]])
    """
    places = torch.arange(x.shape[1], device=x.device)
    length = (x != pad).sum(dim=1, keepdim=True)
    return torch.where(places < length, length - 1 - places, places)


def _reordered(states: Tensor, order: Tensor) -> Tensor:
    """(B, T, D) and (B, T) places -> (B, T, D); twice by an order of `_reversed`: as it was."""
    return states.gather(1, order[:, :, None].expand_as(states))


def _features(x: Tensor, states: tuple[Tensor, ...], layers: bool, pad: int) -> Features:
    """`layers`: the mean of every recurrent layer too."""
    pooled = mean_of_tokens(states[-1], x, pad)
    below = tuple(mean_of_tokens(state, x, pad) for state in states[1:-1]) if layers else ()
    return Features(states[-1], pooled, (*below, pooled) if layers else ())
