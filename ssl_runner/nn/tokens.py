"""What follows from the ids of a text: padding and segments. B batch, T tokens, D width."""

import hashlib

from torch import Tensor

from ssl_runner.interfaces import PAD, SEP, TextSpec


def mean_of_tokens(states: Tensor, x: Tensor) -> Tensor:
    """(B, T, D) and ids (B, T) -> (B, D): the mean over what is no padding; 0 where all of it is."""
    kept = (x != PAD).to(states.dtype)
    return (states * kept[:, :, None]).sum(dim=1) / kept.sum(dim=1, keepdim=True).clamp(min=1)


def segments(x: Tensor) -> Tensor:
    """(B, T) ids -> (B, T) int64: 0 up to the first separator, that one included, and 1 after it."""
    separator = (x == SEP).long()
    return (separator.cumsum(dim=1) - separator).clamp(max=1)


def tokenizer_fingerprint(spec: TextSpec) -> str:
    """Of what texts are cut into, twelve hexadecimal digits: numbers per token compare where it is the same."""
    return hashlib.sha256(f"{spec.vocabulary} {spec.tokenizer}".encode()).hexdigest()[:12]
