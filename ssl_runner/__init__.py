"""Config-driven experiments in self-supervised learning.

>>> import ssl_runner
>>> run = ssl_runner.run("objective=mae", "backbone=vit_micro", "budget.amount=10")  # doctest: +SKIP
>>> encoder = ssl_runner.load_encoder("outputs/.../s0-1a2b3c4d5e")  # doctest: +SKIP
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # their types; at run time they are imported when they are asked for
    from ssl_runner.assembly.load import load_encoder, load_tokenizer
    from ssl_runner.commands.python import Run, check, compare, evaluate, load_run, preview, run, sweep
    from ssl_runner.config.errors import ConfigError

__all__ = [
    "ConfigError", "Run", "__version__", "check", "compare", "evaluate", "load_encoder", "load_run", "load_tokenizer",
    "preview", "run", "sweep",
]  # fmt: skip
__version__ = "0.2.0"

_PLACES = {  # name -> module; torch is imported by none of them before it is needed
    "ConfigError": "config.errors",
    "load_encoder": "assembly.load",
    "load_tokenizer": "assembly.load",
    **dict.fromkeys(["Run", "check", "compare", "evaluate", "load_run", "preview", "run", "sweep"], "commands.python"),
}


def __getattr__(name: str) -> object:
    """The names of `__all__`, each imported when it is first asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module 'ssl_runner' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ssl_runner.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    """What `__getattr__` gives too, for completion in a shell or a notebook."""
    return sorted({*globals(), *__all__})
