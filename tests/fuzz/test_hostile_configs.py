"""Configs from elsewhere that set things of Hydra's own node, built from its schema: each is refused in words, or does
nothing that a config without them would not do."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import hydra_schema
import pytest
import yaml
from bounded import bounded, listing
from hydra.errors import HydraException
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from ssl_runner.__main__ import main
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.loader import Loader, compose_line
from ssl_runner.runtime.terminal import shown

KEY = "0123456789abcdef0123456789abcdef01234567"
KEYS = hydra_schema.keys()
TOP = sorted({key.split(".")[0] for key in KEYS})
WORDS = st.sampled_from([
    "${oc.env:SOME_API_KEY}", "proof", "../proof", "/tmp/proof", "", "null", "pkg://antigravity", "file:///etc", "???",
    "${now:%f}", "${hydra:runtime.cwd}", "${nope}", "a[/x]b", "\x1b[2J", "MULTIRUN", "RUN", "x" * 500, "true", "*", "@",
    "sweep.settings.setup=[touch proof]", "+hydra.job.env_set.X=1", "os.mkdir", "ssl_runner.config.compose.compose",
])  # fmt: skip
OBJECTS = st.sampled_from([
    {"_target_": "os.mkdir", "path": "proof"}, {"_target_": "subprocess.Popen", "args": ["touch", "proof"]},
    {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper", "params": {"+hydra.job.chdir": "true"}},
    {"()": "os.mkdir", "path": "proof"}, {"version": 1, "root": {}, "formatters": {"a": {"()": "os.mkdir"}}},
    {"_target_": "torch.hub.download_url_to_file", "url": "file:///etc/passwd", "dst": "proof"}, {}, {"a": {"b": []}},
])  # fmt: skip
VALUES = st.one_of(
    WORDS, WORDS, OBJECTS, OBJECTS, st.booleans(), st.none(), st.integers(-(2**70), 2**70), st.floats(),
    st.lists(WORDS, max_size=3), st.dictionaries(st.text(max_size=5), WORDS, max_size=2), st.text(max_size=10),
)  # fmt: skip
MODES = st.one_of(st.sampled_from(["RUN", "MULTIRUN", None]), VALUES)


def nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def merged(*nodes: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for node in nodes:
        for key, value in node.items():
            both = isinstance(value, dict) and isinstance(found.get(key), dict)
            found[key] = merged(found[key], value) if both else value
    return found


@st.composite
def configs(draw: st.DrawFn) -> tuple[dict[str, str], list[str], bool]:
    """Files of a folder of configs (name -> text), the command line's words, and whether they must be refused."""
    known = [*sorted(KEYS), *TOP, "brand_new", "job.brand_new"]
    some = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3))
    nodes = [
        nested(key, hydra_schema.other_value(KEYS[key]) if key in KEYS and draw(st.booleans()) else draw(VALUES))
        for key in some
    ]
    node = merged(*nodes)
    how = draw(
        st.sampled_from(["node", "node", "header", "deep header", "option", "params", "primary", "mode", "line"])
    )
    words = ["experiment=evil"]
    text: Any
    if how == "mode":
        mode = draw(MODES)
        text = {"hydra": {"mode": mode}}
        allowed = mode is None or mode in ("RUN", "MULTIRUN")
        return {"experiment/evil": written("_global_", text)}, words, not allowed
    if how == "line":  # what the command line may not set either
        return {"experiment/evil": written("_global_", {"seed": 1})}, [*words, f"+hydra.{some[0]}=evil"], True
    if how == "node":
        return {"experiment/evil": written("_global_", {"hydra": node})}, words, True
    if how == "primary":
        text = {"defaults": ["config", "_self_"], "hydra": node}
        return {"mine": written("_global_", text)}, ["--config-name", "mine"], True
    if how == "params":
        value = draw(st.one_of(WORDS, st.lists(WORDS, min_size=1, max_size=2)))
        text = {
            "hydra": {"mode": "MULTIRUN"},
            "sweep": {"params": {f"{draw(st.sampled_from(['', '+', '++']))}hydra.{some[0]}": value}},
        }
        return {"experiment/evil": written("_global_", text)}, words, True
    if how == "option":
        group = draw(st.sampled_from(["launcher", "sweeper", "job_logging", "hydra_logging", "help", "env", "output"]))
        text = written("_global_", {"defaults": [{f"override /hydra/{group}": "evil"}]})
        return {"experiment/evil": text, f"hydra/{group}/evil": written(f"hydra.{group}", node)}, words, False
    if how == "header":
        return {"experiment/evil": written("hydra", node)}, words, False
    first = draw(st.sampled_from(TOP))
    return {"experiment/evil": written(f"hydra.{first}", node)}, words, False


def written(package: str, content: Any) -> str:
    return f"# @package {package}\n{yaml.safe_dump(content)}"


def held(cfg: Any, words: list[str]) -> None:
    """Hydra's node is as Hydra has it, by each key that it would act on."""
    node: Any = OmegaConf.to_container(cfg.hydra, resolve=False)
    assert node["overrides"] == {"hydra": [], "task": words}
    assert (node["callbacks"], node["searchpath"], node["job"]["env_set"], node["job"]["env_copy"]) == ({}, [], {}, [])
    assert node["sweeper"]["params"] is None
    for name in ("sweeper", "launcher"):
        assert node[name]["_target_"].startswith("hydra._internal.core_plugins.basic_")
    assert node["run"]["dir"].startswith("outputs/${now:")
    assert node["output_subdir"] == ".hydra"
    assert not node["job"]["chdir"]


def try_all(
    place: Path, count: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Counter[str]:
    found: Counter[str] = Counter()
    monkeypatch.setenv("SOME_API_KEY", KEY)
    environment = dict(os.environ)

    @seed(20)
    @settings(
        max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(configs(), st.integers(0, 39))
    def each(case: tuple[dict[str, str], list[str], bool], number: int) -> None:
        files, words, must = case
        for old in place.rglob("*.yaml"):
            old.unlink()
        for name, text in files.items():
            file = place / "configs" / f"{name}.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        before = listing(place)
        with bounded(place):
            said = whole(words) if number == 0 else composed(words)
        found["refused" if said else "valid"] += 1
        assert said or not must, (files, words)
        assert KEY not in said, (files, words)
        assert "Traceback" not in said
        assert "\x1b" not in said
        assert len(said) < 20_000
        assert listing(place) == before
        assert environment.items() <= os.environ.items()
        assert all(name.startswith(("TORCH", "PYTORCH")) for name in os.environ.keys() - environment.keys())  # its own

    def composed(words: list[str]) -> str:
        """What is said of it; nothing, where it composes and does no harm."""
        named = words[:1] == ["--config-name"]
        name, line = (words[1], []) if named else ("config", words)
        try:
            cfg, several = compose_line(Loader("configs"), name, line, False)
            if several:
                return whole(words)
            held(cfg, line)
        except ConfigError as error:
            return shown("\n".join(error.problems))
        except HydraException as error:
            return shown(str(error)) or "refused"
        return ""

    def whole(words: list[str]) -> str:
        monkeypatch.setattr("sys.argv", ["ssl-run", "--config-dir", "configs", *words, "check=true", "logger=none"])
        try:
            main()
            code: Any = 0
        except SystemExit as ended:
            code = ended.code
        said = capfd.readouterr()
        assert code in (0, 2, None), said.err
        return said.err if code == 2 else ""

    each()
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "around" / "work").mkdir(parents=True)
    return tmp_path / "around" / "work"


@pytest.mark.thorough
def test_some_hostile_configs(place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = try_all(place, 80, capfd, monkeypatch)
    assert found["refused"] >= 40
    assert found["valid"]


@pytest.mark.slow
def test_hostile_configs(place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = try_all(place, 2000, capfd, monkeypatch)
    print(dict(found))
    assert found.total() >= 2000
