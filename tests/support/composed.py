"""Configs that are composed once in a process: composing takes 60 ms, and many tests ask for the same words."""

import pickle
from collections.abc import Sequence
from functools import cache
from typing import Any

from ssl_runner.config.compose import compose


@cache
def _pickled(words: tuple[str, ...]) -> bytes:
    return pickle.dumps(compose(words))


def composed(words: Sequence[str], **values: Any) -> dict[str, Any]:
    """A copy of what `words` compose, with `values` at its top, which no other value may be interpolated from.

    For tests that are not about composing. What the words depend on, as variables of the environment, must not change.
    """
    return pickle.loads(_pickled(tuple(words))) | values
