"""The tables of docs/claims.md, from a comparison as scripts/claims.py recorded it."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from marks import Mark, sign
from study import Claim, Column, asks

from ssl_runner.reporting.axes import Axis
from ssl_runner.reporting.exports import pipes
from ssl_runner.reporting.rows import NOTHING
from ssl_runner.reporting.statistics import Interval, interval
from ssl_runner.results import schema1
from ssl_runner.results.address import Address
from ssl_runner.results.result import PRETRAINED, RANDOM_START

SECONDS = Column(title="seconds", evaluator="", metric="", decimals=0)
TIED = " ="  # beside what is the best of its column, or not told apart from it


class Found(NamedTuple):
    """What the seeds of a setting say in a column, as it was exported."""

    own: Interval
    start: Interval | None  # of the random start
    above: Interval | None  # the random start, in pairs
    tied: bool


class Record(NamedTuple):
    """The comparison of a sweep, as `keep` recorded it."""

    axes: tuple[Axis, ...]
    values: Mapping[str, Mapping[str, Any]]  # by a setting's label, then by an axis's key
    columns: tuple[Column, ...]  # of the claim
    cells: Mapping[tuple[str, str], Found]  # by a setting's label and a column's title
    again: tuple[Mark, ...]  # of the claim, those that are about runs as old as these
    seconds: Mapping[str, Interval] = {}  # of pretraining, by a setting's label; of a claim about cost

    def at(self, label: str, column: Column) -> Found | None:
        return self.cells.get((label, column.title))

    def head(self, title: str) -> str:
        return title + sign(self.again, None, title)

    def shown(self, label: str, column: Column) -> str:
        found = self.at(label, column)
        return NOTHING if found is None else column.show(found.own) + TIED * (found.tied and found.own.n > 1)

    def start(self, label: str, column: Column) -> str:
        found = self.at(label, column)
        text = column.show(found.start) if found else ""
        return text + sign(self.again, {"subject": RANDOM_START}, column.title) if text else NOTHING


def read_record(claim: Claim, exported: Mapping[str, Any], columns: tuple[Column, ...]) -> Record:
    """`columns` of an exported comparison."""
    title = {
        each["key"]: column.title
        for column in columns
        for each in exported["columns"]
        if asks(column, exported_address(each))
    }
    cells = {}
    for cell in exported["cells"]:
        if cell["column"] in title:
            start = cell["controls"].get(RANDOM_START) or {}
            own, above = bounds(cell), bounds(start.get("difference"))
            assert own is not None
            cells[cell["setting"], title[cell["column"]]] = Found(own, bounds(start), above, cell["tied"])
    axes = tuple(Axis(**axis) for axis in exported["axes"])
    values = {each["label"]: each["values"] for each in exported["settings"]}
    started = min(run["started"] for setting in exported["settings"] for run in setting["runs"])
    again = tuple(mark for mark in claim.again if started < mark.before)
    seconds = {
        each["label"]: interval([run["cost"]["seconds"] for run in each["runs"]])
        for each in exported["settings"]
        if claim.cost and all(run["cost"]["seconds"] is not None for run in each["runs"])
    }
    return Record(axes, values, columns, cells, again, seconds)


def exported_address(column: Mapping[str, Any]) -> Address:
    """Of a column of an exported comparison, of schema 1 or later."""
    if "address" in column:
        return Address(**column["address"])
    return schema1.address(column["evaluator"], column["metric"])


def bounds(exported: Mapping[str, Any] | None) -> Interval | None:
    if not exported:
        return None
    low, high = (math.nan if exported[bound] is None else exported[bound] for bound in ("low", "high"))
    return Interval(exported["mean"], low, high, exported["n"])


# -------------------------------------------------------------------------------------------------------------- tables


def settings(record: Record) -> str:
    """A setting a row, each column beside its random start."""
    started = {title for (_, title), found in record.cells.items() if found.start}
    heads = [axis.short for axis in record.axes]
    for column in record.columns:
        heads += [record.head(column.title), *[f"{column.title}, random start"] * (column.title in started)]
    heads += ["seconds of pretraining"] * bool(record.seconds)
    rows = []
    for label, values in record.values.items():
        row = [NOTHING if (value := values.get(axis.key)) is None else str(value) for axis in record.axes]
        for column in record.columns:
            row.append(record.shown(label, column))
            if column.title in started:
                row.append(record.start(label, column))
        took = record.seconds.get(label)
        row += [NOTHING if took is None else SECONDS.show(took)] * bool(record.seconds)
        rows.append(row)
    return pipes(heads, [False] * len(heads), rows)


def turned(record: Record) -> str:
    """Many columns of few settings: a column of the claim a row, its random start last."""
    started = any(found.start for found in record.cells.values())
    labels = list(record.values)
    heads = ["", *(", ".join(str(values[axis.key]) for axis in record.axes) for values in record.values.values())]
    rows = []
    for column in record.columns:
        row = [record.head(column.title), *(record.shown(label, column) for label in labels)]
        start = next((record.start(label, column) for label in labels if record.at(label, column)), NOTHING)
        rows.append([*row, *[start] * started])
    heads += ["random start"] * started
    return pipes(heads, [False] * len(heads), rows)


def square(record: Record) -> str:
    """One column over two axes that are crossed."""
    (down, across), (column,) = record.axes, record.columns
    at = {(values[down.key], values[across.key]): label for label, values in record.values.items()}
    heads = [rf"{down.short} \ {across.short}", *map(str, across.values)]
    rows = [
        [str(row), *(record.shown(at.get((row, place), ""), column) for place in across.values)] for row in down.values
    ]
    return pipes(heads, [False] * len(heads), rows)


def ranks(record: Record) -> str:
    """All figures; then rank correlations between columns on each backbone, and between backbones in each column."""
    at = {
        (values["objective"], values["backbone"]): label
        for label, values in record.values.items()
        if values["objective"] != "supervised"  # has the labels
    }
    objectives, backbones = (sorted({place[i] for place in at}) for i in (0, 1))
    shown = [(column, backbone) for column in record.columns for backbone in backbones]
    heads = ["objective", *(f"{record.head(column.title)}, {backbone}" for column, backbone in shown)]
    rows = []
    for name in objectives:
        row = [name + sign(record.again, {"objective": name, "subject": PRETRAINED}, None)]
        for column, backbone in shown:
            found = record.at(at.get((name, backbone), ""), column)
            row.append(column.show(found.own) if found else NOTHING)
        rows.append(row)
    agreed = []
    for backbone in backbones:
        for one, other in itertools.combinations(record.columns, 2):
            said = correlation(record, at, (one, backbone), (other, backbone))
            agreed.append([f"{one.title}, {other.title}, on {backbone}", said])
    for column in record.columns:
        said = correlation(record, at, (column, backbones[0]), (column, backbones[1]))
        agreed.append([f"{' and '.join(backbones)}, {column.title}", said])
    return "\n\n".join(
        [pipes(heads, [False] * len(heads), rows), pipes(["rank correlation of", ""], [False, False], agreed)]
    )


def correlation(record: Record, at: Mapping[tuple[str, str], str], *both: tuple[Column, str]) -> str:
    """Spearman's, of the means that two columns, each on a backbone, have of the same objectives."""
    from scipy.stats import spearmanr

    pairs = [
        [record.at(at.get((name, backbone), ""), column) for column, backbone in both]
        for name in sorted({objective for objective, _ in at})
    ]
    known = [(one.own.mean, other.own.mean) for one, other in pairs if one and other]
    rank, p = spearmanr(*zip(*known, strict=True))
    return f"{rank:.2f} ({len(known)} objectives, p = {p:.2g})"


class Place(NamedTuple):
    """Of a setting of the sweep of architectures."""

    task: str
    network: str
    width: int


class Places:
    """The settings of the sweep of architectures."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.labels = {
            Place(values["objective"], values["backbone"], values["backbone.widening"]): label
            for label, values in record.values.items()
        }
        self.tasks = sorted({place.task for place in self.labels})
        self.networks = sorted({place.network for place in self.labels})
        self.widths = sorted({place.width for place in self.labels})

    def label(self, task: str, network: str, width: int) -> str:
        return self.labels.get(Place(task, network, width), "")

    def mean(self, column: Column, task: str, network: str, width: int) -> float:
        """As it is shown; not a number where there is none."""
        found = self.record.at(self.label(task, network, width), column)
        return column.times * found.own.mean if found else math.nan


def architectures(record: Record) -> str:
    """The first column by task, network and width, and the order of tasks; the others, from the input, by network."""
    places = Places(record)
    main, *layers = record.columns
    return "\n\n".join([_by_width(places, main), _orders(places, main), _by_layer(places, layers)])


def _by_width(places: Places, column: Column) -> str:
    """For each width the accuracy and that of the random start, and what the greatest width gains."""
    heads = ["task", "network"]
    for width in places.widths:
        heads += [f"{places.record.head(column.title)}, width {width}", f"random start, width {width}"]
    rows = []
    for task, network in itertools.product(places.tasks, places.networks):
        row = [task, network]
        for width in places.widths:
            label = places.label(task, network, width)
            row += [places.record.shown(label, column), places.record.start(label, column)]
        narrow, wide = (places.mean(column, task, network, width) for width in (places.widths[0], places.widths[-1]))
        rows.append([*row, NOTHING if math.isnan(wide - narrow) else f"{wide - narrow:+.1f}"])
    heads.append("the wider minus the narrower")
    return pipes(heads, [False] * len(heads), rows)


def _orders(places: Places, column: Column) -> str:
    """The tasks on each network, best first, and the rank correlation of their means with those on other networks."""
    rows = []
    for network, width in itertools.product(places.networks, places.widths):
        means = {task: places.mean(column, task, network, width) for task in places.tasks}
        known = {task: mean for task, mean in means.items() if not math.isnan(mean)}
        row = [network, str(width), ", ".join(sorted(known, key=lambda task: -known[task]))]
        for other in places.networks:
            theirs = {task: places.mean(column, task, other, width) for task in known}
            row.append(NOTHING if other == network else _agreement(known, theirs))
        rows.append(row)
    heads = ["network", "width", "tasks, best first", *(f"rank correlation with {other}" for other in places.networks)]
    return pipes(heads, [False] * len(heads), rows)


def _agreement(one: Mapping[str, float], other: Mapping[str, float]) -> str:
    """Spearman's rank correlation over the tasks that both have; nothing of fewer than three."""
    from scipy.stats import spearmanr

    both = [task for task in one if not math.isnan(other[task])]
    if len(both) < 3:
        return NOTHING
    rank, _ = spearmanr([one[task] for task in both], [other[task] for task in both])
    return f"{rank:.2f}"


def _by_layer(places: Places, columns: Sequence[Column]) -> str:
    """The probe after each stage of the widest networks, from the input; below them the random start."""
    record, width = places.record, places.widths[-1]
    rows = []
    for network in places.networks:
        labels = {task: label for task in places.tasks if (label := places.label(task, network, width))}
        known = [column for column in columns if any(record.at(label, column) for label in labels.values())]
        blank = [NOTHING] * (len(columns) - len(known))
        for task, label in labels.items():
            cells = [record.shown(label, column).removesuffix(TIED) for column in known]
            rows.append([network, task, *cells, *blank])
        for label in [*labels.values()][:1]:  # all tasks have the same random start
            rows.append([network, "random start", *(record.start(label, column) for column in known), *blank])
    heads = [f"network, width {width}", "task", *(f"layer {n}" for n in range(1, len(columns) + 1))]
    return pipes(heads, [False] * len(heads), rows)


TABLES = {"settings": settings, "turned": turned, "square": square, "ranks": ranks, "architectures": architectures}
