"""Validate every node of a config against the constructor signature of the class that its `_target_` names."""

import difflib
import importlib
import inspect
import math
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from typing import Any, Literal, Union, Unpack, cast, get_args, get_origin, get_type_hints, is_typeddict

from ssl_runner.config import plugins
from ssl_runner.config.errors import ConfigError, brief
from ssl_runner.config.names import TARGET

ALLOWED = ("ssl_runner", "torch.optim")  # packages of which a config may name classes as `_target_`; plugins besides
KINDS = {  # of what each axis names; what lies within a node is of the kind that its parameter is annotated with
    "dataset": ("ssl_runner.interfaces.DataSource",),
    "objective": ("ssl_runner.interfaces.Objective",),
    "backbone": ("ssl_runner.interfaces.Encoder",),
    "optimizer": ("torch.optim.Optimizer",),
    "schedule": ("ssl_runner.training.optim.Schedule",),
    "evaluation": ("ssl_runner.interfaces.Evaluator", "ssl_runner.interfaces.Inspection"),
    "logger": ("ssl_runner.loggers.interface.RunLogger",),
}
SEVERAL = ("evaluation", "logger")  # axes of any number of nodes, by name
PLAIN = ("builtins", "typing", "collections.abc")  # modules of what is no object with a `_target_`
CONTEXT = frozenset({"self", "encoder", "spec", "params", "context"})  # parameters that the builder fills by name


def locate(target: str) -> type[Any]:
    """The class that `_target_` names. Raises ConfigError unless it is of an allowed package and exists."""
    allowed = (*ALLOWED, *(plugin.package for plugin in plugins.enabled()))
    if not isinstance(target, str) or not plugins.is_of(target, allowed):
        hint = plugins.missing(target) if isinstance(target, str) else ""
        raise ConfigError(
            [f"_target_: {brief(target)} is not allowed; a config may name classes of {', '.join(allowed)}{hint}"]
        )
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError) as error:  # ValueError: of a zero byte in its name
        raise ConfigError([f"_target_: {brief(target)} cannot be imported: {error}"]) from error
    except Exception as error:
        if plugins.is_of(target, ALLOWED):
            raise
        raise ConfigError(  # whatever a plugin raises
            [f"_target_: {brief(target)} cannot be imported: {type(error).__name__}: {error}"]
        ) from error
    if not inspect.isclass(found) or not plugins.is_of(found.__module__, allowed):
        raise ConfigError([f"_target_: {brief(target)} is not a class of {', '.join(allowed)}"])
    return found


def parameters(cls: type[Any]) -> Mapping[str, tuple[Any, bool]]:
    """The parameters of a class that a config sets: name -> (annotation, whether it is required).

    `**settings: Unpack[Settings]` stands for the keys of the TypedDict `Settings`, which several classes may share.
    """
    return _parameters(cls)


def _read_parameters(cls: type[Any]) -> Mapping[str, tuple[Any, bool]]:
    hints = get_type_hints(cls.__init__)
    found: dict[str, tuple[Any, bool]] = {}
    for name, p in inspect.signature(cls.__init__).parameters.items():
        if p.kind is p.VAR_KEYWORD and get_origin(hints.get(name)) is Unpack:
            (shared,) = get_args(hints[name])
            found |= {key: (hint, key in shared.__required_keys__) for key, hint in get_type_hints(shared).items()}
        elif name not in CONTEXT and p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD):
            found[name] = (hints.get(name, Any), p.default is p.empty)
    return found


_parameters: Callable[[Any], Mapping[str, tuple[Any, bool]]] = lru_cache(None)(_read_parameters)


def unknown(key: str, known: Sequence[str], what: str) -> str:
    """ "no such key", and the nearest that exists."""
    near = difflib.get_close_matches(key.rpartition(".")[2], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(sorted(known)) or 'none'}"
    return f"{key}: no such {what}; {hint}"


def mismatch(value: Any, annotation: Any) -> str | None:
    """A description of the values that `annotation` accepts, if `value` (plain, from YAML) is not one; else None."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation is Any or annotation is inspect.Parameter.empty:
        return None
    if origin in (Union, types.UnionType):
        wants = [mismatch(value, each) for each in args]
        return None if None in wants else " or ".join(dict.fromkeys(w for w in wants if w))
    if origin is Literal:
        return None if value in args and type(value) in map(type, args) else "one of " + ", ".join(map(str, args))
    if annotation is None or annotation is type(None):
        return None if value is None else "null"
    if annotation in (int, float, str, bool):
        return _mismatch_of_plain(value, annotation)
    if origin in (list, tuple) or (origin is not None and issubclass(origin, Sequence)):
        return _mismatch_of_list(value, args, fixed=origin is tuple and Ellipsis not in args)
    if annotation is dict or origin is dict or (origin is not None and issubclass(origin, Mapping)):
        return None if isinstance(value, dict) else "a mapping"
    if inspect.isclass(annotation):  # an object: a node with its own `_target_`, checked by itself
        return None if isinstance(value, dict) and "_target_" in value else f"a config of a {annotation.__name__}"
    return None


def _mismatch_of_plain(value: Any, annotation: type[Any]) -> str | None:
    if annotation in (int, float) and (wanted := no_number(value)):
        return wanted
    whole = isinstance(value, int) and not isinstance(value, bool)
    right = type(value) is annotation or (annotation is float and whole)
    wants = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return None if right else wants[annotation]


def _mismatch_of_list(value: Any, args: tuple[Any, ...], fixed: bool) -> str | None:
    """`args`: of the annotation; `fixed`: one for each value, else the first is that of all."""
    if fixed:
        wrong = not isinstance(value, list) or len(value) != len(args) or any(map(mismatch, value, args))
        return f"a list of {len(args)}: {', '.join(str(mismatch(object(), a)) for a in args)}" if wrong else None
    wrong = not isinstance(value, list) or any(mismatch(each, args[0]) for each in value)
    return f"a list, each {mismatch(object(), args[0])}" if wrong else None


def no_number(value: Any) -> str | None:
    """A description of valid numbers, if `value` is an invalid one (nonfinite, over 64 bits); else None."""
    if type(value) is float and not math.isfinite(value):
        return "a finite number"
    if type(value) is int and not -(2**63) <= value < 2**63:
        return "a whole number of at most 64 bits"
    return None


def no_numbers(node: Any, path: str) -> list[str]:
    """One line for each invalid number within a node, whatever the annotation of its parameter."""
    if isinstance(node, Mapping):
        return [line for key, each in node.items() for line in no_numbers(each, f"{path}.{key}" if path else str(key))]
    if isinstance(node, list):
        return [line for place, each in enumerate(node) for line in no_numbers(each, f"{path}[{place}]")]
    wanted = no_number(node)
    return [] if wanted is None else [f"{path}: {brief(node)} is not allowed; it must be {wanted}"]


def ill_typed(path: str, value: Any, annotation: Any) -> list[str]:
    wanted = mismatch(value, annotation)
    if wanted is None:
        return []
    if numbers := no_numbers(value, path):  # which say it more exactly
        return numbers
    return [f"{path}: {brief(value)} is a {type(value).__name__}; it must be {wanted}"]


def classes(annotation: Any) -> list[type[Any]]:
    """The classes of objects that an annotation accepts."""
    parts = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else [annotation]
    return [part for part in parts if inspect.isclass(part) and part is not type(None)]


def held_in(annotation: Any) -> list[type[Any]]:
    """The classes of the objects of a mapping of named nodes, by its annotation, Mapping[str, Objective]; []: of plain
    values."""
    origin, args = get_origin(annotation), get_args(annotation)
    if not (inspect.isclass(origin) and issubclass(origin, Mapping)) or len(args) != 2:
        return []
    union = get_origin(args[1]) in (Union, types.UnionType)
    held = [get_origin(part) or part for part in (get_args(args[1]) if union else (args[1],))]
    return [cls for cls in held if inspect.isclass(cls) and cls.__module__ not in PLAIN and not is_typeddict(cls)]


def nodes_of(kind: type[Any], node: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any], type[Any]]]:
    """The nodes of a kind among a node and all nodes within it: (dotted key, node, class), outer ones first."""
    if not isinstance(node, Mapping):
        return
    if TARGET in node and kind in (cls := locate(node[TARGET])).__mro__:
        yield path, node, cls
    for key, value in node.items():
        yield from nodes_of(kind, value, f"{path}.{key}")


def check_node(node: Any, path: str, kinds: Sequence[type[Any]]) -> list[str]:
    """Validate a node of the config, and all nodes in it, against the signatures of their `_target_`s.

    `kinds`: base classes that its class must have, since a class on the allowlist may be harmful in a wrong place.
    """
    if not isinstance(node, dict) or "_target_" not in node:
        return [f"{path}: needs a _target_; choose an option of the group: {path.replace('.', '/')}=..."]
    try:
        cls = locate(node["_target_"])
    except ConfigError as error:
        return [f"{path}.{problem}" for problem in error.problems]
    if not any(kind in cls.__mro__ for kind in kinds):  # not issubclass, which refuses a Protocol
        wanted = " or ".join(kind.__name__ for kind in kinds) or "a plain value"
        return [f"{path}._target_: {brief(node['_target_'])} does not belong here; it must be {wanted}"]
    known = parameters(cls)
    problems = []
    for key, value in node.items():
        if key == "_target_":
            continue
        if key not in known:
            problems.append(unknown(f"{path}.{key}", list(known), "parameter"))
            continue
        problems += ill_typed(f"{path}.{key}", value, known[key][0]) or no_numbers(value, f"{path}.{key}")
        if isinstance(value, dict) and "_target_" in value:
            problems += check_node(value, f"{path}.{key}", classes(known[key][0]))
        elif isinstance(value, dict) and (held := held_in(known[key][0])):
            problems += [
                line for name, each in value.items() for line in check_node(each, f"{path}.{key}.{name}", held)
            ]
    missing = [name for name, (_, required) in known.items() if required and name not in node]
    return problems + [f"{path}.{name}: missing; set it to {mismatch(object(), known[name][0])}" for name in missing]


def check_fields(node: Any, cls: type, path: str) -> list[str]:
    """Validate a mapping against the fields of a dataclass."""
    if not isinstance(node, dict):
        return [f"{path}: {brief(node)} is not a mapping"] if path else ["the config is not a mapping"]
    hints, dot = get_type_hints(cls), f"{path}." if path else ""
    known = [each.name for each in fields(cls)]
    problems = [unknown(dot + key, known, "key") for key in node if key not in known]
    for each in fields(cls):
        hint = hints[each.name]
        if each.name not in node:
            if each.default is MISSING and each.default_factory is MISSING:
                problems.append(f"{dot}{each.name}: missing")
        elif is_dataclass(hint):
            problems += check_fields(node[each.name], cast(type, hint), dot + each.name)
        else:
            value = node[each.name]
            problems += ill_typed(dot + each.name, value, hint) or no_numbers(value, dot + each.name)
    return problems
