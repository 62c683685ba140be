"""Every recorded measurement, a row each: docs/results.md.

    python scripts/results.py    # write docs/results.md from docs/runs/ and docs/claims/

The numbers are those of docs/methods.md and docs/claims.md, from the same records and studies; those pages hold what
ran, the commands and what a person reads in the numbers.
"""

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import claims
import methods
from claims_tables import read_record
from marks import Mark, said_of, sign
from methods_table import Table, difference, is_better
from study import ROOT, Claim, Column, Group, StudyError, fill, heading_link, read_studies

from ssl_runner.reporting.exports import pipes
from ssl_runner.reporting.rows import subject_name
from ssl_runner.reporting.statistics import interval
from ssl_runner.results.result import BAG_OF_WORDS, PIXELS, PRETRAINED, RANDOM_START, Run

HEADS = ("task", "method", "score", "untrained", "chance")
BASELINES = {  # evaluator -> its metric for an answer without the input, where the study shows none
    "senses": "chance_accuracy",
    "text_classification": "majority",
    "text_classification_finetune": "majority",
    "perplexity": "perplexity_unigram",
}
BY_CLASSES = {"linear", "knn", "few_label", "few_label_finetune", "finetune"}  # chance: one in as many as there are
CLASSES = {"direction": 8, "place": 9}  # labels of moving digits; their speeds are in the config
TEN = 10  # classes of all sets of images that were recorded and whose study states no other number
OF_NOTHING = {"spearman"}  # metrics that are 0 by chance
MEASURES = {"spearman": "rank correlation", "f1": "F1", "j": "J", "f": "F", "psnr_pooled": "PSNR", "ssim": "SSIM"}


class Section(NamedTuple):
    """A group of runs or a claim, as the template reads it."""

    title: str
    link: str  # of the section that says what ran
    again: list[str]  # what is to be measured again
    table: str


def task(column: Column) -> str:
    """What was asked: the study's title, with the measure where the title does not say it, and the scale."""
    metric = MEASURES.get(column.metric, column.metric.replace("_", " "))
    evaluator = column.evaluator.replace("_", " ")
    said = column.title
    if said.lower().replace("-", "") in (evaluator, column.evaluator):
        said = f"{said} {metric}"
    elif metric.lower() not in said.lower():
        by = metric if column.evaluator in ("pretext", "prediction", "sts") else f"{evaluator} {metric}"
        said = f"{said}: {by}"
    return scaled(said, column)


def scaled(said: str, column: Column) -> str:
    """With the scale of its numbers: shares are in percent, correlations a hundredfold."""
    if column.times == 1:
        return said
    return f"{said} (x 100)" if column.metric in OF_NOTHING else f"{said} (%)"


# ------------------------------------------------------------------------------------------------- of recorded methods


def with_baselines(group: Group) -> Group:
    """The group with a reference after each column whose evaluator has one and which is followed by none."""
    columns: list[Column] = []
    for place, column in enumerate(group.columns):
        columns.append(column)
        followed = place + 1 < len(group.columns) and group.columns[place + 1].reference
        metric = BASELINES.get(column.evaluator)
        if metric and not followed and column.metric in ("accuracy", "perplexity"):
            title = f"{column.title}, baseline"
            columns.append(replace(column, title=title, metric=metric, reference=True))
    return replace(group, columns=tuple(columns))


def of_group(name: str, group: Group, runs: Sequence[Run]) -> tuple[Sequence[Mark], str]:
    """The marks and the table of a group: column by column, controls that need no training first, then methods."""
    wide = with_baselines(group)
    table = Table(name, wide, runs)
    shown = [column for column in wide.columns if not column.reference]
    references = {
        a.title: b for a, b in zip(wide.columns, wide.columns[1:], strict=False) if b.reference and not a.reference
    }
    rows = []
    for column in shown:
        asked = task(column) + sign(table.marks, None, column.title)
        for subject in (PIXELS, BAG_OF_WORDS):
            values = list(table.of_control(column, subject).values())[:1]  # follows from no seed
            if values:
                rows.append([asked, f"*{subject_name(subject)}*", column.show(interval(values)), "", ""])
        for row in sorted(table.real, key=lambda row: order(table, column, row.setting.label)):
            cell = table.cells[column.title].get(row.setting.label)
            if cell is None:
                continue
            start = table.starts[column.title, row.backbone]
            untrained = ""
            if start:
                about = {"subject": RANDOM_START, "backbone": row.about["backbone"]}
                untrained = column.show(interval(list(start.values()))) + sign(table.marks, about, column.title)
            reference = references.get(column.title)
            found = table.cells[reference.title].get(row.setting.label) if reference else None
            by_chance = reference.show(interval([found.interval.mean])) if reference and found else ""
            score = column.show(cell.interval) + sign(table.marks, row.about, column.title)
            gain = difference(cell.values, start)
            if gain and is_better(gain, column):
                score = f"**{score}**"
            method = f"{row.objective}, {row.backbone}" + sign(table.marks, row.about, None)
            of_classes = chance(column, runs[0].result.config, group.classes)
            rows.append([asked, method, score, untrained, by_chance or of_classes])
    return table.marks, pipes(HEADS, [False] * len(HEADS), rows)


def order(table: Table, column: Column, label: str) -> float:
    """The place of a setting in a column: the best first."""
    cell = table.cells[column.title].get(label)
    return math.inf if cell is None else cell.interval.mean * (1 if column.lower_is_better else -1)


def chance(column: Column, config: Mapping[str, Any], classes: int = TEN) -> str:
    """What a guess without the input has, where that needs no record. `classes`: of the data's own labels."""
    if column.metric in OF_NOTHING:
        return column.show(interval([0.0]))
    if column.evaluator not in BY_CLASSES or column.metric != "accuracy":
        return ""
    label = str(column.data.get("label", ""))
    speeds = config.get("dataset", {}).get("speeds") or ()
    asked = len(speeds) if label == "speed" else CLASSES.get(label, classes)
    return column.show(interval([1 / asked]))


# -------------------------------------------------------------------------------------------------- of recorded claims


def of_claim(claim: Claim, exported: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[Sequence[Mark], str]:
    """The marks and the table of a claim: column by column, a setting of the sweep a row."""
    record = read_record(claim, exported, claim.columns)
    rows = []
    for column in claim.columns:
        for label, values in record.values.items():
            found = record.at(label, column)
            if found is None:
                continue
            said = {axis.short: values[axis.key] for axis in record.axes if values.get(axis.key) is not None}
            about = {"objective": str(values.get("objective", "")), "subject": PRETRAINED}
            method = ", ".join(f"{key}: {value}" for key, value in said.items()) + sign(record.again, about, None)
            score, untrained = column.show(found.own), ""
            if found.start:
                untrained = column.show(found.start) + sign(record.again, {"subject": RANDOM_START}, column.title)
            if found.above and (found.above.high < 0 if column.lower_is_better else found.above.low > 0):
                score = f"**{score}**"
            asked = scaled(column.title, column) + sign(record.again, None, column.title)
            rows.append([asked, method, score, untrained, chance(column, config)])
    return record.again, pipes(HEADS, [False] * len(HEADS), rows)


# ----------------------------------------------------------------------------------------------------------- the page


def sections(groups: Mapping[str, Group], asked: Mapping[str, Claim]) -> Iterable[Section]:
    for name, group in groups.items():
        if runs := methods.recorded(name, group):
            where = heading_link("methods.md", group.title)
            marks, table = of_group(name, group, runs)
            yield Section(group.title, where, said_of(marks), table)
    for name, claim in asked.items():
        path = claims.RECORDS / f"{name}.json"
        if path.exists() and claim.table != "ranks":  # repeats the runs of docs/methods.md on another backbone
            plain = json.loads(path.read_text())
            marks, table = of_claim(claim, plain["comparison"], plain["config"])
            yield Section(claim.question, heading_link("claims.md", claim.question), said_of(marks), table)


def page(groups: Mapping[str, Group], asked: Mapping[str, Claim]) -> str:
    """docs/results.md: a section for each group of runs and each claim that has records."""
    return fill("results.md.jinja", sections=list(sections(groups, asked)))


if __name__ == "__main__":
    try:
        text = page(read_studies(Group, "methods"), read_studies(Claim, "claims"))
    except StudyError as error:
        sys.exit(f"error: {error}")
    (ROOT / "docs" / "results.md").write_text(text, encoding="utf-8")
