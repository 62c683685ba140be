"""The runs behind docs/methods.md, and the page itself.

    python scripts/methods.py run mnist     # do what is missing of a group; the same command goes on after any end
    python scripts/methods.py run mnist --but-recorded # ... without what docs/runs/ holds since it is measured again
    python scripts/methods.py keep          # take config and result of each finished run into docs/runs/
    python scripts/methods.py page          # write docs/methods.md from docs/runs/

The groups are scripts/studies/methods/*.yaml, in the order of scripts/studies/methods.yaml; what the page says around
the tables is scripts/studies/methods.md.jinja. All budgets but the main job's are numbers of examples, so that runs
side by side change no accuracy.
"""

import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from marks import said_of
from methods_run import run
from methods_table import Table
from records import Record, merge, read, write
from study import ROOT, Group, StudyError, fill, parsers, read_studies

from ssl_runner.config.identity import identity
from ssl_runner.results.result import SCHEMA, Run

RECORDS = ROOT / "docs" / "runs"
OUTPUTS = ROOT / "outputs" / "methods"

# --------------------------------------------------------------------------------------------------------------- keep


def keep(name: str, outputs: Path) -> None:
    """Take config and result of each finished run in outputs/name into the records of a group, for older ones of the
    same run. Paths of these outputs are written as those of `OUTPUTS`."""
    found = []
    for path in sorted((outputs / name).glob("*/*/result.json")):
        result = json.loads(as_kept(path.read_text(encoding="utf-8"), outputs))
        result.pop("config", None)
        config = yaml.safe_load(as_kept((path.parent / "config.yaml").read_text(encoding="utf-8"), outputs))
        if result["status"] == "done":
            found.append(Record(f"{path.parent.parent.name}-{path.parent.name}", config, result))
    if found:
        write(RECORDS / f"{name}.jsonl", merge(records_of(name), found))


def as_kept(text: str, outputs: Path) -> str:
    """What a run wrote, wherever its outputs lie."""
    return text.replace(str(outputs), str(OUTPUTS.relative_to(ROOT)))


def records_of(name: str) -> list[Record]:
    """The records of a group; none where it has no file."""
    path = RECORDS / f"{name}.jsonl"
    return read(path) if path.exists() else []


def measured_again(name: str, group: Group) -> frozenset[str]:
    """The identities of the recorded runs of a group that hold all that a result holds now, and began since the last
    date from which the group is measured again."""
    since = max((mark.before for mark in group.again), default="")
    new = (record for record in records_of(name) if record.result["schema"] == SCHEMA and record.started >= since)
    return frozenset(identity(record.config) for record in new)


def recorded(name: str, group: Group) -> list[Run]:
    """The recorded runs of a group, as the page compares them; of other groups' runs those that have its columns."""
    runs = [shown(record, group) for source in group.of or (name,) for record in records_of(source)]
    wanted = {column.evaluator for column in group.columns}
    return [run for run in runs if not group.of or wanted & {each.evaluator for each in run.result.results}]


def shown(record: Record, group: Group) -> Run:
    """A record as a run. What follows from the seed, and what files held, is no setting in which runs differ."""
    config = {key: value for key, value in record.config.items() if key != "contents"}
    start = group.start_from or ("another run" if group.of and config.get("start_from") else "")
    if start:
        config |= {"start_from": start}
        if "tokenizer" in config["dataset"]:
            config["dataset"] = config["dataset"] | {"tokenizer": start}
    if group.beside:
        config["evaluation"] = {}  # other runs that evaluations read; no row is told apart by evaluations
    return Run(record.name, Path(record.name), replace(record.read(), config=config))


# ----------------------------------------------------------------------------------------------------------- the page


def page(groups: Mapping[str, Group]) -> str:
    """docs/methods.md: a section for each group that has records."""
    sections: list[dict[str, Any]] = []
    for name, group in groups.items():
        runs = recorded(name, group)
        if not runs:
            continue
        said = [set(record.words()) for record in records_of(name)]
        table = Table(name, group, runs)
        sections.append(
            {
                "group": group,
                "seeds": "`seed=" + "`, `".join(map(str, group.seeds[:-1])) + f"` and `{group.seeds[-1]}`",
                "again": said_of(table.marks),
                "table": table.markdown(),
                "sources": " and ".join(f"*{groups[source].title}*" for source in group.of),
                "devices": ", ".join(sorted({run.result.cost.device for run in runs})),
                "commits": ", ".join(
                    sorted({run.result.git.commit[:7] if run.result.git else "unknown" for run in runs})
                ),
                "commands": [
                    (" ".join(words), any(words_of >= set(words) for words_of in said))
                    for words in dict.fromkeys(map(tuple, group.overrides()))
                ],
            }
        )
    return fill("methods.md.jinja", sections=sections)


def main() -> None:
    groups = read_studies(Group, "methods")
    parser, running, keeping = parsers(__doc__)
    for about in (running, keeping):
        about.add_argument("groups", nargs="*", choices=[[], *groups], help="all if none is named")
        about.add_argument("--outputs", type=Path, default=OUTPUTS, help="the folder of all runs, a folder a group")
    running.add_argument(
        "--but-recorded", action="store_true", help="what docs/runs/ holds since the group is measured again is done"
    )
    running.add_argument("--jobs", type=int, help="runs at a time; by default as the group says")
    options = parser.parse_args()
    if options.task == "page":
        (ROOT / "docs" / "methods.md").write_text(page(groups), encoding="utf-8")
        return
    outputs, chosen = options.outputs.absolute(), options.groups or list(groups)
    if options.task == "keep":
        for source in dict.fromkeys(each for name in chosen for each in groups[name].of or (name,)):
            keep(source, outputs)
        return
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that what runs is stopped first
    left = 0
    for name in chosen:
        group = groups[name]
        done = measured_again(name, group) if options.but_recorded else frozenset()
        left += run(name, group, outputs, options.jobs or group.jobs, done)
    sys.exit(min(left, 1))


if __name__ == "__main__":
    try:
        main()
    except StudyError as error:
        sys.exit(f"error: {error}")
