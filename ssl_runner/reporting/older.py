"""Bring results of older versions to current names, so that they share columns with new ones."""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ssl_runner.config.names import TARGET, key_now
from ssl_runner.config.paths import option_class
from ssl_runner.config.terms import protocol_now, terms_now
from ssl_runner.results.result import Evaluation, Result


def evaluations_now(result: Result) -> tuple[Evaluation, ...]:
    """The evaluations of a result, with current names of evaluators, terms and dataset settings. Terms that were added
    since then have the value equivalent to earlier behavior."""
    config = result.config
    objective = _class(config, "objective")
    found = []
    for each in result.results:
        evaluator = _class(config.get("evaluation"), each.evaluator) or _of_option("evaluation", each.evaluator)
        data = _of_option("dataset", each.on.dataset)
        found.append(
            replace(
                each,
                evaluator=key_now("evaluation", each.evaluator),
                protocol=replace(each.protocol, terms=protocol_now(each.protocol.terms, evaluator, objective)),
                on=replace(
                    each.on, settings=terms_now(each.on.settings, data, whole=False) if data else each.on.settings
                ),
            )
        )
    return tuple(found)


def _class(config: Any, key: str) -> str | None:
    """The class of a node of a config; None if there is no such node."""
    node = config.get(key) if isinstance(config, Mapping) else None
    target = node.get(TARGET) if isinstance(node, Mapping) else None
    return target if isinstance(target, str) else None


@lru_cache
def _of_option(group: str, option: str) -> str | None:
    return option_class(group, option)
