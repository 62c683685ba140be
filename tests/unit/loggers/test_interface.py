import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ssl_runner.loggers.interface import Loggers, RunLogger
from ssl_runner.results.metrics import Metric, share

CONF = Path(__file__).parents[3] / "conf"


class Noted(RunLogger):
    def __init__(self, name: str, calls: list[object], fails_at: str = "") -> None:
        self.name, self.calls, self.fails_at = name, calls, fails_at

    def _note(self, *call: object) -> None:
        self.calls.append((self.name, *call))
        if call[0] == self.fails_at:
            raise OSError(f"{self.name} fails")

    def open(self, resume_step: int | None = None) -> None:
        self._note("open", resume_step)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self._note("metrics", dict(metrics), step)

    def log_config(self, config: Mapping[str, object]) -> None:
        self._note("config", dict(config))

    def log_summary(self, summary: Mapping[str, Metric]) -> None:
        self._note("summary", dict(summary))

    def log_figures(self, figures: Mapping[str, Path]) -> None:
        self._note("figures", dict(figures))

    def finish(self, success: bool) -> None:
        self._note("finish", success)


def test_several_loggers_are_each_told_everything() -> None:
    calls: list[object] = []
    both = Loggers([Noted("a", calls), Noted("b", calls)])
    both.open(7)
    both.log_config({"x": 1})
    both.log_metrics({"loss": 0.5}, 8)
    both.log_summary({"acc": share("acc", 0.9)})
    both.log_figures({"f": Path("f.png")})
    both.finish(success=True)
    expected = [
        ("open", 7),
        ("config", {"x": 1}),
        ("metrics", {"loss": 0.5}, 8),
        ("summary", {"acc": share("acc", 0.9)}),
        ("figures", {"f": Path("f.png")}),
        ("finish", True),
    ]
    assert calls == [(name, *call) for call in expected for name in "ab"]


def test_if_one_cannot_be_opened_those_before_it_are_closed() -> None:
    calls: list[object] = []
    with pytest.raises(OSError, match="b fails"):
        Loggers([Noted("a", calls), Noted("b", calls, "open"), Noted("c", calls)]).open()
    assert calls == [("a", "open", None), ("b", "open", None), ("a", "finish", False)]


def test_all_are_finished_even_if_one_fails_at_it() -> None:
    calls: list[object] = []
    with pytest.raises(OSError, match="a fails"):
        Loggers([Noted("a", calls, "finish"), Noted("b", calls)]).finish(success=False)
    assert calls == [("a", "finish", False), ("b", "finish", False)]


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("csv", ["csv"]),
        ("wandb", ["csv", "wandb"]),
        ("tensorboard", ["csv", "tensorboard"]),
        ("none", []),
        ("[wandb,tensorboard]", ["csv", "wandb", "tensorboard"]),
        ("[tensorboard,csv]", ["csv", "tensorboard"]),
    ],
)
def test_configs_compose_and_name_each_parameter_of_their_class(choice: str, names: list[str]) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(overrides=[f"+logger={choice}"])
    nodes = OmegaConf.to_container(cfg.logger, resolve=True)
    assert sorted(nodes) == sorted(names)
    for node in nodes.values():
        module, name = node.pop("_target_").rsplit(".", 1)
        parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
        assert list(node) == [key for key in parameters if key != "context"]
        assert all(p.default is p.empty for p in parameters.values())
