"""Config-driven experiments in self-supervised learning.

>>> from ssl_runner import load_encoder
>>> encoder = load_encoder("outputs/.../s0-1a2b3c4d5e")  # doctest: +SKIP
"""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`load_encoder`, without importing torch before it is asked for."""
    if name == "load_encoder":
        from ssl_runner.build import load_encoder

        return load_encoder
    raise AttributeError(f"module 'ssl_runner' has no attribute {name!r}")
