"""sweep=does_it_pay, from end to end: it says its cost, begins when told to, and ends with a sentence and a picture."""

import re
from pathlib import Path

import pytest
from composed import composed
from small_runs import SMALL
from undrawn import undrawn

from ssl_runner.commands import estimate
from ssl_runner.commands.sweep import sweep
from ssl_runner.config.loader import Loader
from ssl_runner.config.request import RunRequest

WORDS = [
    *[word for word in SMALL if not word.startswith(("objective", "evaluation"))], "sweep=does_it_pay",
    "evaluation.few_label_finetune.fractions=[0.1,0.3,1.0]", "evaluation.few_label_finetune.recipe.least_steps=5",
    "evaluation.few_label_finetune.recipe.epochs=1", "objective=none,rotation", "pretrain_examples=32,64", "seed=0,1",
]  # fmt: skip


@pytest.mark.slow
def test_it_asks_before_it_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = sweep(Loader(None), "config", [], [*WORDS, f"output={tmp_path}"])
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"6 runs, \d at a time: about .* on this machine, .*; nothing was begun: add yes=true", said)
    assert asked.answer()["hours"] > 0
    assert not list(tmp_path.iterdir())
    swept = sweep(Loader(None), "config", [], [*WORDS, f"output={tmp_path}", "yes=true"])
    assert swept.code == 0
    assert [each.state for each in swept.outcomes] == ["done"] * 6
    assert "Does pretraining pay on fake_images?" in capsys.readouterr().out
    page = (swept.folder / "compare.html").read_text()
    assert "Where pretraining pays" in page
    sizes = {run.result.data["pretrain"] for setting in swept.comparison.settings for run in setting.runs.values()}
    assert {32, 64} <= sizes


def test_the_cost_of_a_run_is_that_of_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that ticks once a step: what starts a run is counted once, every step of it as one."""
    words = [*SMALL, "evaluation=[]"]
    request = RunRequest.of(composed(words))
    monkeypatch.setattr(estimate, "seconds_of", lambda config, judged: float(config.budget.amount))
    longer = RunRequest.of(composed([*words, "budget.amount=20"]))
    again = RunRequest.of(composed([*words, "seed=1"]))
    found = estimate.estimate([request, again, longer], runs=3, slots=2, threads=1)
    assert (found.seconds, found.hours) == (8 + 8 + 20, 36 / 2 / 3600)
    assert str(found).startswith("3 runs, 2 at a time: about 18 s on this machine")


@pytest.mark.slow
def test_a_few_steps_foretell_many(tmp_path: Path) -> None:
    """Within a factor of three of what the run then takes, on a machine that does other work too."""
    words = [
        *SMALL, "dataset.examples=400", "dataset.height=24", "dataset.width=24", "backbone.widths=[32,64]",
        "budget.amount=150", "evaluation=[few_label_finetune]", "evaluation.few_label_finetune.fractions=[0.3,1.0]",
        "evaluation.few_label_finetune.recipe.epochs=4", "evaluation.few_label_finetune.recipe.least_steps=50",
    ]  # fmt: skip
    request = RunRequest.of(composed(words, output=str(tmp_path)))
    foretold = estimate.seconds_of(request.config, {})
    from ssl_runner.commands.run import run
    from ssl_runner.results.result import read_result

    with undrawn():
        cost = read_result(run(request)).cost
    took = cost.seconds + cost.evaluation_seconds
    assert took / 3 < foretold < 3 * took
