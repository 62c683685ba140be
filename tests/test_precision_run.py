"""A run in either precision: its controls are the same, and it goes on in what it began in."""

import signal
from pathlib import Path

import pytest
import torch
from small_runs import do, in_batch

from ssl_runner.results.result import read_result
from ssl_runner.runtime.signals import Stopped
from ssl_runner.training import precision
from ssl_runner.training.precision import Decision


def test_controls_do_not_depend_on_the_precision_of_training(tmp_path: Path) -> None:
    """Nor on the number of steps; the pretrained encoder does."""
    asked = ["evaluation=[linear,knn,geometry]", "controls=[random_start,pixels]", "dataset.noise=0.6"]
    found = {}
    for choice in ("float32", "bfloat16"):
        result = read_result(do(tmp_path, f"trainer.precision={choice}", *asked))
        assert result.cost.precision == choice
        found[choice] = {(each.evaluator, each.subject): each.metrics for each in result.results}
    controls = [key for key in found["float32"] if key[1] != "pretrained"]
    assert {subject for _, subject in controls} == {"random_start", "pixels"}
    for key in controls:
        assert found["bfloat16"][key] == found["float32"][key]
    described = "geometry", "pretrained"
    assert found["bfloat16"][described] != found["float32"][described]


def test_a_run_of_auto_goes_on_in_the_precision_it_began_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also on another machine, where a new run would be trained in another."""
    monkeypatch.setattr(precision, "fastest", lambda device, network: Decision(torch.bfloat16, "auto: one machine"))
    with in_batch(5, lambda _: signal.raise_signal(signal.SIGTERM)), pytest.raises(Stopped):
        do(tmp_path, "trainer.precision=auto")
    assert "precision: bfloat16 (auto: one machine)" in capsys.readouterr().out
    monkeypatch.setattr(precision, "fastest", lambda device, network: Decision(torch.float32, "auto: another"))
    folder = do(tmp_path, "trainer.precision=auto")
    assert "precision: bfloat16 (as at the start of the run; a new run would be in float32 here: auto: another)" in (
        capsys.readouterr().out
    )
    assert read_result(folder).cost.precision == "bfloat16"
