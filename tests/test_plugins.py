"""Plugins: the package in examples/plugin takes part where it is enabled, and nowhere else."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ssl_runner import load_encoder
from ssl_runner.commands.job import work
from ssl_runner.config import plugins
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.fit import fitting
from ssl_runner.config.loader import Loader
from ssl_runner.config.paths import groups, options
from ssl_runner.config.schema import typed
from ssl_runner.sweeps.engines.cluster import Task, _do

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "plugin"
OWN = {
    "objective": "upside_down", "backbone": "two_layers", "dataset": "dots", "evaluation": "centroids",
    "objective/views": "dimmed", "logger": "json_lines",
}  # fmt: skip
SMALL = [
    "dataset=dots", "dataset.examples=40", "dataset.test_examples=20", "dataset.side=8", "backbone=two_layers",
    "backbone.width=4", "objective=upside_down", "batch_size=8", "budget.unit=steps", "budget.amount=2",
    "evaluation=[centroids]", "controls=[]", "logger=json_lines", "trainer.accelerator=cpu", "trainer.validations=0",
    "trainer.watch_every=0",
]  # fmt: skip


@pytest.fixture
def enabled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example as if it were installed, named in the variable."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.setenv(plugins.VARIABLE, "my_ssl")
    plugins._enabled.cache_clear()
    yield
    plugins._enabled.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "my_ssl"]:
        del sys.modules[name]


def command(module: str, *words: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if key != plugins.VARIABLE} | variables
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), variables.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", module, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def package(folder: Path, **files: str) -> None:
    """A package `mine` in the folder, with these files besides; "conf__objective__x" is conf/objective/x.yaml."""
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "__init__.py").touch()
    for name, text in files.items():
        file = folder / "mine" / f"{name.replace('__', '/')}{'.yaml' if name.startswith('conf') else '.py'}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


# ------------------------------------------------------------------------------------------------------ what is enabled


@pytest.mark.usefixtures("enabled")
def test_all_that_finds_options_sees_them() -> None:
    for group, name in OWN.items():
        assert name in options(group), group
    assert set(groups()) >= set(OWN)
    assert "upside_down" in fitting("objective", lambda cls: cls.__name__ == "UpsideDown")
    config = typed(compose([*SMALL, "objective=simclr", "objective/views=dimmed"]))
    assert config.objective["views"]["_target_"] == "my_ssl.dimmed.Dimmed"
    assert plugins.versions() == {"my_ssl": "0.1.0"}


def test_nothing_of_it_is_known_otherwise(tmp_path: Path) -> None:
    for group, name in OWN.items():
        assert name not in options(group), group
    node = {"_target_": "my_ssl.upside_down.UpsideDown", "probability": 0.5}
    with pytest.raises(ConfigError, match=r"not allowed.*--plugin my_ssl, or SSL_RUNNER_PLUGINS=my_ssl"):
        typed(compose([]) | {"objective": node})
    assert "my_ssl" not in sys.modules


@pytest.mark.parametrize("target", ["os.mkdir", "ssl_runner_evil.X", "torch.nn.Linear", "my_ssl", "a b.c", "no", ".x"])
def test_no_hint_to_enable_what_can_be_no_plugin(target: str) -> None:
    hint = plugins.missing(target)
    assert (hint != "") == (target == "ssl_runner_evil.X")


def test_a_config_enables_none(tmp_path: Path) -> None:
    """Whatever it holds; nor does a job file, or the config of an exported encoder."""
    package(tmp_path, task="raise SystemExit('it was imported')")
    node = {"_target_": "mine.task.Task"}
    claims = {"plugin": "mine", "plugins": ["mine"], plugins.VARIABLE: "mine"}
    (tmp_path / "experiment").mkdir()
    evil = yaml.safe_dump({**claims, "objective": node})
    (tmp_path / "experiment" / "evil.yaml").write_text(f"# @package _global_\n{evil}")
    done = command("ssl_runner", "--config-dir", ".", "experiment=evil", "check=true", folder=tmp_path)
    assert done.returncode == 2
    assert "mine" in done.stderr
    job = {"sweep": "s", "label": "l", "overrides": [], "config": compose([]) | {"objective": node}} | claims
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    done = command("ssl_runner.commands.job", "job.yaml", folder=tmp_path)
    assert done.returncode == 2
    assert "not allowed" in done.stderr
    (tmp_path / "encoder.safetensors").touch()
    about = {"backbone": node, "spec": {"_target_": "ssl_runner.interfaces.ImageSpec"}} | claims
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(about))
    with pytest.raises(ValueError, match="--plugin mine"):
        load_encoder(tmp_path)


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_such_package", "no package no_such_package is installed"),
        ("os", "is no package of yours"),
        ("ssl_runner", "is no package of yours"),
        ("a-b", "is not the name of a Python package"),
        ("../evil", "is not the name of a Python package"),
        ("no_such_package.inside", "no package no_such_package.inside"),
    ],
)
def test_a_package_that_cannot_take_part_is_refused(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(plugins.VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=re.escape(said)):
        plugins.enable([name])
    assert plugins.VARIABLE not in os.environ
    monkeypatch.setenv(plugins.VARIABLE, name)
    with pytest.raises(ConfigError, match=f"{plugins.VARIABLE}.*{re.escape(said)}"):
        plugins.enabled()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"conf__objective__simclr": "_target_: mine.X"}, "objective=simclr is an option of ssl_runner already"),
        ({"conf__evaluation__linear": "_target_: mine.X"}, "evaluation=linear is an option of ssl_runner already"),
        ({"conf__evaluation__mine__x": "_target_: mine.X"}, "evaluation/mine is no folder of options"),
        ({"conf__objectives__x": "_target_: mine.X"}, "conf/objectives is no folder of options"),
        ({"conf__config": "a: 1"}, "is no folder of options"),
    ],
)
def test_options_that_cannot_be_told_apart_are_refused(
    files: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, **files)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(plugins.VARIABLE, "mine")
    plugins._enabled.cache_clear()
    with pytest.raises(ConfigError, match=said):
        Loader()
    plugins._enabled.cache_clear()


@pytest.mark.parametrize("code", ["raise KeyError('x')", "import no_such_module", "class Task("])
@pytest.mark.thorough
def test_a_class_that_cannot_be_imported_is_said(code: str, tmp_path: Path) -> None:
    package(tmp_path, task=code, conf__objective__tilt="_target_: mine.task.Task")
    done = command("ssl_runner", "--plugin", "mine", "objective=tilt", "check=true", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: objective._target_: 'mine.task.Task' cannot be imported: ")
    assert "Traceback" not in done.stderr


# ------------------------------------------------------------------------------------------------------------ processes


def test_processes_to_come_are_given_the_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those on other machines too: by the environment, and never by a job's file."""
    package(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.setenv(plugins.VARIABLE, "")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    assert plugins.environment() == {}
    plugins.enable(["mine"])
    given = {plugins.VARIABLE: "mine", "PYTHONPATH": f"/elsewhere{os.pathsep}{tmp_path}"}
    assert plugins.environment() == given
    (tmp_path / "show.py").write_text("import os; print(os.environ['SSL_RUNNER_PLUGINS'], os.environ['PYTHONPATH'])")
    task = Task("show", tmp_path / "job.yaml", tmp_path / "log")
    remote = plugins.environment()
    monkeypatch.setenv(plugins.VARIABLE, "")
    monkeypatch.setenv("PYTHONPATH", "")
    assert task() == 0
    assert _do("show", "job.yaml", str(tmp_path / "log"), remote) == 0
    line = f"mine {given['PYTHONPATH']}\n"
    assert (tmp_path / "log").read_text() == line * 2
    plugins._enabled.cache_clear()


@pytest.mark.usefixtures("enabled")
def test_a_job_s_file_names_no_plugin_and_needs_none(tmp_path: Path) -> None:
    job = {"sweep": "s", "label": "l", "overrides": [], "config": compose([*SMALL, f"output={tmp_path / 'outputs'}"])}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    assert work(tmp_path / "job.yaml") == 0
    (result,) = tmp_path.glob("outputs/*/*/result.json")
    assert json.loads(result.read_text())["versions"]["my_ssl"] == "0.1.0"


@pytest.mark.slow
def test_the_example_installed_swept_and_evaluated_again(tmp_path: Path) -> None:
    """As docs/extending.md has it: its options are there in a sweep, an evaluation, a comparison and for an encoder."""
    site, folder = tmp_path / "site", tmp_path / "work"
    folder.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*install, "--target", str(site), str(EXAMPLE)], check=True, capture_output=True)
    here = {"PYTHONPATH": str(site)}
    done = command("ssl_runner", "-m", *SMALL, "seed=0,1", folder=folder, **here)
    assert done.returncode == 0, done.stderr
    runs = sorted(folder.glob("outputs/*/*/result.json"))
    assert len(runs) == 2
    result = json.loads(runs[0].read_text())
    assert result["versions"]["my_ssl"] == "0.1.0"
    assert shlex.split(result["command"])[:2] == ["ssl-run", SMALL[0]]  # its installation enables it
    run = str(runs[0].parent.relative_to(folder))
    done = command("ssl_runner.commands.evaluate", f"run={run}", "evaluation=[knn]", folder=folder)
    assert done.returncode == 2
    assert "my_ssl" in done.stderr
    words = ("ssl_runner.commands.evaluate", f"run={run}", "evaluation=[knn]")
    done = command(*words, folder=folder, **here)
    assert done.returncode == 0, done.stderr
    done = command("ssl_runner.commands.compare", "outputs", folder=folder)
    assert "centroids" in done.stdout
    code = f"from ssl_runner import load_encoder; print(type(load_encoder({run!r}).encoder).__name__)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])}
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "TwoLayers\n"


@pytest.mark.slow
def test_a_run_on_several_devices_has_the_plugin_of_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "my_ssl").symlink_to(EXAMPLE / "my_ssl")
    words = ("--plugin", "my_ssl", *SMALL, "trainer.devices=2", "evaluation=[]")
    done = command("ssl_runner", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (result,) = tmp_path.glob("outputs/*/*/result.json")
    assert shlex.split(json.loads(result.read_text())["command"])[:3] == ["ssl-run", "--plugin", "my_ssl"]


@pytest.mark.thorough
def test_the_example_keeps_the_contracts() -> None:
    words = ("pytest", "-v", "-p", "no:cacheprovider", "--ssl-runner-plugin", "my_ssl")
    done = command(*words, folder=EXAMPLE, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stdout
    tried = ("gradient", "splits_have_examples", "finding_promises", "views_have", "is_logged", "shapes_are")
    assert all(part in done.stdout for part in (*tried, *(f"[{name}" for name in OWN.values())))


@pytest.mark.thorough
def test_a_class_that_keeps_no_contract_fails(tmp_path: Path) -> None:
    """A dataset that is another at each loading."""
    code = (EXAMPLE / "my_ssl" / "dots.py").read_text().replace("manual_seed(self.seed)", "manual_seed(torch.seed())")
    options = (EXAMPLE / "my_ssl" / "conf" / "dataset" / "dots.yaml").read_text().replace("my_ssl", "mine")
    package(tmp_path, dots=code, conf__dataset__dots=options)
    done = command("pytest", "-q", "-k", "loading", "--ssl-runner-plugin", "mine", folder=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "test_loading_repeats_and_leaves_the_global_generator[dots]" in done.stdout
