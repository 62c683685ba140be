"""Values of configs and protocols: made hashable, flattened, written and read as the command line does."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any


def flat(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, frozen value) of every leaf; lists are leaves.

    >>> dict(flat({"objective": {"ratio": 0.5, "widths": [8, 4]}, "seed": 0}))
    {'objective.ratio': 0.5, 'objective.widths': (8, 4), 'seed': 0}
    """
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", freeze(value)


def freeze(value: Any) -> Any:
    """A value that can be a key: lists as tuples, mappings as tuples of pairs in the order of their keys."""
    if isinstance(value, list | tuple):
        return tuple(freeze(part) for part in value)
    if isinstance(value, Mapping):
        return tuple((key, freeze(value[key])) for key in sorted(value))
    return value


def text(value: Any) -> str:
    """A value as a config writes it, no two alike. Text that would be read as something else is quoted.

    >>> text(0.75), text(1e-05), text(True), text(None), text((128, 64)), text("mae"), text("64"), text('"a')
    ('0.75', '1e-05', 'true', 'null', '[128,64]', 'mae', '"64"', '"\\\\"a"')
    """
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list() | tuple():
            return f"[{','.join(map(text, value))}]"
        case str():
            plain = parse(value) == value and not set(value) & set(",[]") and value[:1] != '"'
            return value if plain else json.dumps(value)
        case _:
            return str(value)


def parse(written: str) -> Any:
    """What `text` wrote: a number, a list, true, false, null, else text.

    >>> parse("0.75"), parse("1e-5"), parse("[128,64]"), parse("true"), parse("null"), parse("mae")
    (0.75, 1e-05, (128, 64), True, None, 'mae')
    """
    word = written.strip()
    if word.lower() in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[word.lower()]
    if word[:1] + word[-1:] in ("[]", '""'):
        try:
            return freeze(json.loads(word))
        except ValueError:  # words without quotes
            return tuple(map(parse, re.findall(r'"(?:[^"\\]|\\.)*"|[^,]+', word[1:-1])))
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
