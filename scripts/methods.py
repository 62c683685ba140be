"""The runs behind docs/methods.md, and the page itself.

    python scripts/methods.py run mnist     # do what is missing of a group; what is done is skipped by its identity
    python scripts/methods.py keep          # take config and result of each finished run into docs/runs/
    python scripts/methods.py page          # write docs/methods.md from docs/runs/

The groups are scripts/studies/methods/*.yaml, in the order of scripts/studies/methods.yaml; what the page says around
the tables is scripts/studies/methods.md.jinja. All budgets but the main job's are numbers of examples, so that runs
side by side change no accuracy.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from marks import said_of
from methods_table import Table
from records import Record, merge, read, write
from study import ROOT, Group, Question, StudyError, elsewhere, fill, read_studies

from ssl_runner.reporting import protocols
from ssl_runner.reporting.runs import find_runs
from ssl_runner.results.result import Run

RECORDS = ROOT / "docs" / "runs"
OUTPUTS = ROOT / "outputs" / "methods"

# ------------------------------------------------------------------------------------------------------ run, and keep


def run(name: str, group: Group) -> int:
    """Do the runs of a group, all seeds of one before the next, and return how many failed."""
    commands = [
        ("ssl_runner", [f"output={OUTPUTS.relative_to(ROOT) / name}", *words, f"seed={seed}", *started(group, seed)])
        for words in group.overrides()
        for seed in group.seeds
    ]
    failed = side_by_side(group, commands)
    for question in group.asked_afterwards:  # one after the other: two processes would write one run's result
        failed += side_by_side(group, [("ssl_runner.commands.evaluate", words) for words in asked(name, question)])
    return failed


def side_by_side(group: Group, commands: Iterable[tuple[str, list[str]]]) -> int:
    """Modules with their words, `jobs` at a time, a thread each where they are several. How many failed."""
    failed, running = 0, list[subprocess.Popen[bytes]]()
    threads = {} if group.jobs == 1 else {"OMP_NUM_THREADS": "1"}
    for module, words in commands:
        if len(running) == group.jobs:
            failed += running.pop(0).wait() != 0
        print(module, *words, flush=True)
        command = [sys.executable, "-m", module, *words]
        running.append(subprocess.Popen(command, cwd=ROOT, env=os.environ | threads, stdout=subprocess.DEVNULL))
    return failed + sum(process.wait() != 0 for process in running)


def started(group: Group, seed: int) -> list[str]:
    """The overrides that start a run from the weights, and with the vocabulary, of the group before it."""
    if not group.start_from:
        return []
    found = [run.folder for run in find_runs([OUTPUTS / group.start_from])[0] if run.result.seed == seed]
    if len(found) != 1:
        raise StudyError(f"seed {seed} needs one run of {group.start_from}; there are {len(found)}: run that first")
    folder = found[0].relative_to(ROOT)
    return [f"start_from={folder}", f"dataset.tokenizer={folder}"]


def asked(name: str, question: Question) -> Iterable[list[str]]:
    """What `ssl-evaluate` is given for each finished run that has the evaluation on its own data and lacks this one."""
    data = [
        f"dataset.{key}={value}" if key != "dataset" else f"dataset={value}" for key, value in question.data.items()
    ]
    for run in find_runs([OUTPUTS / name])[0]:
        found = [each for each in run.result.results if each.evaluator == question.evaluator]
        answered = any(protocols.elsewhere(each.on) == elsewhere(question.data) for each in found)
        if any(each.on.own for each in found) and not answered:
            config = yaml.safe_load((run.folder / "config.yaml").read_text())
            controls = f"controls=[{','.join(config['controls'])}]"
            yield [f"run={run.folder.relative_to(ROOT)}", *data, f"evaluation=[{question.evaluator}]", controls]


def keep(name: str) -> None:
    """Take config and result of each finished run of a group into its records, for older ones of the same run."""
    found = []
    for path in sorted((OUTPUTS / name).glob("*/*/result.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        result.pop("config", None)
        config = yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8"))
        if result["status"] == "done":
            found.append(Record(f"{path.parent.parent.name}-{path.parent.name}", config, result))
    if found:
        write(RECORDS / f"{name}.jsonl", merge(records_of(name), found))


def records_of(name: str) -> list[Record]:
    """The records of a group; none where it has no file."""
    path = RECORDS / f"{name}.jsonl"
    return read(path) if path.exists() else []


def recorded(name: str, group: Group) -> list[Run]:
    """The recorded runs of a group, as the page compares them."""
    return [shown(record, group) for record in records_of(name)]


def shown(record: Record, group: Group) -> Run:
    """A record as a run. What follows from the seed, and what files held, is no setting in which runs differ."""
    config = {key: value for key, value in record.config.items() if key != "contents"}
    if group.start_from:
        config |= {"start_from": group.start_from, "dataset": config["dataset"] | {"tokenizer": group.start_from}}
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["run", "keep", "page"])
    parser.add_argument(
        "groups", nargs="*", choices=[[], *groups], help="for run and keep: which; all if none is named"
    )
    arguments = parser.parse_args()
    if arguments.task == "run":
        sys.exit(min(sum(run(name, groups[name]) for name in arguments.groups or groups), 1))
    if arguments.task == "keep":
        for name in arguments.groups or groups:
            keep(name)
    else:
        (ROOT / "docs" / "methods.md").write_text(page(groups), encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except StudyError as error:
        sys.exit(f"error: {error}")
