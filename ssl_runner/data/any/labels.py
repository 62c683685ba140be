"""Numbers of classes from their names, independent of the order of examples."""

import logging
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

UNREAD = 2  # stands for the number of classes until labels are read, so that evaluations that need labels fit

log = logging.getLogger(__name__)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names, in numerical order if all are integers, else in alphabetical order.

    Raises ValueError for two names of one number.

    >>> in_order(["10", "9", "9"]), in_order(["b", "10", "9"])
    (('9', '10'), ('10', '9', 'b'))
    """
    found = sorted(set(names))
    if not all(re.fullmatch(r"[+-]?[0-9]{1,1000}", name) for name in found):
        return tuple(found)
    found.sort(key=int)
    for one, other in pairwise(found):
        if int(one) == int(other):
            raise ValueError(f"the labels {one!r} and {other!r} are the same number: write it in one way")
    return tuple(found)


def say_if_alone(names: Sequence[str], advice: str) -> None:
    """Log a warning if all examples are of one class; `advice`: what to set."""
    if len(names) == 1:
        log.warning(
            "all examples are of one class, %s: everything that uses labels (objective/positives=label "
            "too) sees a single class; %s",
            names[0],
            advice,
        )


def some(names: Sequence[str], most: int = 10) -> str:
    """
    >>> some(["a", "b", "c"], 2)
    'a, b, ...'
    """
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])])
