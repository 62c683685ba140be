"""Published figures beside own ones."""

import pytest
from made_runs import made_config, made_metric, made_run

from ssl_runner.config.paths import options
from ssl_runner.reporting.comparison import compare
from ssl_runner.reporting.published import beside, figures, legend, plain, table


def test_every_figure_is_of_a_recipe_and_says_its_source() -> None:
    assert figures().keys() <= options("experiment").keys()
    for figure in figures().values():
        assert 0 < figure.value < 1
        assert "http" in figure.source or "github.com" in figure.source
        assert figure.differs


def test_a_setting_of_a_recipe_stands_beside_what_was_published() -> None:
    runs = []
    for seed, accuracy in enumerate((0.83, 0.85)):
        names = {"experiment": "cifar10/simclr_resnet18", "backbone": "resnet18"}
        config = made_config("simclr", "cifar", seed, names=names, batch_size=128) | {
            "budget": {"unit": "epochs", "amount": 20}
        }
        metrics = {"knn": {"pretrained": [made_metric(value=accuracy)]}}
        runs.append(made_run(f"r{seed}", config, metrics))
    (row,) = beside(compare(runs))
    assert row.own is not None
    assert (row.own.mean, row.own.n, row.published.value) == (pytest.approx(0.84), 2, 0.847)
    assert row.differs[-1] == "budget.amount is 20 here, 200 there"
    assert table([row]).row_count == 1
    assert legend([row])[0].startswith("cifar10/simclr_resnet18: https://docs.lightly.ai")
    assert plain([row])[0]["published"] == 0.847


def test_other_settings_stand_beside_nothing() -> None:
    assert beside(compare([made_run("a")])) == []
