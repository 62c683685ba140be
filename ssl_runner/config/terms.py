"""Flatten the settings of a node to protocol terms with dotted keys, and update the terms of older versions.

The keys of an evaluator may have been renamed or added since a result was written. `reporting` therefore brings terms
to current names, and fills in added ones, before it compares them.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ssl_runner.config.names import ADDED, NESTED, RENAMED, RESPELLED, TARGET, UNTOLD, current_node, held_now, name_now


def class_name(node: Mapping[str, Any]) -> str:
    """The name of the class of a node, without its module."""
    return _last(str(node[TARGET]))


def settings_of(node: Mapping[str, Any], above: str = "", without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """All settings of a node except `without`; those of inner nodes by dotted key, and the class of each inner node."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        place = f"{above}{key}"
        if key == TARGET or place in without:
            continue
        if isinstance(value, Mapping):
            found |= {place: class_name(value)} if TARGET in value else {}
            found |= settings_of(value, f"{place}.", without)
        else:
            found[place] = value
    return found


TASK = "objective."  # prefix of the objective's settings among the terms of an inspection
HIDES = "hides"  # a term that contains the objective's settings of what was hidden


def protocol_now(terms: Mapping[str, Any], evaluator: str | None, objective: str | None) -> dict[str, Any]:
    """All terms of a protocol by their current names.

    Args:
        terms: as written by an older version or this one.
        evaluator: the class of the evaluator, by any of its names; None: unknown.
        objective: likewise, of the run's objective.
    """
    of_task = {key.removeprefix(TASK): value for key, value in terms.items() if key.startswith(TASK)}
    own = {key: value for key, value in terms.items() if not key.startswith(TASK)}
    found = own if evaluator is None else terms_now(own, evaluator)
    if objective is None:
        return found | {f"{TASK}{key}": value for key, value in of_task.items()}
    whole = TASK[:-1] in terms
    if whole:
        found[TASK[:-1]] = class_name({TARGET: name_now(objective)})
    if isinstance(found.get(HIDES), Mapping):
        found[HIDES] = terms_now(found[HIDES], objective, whole=False)
    return found | {f"{TASK}{key}": value for key, value in terms_now(of_task, objective, whole=whole).items()}


def terms_now(terms: Mapping[str, Any], target: str, *, whole: bool = True) -> dict[str, Any]:
    """Terms by their current names, where they are settings of a node. Mappings and other terms are not changed.

    Args:
        terms: from `settings_of` of an older version, and others.
        target: the class of the node, by any of its names.
        whole: whether they contain all settings of the node; then added keys are filled in.
    """
    said = {key: value for key, value in terms.items() if isinstance(value, Mapping)}
    plain = {key: value for key, value in terms.items() if key not in said}
    node = {TARGET: target, **_tree(plain)}
    owner = name_now(target)
    if any(held_now(owner, key).node for key in plain):  # older than the nested nodes
        for key, nest in NESTED[owner].items():
            node.setdefault(key, {TARGET: nest.target})  # possibly none of its keys is a term
    now = current_node(node)
    if not whole:
        asked = {held.node or held.key for held in (held_now(owner, key) for key in node)}
        now = {key: value for key, value in now.items() if key in asked}
    untold = {f"{key}.{name}" for key, value in now.items() for name in _untold(value)}
    return settings_of(now, without=frozenset(untold | _untold(now))) | said


def _untold(node: Any) -> set[str]:
    """The keys of a node that are not terms."""
    target = node.get(TARGET) if isinstance(node, Mapping) else None
    return {key for owner, _, key in (name.rpartition(".") for name in UNTOLD) if owner == target}


def _tree(terms: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `settings_of`; classes by their full names where these are known."""
    found: dict[str, Any] = {}
    for key, value in terms.items():
        *path, last = key.split(".")
        node = found
        for part in path:
            inner = node.get(part)
            if not isinstance(inner, dict):
                inner = node[part] = {} if inner is None else {TARGET: _classes().get(str(inner), str(inner))}
            node = inner
        node[last] = value
    return found


@lru_cache
def _classes() -> Mapping[str, str]:
    """Name of a class, current or older -> its full name, for the classes in the tables."""
    owners = [name for name in RENAMED if _last(name)[:1].isupper()]
    owners += [name.rpartition(".")[0] for name in (*RENAMED, *RESPELLED, *ADDED)]
    owners += [nest.target for nests in NESTED.values() for nest in nests.values()]
    return {_last(name): name_now(name) for name in owners if _last(name)[:1].isupper()}


def _last(name: str) -> str:
    return name.rpartition(".")[2]
