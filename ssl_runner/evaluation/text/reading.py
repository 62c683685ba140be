"""Features of encoders of text: of one layer or a learned mix of all, per text or per token.

B batch, T tokens, D width, L layers, n examples.
"""

from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_runner.data.any.progress import tracked
from ssl_runner.evaluation.any.controls import BagOfWords
from ssl_runner.evaluation.any.subject import evaluating, named_layer
from ssl_runner.interfaces import Encoder, Features, Subject, TextEncoder, TextSpec
from ssl_runner.nn.layer_mix import LayerMix
from ssl_runner.nn.tokens import mean_of_tokens

BATCH = 256  # texts encoded at once
LEAST = 3  # tokens of a text: one, and the two around it
SAMPLE = 1024  # texts of train whose features standardize the input of a head that is trained

Unit = Literal["text", "token"]


def named_text_layer(key: str, layer: str | int) -> str:
    """The layer that a config names, of whole texts: "pooled", "-2" or "mix". Raises ValueError for others."""
    return "mix" if layer == "mix" else named_layer(key, layer)


def named_token_layer(key: str, layer: str | int) -> str:
    """The layer that a config names, of tokens: "-1" or "mix". Raises ValueError for others."""
    if layer == "pooled":
        raise ValueError(
            f"{key} is pooled, one vector per text; this evaluation needs one per token: set it to -1, -2, ... or mix"
        )
    return named_text_layer(key, layer)


def text_encoder(encoder: Encoder) -> TextEncoder:
    """Raises ValueError for an encoder that is not of texts."""
    if not isinstance(encoder, TextEncoder):
        raise ValueError(f"this evaluation needs an encoder of text, and the encoder is {encoder.kind}")
    return encoder


def text_spec(subject: Subject, length: int) -> TextSpec:
    """How texts are given to the encoder: in its tokens, up to `length` of them, or as many as pretraining showed it if
    those are fewer. Raises ValueError where it reads no text."""
    spec, encoder = subject.data.spec, subject.encoder
    if not isinstance(spec, TextSpec):
        raise ValueError(f"this evaluation needs an encoder of text; this one reads {spec.kind}")
    reach = encoder.reach if isinstance(encoder, TextEncoder | BagOfWords) else None
    if reach is not None and reach < LEAST:
        raise ValueError(
            f"the encoder was pretrained on {reach} tokens per text, and a text with its special tokens has at least "
            f"{LEAST}: pretrain with a longer dataset.length"
        )
    return replace(spec, length=length if reach is None else min(length, reach))


def reading(spec: TextSpec, cut: Any) -> dict[str, Any]:
    """What is measured of how texts were read: how many tokens of a text at most (`spec`, of `text_spec`), and `cut`,
    the share of test that was cut."""
    return {"read": spec.length, "cut": cut}


def mixed(encoder: TextEncoder, states: tuple[Tensor, ...]) -> list[Tensor]:
    """The layers that can be mixed: those of the last layer's width."""
    return [state for state in states if state.shape[-1] == encoder.dim]


class Reader(nn.Module):
    """Read one layer, or a mix of all that are as wide as the last (`nn.layer_mix`): (B, D) of texts, the mean over
    what is no padding; (B, T, D) of tokens, 0 at padding beyond the longest.

    A batch is cut to its longest text, which changes nothing else. Raises ValueError for a layer that is not there.
    """

    def __init__(self, encoder: TextEncoder, layer: str, unit: Unit) -> None:
        super().__init__()
        self.layer = layer
        self.unit = unit
        device = encoder.embedding.weight.device
        with evaluating(encoder), torch.no_grad():
            states = encoder.states(torch.tensor([[encoder.special.cls, encoder.special.sep]], device=device))
        self.mix = LayerMix(len(mixed(encoder, states))) if layer == "mix" else None
        if layer not in ("pooled", "mix") and int(layer) < -len(states):
            raise ValueError(f"layer is {layer}; this backbone has {len(states)} layers, including the embedding")

    def forward(self, encoder: TextEncoder, x: Tensor) -> Tensor:
        short = trimmed(x, encoder.special.pad)
        if self.layer == "pooled":
            return encoder(short).pooled
        states = encoder.states(short)
        tokens = states[int(self.layer)] if self.mix is None else self.mix(mixed(encoder, states))
        if self.unit == "text":
            return mean_of_tokens(tokens, short, encoder.special.pad)
        return F.pad(tokens, (0, 0, 0, x.shape[1] - short.shape[1]))


class Still(nn.Module):
    """A frozen encoder within a network that is trained: without parameters, mode or gradients."""

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.held = (encoder,)  # in a tuple, so that it is no part of this module
        self.dim = encoder.dim
        self.special = encoder.special

    def forward(self, x: Tensor) -> Features:
        with torch.no_grad():
            return self.held[0](x)

    def states(self, x: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return self.held[0].states(x)


def trimmed(x: Tensor, pad: int) -> Tensor:
    """(B, T) -> (B, t): without columns of padding only; at least one column."""
    return x[:, : max(1, int((x != pad).sum(dim=1).max()))]


def read_texts(subject: Subject, reader: Reader, ids: Tensor) -> Tensor:
    """(n, T) ids -> (n, D) float32 on the CPU: frozen features of whole texts."""
    encoder = text_encoder(subject.encoder)
    order = (ids != encoder.special.pad).sum(dim=1).argsort(stable=True)  # texts of like length together
    parts = []
    with evaluating(encoder), torch.inference_mode():
        for rows in tracked(order.split(BATCH), "texts"):
            parts.append(reader.to(subject.device)(encoder, ids[rows].long().to(subject.device)).float().cpu())
    found = torch.cat(parts)
    return finite(torch.empty_like(found).index_copy_(0, order, found))


def read_tokens(subject: Subject, reader: Reader, ids: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """(n, T) ids and m places, rows ascending -> (m, D) float32 on the CPU: frozen features of these tokens."""
    encoder = text_encoder(subject.encoder)
    parts = []
    with evaluating(encoder), torch.inference_mode():
        for first in tracked(range(0, len(ids), BATCH), "texts"):
            tokens = reader.to(subject.device)(encoder, ids[first : first + BATCH].long().to(subject.device))
            chosen = (row >= first) & (row < first + BATCH)
            parts.append(tokens[row[chosen] - first, column[chosen]].float().cpu())
    return finite(torch.cat(parts))


def finite(features: Tensor) -> Tensor:
    """Raises ValueError for features that are NaN or infinite. Given outside of inference mode."""
    bad = int((~features.isfinite().all(dim=1)).sum())
    if bad:
        raise ValueError(
            f"the encoder has diverged: {bad} of {len(features)} features are not finite (NaN or infinite); pretrain "
            "with a lower optimizer.lr or trainer.precision=float32"
        )
    return features


def sample_features(subject: Subject, reader: Reader, ids: Tensor) -> Tensor:
    """(m, D): frozen features of up to 1,024 texts, spread over all; of each token that is no padding."""
    chosen = ids[:: max(1, len(ids) // SAMPLE)]
    if reader.unit == "text":
        return read_texts(subject, reader, chosen)
    real = (chosen != text_encoder(subject.encoder).special.pad).nonzero(as_tuple=True)
    return read_tokens(subject, reader, chosen, *cast(tuple[Tensor, Tensor], real))
