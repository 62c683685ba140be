"""What is installed is what is in the repository: built as pip builds it, without network."""

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import ssl_runner

ROOT = Path(__file__).parents[2]
pytest.importorskip("hatchling", reason="hatchling is not installed; it builds the wheel")


def build(source: Path, kind: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, text=True, timeout=60)
    (built,) = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


def files(folder: Path, under: str) -> set[str]:
    paths = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts and p.suffix != ".tmp")
    return {f"{under}/{p.relative_to(folder).as_posix()}" for p in paths}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))) as built:
        yield built


def test_the_wheel_holds_the_package_with_its_configs_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    expected = files(ROOT / "ssl_runner", "ssl_runner") | files(ROOT / "conf", "ssl_runner/conf")
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == expected
    assert "ssl_runner/conf/config.yaml" in held
    assert "ssl_runner/reporting/report.html.j2" in held
    assert "ssl_runner/reporting/card.md.j2" in held
    assert "ssl_runner/py.typed" in held  # or type checkers of those who use it read no annotation


def test_the_wheel_says_its_version_its_license_and_its_python(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = wheel.read(name).decode()
    assert f"\nVersion: {ssl_runner.__version__}\n" in metadata
    assert "\nLicense-Expression: MIT\n" in metadata
    assert "\nRequires-Python: >=3.11\n" in metadata
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())


def test_each_command_of_the_wheel_exists(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
    points = ConfigParser()
    points.read_string(wheel.read(name).decode())
    commands = dict(points["console_scripts"])
    assert commands.keys() == {"ssl-run", "ssl-evaluate", "ssl-compare", "ssl-export", "ssl-preview", "ssl-runs"}
    for command, target in commands.items():
        assert callable(EntryPoint(command, target, "console_scripts").load())


def test_a_wheel_built_from_the_source_archive_is_the_same(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    with tarfile.open(build(ROOT, "sdist", tmp_path)) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = (p for p in tmp_path.iterdir() if p.is_dir())
    with zipfile.ZipFile(build(source, "wheel", tmp_path)) as again:
        assert sorted(again.namelist()) == sorted(wheel.namelist())
        for name in again.namelist():
            assert again.read(name) == wheel.read(name), name
