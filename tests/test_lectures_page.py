"""docs/lectures.md: every command composes, every link of a result leads to a section, and gaps are marked."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from ssl_runner.config.compose import compose

DOCS = Path(__file__).parents[1] / "docs"
MISSING, UNRECORDED = "not built yet", "not recorded yet"
LECTURES = re.compile(r"all|[A-E](-[A-E])?(, [A-E])*")


class Row(NamedTuple):
    lecture: str
    system: str
    command: str
    paper: str
    result: str


def rows() -> list[Row]:
    lines = (DOCS / "lectures.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [Row(*each) for each in cells[2:]]


ROWS = rows()
COMMANDS = sorted({row.command.strip("`") for row in ROWS if row.command != MISSING})


def sections(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = (DOCS / page).read_text(encoding="utf-8")
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_row_is_whole() -> None:
    assert len(ROWS) > 50
    for row in ROWS:
        assert LECTURES.fullmatch(row.lecture), row.lecture
        assert re.search(r"\[.+?\]\(https://\S+\)", row.paper), row.system
        assert (row.command == MISSING) == (row.result == MISSING), row.system
        assert row.command == MISSING or re.fullmatch(r"`ssl-(run|evaluate|export) [^`]+`", row.command), row.system


def test_results_lie_in_sections_that_exist() -> None:
    for row in ROWS:
        if row.result in (MISSING, UNRECORDED):
            continue
        (link,) = re.findall(r"\]\((\S+)\)", row.result)
        page, _, anchor = link.partition("#")
        assert anchor in sections(page), f"{row.system}: {link}"


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command: str) -> None:
    program, *words = shlex.split(command)
    root = {"ssl-run": "config", "ssl-evaluate": "evaluate", "ssl-export": "export"}[program]
    # `-m` sweeps: the first value of each is composed
    words = [re.sub(r"=([^\[\],]+),.*", r"=\1", word) for word in words if word != "-m"]
    assert compose(words, root)
