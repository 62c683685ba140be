"""Every backbone of conf/ as a parameter of tests: the first of each class is quick, further ones are slow."""

from typing import Any

import libraries
import pytest
import yaml

from ssl_runner.config.paths import conf_dir


def each_backbone() -> list[Any]:
    """In the order of their names. A library's own networks (`libraries.SMALLER`) take seconds, and are slow."""
    seen: set[str] = set()
    found: list[Any] = []
    for path in sorted((conf_dir() / "backbone").glob("*.yaml")):
        target = yaml.safe_load(path.read_text())["_target_"]
        quick = target not in seen and path.stem not in libraries.SMALLER
        found.append(path.stem if quick else pytest.param(path.stem, marks=pytest.mark.slow))
        seen.add(target)
    return found
