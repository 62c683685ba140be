"""The questions of docs/claims.md, and the page itself.

    python scripts/claims.py run mask_ratio          # the sweep, as the page says under the question
    python scripts/claims.py keep mask_ratio outputs/sweeps/mask_ratio-1a2b3c   # numbers and pictures into docs/claims/
    python scripts/claims.py page                    # write docs/claims.md from docs/claims/

The questions are scripts/studies/claims/*.yaml, in the order of scripts/studies/claims.yaml; those that groups of
docs/methods.md answer are scripts/studies/group_claims/*.yaml; what the page says around them is
scripts/studies/claims.md.jinja. What a person reads in the numbers stands in docs/claims/NAME.md; all numbers
come from the records.
"""

import json
import math
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import methods
import yaml
from claims_tables import TABLES, read_record
from label_free import read_ranking, section
from marks import said_of
from methods_run import make_corpus
from methods_table import Table
from study import (
    ROOT,
    Claim,
    Group,
    GroupClaim,
    Picture,
    StudyError,
    check_marks,
    fill,
    heading_link,
    parsers,
    read_studies,
)

from ssl_runner.figures import Lines
from ssl_runner.reporting.comparison import compare
from ssl_runner.reporting.comparison_figures import MOST_FIGURES, comparison_figures
from ssl_runner.reporting.exports import summary_json
from ssl_runner.reporting.payoff import payoffs, sentence
from ssl_runner.reporting.plots import draw, save_figure
from ssl_runner.reporting.runs import find_runs
from ssl_runner.reporting.statistics import Interval
from ssl_runner.results.result import PRETRAINED, RANDOM_START

RECORDS = ROOT / "docs" / "claims"
# ------------------------------------------------------------------------------------------------------ keep, and page


def keep(name: str, folder: Path, claims: Mapping[str, Claim]) -> None:
    """Copy what a sweep found into docs/claims/: numbers, and the pictures that its claim shows."""
    claim = claims[name]
    runs, problems = find_runs([folder])
    print(
        *problems, sep="\n", file=sys.stderr
    )  # what did not finish is left out; the page says how many runs there are
    comparison = compare(runs)
    found: dict[str, Any] = json.loads(summary_json(comparison))
    for setting in found["settings"]:
        for run in setting["runs"]:
            del run["folder"]
            run["command"] = anywhere(run["command"])
    first = runs[0].result
    costs = [run.result.cost for run in runs]
    record = {
        "command": f"ssl-run {claim.overrides}",
        "minutes": round(sum((cost.seconds or 0) + (cost.evaluation_seconds or 0) for cost in costs) / 60, 1),
        "commit": first.git.commit if first.git else "",
        "versions": first.versions,
        "config": {k: v for k, v in first.config.items() if k not in ("names", "output", "logger", "sweep")},
        "said": [sentence(data, found) for data, found in payoffs(comparison).items()],
        "comparison": found,
    }
    ran = anywhere(yaml.safe_load((folder / "sweep.yaml").read_text())["command"])
    if {"ssl-run", "-m", *claim.words()} != {"-m", *shlex.split(ran)}:
        raise StudyError(f"{folder} ran {ran}; scripts/studies/claims/{name}.yaml says {record['command']}")
    RECORDS.mkdir(parents=True, exist_ok=True)
    panels = {panel.title: panel for panel in comparison_figures(comparison)[:MOST_FIGURES]}
    missing = [title for title in claim.pictures if title not in panels]
    if missing:
        raise StudyError(f"{name}: no such pictures: {', '.join(missing)}; there are: {', '.join(panels)}")
    with tempfile.TemporaryDirectory() as drawn:
        for path, title in zip(pictures(name, claim), claim.pictures, strict=True):
            shutil.copy(save_figure(Path(drawn), panels[title].name, panels[title].figure, title, 0), path)
    (RECORDS / f"{name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    for other, each in claims.items():
        if each.picture and name in {line.claim for line in each.picture.lines}:
            draw_together(each.picture, together(other), claims)


def anywhere(command: str) -> str:
    """A command without the place of its outputs."""
    return re.sub(r" ?'?output=\S+", "", command)


def pictures(name: str, claim: Claim) -> list[Path]:
    """Of the claim's own sweep, in order."""
    return [RECORDS / f"{name}-{place}.png" for place, _ in enumerate(claim.pictures, start=1)]


def together(name: str) -> Path:
    """The picture of several claims."""
    return RECORDS / f"{name}-0.png"


def draw_together(picture: Picture, path: Path, claims: Mapping[str, Claim]) -> None:
    """What columns of several claims gain over their only axis, above their random starts; once all are recorded."""
    if not all((RECORDS / f"{line.claim}.json").exists() for line in picture.lines):
        return
    lines: dict[str, dict[float, Interval]] = {}
    for line in picture.lines:
        exported = json.loads((RECORDS / f"{line.claim}.json").read_text())["comparison"]
        record = read_record(claims[line.claim], exported, (line.column,))
        (axis,) = record.axes
        lines[line.title] = {
            values[axis.key]: found.above
            for label, values in record.values.items()
            if (found := record.at(label, line.column)) and found.above
        }
    x = sorted({place for line in lines.values() for place in line})
    times = {line.title: line.column.times for line in picture.lines}

    def along(bound: str) -> dict[str, list[float]]:
        return {
            title: [times[title] * getattr(line[place], bound) if place in line else math.nan for place in x]
            for title, line in lines.items()
        }

    figure = Lines(
        x=x, y=along("mean"), x_label=picture.x_label, y_label=picture.y_label,
        low=along("low"), high=along("high"), references={"random start": [0.0] * len(x)},
    )  # fmt: skip
    path.write_bytes(draw(figure))


def page(claims: Mapping[str, Claim]) -> str:
    """docs/claims.md: a section for each claim that has a record."""
    sections = []
    for name, claim in claims.items():
        path = RECORDS / f"{name}.json"
        if not path.exists():
            continue
        plain = json.loads(path.read_text())
        record = read_record(claim, plain["comparison"], claim.columns)
        rows = [{"objective": str(v.get("objective", "")), "subject": PRETRAINED} for v in record.values.values()]
        check_marks(name, claim.again, claim.columns, [*rows, {"subject": RANDOM_START}])
        runs = [run for setting in plain["comparison"]["settings"] for run in setting["runs"]]
        shown = [together(name)] * bool(claim.picture) + pictures(name, claim)
        sections.append(
            {
                "claim": claim,
                "runs": len(runs),
                "seeds": ", ".join(map(str, sorted({run["seed"] for run in runs}))),
                "minutes": f"{plain['minutes']:.0f}",
                "commit": plain["commit"][:7],
                "command": plain["command"],
                "again": said_of(record.again),
                "open": any(not mark.row() and not mark.columns for mark in record.again),
                "table": TABLES[claim.table](record),
                "pictures": [path.name for path in shown if path.exists()],
                "said": plain.get("said", []),
                "found": reading_of(name),
            }
        )
    return fill("claims.md.jinja", sections=sections, answered=by_groups(), label_free=label_free())


def by_groups() -> list[dict[str, Any]]:
    """The sections of questions that groups of docs/methods.md answer, once all of these are recorded."""
    groups, sections = read_studies(Group, "methods"), []
    for name, claim in read_studies(GroupClaim, "group_claims").items():
        tables = []
        for each in claim.groups:
            group = claim.shown(groups[each])
            if runs := methods.recorded(each, group):
                table = Table(each, group, runs)
                link = heading_link("methods.md", group.title)
                said = {"group": group, "link": link, "table": table.markdown(), "again": said_of(table.marks)}
                tables.append(said | {"runs": len(runs)})
        if len(tables) == len(claim.groups):
            ran = dict.fromkeys(source for each in claim.groups for source in groups[each].of or (each,))
            command = f"python scripts/methods.py run {' '.join(dict.fromkeys([*ran, *claim.groups]))}"
            sections.append({"claim": claim, "tables": tables, "command": command, "found": reading_of(name)})
    return sections


def reading_of(name: str) -> str:
    """What a person reads in the numbers of a question; "" where nobody has yet."""
    path = RECORDS / f"{name}.md"
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def label_free() -> dict[str, Any]:
    """The section about figures without labels: over the runs of docs/runs/, not a sweep of its own."""
    groups = read_studies(Group, "methods")
    records = {name: methods.records_of(name) for name, group in groups.items() if not group.of}
    titles = {name: group.title for name, group in groups.items()}
    return section(read_ranking(), records, titles) | {"found": reading_of("label_free")}


def main() -> None:
    claims = read_studies(Claim, "claims")
    parser, running, keeping = parsers(__doc__)
    for about in (running, keeping):
        about.add_argument("name", choices=list(claims))
    keeping.add_argument("folder", type=Path, help="of a sweep: outputs/sweeps/<name>")
    options = parser.parse_args()
    if options.task == "page":
        (ROOT / "docs" / "claims.md").write_text(page(claims), encoding="utf-8")
    elif options.task == "run":
        make_corpus(claims[options.name].corpus)
        sys.exit(subprocess.call([sys.executable, "-m", "ssl_runner", *claims[options.name].words()], cwd=ROOT))
    elif not (options.folder / "sweep.yaml").is_file():
        parser.error("keep needs the folder of a sweep: outputs/sweeps/<name>")
    else:
        keep(options.name, options.folder, claims)


if __name__ == "__main__":
    try:
        main()
    except StudyError as error:
        sys.exit(f"error: {error}")
