"""When Python looks for garbage: not while modules are imported, and never again in what they brought."""

import gc


def delay_collection() -> None:
    """Collect nothing until `begin_collection`: a fifth of the seconds in which torch and Lightning are imported is
    spent on passes over modules, in which nothing is garbage.
    """
    gc.disable()


def begin_collection() -> None:
    """Collect from now on, and only what is made from now on, if collection was delayed; else do nothing."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
