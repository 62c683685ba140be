"""What follows from the ids of a text: padding and segments. B batch, T tokens, D width."""

from torch import Tensor


def mean_of_tokens(states: Tensor, x: Tensor, pad: int) -> Tensor:
    """(B, T, D) and ids (B, T) -> (B, D): the mean over what is no padding; 0 where all of it is."""
    kept = (x != pad).to(states.dtype)
    return (states * kept[:, :, None]).sum(dim=1) / kept.sum(dim=1, keepdim=True).clamp(min=1)


def segments(x: Tensor, sep: int) -> Tensor:
    """(B, T) ids -> (B, T) int64: 0 up to the first separator, that one included, and 1 after it."""
    separator = (x == sep).long()
    return (separator.cumsum(dim=1) - separator).clamp(max=1)
