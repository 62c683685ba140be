import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

import ssl_runner
from ssl_runner.reporting import environment as module
from ssl_runner.reporting.environment import environment
from ssl_runner.results.result import Git


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose `ours.py` plays the module."""
    git(tmp_path, "init", "-q")
    (tmp_path / "ours.py").write_text("1")
    git(tmp_path, "add", "ours.py")
    git(tmp_path, "commit", "-qm", "first")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "ours.py"))
    return tmp_path


def test_versions_are_those_installed() -> None:
    versions = environment().versions
    assert versions["python"] == platform.python_version()
    assert versions["torch"] == version("torch")
    assert versions["ssl-runner"] == ssl_runner.__version__  # of the code that runs, whatever was installed
    assert not any("/" in text for text in versions.values())


def test_a_package_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGES", ("numpy", "no-such-package-at-all"))
    assert set(environment().versions) == {"python", "ssl-runner", "numpy"}


def test_the_commit_and_whether_the_code_differs_from_it(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert environment().git == Git(commit=commit, dirty=False)
    (checkout / "ours.py").write_text("2")
    assert environment().git == Git(commit=commit, dirty=True)


def test_another_project_s_checkout_is_not_ours(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "installed.py").write_text("1")
    monkeypatch.setattr(module, "__file__", str(checkout / "installed.py"))
    assert environment().git is None


def test_a_machine_without_git(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    assert environment().git is None
