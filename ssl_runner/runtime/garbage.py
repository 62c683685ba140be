"""When Python looks for garbage: not while modules are imported, and never again in what they brought."""

import gc

_delayed = False  # by this module; a program that has turned collection off by itself is left alone


def delay_collection() -> None:
    """Collect nothing until `begin_collection`: a fifth of the seconds in which torch and Lightning are imported is
    spent on passes over modules, in which nothing is garbage.
    """
    global _delayed
    _delayed = True
    gc.disable()


def begin_collection() -> None:
    """Collect from now on, and only what is made from now on, if collection was delayed; else do nothing."""
    global _delayed
    if _delayed:
        _delayed = False
        gc.freeze()
        gc.enable()
