"""What resuming rests on, held against the sources: generators and clocks that no checkpoint holds are not used."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "ssl_runner"
STEP = ("objectives", "views", "losses", "nn", "backbones")  # what takes part in a step


def used(path: Path) -> set[str]:
    """Dotted names that a file uses, as "time.time", and what it imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            names.add(ast.unparse(node))
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("layer", STEP)
def test_a_step_draws_from_torch_alone(layer: str) -> None:
    for path in (PACKAGE / layer).rglob("*.py"):
        drawn = {name for name in used(path) if name.split(".")[0] in ("random", "secrets") or ".random" in name}
        assert not {name for name in drawn if not name.startswith("torch.")}, path.name


def test_durations_are_taken_by_a_clock_that_does_not_jump() -> None:
    """The time of day is noted in status.json and held against times of files (contents.py, runs.py); it measures
    nothing."""
    files = {path.name for path in PACKAGE.rglob("*.py") if used(path) & {"time.time", "time.time_ns"}}
    assert files == {"status.py", "contents.py", "runs.py"}
