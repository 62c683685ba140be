"""The config of a run that extends another, and what of it may differ."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from composed import composed
from small_runs import SMALL, do, weights

from ssl_runner.assembly import extension
from ssl_runner.assembly.extension import extended, with_run
from ssl_runner.commands.run import run
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.request import RunRequest
from ssl_runner.results.result import Name, Result, read_result, write_result

WORDS = [*SMALL, "schedule=constant"]


def made(folder: Path, *words: str) -> str:
    """A finished run of nothing but the files that an extension reads."""
    plain = composed([*WORDS, *words]) | {"contents": {}}
    name = Name(**{axis: plain["names"][axis] for axis in ("dataset", "objective", "backbone")})
    overrides = (*WORDS, *words, "resume=never", "sweep.name=mine")
    write_result(folder, Result(identity="0123456789", name=name, seed=0, status="done", command="", started="",
                                overrides=overrides, config=plain))  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(plain))
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").touch()
    return str(folder)


def asked(run: str, *words: str) -> dict[str, Any]:
    whole = with_run([f"extend={run}", *words])
    return extended(composed(whole), whole)


def test_what_is_not_said_is_as_it_was(tmp_path: Path) -> None:
    run = made(tmp_path / "a")
    found = asked(run, "budget.amount=16", "trainer.devices=2", "schedule=cosine")
    known = composed(WORDS)
    assert found["budget"] == {"unit": "steps", "amount": 16}
    assert found["trainer"]["devices"] == 2
    assert found["schedule"] == composed(["schedule=cosine"])["schedule"]
    assert found["names"] == known["names"] | {"schedule": "cosine"}
    assert (found["extend"], found["resume"]) == (run, "auto")
    assert {key for key in known if known[key] != found[key]} == {"budget", "trainer", "schedule", "names", "extend"}


def test_no_seed_of_a_setting_is_told_from_another_by_what_it_extends(tmp_path: Path) -> None:
    runs = [made(tmp_path / f"s{seed}", f"seed={seed}") for seed in (0, 1)]
    assert extension.fingerprint(runs[0]) == extension.fingerprint(runs[1])
    assert extension.fingerprint(runs[0]).startswith("8 steps, ")
    assert extension.fingerprint(made(tmp_path / "b", "batch_size=16")) != extension.fingerprint(runs[0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["budget.amount=8"], "has spent 8 steps: set it to more"),
        ([], "has spent 8 steps: set it to more"),
        (["budget.amount=9", "budget.unit=epochs"], "budget.unit is epochs, and steps in"),
        (["budget.amount=9", "seed=1"], "seed is 1, and 0 in"),
        (["budget.amount=9", "optimizer.lr=0.5"], "optimizer.lr is 0.5, and 0.002 in"),
        (["budget.amount=9", "objective=byol"], "objective is byol, and rotation in"),
    ],
)
def test_refusals(tmp_path: Path, words: list[str], said: str) -> None:
    run = made(tmp_path / "a")
    with pytest.raises(ConfigError, match=said):
        asked(run, *words)


def test_no_run_to_extend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not the folder of a finished run"):
        with_run([f"extend={tmp_path}"])
    assert with_run(["extend=null", "seed=1"]) == ["extend=null", "seed=1"]


@pytest.mark.parametrize("steps", [3, 4], ids=["an epoch", "within an epoch"])
def test_ends_as_a_run_of_that_length(tmp_path: Path, capsys: pytest.CaptureFixture[str], steps: int) -> None:
    """Under a schedule that does not depend on the budget, to the bit; under another identity, which says so."""
    first = do(tmp_path, "schedule=constant", f"budget.amount={steps}")
    capsys.readouterr()
    whole = do(tmp_path, "schedule=constant")
    assert f"extend={first}" in capsys.readouterr().out  # it is said that there is one to extend

    words = with_run([f"extend={first}", "budget.amount=8"])
    request = RunRequest.of(extended(composed([*SMALL, *words], output=str(tmp_path)), words))
    longer = run(request)
    assert longer not in (first, whole)
    assert weights(longer) == weights(whole)
    assert run(request) == longer  # it is finished
    about = read_result(longer).pretraining
    assert (about.steps, about.extends.steps, about.extends.budget) == (8, steps, f"{steps} steps")
    assert about.loss_first == read_result(first).pretraining.loss_first
    assert (longer / "metrics.csv").read_text().startswith((first / "metrics.csv").read_text())
    assert "extends run" in (longer / "report.html").read_text()
    assert read_result(first).pretraining.extends is None
