"""scripts/label_free.py: which figure without labels ranks encoders rightly, from recorded runs."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from label_free import LEAST, Correlation, Recorded, read_ranking, settings_of, table
from made_runs import made_config, made_metric, made_run
from records import Record

RANKING = read_ranking()


def recorded(place: int, seed: int, objective: str, numbers: Mapping[str, float], loss: float) -> Recorded:
    """A run with an accuracy, figures and a pretext loss; `place`: of its setting."""
    config = made_config(objective, seed=seed, batch_size=place)
    geometry = [made_metric(name, value) for name, value in numbers.items() if name != "accuracy"]
    metrics = {
        "linear": {"pretrained": {"accuracy": numbers["accuracy"]}},
        "geometry": {"pretrained": geometry},
        "pretext": {"pretrained": [made_metric("loss", loss)]},
    }
    terms = {"pretext": {"objective": objective}}
    result = made_run(f"{objective}-{place}-{seed}", config, metrics, terms=terms, seed=seed).result
    return Recorded("digits", Record("", config, {}), result)


def runs(seeds: int = 2) -> list[Recorded]:
    """Two objectives of `LEAST` settings each. RankMe agrees with accuracy, alpha is best at 1, LiDAR misleads, and the
    loss falls with accuracy within a task, and not over both."""
    found = []
    for offset, objective in enumerate(("mae", "rotation")):
        for place in range(LEAST):
            good = place + 0.5 * offset
            for seed in range(seeds):
                figures = {
                    "accuracy": 0.5 + 0.05 * good,
                    "rankme": 3 + good,
                    "lidar": 9 - good,
                    "alpha": 1 - (9 - good),
                }
                found.append(recorded(place, seed, objective, figures, 10 * offset + 7 - good))
    return found


def test_settings_are_means_over_their_seeds() -> None:
    settings = list(settings_of(RANKING, runs()))
    assert [(each.group, each.objective, each.outcome) for each in settings[:1]] == [("digits", "mae", "linear")]
    assert len(settings) == 2 * LEAST
    assert settings[2].accuracy == pytest.approx(0.6)
    assert settings[2].figures["alpha-ReQ"] == pytest.approx(-7)  # its distance from 1


def test_the_table_says_which_figure_ranks_as_labels_do() -> None:
    rows = [line.split(" | ") for line in table(RANKING, list(settings_of(RANKING, runs())), {}).splitlines()[2:]]
    assert [row[1] for row in rows] == ["2 objectives", "mae", "rotation", ""]
    across, within, _, pooled = rows
    assert [cell[:5] for cell in across[3:6]] == ["1.00 ", "-1.00", "1.00 "]
    assert across[6].startswith("-")  # losses of two tasks
    assert within[6].startswith(f"1.00 ({Correlation(1.0, LEAST).bounds[0]:.2f} to 1.00, n = {LEAST})")
    assert pooled[6].startswith("1.00")


def test_too_few_settings_are_not_ranked() -> None:
    few = [run for run in runs() if run.record.config["batch_size"] < LEAST - 1 and run.result.name.objective == "mae"]
    assert table(RANKING, list(settings_of(RANKING, few)), {}).startswith("No recorded group")


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Against draws: pairs of normal numbers, whose rank correlation follows from their correlation."""
    from scipy.stats import spearmanr

    truth, n, draws = 6 / math.pi * math.asin(0.6 / 2), 15, 400
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(draws):
        x, noise = generator.normal(size=(2, n))
        low, high = Correlation(float(spearmanr(x, 0.6 * x + 0.8 * noise)[0]), n).bounds
        held += low <= truth <= high
    assert 0.92 < held / draws < 0.98
