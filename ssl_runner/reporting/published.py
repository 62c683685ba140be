"""Published figures beside own ones, with what differs."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import rich.box
from rich.table import Table

from ssl_runner.config.plain_yaml import read_yaml
from ssl_runner.reporting.comparison import Comparison, Setting
from ssl_runner.reporting.rows import NOTHING, show, show_difference, show_interval
from ssl_runner.reporting.statistics import Interval
from ssl_runner.results.metrics import Unit

FIGURES = Path(__file__).with_name("published.yaml")


class Published(NamedTuple):
    """A published figure."""

    column: str  # "knn.accuracy"
    value: float  # in the column's unit
    source: str
    settings: Mapping[str, Any]  # of the recipe's config, on which the figure depends
    differs: Sequence[str]  # what is done otherwise there


class Beside(NamedTuple):
    """A published figure, and those of one setting's runs."""

    recipe: str
    setting: str  # its label
    published: Published
    unit: Unit
    own: Interval | None  # None: the runs have no such number
    differs: tuple[str, ...]  # of the recipe, and of these runs from it


@cache
def figures() -> Mapping[str, Published]:
    """By the name of the recipe in conf/experiment."""
    return {name: Published(**given) for name, given in read_yaml(FIGURES.read_text(encoding="utf-8")).items()}


def beside(comparison: Comparison) -> list[Beside]:
    """Each setting of which a figure was published, in their order: those of a recipe, by `experiment`."""
    found = []
    for setting in comparison.settings:
        config = next(iter(setting.runs.values())).result.config
        recipe = (config.get("names") or {}).get("experiment")
        if recipe in figures():
            found.append(_beside(comparison, setting, str(recipe), config))
    return found


def _beside(comparison: Comparison, setting: Setting, recipe: str, config: Mapping[str, Any]) -> Beside:
    given = figures()[recipe]
    columns = [
        column for column in comparison.columns
        if f"{column.address.evaluator}.{column.address.metric}" == given.column
        and (setting.label, column.key) in comparison.cells
    ]  # fmt: skip
    columns.sort(key=lambda column: not column.headline)
    own = comparison.cells[setting.label, columns[0].key].interval if columns else None
    unit = columns[0].unit if columns else Unit.SHARE
    differs = (*given.differs, *changed(given.settings, config))
    return Beside(recipe, setting.label, given, unit, own, differs)


def changed(recipe: Mapping[str, Any], config: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """A line for each setting of a recipe that a run's config has otherwise.

    >>> list(changed({"budget": {"amount": 200}, "seed": 0}, {"budget": {"amount": 20}, "seed": 0}))
    ['budget.amount is 20 here, 200 there']
    """
    for key, value in recipe.items():
        own = config.get(key)
        if isinstance(value, Mapping):
            yield from changed(value, own if isinstance(own, Mapping) else {}, f"{above}{key}.")
        elif own != value:
            yield f"{above}{key} is {own} here, {value} there"


def table(rows: Sequence[Beside]) -> Table:
    """For the terminal."""
    made = Table(title="Beside published figures", title_justify="left", box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for name in ("recipe", "setting", "column"):
        made.add_column(name, overflow="fold")
    for name in ("own", "published", "difference"):
        made.add_column(name, justify="right")
    for row in rows:
        value, own = row.published.value, row.own
        shown = NOTHING if own is None else show_interval(row.unit, own)
        difference = NOTHING if own is None else show_difference(row.unit, own.mean, value)
        made.add_row(row.recipe, row.setting, row.published.column, shown, show(row.unit, value), difference)
    return made


def legend(rows: Sequence[Beside]) -> list[str]:
    """The source of each figure, and what differs, a line each."""
    lines = []
    for row in rows:
        lines.append(f"{row.recipe}: {row.published.source}")
        lines += [f"  - {each}" for each in row.differs]
    return lines


def plain(rows: Sequence[Beside]) -> list[dict[str, Any]]:
    """As JSON values."""
    return [
        {
            "recipe": row.recipe, "setting": row.setting, "column": row.published.column, "unit": row.unit.value,
            "published": row.published.value, "source": row.published.source,
            "own": None if row.own is None else row.own.mean, "n": 0 if row.own is None else row.own.n,
            "differs": list(row.differs),
        }
        for row in rows
    ]  # fmt: skip
