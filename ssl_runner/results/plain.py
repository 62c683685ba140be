"""Conversion of dataclasses to JSON values and back, with checks on reading.

Numbers that JSON cannot say are written as the strings "NaN", "Infinity" and "-Infinity", so that a diverged run can be
told from a missing number.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

T = TypeVar("T")


def to_plain(value: object) -> Any:
    """Convert to JSON values; nonfinite numbers become strings."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Enum):
        value = value.value
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else next(k for k, v in _NOT_FINITE.items() if repr(v) == repr(value))
        case Mapping():
            return {str(k): to_plain(v) for k, v in value.items()}
        case list() | tuple():
            return [to_plain(v) for v in value]
        case _:
            raise TypeError(f"{value!r} is a {type(value).__name__}; a result holds numbers, text, lists and mappings")


def from_plain(kind: type[T], plain: object, where: str) -> T:
    """Restore a dataclass from the output of `to_plain`. Raises ValueError that names the key."""
    if not isinstance(plain, dict):
        raise ValueError(f"{where} is {short(plain)}; an object is needed")
    hints = get_type_hints(kind)
    given = {}
    for part in fields(kind):  # type: ignore[arg-type]
        key = f"{where}.{part.name}".lstrip(".")
        if part.name in plain:
            given[part.name] = _value(hints[part.name], plain[part.name], key)
        elif part.default is MISSING and part.default_factory is MISSING:
            raise ValueError(f"{key} is missing")
    try:
        return kind(**given)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _value(hint: Any, plain: Any, key: str) -> Any:
    if isinstance(hint, UnionType) and NoneType in get_args(hint):
        return None if plain is None else _value(get_args(hint)[0], plain, key)
    if isinstance(hint, UnionType):  # of str, int and float alone
        found = next((part for part in get_args(hint) if type(plain) is part), float)
        return _value(found, plain, key)
    if hint is Any:
        return plain
    if is_dataclass(hint):
        return from_plain(hint, plain, key)  # type: ignore[arg-type]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(_one_of([each.value for each in hint], plain, key))
    if get_origin(hint) is Literal:
        return _one_of(get_args(hint), plain, key)
    if get_origin(hint) in (dict, Mapping) and isinstance(plain, dict):
        return {name: _value(get_args(hint)[1], value, f"{key}.{name}") for name, value in plain.items()}
    if get_origin(hint) is tuple and isinstance(plain, list):
        return tuple(_value(get_args(hint)[0], value, f"{key}[{i}]") for i, value in enumerate(plain))
    return _leaf(hint, plain, key)


def _one_of(values: Sequence[Any], plain: Any, key: str) -> Any:
    if plain not in values:
        raise ValueError(f"{key} is {short(plain)}; one of {', '.join(values)} is needed")
    return plain


def _leaf(hint: Any, plain: Any, key: str) -> Any:
    if hint is float and isinstance(plain, str) and plain in _NOT_FINITE:
        return _NOT_FINITE[plain]
    if hint is float and isinstance(plain, int | float) and not isinstance(plain, bool):
        return float(plain)
    if hint in (str, int, bool) and type(plain) is hint:
        return plain
    wanted: dict[Any, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    wanted |= {dict: "an object", Mapping: "an object"}
    raise ValueError(f"{key} is {short(plain)}; {wanted.get(get_origin(hint) or hint, 'a list')} is needed")


def short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:39] + "…"
