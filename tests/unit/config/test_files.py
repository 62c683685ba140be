"""Config files are parsed once, and each composition gets a copy of its own."""

from pathlib import Path

import pytest
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf

from ssl_runner.config import files
from ssl_runner.config.compose import compose
from ssl_runner.config.files import Files, parsed_once
from ssl_runner.config.paths import conf_dir


def test_a_second_composition_parses_nothing_and_is_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["objective=rotation", "dataset=fake_images", "seed=3"]
    first = compose(words)
    monkeypatch.setattr(OmegaConf, "load", None)
    second = compose(words)
    assert first == second
    first["objective"]["views"] = first["backbone"]["widths"] = None
    assert compose(words) == second


def test_overrides_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_parsed", {})
    usual = compose(["dataset=fake_images"])
    compose(["dataset=fake_images", "backbone.widths=[3]", "+sweep.settings.x=1", "~optimizer.lr", "objective=mae"])
    assert compose(["dataset=fake_images"]) == usual


def test_a_file_that_changes_is_parsed_again() -> None:
    def result(value: int) -> ConfigResult:
        return ConfigResult(provider="test", path="test", config=OmegaConf.create({"a": value}), header={})

    found = parsed_once("test", (1, 10), lambda: result(1))
    OmegaConf.update(found.config, "a", 5)
    assert parsed_once("test", (1, 10), lambda: result(2)).config == {"a": 1}
    assert parsed_once("test", (2, 10), lambda: result(3)).config == {"a": 3}


def test_files_of_others_are_read_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may change within the time that a file system tells apart."""
    monkeypatch.setattr(files, "_parsed", {})
    source = Files("test", str(tmp_path))
    for text in ("a: 1", "a: 2"):
        (tmp_path / "mine.yaml").write_text(text)
        assert OmegaConf.to_yaml(source.load_config("mine").config).strip() == text
    assert not files._parsed
    Files("main", str(conf_dir())).load_config("config")
    assert len(files._parsed) == 1
