"""What is said of words that name no key: those of other tools, of Hydra, and mistyped ones."""

import pytest

from ssl_runner.config import hints
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.paths import groups

KEYS = [
    "batch_size", "budget.amount", "budget.unit", "optimizer", "optimizer.lr", "optimizer.weight_decay", "dataset",
    "evaluation.knn.temperature", "objective.loss.temperature", "trainer.precision", "schedule.warmup",
]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("lr", "did you mean optimizer.lr?"),
        ("trainer.lr", "did you mean optimizer.lr?"),
        ("learning-rate", "did you mean optimizer.lr?"),
        ("temperature", "did you mean evaluation.knn.temperature or objective.loss.temperature?"),
        ("max_epochs", "did you mean budget.amount? (its unit is budget.unit, epochs by default)"),
        ("FP16", "did you mean trainer.precision?"),
        ("data", "did you mean dataset?"),
        ("batch_sise", "did you mean batch_size?"),
        ("image_size", "this dataset's images keep their size; image_folder and its kin resize by dataset.size"),
        ("num_workers", "examples lie in memory and views are made on the device, so there are no workers"),
    ],
)
def test_a_hint_names_the_key_that_is_meant(key: str, said: str) -> None:
    assert hints.hint(key, KEYS) == f"; {said}"


def test_a_dataset_of_files_has_what_others_lack() -> None:
    assert hints.hint("image_size", [*KEYS, "dataset.size"]) == "; did you mean dataset.size?"


def test_there_is_no_hint_where_nothing_is_near() -> None:
    assert hints.hint("zzzzzz", KEYS) == ""
    assert hints.hint("world_size", ["seed"]) == ""


def test_every_key_that_a_hint_names_exists() -> None:
    """Of the default config, or of a dataset of files."""
    known = set(groups())
    for words in ([], ["dataset=image_folder", "dataset.path=x"], ["dataset=mnist"]):
        pairs: list[tuple[str, object]] = list(compose(words).items())
        while pairs:
            key, value = pairs.pop()
            known.add(key)
            if isinstance(value, dict):
                pairs += [(f"{key}.{name}", each) for name, each in value.items()]
    assert {key for meant in hints.BORROWED.values() for key in meant.keys} <= known


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("hydra/launcher=submitit_local", "sweep.engine chooses where runs are executed"),
        ("hydra.launcher.cpus=2", "sweep.settings sets the engine"),
        ("hydra/sweeper=optuna", "sweep.search chooses how runs are found"),
        ("hydra.sweep.dir=here", "output sets the folder of all runs"),
    ],
)
def test_keys_of_hydra_are_refused_with_what_does_it_here(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        compose([override])
