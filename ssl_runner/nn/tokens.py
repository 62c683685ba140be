"""Padding, words and segments from the ids of a text. B batch, T tokens, D width."""

import hashlib

from torch import Tensor

from ssl_runner.interfaces import TextSpec


def mean_of_tokens(states: Tensor, x: Tensor, pad: int) -> Tensor:
    """(B, T, D) and ids (B, T) -> (B, D): the mean over all tokens but padding; 0 if there are none."""
    kept = (x != pad).to(states.dtype)
    return (states * kept[:, :, None]).sum(dim=1) / kept.sum(dim=1, keepdim=True).clamp(min=1)


def word_begins(x: Tensor, starts: Tensor, ends: Tensor) -> Tensor:
    """(B, T) ids, and (vocabulary,) bool each, as a TextSpec has them -> (B, T) bool: which tokens begin a word. A
    space that is a token of its own (which ends a word, and starts none) does not."""
    after = ends[x].roll(1, dims=1)
    after[:, 0] = True
    return starts[x] | (after & ~ends[x])


def segments(x: Tensor, sep: int) -> Tensor:
    """(B, T) ids -> (B, T) int64: 0 up to the first separator, that one included, and 1 after it."""
    separator = (x == sep).long()
    return (separator.cumsum(dim=1) - separator).clamp(max=1)


def tokenizer_fingerprint(spec: TextSpec) -> str:
    """Of what texts are cut into, twelve hexadecimal digits: numbers per token compare where it is the same."""
    return hashlib.sha256(f"{spec.vocabulary} {spec.tokenizer}".encode()).hexdigest()[:12]
