"""The model card of an exported encoder: README.md with a YAML header, as the Hugging Face hub reads it.

https://huggingface.co/docs/hub/model-cards
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml

from ssl_runner.reporting.comparison import Cell, Column, compare
from ssl_runner.reporting.exports import escaped, pipes
from ssl_runner.reporting.rows import NOTHING, label, show_interval, subject_name, subject_place
from ssl_runner.reporting.runs import find_runs
from ssl_runner.results.metrics import Unit
from ssl_runner.results.result import PRETRAINED, RANDOM_START, Run

SHOWN = (
    "dataset", "objective", "backbone", "optimizer", "schedule", "batch_size", "budget", "seed", "control",
    "start_from",
)  # fmt: skip
BASELINES = ("majority", "chance")  # metrics that say what is right without looking
TASKS = {"images": "image-feature-extraction", "text": "feature-extraction"}  # of the hub, by kind of data
PATH = re.compile(  # folders of a path that begins at a root, at home, or beside the working directory
    r"""(?<![\w.:/])(?:~[\\/](?:[^\s,\]'"]*[\\/])?|(?:\.\.?|[A-Za-z]:)?[\\/][^\s,\]'"]*[\\/])(?=[^\\/\s,\]'"])"""
)


class Exported(NamedTuple):
    """An encoder and what it was written to."""

    format: str  # of `ssl-export`
    files: Sequence[str]
    kind: str  # "images"
    input: str  # its name in a program
    shape: Sequence[str | int]  # of the input; free dimensions by name
    dtype: str
    longest: int | None  # tokens; None: any number, or no text
    dim: int
    classes: int  # 0: unlabeled
    special: Mapping[str, int]  # ids of special tokens by role; {} for other data than text
    difference: float  # from the encoder, of the largest value
    library: Mapping[str, Any] = {}  # config.json of a format that is a library


def seeds_of(run: Run) -> list[Run]:
    """The finished runs beside `run` that differ from it in the seed alone, itself among them; by seed."""
    found, _ = find_runs([run.folder.resolve().parent])
    others = [each for each in found if each.folder.resolve() != run.folder.resolve()]
    for setting in compare([*others, run]).settings:
        if run in setting.runs.values():
            return list(setting.runs.values())
    return [run]


def card(run: Run, runs: Sequence[Run], about: Exported) -> str:
    """The card of `run`. `runs`: it and those of other seeds, whose figures are given together."""
    result = run.result
    config = result.config
    template = jinja2.Environment(
        loader=jinja2.PackageLoader("ssl_runner.reporting", "."),
        autoescape=False,  # it is Markdown
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("card.md.j2")
    return template.render(
        header=yaml.safe_dump(_header(run, about), sort_keys=False, allow_unicode=True).strip(),
        title=f"{result.name.backbone}, {result.name.objective} on {result.name.dataset}",
        result=result,
        about=about,
        seeds=[each.result.seed for each in runs],
        figures=figures(runs),
        settings=without_folders(yaml.safe_dump({key: config[key] for key in SHOWN if key in config}, sort_keys=False)),
        command=without_folders(result.command),
        origins=dict(_origins(config.get("backbone") or {})),
        start=without_folders(str(config.get("start_from") or "")),
        image_size=about.shape[-2:],
    )


def figures(runs: Sequence[Run]) -> str:
    """A table in Markdown: a row for each headline and each baseline, a column for the encoder and each control."""
    comparison = compare(runs)
    (setting,) = comparison.settings
    columns = [column for column in comparison.columns if column.headline or column.address.metric in BASELINES]
    cells = {column.key: comparison.cells[setting.label, column.key] for column in columns}
    controls = sorted({subject for cell in cells.values() for subject in cell.controls}, key=subject_place)
    headers = ["", *map(subject_name, (PRETRAINED, *controls))]
    if RANDOM_START in controls:
        headers.append("difference to random start")
    rows = [_row(column, cells[column.key], controls) for column in columns]
    return pipes(headers, [False, *(True for _ in headers[1:])], rows) if rows else ""


def _row(column: Column, cell: Cell, controls: Sequence[str]) -> list[str]:
    remark = f" ({cell.verdict})" if cell.verdict else ""
    shown = [show_interval(column.unit, cell.interval)]
    shown += [
        show_interval(column.unit, cell.controls[each]) if each in cell.controls else NOTHING for each in controls
    ]
    if RANDOM_START in controls:
        difference = cell.differences.get(RANDOM_START)
        sign = " points" if column.unit is Unit.SHARE else ""
        shown.append(NOTHING if difference is None else show_interval(column.unit, difference, sign=sign))
    return [escaped(label(column.address) + remark), *shown]


def _header(run: Run, about: Exported) -> dict[str, Any]:
    name = run.result.name
    header: dict[str, Any] = {}
    if license := _license(run.result.config.get("backbone") or {}):
        header["license"] = license
    if about.kind in TASKS:
        header["pipeline_tag"] = TASKS[about.kind]
    learned = [] if name.objective == "supervised" else ["self-supervised-learning"]
    header["tags"] = list(dict.fromkeys([*learned, name.objective, name.backbone, name.dataset, about.format]))
    if found := list(_measured(run)):
        task = {"type": TASKS.get(about.kind, "other")}
        data = {"type": name.dataset, "name": name.dataset}
        model = f"{name.objective}-{name.dataset}-{name.backbone}"
        header["model-index"] = [{"name": model, "results": [{"task": task, "dataset": data, "metrics": found}]}]
    return header


def _measured(run: Run) -> Iterator[dict[str, Any]]:
    """The shares among the headlines of this run by itself, in the hub's words."""
    comparison = compare([run])
    (setting,) = comparison.settings
    for column in comparison.columns:
        if column.headline and column.own and column.unit is Unit.SHARE:
            value = comparison.cells[setting.label, column.key].interval.mean
            yield {"type": column.address.metric, "name": label(column.address), "value": round(value, 4)}


def _license(backbone: Mapping[str, Any]) -> str:
    """Of the weights that pretraining began with, in the hub's spelling; "" where none is known."""
    stated = dict(_origins(backbone)).get("license", "")
    return "" if stated.lower() in ("", "unknown") else stated.lower().replace(" ", "-")


def _origins(node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a backbone's config says of the weights that it began with: source and license."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _origins(value)
        elif key in ("source", "license") and isinstance(value, str):
            yield key, value


def without_folders(text: str) -> str:
    """`text` with all but the last part of each path left out: a card is for others.

    >>> without_folders("ssl-run output=/home/me/runs dataset.path=../flowers/train/ seed=1")
    'ssl-run output=.../runs dataset.path=.../train/ seed=1'
    """
    return PATH.sub(".../", text)


def read_library(folder: Path) -> Mapping[str, Any]:
    """config.json of an exported folder; {} where there is none."""
    import json

    file = folder / "config.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
