"""The pictures of docs/pictures.md, and the page itself.

    python scripts/pictures.py run attention     # the commands, as the page says them, into outputs/pictures/attention
    python scripts/pictures.py keep attention    # what the last run drew, into docs/pictures/
    python scripts/pictures.py page              # write docs/pictures.md from docs/pictures/

The sections are scripts/studies/pictures/*.yaml, in the order of scripts/studies/pictures.yaml; what the page says
around them is scripts/studies/pictures.md.jinja.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from methods_table import cells
from study import ROOT, Column, Drawn, StudyError, fill, parsers, read_studies

from ssl_runner.reporting.comparison import compare
from ssl_runner.reporting.runs import find_runs
from ssl_runner.results.result import Run, read_about

RECORDS = ROOT / "docs" / "pictures"
OUTPUTS = ROOT / "outputs" / "pictures"
MODULES = {"ssl-run": "ssl_runner", "ssl-export": "ssl_runner.commands.export"}


def run(drawn: Drawn, outputs: Path) -> int:
    """The commands, each in a process of its own; a run that is finished is not done again. Returns how the first that
    failed ended."""
    for command in commands(drawn, outputs):
        program, *words = command
        print(*command, flush=True)
        if code := subprocess.call([sys.executable, "-m", MODULES[program], *words], cwd=ROOT):
            return code
    return 0


def commands(drawn: Drawn, outputs: Path) -> Iterator[list[str]]:
    """The words of each command, when the ones before are done. The runs of each lie in a folder of their own."""
    place = 0
    for command in drawn.commands:
        program, *words = shlex.split(command)
        if place:
            named = f"={run_in(outputs / str(place)).folder}"
            words = [re.sub("=RUN$", named, word) for word in words]
        if program == "ssl-run":
            place += 1
            words.append(f"output={outputs / str(place)}")
        yield [program, *words]


def run_in(folder: Path) -> Run:
    """The finished run in a folder. Raises StudyError unless there is one."""
    found = find_runs([folder])[0]
    if len(found) != 1:
        raise StudyError(
            f"{folder} holds {len(found)} finished runs; run the section again, with no other output there"
        )
    return found[0]


def last_run(drawn: Drawn, outputs: Path) -> Run:
    return run_in(outputs / str(sum(shlex.split(command)[0] == "ssl-run" for command in drawn.commands)))


def keep(name: str, drawn: Drawn, outputs: Path) -> None:
    """Copy what the last run drew into docs/pictures/: pictures, films and passages, and what is said of them."""
    last = last_run(drawn, outputs)
    told = {read_about(path).get("title", path.stem): path for path in (last.folder / "figures").glob("*.json")}
    if missing := [title for title in drawn.figures if title not in told]:
        raise StudyError(f"{name}: no such figures: {', '.join(missing)}; there are: {', '.join(sorted(told))}")
    RECORDS.mkdir(parents=True, exist_ok=True)
    kept = []
    for place, title in enumerate(drawn.figures, start=1):
        files = [told[title].with_suffix(suffix) for suffix in (".gif", ".png", ".txt")]
        shown = next(path for path in files if path.exists())
        target = RECORDS / f"{name}-{place}{shown.suffix}"
        shutil.copy(shown, target)
        kept.append({"title": title, "note": read_about(told[title])["note"], "file": target.name})
    result = last.result
    record = {
        "commands": list(drawn.commands),
        "commit": result.git.commit if result.git else "",
        "seconds": result.cost.seconds,
        "numbers": {column.title: number(column, last) for column in drawn.columns},
        "figures": kept,
    }
    (RECORDS / f"{name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def number(column: Column, run: Run) -> str:
    """A number of the run, as the page says it. Raises StudyError where the run has none."""
    found = list(cells(compare([run]), column).values())
    if not found:
        raise StudyError(f"{run.folder} has no number for {column.title!r}")
    return column.show(found[0].interval)


def page(studies: Mapping[str, Drawn]) -> str:
    """docs/pictures.md: a section for each study that has a record."""
    sections = []
    for name, drawn in studies.items():
        path = RECORDS / f"{name}.json"
        if path.exists():
            record = json.loads(path.read_text(encoding="utf-8"))
            for figure in record["figures"]:
                file = RECORDS / figure["file"]
                figure["text"] = file.read_text(encoding="utf-8").rstrip() if file.suffix == ".txt" else ""
            sections.append({"drawn": drawn, "record": record})
    return fill("pictures.md.jinja", sections=sections)


def main() -> None:
    studies = read_studies(Drawn, "pictures")
    parser, running, keeping = parsers(__doc__)
    for about in (running, keeping):
        about.add_argument("name", choices=list(studies))
        about.add_argument("--outputs", type=Path, default=OUTPUTS, help="the folder of all runs, a folder a section")
    options = parser.parse_args()
    if options.task == "page":
        (ROOT / "docs" / "pictures.md").write_text(page(studies), encoding="utf-8")
        return
    outputs = options.outputs.absolute() / options.name
    if options.task == "run":
        sys.exit(run(studies[options.name], outputs))
    keep(options.name, studies[options.name], outputs)


if __name__ == "__main__":
    try:
        main()
    except StudyError as error:
        sys.exit(f"error: {error}")
