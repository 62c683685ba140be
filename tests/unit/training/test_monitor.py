"""The monitor: what it measures, and that training does not notice it."""

import csv
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from undrawn import undrawn

from ssl_runner import load_encoder
from ssl_runner.assembly import construct
from ssl_runner.commands.run import run
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.request import RunRequest
from ssl_runner.config.schema import typed
from ssl_runner.data.any.module import DataModule
from ssl_runner.data.any.splits import nested_subsets
from ssl_runner.interfaces import Examples
from ssl_runner.results.result import Result, read_result
from ssl_runner.training import monitor

SMALL = [
    "dataset=fake_images", "dataset.examples=200", "dataset.test_examples=40", "dataset.height=8", "dataset.width=8",
    "dataset.noise=0.6", "backbone.widths=[8,16]", "batch_size=32", "logger=csv", "budget.unit=steps",
    "budget.amount=8", "trainer.validations=2", "trainer.log_every_n_steps=4", "trainer.precision=float32",
    "trainer.accelerator=cpu", "evaluation=[]", "controls=[]",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _undrawn() -> Iterator[None]:
    with undrawn():
        yield


def do(output: Path, *overrides: str) -> tuple[Path, Result]:
    plain = compose([*SMALL, f"output={output}", *overrides])
    folder = run(RunRequest.of(plain, list(overrides)))
    return folder, read_result(folder)


def curve(folder: Path) -> dict[int, float]:
    """step -> val/knn_accuracy"""
    rows = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    return {int(row["step"]): float(row["val/knn_accuracy"]) for row in rows if row.get("val/knn_accuracy")}


def test_it_is_the_vote_of_nearest_neighbors_at_each_validation(tmp_path: Path) -> None:
    """The last one, at the end of training, against scikit-learn's on the exported encoder."""
    folder, _ = do(tmp_path, "trainer.monitor_examples=60")
    found = curve(folder)
    assert list(found) == [4, 8]
    source, spec = construct.source(typed(compose(SMALL)))
    data = DataModule(source, batch_size=32, seed=0)
    encoder = load_encoder(folder)
    features, labels = [], []
    for split, count in (("train", 60), ("val", 20)):
        examples = data.examples(split)
        share = count / len(examples.label)
        (chosen,) = nested_subsets(examples.label, fractions=[share], per_class=[], seed=0).values()
        assert len(chosen) == count
        with torch.no_grad():
            features.append(encoder(spec.to_input(examples.data[chosen])).pooled.numpy())
        labels.append(examples.label[chosen].numpy())
    nearest = KNeighborsClassifier(20, metric="cosine", weights=lambda far: np.exp((1 - far) / 0.07))
    expected = nearest.fit(features[0], labels[0]).score(features[1], labels[1])
    assert found[8] == pytest.approx(expected)
    assert expected > 0.3  # of ten classes


def test_training_does_not_notice_it(tmp_path: Path) -> None:
    """The same weights to the last bit, the same losses, the same identity; with BatchNorm, views and an odd batch."""
    (off, plain), (on, watched) = do(tmp_path / "off"), do(tmp_path / "on", "trainer.monitor_examples=37")
    assert list(curve(on)) == [4, 8]
    assert not curve(off)
    assert off.name == on.name
    weights = [(folder / "encoder" / "encoder.safetensors").read_bytes() for folder in (off, on)]
    assert weights[0] == weights[1]
    assert plain.pretraining == watched.pretraining
    states = [torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for folder in (off, on)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_its_seconds_are_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that jumps by 1,000 s at each vote."""
    jumped, real, vote = [0.0], time.monotonic, monitor.vote

    def slow_vote(*given: object, **settings: object) -> torch.Tensor:
        jumped[0] += 1000.0
        return vote(*given, **settings)

    monkeypatch.setattr(time, "monotonic", lambda: real() + jumped[0])
    monkeypatch.setattr(monitor, "vote", slow_vote)
    folder, result = do(tmp_path, "trainer.monitor_examples=20")
    assert jumped == [2000.0]
    assert result.cost.seconds < 900
    assert result.cost.examples_per_second > 8 * 32 / 900
    rows = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    assert all(float(row["seconds"]) < 900 for row in rows)


def losses(folder: Path) -> dict[int, float]:
    """step -> train/loss"""
    rows = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    return {int(row["step"]): float(row["train/loss"]) for row in rows if row.get("train/loss")}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_first_loss_is_that_of_the_first_step(tmp_path: Path, accumulate: int) -> None:
    """Whenever the logs are read; of several batches a step, their mean."""
    words = [f"trainer.accumulate={accumulate}", "trainer.watch_every=0"]
    every, _ = do(tmp_path / "every", "trainer.log_every_n_steps=1", *words)
    for often in (3, 100):
        folder, result = do(tmp_path / str(often), f"trainer.log_every_n_steps={often}", *words)
        assert next(iter(losses(folder))) > 1
        assert result.pretraining.loss_first == pytest.approx(losses(every)[1], rel=1e-6)


@pytest.mark.parametrize(("asked", "of_each"), [(1, [1, 1, 1]), (12, [6, 3, 3]), (24, [12, 6, 6]), (100, [12, 6, 6])])
def test_those_who_vote_are_stratified_and_all_where_there_are_fewer(asked: int, of_each: list[int]) -> None:
    label = torch.tensor([0, 1, 0, 2]).repeat(6)
    chosen = monitor._few(Examples(10 * torch.arange(24), label), asked)
    assert chosen.label.bincount().tolist() == of_each
    assert torch.equal(chosen.label, label[chosen.data // 10])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["dataset.classes=0"], "trainer.monitor_examples is 20; dataset=fake_images has no labels"),
        (["trainer.validations=0"], "trainer.monitor_examples is 20, and trainer.validations is 0"),
        (["trainer.monitor_examples=-1"], "trainer.monitor_examples is -1; it must be 0 or more"),
    ],
)
def test_refusals(tmp_path: Path, overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        do(tmp_path / "out", "trainer.monitor_examples=20", "check=true", *overrides)
    assert not (tmp_path / "out").exists()
