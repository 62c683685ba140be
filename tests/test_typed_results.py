"""No meaning in a name: nothing of a result is found by taking the name of a metric, an evaluator or a figure apart."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READ = ("ssl_runner/reporting", "ssl_runner/evaluation", "ssl_runner/commands", "scripts")
APART = {"partition", "rpartition", "startswith", "endswith", "removeprefix", "removesuffix", "stem"}
PATTERNS = {"match", "fullmatch", "search", "findall", "finditer", "sub", "compile"}
ALLOWED = {}


def taken_apart(path: Path) -> Iterator[tuple[str, int]]:
    """(function, line) of each call that takes a text apart; `split` counts where it is that of text, not of tensors."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside: dict[ast.AST, str] = {}
    for node in ast.walk(tree):
        own = node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else None
        for child in ast.iter_child_nodes(node):
            inside[child] = ".".join(filter(None, [inside.get(node, ""), own]))
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=name)) if name in APART:
                yield inside[node], node.lineno
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=name)) if name in PATTERNS:
                yield inside[node], node.lineno
            case ast.Call(func=ast.Attribute(attr="split" | "rsplit"), args=[]):
                yield inside[node], node.lineno
            case ast.Call(func=ast.Attribute(attr="split" | "rsplit"), args=[ast.Constant(value=str()), *_]):
                yield inside[node], node.lineno
            case ast.Attribute(attr="stem"):
                yield inside[node], node.lineno


for folder in READ:
    for path in sorted((ROOT/folder).rglob("*.py")):
        for f,l in taken_apart(path): print(path.relative_to(ROOT), f, l, path.read_text().splitlines()[l-1].strip()[:110])
