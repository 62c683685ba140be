"""Up to how many labels pretraining pays."""

import math
from collections.abc import Mapping

import pytest
from made_runs import made_config, made_metric, made_run

from ssl_runner.reporting.comparison import compare
from ssl_runner.reporting.comparison_figures import comparison_figures
from ssl_runner.reporting.payoff import Crossing, crossing, figure, payoffs, sentence
from ssl_runner.reporting.statistics import Interval
from ssl_runner.results.result import Pretraining, Run

LABELS = (0.01, 0.1, 1.0)  # of 1,000


def gains(*means: float, half: float = 0.0) -> dict[int, Interval]:
    return {10 ** (1 + place): Interval(mean, mean - half, mean + half, 3) for place, mean in enumerate(means)}


def test_a_gain_ends_on_a_straight_line_over_the_logarithm() -> None:
    assert crossing(gains(0.2, 0.1, -0.1), rising=False).at == pytest.approx(10**2.5)
    found = crossing(gains(0.2, 0.1, -0.1, half=0.1), rising=False)
    assert (found.low, found.high) == pytest.approx((100, 1000))
    assert crossing(gains(-0.1, 0.1, 0.1), rising=True).at == pytest.approx(10**1.5)
    rising = crossing(gains(-0.2, 0.1, 0.3, half=0.1), rising=True)
    assert rising.low < rising.at < rising.high


def test_a_gain_may_end_beyond_what_was_tried() -> None:
    assert crossing(gains(0.3, 0.2, 0.1), rising=False) == Crossing(math.inf, math.inf, math.inf)
    assert crossing(gains(-0.3, 0.2, -0.1), rising=False).at == 0
    assert math.isnan(crossing({10: Interval(1, math.nan, math.nan, 1)}, rising=False).low)


def run(objective: str, seed: int, size: int | None, accuracies: Mapping[float, float], **more: object) -> Run:
    config = made_config("rotation", seed=seed, **more)
    config["names"]["objective"] = objective
    target = "ssl_runner.objectives.none.Nothing" if objective == "none" else "Rotation"
    config |= {"pretrain_examples": size, "objective": {"_target_": target}}
    metrics = [made_metric(value=value, condition={"labels": share}) for share, value in accuracies.items()]
    steps = 0 if objective == "none" else 10
    return made_run(
        f"{objective}-{size}-{seed}",
        config,
        {"few_label_finetune": {"pretrained": metrics}},
        seed=seed,
        pretraining=Pretraining(epochs=1, steps=steps, examples=steps),
        data={"train": 1000, "pretrain": size or 900},
    )


def runs() -> list[Run]:
    """Pretraining on 100 examples pays up to 31 labels, on all 900 at any number."""
    found = []
    for seed in range(3):
        noise = 0.001 * seed
        found.append(run("none", seed, 100, dict(zip(LABELS, (0.4, 0.6, 0.9), strict=True))))
        some = (0.5 + noise, 0.5 - noise, 0.8)
        found.append(run("rotation", seed, 100, dict(zip(LABELS, some, strict=True))))
        found.append(run("rotation", seed, None, dict(zip(LABELS, (0.6, 0.7, 0.95), strict=True))))
    return found


def test_it_is_found_in_the_runs() -> None:
    comparison = compare(runs())
    ((dataset, found),) = payoffs(comparison).items()
    assert dataset == "mnist"
    assert [(each.way, each.examples) for each in found] == [("rotation", 100), ("rotation", 900)]
    assert found[0].crossing.at == pytest.approx(10**1.5, rel=0.02)
    assert found[1].crossing.at == math.inf
    said = sentence(dataset, found)
    assert "rotation on 900 examples pays at all numbers of labels that were tried (10 to 1,000" in said
    assert "with 10 labels it pays by rotation from 100 examples on, the fewest that were tried" in said
    lines = figure(dataset, found)
    assert lines.x == [100, 900]
    assert lines.y["rotation"] == pytest.approx([10**1.5, 1000], rel=0.02)
    first = comparison_figures(comparison)[0]
    assert (first.name, first.figure) == ("pretraining-pays-on-mnist", lines)


def test_without_untrained_runs_nothing_is_said() -> None:
    assert payoffs(compare([each for each in runs() if each.result.name.objective != "none"])) == {}
