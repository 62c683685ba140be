"""Config-driven experiments in self-supervised learning.

>>> from ssl_runner import load_encoder
>>> encoder = load_encoder("outputs/.../s0-1a2b3c4d5e")  # doctest: +SKIP
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # their types; at run time they are imported when they are asked for
    from ssl_runner.assembly.load import load_encoder, load_tokenizer

__all__ = ["__version__", "load_encoder", "load_tokenizer"]
__version__ = "0.2.0"


def __getattr__(name: str) -> object:
    """`load_encoder` and `load_tokenizer`, without importing torch before they are asked for."""
    if name in ("load_encoder", "load_tokenizer"):
        from ssl_runner.assembly import load

        return getattr(load, name)
    raise AttributeError(f"module 'ssl_runner' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What `__getattr__` gives too, for completion in a shell or a notebook."""
    return sorted({*globals(), *__all__})
