"""The table of a group in docs/methods.md, from the comparison of its runs."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from marks import STARTED, open_marks, sign
from study import Column, Group, StudyError, asks, check_marks

from ssl_runner.reporting.axes import describe
from ssl_runner.reporting.comparison import Cell, Comparison, Setting, compare
from ssl_runner.reporting.exports import pipes
from ssl_runner.reporting.rows import subject_name
from ssl_runner.reporting.statistics import Interval, interval
from ssl_runner.results.result import BAG_OF_WORDS, PIXELS, PRETRAINED, RANDOM_START, Run

TOLD_APART = {  # settings that a row names where runs of its objective differ in them
    "views": "objective/views",
    "q": "objective/posterior",
    "inference": "objective/inference",
    "motion": "dataset.motion",
    "frames seen": "objective.frames_seen",
    "predictor": "objective.predictor",
    "error": "objective.error",
    "beta": "objective.beta",
    "budget": "budget.amount",
    "learning rate": "optimizer.lr",
    "hole": "objective.hole",
    "adversary": "objective.adversary",
    "loss": "objective/loss",
    "positives": "objective/positives",
    "similarity": "objective.similarity",
}
START, SHUFFLED = " - start", " - shuffled"  # the heads of differences
POOL = "backbone.pool"  # named where a backbone of frames has it: another pool is another network
OF_FRAMES = "backbone.image._target_"  # a key that such a backbone alone has
LAST_RELU = "backbone.last_relu"  # a network without it has (-) behind its name, as Kolesnikov, Zhai, Beyer 2019 write


class Row(NamedTuple):
    """The runs of one objective on one backbone, which differ in nothing that is told but their seed."""

    objective: str  # and what of TOLD_APART its runs differ in
    backbone: str
    setting: Setting
    about: Mapping[str, str]  # for marks


def rows(runs: Sequence[Run], settings: Sequence[Setting], control: str) -> list[Row]:
    """The settings under a control, or under none of them. Raises StudyError where two settings would be one row."""
    described, _ = describe(runs)
    of = {run.folder: description for run, description in zip(runs, described, strict=True)}
    several = {  # the settings in which the runs of an objective differ
        run.result.name.objective: [
            key
            for key in TOLD_APART.values()
            if len({of[r.folder].get(key) for r in runs if r.result.name.objective == run.result.name.objective}) > 1
        ]
        for run in runs
    }
    found: dict[tuple[str, str], Row] = {}
    for setting in settings:
        first = next(iter(setting.runs.values()))
        name, description = first.result.name, of[first.folder]
        if (description.get("control") or "none") != control:  # older configs have no such key
            continue
        told = [f"{t}: {description.get(key)}" for t, key in TOLD_APART.items() if key in several[name.objective]]
        objective, backbone = ", ".join([name.objective, *told]), network(setting)
        if (objective, backbone) in found:
            raise StudyError(f"two settings are one row, {objective}, {backbone}: name what they differ in")
        about = {"objective": name.objective, "backbone": name.backbone, "subject": PRETRAINED}
        found[objective, backbone] = Row(objective, backbone, setting, about)
    return list(found.values())


def network(setting: Setting) -> str:
    """A backbone's name, with what makes another network of it: how it pools frames, and the lack of its last ReLU."""
    first = next(iter(setting.runs.values()))
    described = describe([first])[0][0]
    pool = described.get(POOL) if described.get(OF_FRAMES) else None
    without = " (-)" if described.get(LAST_RELU) is False else ""
    return first.result.name.backbone + without + (f", {pool}" if pool else "")


class Table:
    """One line an objective: its figures beside the controls, and the cost."""

    def __init__(self, name: str, group: Group, runs: Sequence[Run]) -> None:
        comparison = compare(runs)
        self.columns = group.columns
        self.cells = {column.title: cells(comparison, column) for column in group.columns}
        self.real = rows(runs, comparison.settings, "none")
        self.shuffled = {(r.objective, r.backbone): r for r in rows(runs, comparison.settings, "shuffled_target")}
        first = group.columns[0]

        def place(row: Row) -> float:
            cell = self.cells[first.title].get(row.setting.label)
            return math.inf if cell is None else cell.interval.mean * (1 if first.lower_is_better else -1)

        self.real.sort(key=place)
        self.backbones = sorted({row.backbone for row in self.real})
        self.starts = {  # the start follows from backbone and seed: runs share it
            (column.title, backbone): self.of_control(column, RANDOM_START, backbone)
            for column in group.columns
            for backbone in self.backbones
        }
        self.real = [row._replace(about={**row.about, STARTED: self.started(row)}) for row in self.real]
        backbones = {row.backbone: row.about["backbone"] for row in self.real}
        self.controls = [self.about(RANDOM_START, backbones[b], b) for b in self.backbones]
        self.controls += [self.about(subject) for subject in (PIXELS, BAG_OF_WORDS)]
        check_marks(name, group.again, group.columns, [*self.controls, *(row.about for row in self.real)])
        shown = {
            column.title: [
                *(about for about in self.controls if self.of_control(column, about["subject"], about["network"])),
                *(row.about for row in self.real if row.setting.label in self.cells[column.title]),
            ]
            for column in group.columns
        }
        self.marks = open_marks(group.again, shown)

    def started(self, row: Row) -> str:
        """When the first of its runs did, those with shuffled targets among them."""
        twin = self.shuffled.get((row.objective, row.backbone))
        settings = [row.setting, *([twin.setting] if twin else [])]
        return min(run.result.started for setting in settings for run in setting.runs.values())

    def about(self, subject: str, backbone: str = "", network: str = "") -> dict[str, str]:
        """What is said of the row of a control."""
        found = [each for column in self.columns for each in self.dated(column, subject, network).values()]
        started = min((started for started, _ in found), default="")
        return {"subject": subject, "backbone": backbone, "network": network, STARTED: started}

    def dated(self, column: Column, subject: str, backbone: str) -> dict[int, tuple[str, float]]:
        """A control's figure by seed, with the start of its run: the newest of all runs that were asked for it."""
        settings = [row.setting for row in (*self.real, *self.shuffled.values()) if backbone in ("", row.backbone)]
        found: dict[int, tuple[str, float]] = {}
        for setting in settings:
            cell = self.cells[column.title].get(setting.label)
            for seed, value in (cell.control_values.get(subject, {}) if cell else {}).items():
                started = setting.runs[seed].result.started
                if seed not in found or started >= found[seed][0]:
                    found[seed] = started, value
        return found

    def of_control(self, column: Column, subject: str, backbone: str = "") -> dict[int, float]:
        """A control's figure by seed."""
        return {seed: value for seed, (_, value) in self.dated(column, subject, backbone).items()}

    def parts(self, column: Column) -> list[str]:
        """What stands beside a column's own figure."""
        started = any(self.starts[column.title, backbone] for backbone in self.backbones)
        said = [START] * started + [SHUFFLED] * bool(self.shuffled)
        return [] if column.reference else said

    def markdown(self) -> str:
        heads = ["objective", "backbone"]
        for column in self.columns:
            heads += [
                f"{column.title}{part}{sign(self.marks, None, column.title)}" for part in ("", *self.parts(column))
            ]
        heads += ["seeds", "examples/s", "seconds"]
        lines = [line for about in self.controls if (line := self.control(about))]
        lines += [self.line(row) for row in self.real]
        return pipes(heads, [False] * len(heads), lines)

    def control(self, about: Mapping[str, str]) -> list[str]:
        """The row of a control; none where nothing was asked of it."""
        subject, network = about["subject"], about["network"]
        found, seeds = [], 0
        for column in self.columns:
            values = list(self.of_control(column, subject, network).values())
            if subject != RANDOM_START:
                values = values[:1]  # follows from no seed
            seeds = max(seeds, len(values))
            text = column.show(interval(values)) + sign(self.marks, about, column.title) if values else ""
            found += [text, *[""] * len(self.parts(column))]
        name = f"*{subject_name(subject)}*{sign(self.marks, about, None)}"
        return [name, network, *found, str(seeds) if subject == RANDOM_START else "", "", ""] if seeds else []

    def own(self, row: Row, column: Column, cell: Cell | None) -> str:
        """The figure of the pretrained encoder; of several seeds it stands out."""
        if cell is None:
            return ""
        bold = "**" if cell.interval.n > 1 else ""
        return bold + column.show(cell.interval) + bold + sign(self.marks, row.about, column.title)

    def sign_of_start(self, row: Row, column: Column) -> str:
        """Of the difference to a start that is to be measured again, where the name of the row does not say so."""
        (start,) = [about for about in self.controls if about["network"] == row.backbone]
        by_row = "" if sign(self.marks, row.about, None) else sign(self.marks, start, None)
        return sign(self.marks, start, column.title) or by_row

    def line(self, row: Row) -> list[str]:
        """The row of an objective."""
        line = [row.objective + sign(self.marks, row.about, None), row.backbone]
        against = self.shuffled.get((row.objective, row.backbone))
        for column in self.columns:
            cell = self.cells[column.title].get(row.setting.label)
            other = self.cells[column.title].get(against.setting.label) if against else None
            values = cell.values if cell else {}
            controls = {
                START: self.starts[column.title, row.backbone],
                SHUFFLED: other.values if other else {},
            }
            differences = {part: above(values, controls[part], column) for part in self.parts(column)}
            if differences.get(START):
                differences[START] += self.sign_of_start(row, column)
            line += [self.own(row, column, cell), *differences.values()]
        costs = [run.result.cost for run in row.setting.runs.values()]
        speeds = [cost.examples_per_second for cost in costs if cost.examples_per_second]  # none: nothing was trained
        seconds = [cost.seconds for cost in costs if cost.seconds]
        said = f"{statistics.median(speeds):,.0f}" if speeds else ""
        return [*line, str(len(costs)), said, f"{statistics.median(seconds):.0f}" if seconds else ""]


def cells(comparison: Comparison, wanted: Column) -> dict[str, Cell]:
    """A study's column in a comparison, by setting: of several protocols each setting has its own, and where its seeds
    have several, that of most seeds, then of the newest."""
    keys = [column.key for column in comparison.columns if asks(wanted, column.address)]
    runs = {setting.label: setting.runs for setting in comparison.settings}

    def weight(label: str, cell: Cell) -> tuple[int, str]:
        return len(cell.values), max(runs[label][seed].result.started for seed in cell.values)

    found: dict[str, Cell] = {}
    for (label, key), cell in comparison.cells.items():
        if key in keys and (label not in found or weight(label, cell) >= weight(label, found[label])):
            found[label] = cell
    return found


def above(reached: Mapping[int, float], control: Mapping[int, float], column: Column) -> str:
    """By how much runs differ from a control, in pairs of a seed; in brackets unless they are better, apart from 0."""
    found = difference(reached, control)
    if found is None:
        return ""
    return column.show(found) if is_better(found, column) else f"({column.show(found)})"


def difference(reached: Mapping[int, float], control: Mapping[int, float]) -> Interval | None:
    """By how much runs differ from a control, in pairs of a seed; None where they have no seed in common."""
    seeds = sorted(reached.keys() & control.keys())
    return interval([reached[seed] - control[seed] for seed in seeds]) if seeds else None


def is_better(difference: Interval, column: Column) -> bool:
    """Whether a difference to a control is on the better side of 0, with all of its interval."""
    return difference.high < 0 if column.lower_is_better else difference.low > 0
