"""What may import what: the table of docs/design.md, held against every file."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ssl_runner"
OWN = {  # layer -> layers of this package that it may import
    "figures": set(),
    "metrics": set(),
    "interfaces": {"figures", "metrics"},
    "nn": {"interfaces"},
    "losses": {"interfaces", "nn"},
    "views": {"interfaces", "nn"},
    "backbones": {"interfaces", "nn"},
    "objectives": {"interfaces", "metrics", "nn", "losses", "views"},
    "data": {"interfaces"},
    "evaluation": {"interfaces", "figures", "metrics", "data", "nn"},
    "reporting": {"figures", "metrics", "plain_yaml", "terminal"},
    "loggers": {"metrics", "terminal"},
    "optim": set(),
    "memory": set(),
    "drawing": {"interfaces", "figures"},
    "precision": {"nn"},
    "training": {"interfaces", "nn", "optim", "config", "precision"},
    "callbacks": {"interfaces", "nn", "training", "data", "evaluation", "reporting"},
    "checkpoints": set(),
    "saving": {"checkpoints", "stopping", "strategies", "training"},
    "stopping": set(),
    "locking": set(),
    "world": {"config"},
    "strategies": {"nn", "world"},
    "secrets": set(),
    "terminal": {"secrets"},
    "plain_yaml": set(),
    "config": {"interfaces", "secrets", "terminal"},
    "composing": {"config", "plain_yaml"},
    "build": {"interfaces", "config", "optim", "nn", "loggers", "checkpoints", "plain_yaml"},
}
TOP = {"commands", "sweeps", "__main__", "__init__"}  # may import all of it
FORBIDDEN = {  # layer -> packages it must not import, anywhere in its files
    "interfaces": {"numpy", "pytorch_lightning", "hydra", "omegaconf", "wandb", "torchvision"},
    "nn": {"pytorch_lightning", "hydra", "omegaconf", "wandb"},
    "losses": {"pytorch_lightning", "hydra", "omegaconf", "wandb", "torchvision"},
    "views": {"pytorch_lightning", "hydra", "omegaconf", "wandb", "torchvision"},
    "backbones": {"pytorch_lightning", "hydra", "omegaconf", "wandb"},
    "objectives": {"pytorch_lightning", "hydra", "omegaconf", "wandb", "torchvision"},
    "evaluation": {"hydra", "omegaconf", "wandb", "matplotlib", "pytorch_lightning"},
    "reporting": {"torch", "pytorch_lightning", "hydra", "omegaconf", "wandb"},
    "loggers": {"pytorch_lightning", "hydra", "omegaconf"},
    "figures": {"torch"},
    "metrics": {"torch", "numpy"},
    "optim": {"pytorch_lightning", "hydra", "omegaconf"},
    "flops": {"pytorch_lightning", "hydra", "omegaconf"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def layer(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if node.module == "ssl_runner"
                else [node.module]
            )
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    own = layer(path)
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "ssl_runner" and own not in TOP:
            assert parts[1] in OWN[own] | {own}, f"{own} must not import {name}"
        assert parts[0] not in FORBIDDEN.get(own, set()), f"{own} must not import {name}"


def test_no_objective_imports_another() -> None:
    for path in (PACKAGE / "objectives").glob("*.py"):
        assert not [name for name in imported(path) if name.startswith("ssl_runner.objectives")], path.name


def test_every_layer_is_in_the_table() -> None:
    assert {layer(path) for path in FILES} == OWN.keys() | TOP
