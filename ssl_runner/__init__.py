"""Config-driven experiments in self-supervised learning.

>>> from ssl_runner import load_encoder
>>> encoder = load_encoder("outputs/.../s0-1a2b3c4d5e")  # doctest: +SKIP
"""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`load_encoder` and `load_tokenizer`, without importing torch before they are asked for."""
    if name in ("load_encoder", "load_tokenizer"):
        from ssl_runner.assembly import load

        return getattr(load, name)
    raise AttributeError(f"module 'ssl_runner' has no attribute {name!r}")
