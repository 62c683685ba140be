"""The environment of a run: package versions and the commit of the code. No paths, no names of machines or people."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from ssl_runner import __version__
from ssl_runner.config import plugins
from ssl_runner.results.result import Git

PACKAGES = (
    "torch", "torchvision", "pytorch-lightning", "torchmetrics", "hydra-core", "omegaconf", "numpy", "scikit-learn",
    "timm", "transformers",
)  # fmt: skip


class Environment(NamedTuple):
    versions: dict[str, str]
    git: Git | None  # None: not run from a git checkout of the project


def environment() -> Environment:
    """Versions of what decides a result, plugins included, and the commit of this package's checkout."""
    versions = {"python": platform.python_version(), "ssl-runner": __version__}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # an optional package
            continue
    return Environment(versions | plugins.versions(), _git(Path(__file__).resolve()))


def _git(file: Path) -> Git | None:
    """The commit that `file` belongs to. None where git does not track it, as inside a checkout not ours."""
    if _ask_git(file, "ls-files", "--error-unmatch", file.name) is None:
        return None
    commit, changes = _ask_git(file, "rev-parse", "HEAD"), _ask_git(file, "status", "--porcelain")
    return None if commit is None or changes is None else Git(commit=commit, dirty=bool(changes))


def _ask_git(file: Path, *words: str) -> str | None:
    quiet = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}  # looking must not get in the way of a commit
    try:
        done = subprocess.run(
            ["git", "-C", str(file.parent), *words], env=quiet, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
