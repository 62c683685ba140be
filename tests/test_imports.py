"""Which room may import which: the table of docs/design.md, held against every file."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ssl_runner"
OWN = {  # room -> rooms that it may import
    "figures": set(),
    "results": set(),
    "interfaces": {"figures", "results"},
    "nn": {"interfaces"},
    "losses": {"interfaces", "nn"},
    "views": {"interfaces", "nn"},
    "backbones": {"interfaces", "nn"},
    "objectives": {"interfaces", "losses", "nn", "results", "views"},
    "data": {"interfaces"},
    "evaluation": {"data", "figures", "interfaces", "nn", "results"},
    "config": {"interfaces"},
    "runtime": {"config", "results"},
    "loggers": {"results", "runtime"},
    "reporting": {"config", "figures", "results", "runtime"},
    "training": {"config", "data", "evaluation", "figures", "interfaces", "loggers", "nn", "results", "runtime"},
    "assembly": {
        "config", "data", "evaluation", "interfaces", "loggers", "nn", "results", "runtime", "training",
    },
    "sweeps": {"assembly", "config", "reporting", "results", "runtime"},
    "commands": {
        "assembly", "config", "data", "evaluation", "figures", "interfaces", "loggers", "nn", "reporting", "results",
        "runtime", "sweeps", "training",
    },
    "testing": {"assembly", "config", "data", "evaluation", "interfaces", "loggers", "results"},
    "__main__": {"commands", "config", "runtime"},
    "__init__": {"assembly", "commands", "config"},
}  # fmt: skip
LOOSE = {"figures", "interfaces", "__main__", "__init__"}  # modules that lie in no room
FLOORS = {  # of `data` and `evaluation`, by what they read -> floors that they may import
    "any": set(),
    "images": {"any"},
    "pairs": {"any", "images", "text"},
    "text": {"any"},
    "vectors": {"any"},
    "video": {"any", "images"},
}
FORBIDDEN = {  # room -> packages it must not import, anywhere in its files
    "interfaces": {"numpy", "pytorch_lightning", "hydra", "omegaconf", "wandb", "torchvision"},
    "nn": {"pytorch_lightning", "hydra", "omegaconf", "wandb"},
    "losses": {"pytorch_lightning", "hydra", "omegaconf", "wandb", "torchvision"},
    "views": {"pytorch_lightning", "hydra", "omegaconf", "wandb", "torchvision"},
    "backbones": {"pytorch_lightning", "hydra", "omegaconf", "wandb"},
    "objectives": {"pytorch_lightning", "hydra", "omegaconf", "wandb", "torchvision"},
    "evaluation": {"hydra", "omegaconf", "wandb", "matplotlib", "pytorch_lightning"},
    "results": {"torch", "pytorch_lightning", "hydra", "omegaconf", "wandb"},
    "reporting": {"torch", "pytorch_lightning", "hydra", "omegaconf", "wandb"},
    "loggers": {"pytorch_lightning", "hydra", "omegaconf"},
    "figures": {"torch"},
    "assembly": {"hydra", "omegaconf", "wandb"},
    "training": {"hydra", "omegaconf", "wandb"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += (
                [f"{node.module}.{alias.name}" for alias in node.names if alias.name != "__version__"]
                if node.module == "ssl_runner"
                else [node.module]
            )
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    own = room(path)
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "ssl_runner":
            assert parts[1] in OWN[own] | {own}, f"{own} must not import {name}"
        assert parts[0] not in FORBIDDEN.get(own, set()), f"{own} must not import {name}"


def test_no_two_rooms_import_each_other() -> None:
    """Not through others either; what the table allows and no file does is not in it."""
    used: dict[str, set[str]] = {name: set() for name in OWN}
    for path in FILES:
        used[room(path)] |= {name.split(".")[1] for name in imported(path) if name.startswith("ssl_runner.")}
    assert {name: rooms - {name} for name, rooms in used.items()} == OWN
    TopologicalSorter(OWN).prepare()  # raises CycleError


def test_the_drawing_shows_the_table() -> None:
    """Its arrows, and what follows from them, are the table's, but for the two modules that begin all."""
    page = (PACKAGE.parent / "docs" / "design.md").read_text(encoding="utf-8")
    drawn: dict[str, set[str]] = {name: set() for name in OWN}
    for importer, other in re.findall(r"^  (\w+) --> (\w+)$", page, re.MULTILINE):
        drawn[importer].add(other)

    def reached(name: str) -> set[str]:
        return drawn[name].union(*map(reached, drawn[name]))

    for name, rooms in OWN.items():
        if name not in ("__main__", "__init__"):
            assert drawn[name] <= rooms <= reached(name), name


def test_no_module_lies_outside_of_a_room() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == LOOSE
    assert {room(path) for path in FILES} == OWN.keys()


@pytest.mark.parametrize("name", ["data", "evaluation"])
def test_floors_import_what_all_share(name: str) -> None:
    for path in FILES:
        if room(path) != name or len(path.relative_to(PACKAGE).parts) < 3:
            continue
        floor = path.relative_to(PACKAGE).parts[1]
        for other in imported(path):
            parts = other.split(".")
            if parts[:2] == ["ssl_runner", name] and len(parts) > 2:
                assert parts[2] in FLOORS[floor] | {floor}, f"{path.name} must not import {other}"


def test_no_objective_imports_another() -> None:
    for path in (PACKAGE / "objectives").glob("*.py"):
        assert not [name for name in imported(path) if name.startswith("ssl_runner.objectives")], path.name
