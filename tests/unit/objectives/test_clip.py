"""CLIP: the loss in loops, in both directions; two encoders, of which one is kept; statistics of each view."""

import math

import numpy as np
import pytest
import torch
from composed import composed
from objective_cases import made
from PIL import Image

from ssl_runner.assembly import construct
from ssl_runner.commands.run import run
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.fit import check_fit, partners
from ssl_runner.config.request import RunRequest
from ssl_runner.config.schema import typed
from ssl_runner.interfaces import Batch, ImageSpec
from ssl_runner.objectives.clip import CLIP
from ssl_runner.results.result import read_result


def test_the_loss_is_the_mean_of_both_directions() -> None:
    objective, batch = made("clip")
    assert isinstance(objective, CLIP)
    objective.eval().double().requires_grad_(False)
    x, y = objective.split(batch._replace(data=batch.data.double(), other=batch.other.double()))
    a = torch.nn.functional.normalize(objective.projector(objective.encoder(x.first).pooled), dim=1)
    b = torch.nn.functional.normalize(objective.other_projector(objective.other(x.other).pooled), dim=1)
    temperature = objective.rule.watched()["temperature"].item()
    total = 0.0
    for one, other in ((a, b), (b, a)):
        for i in range(len(a)):
            scores = [float(one[i] @ other[j]) / temperature for j in range(len(a))]
            total += math.log(sum(math.exp(each) for each in scores)) - scores[i]
    assert objective.loss(x, y).value.item() == pytest.approx(total / (2 * len(a)), rel=1e-6)


def test_what_is_kept_is_the_encoder_of_the_first_view() -> None:
    objective, batch = made("clip")
    assert objective.exported is objective.encoder
    assert objective.second is objective.other
    x, _ = objective.split(batch)
    assert x.first is batch.data
    assert x.other is batch.other


def test_the_control_gives_every_second_view_to_another_example() -> None:
    objective, batch = made("clip")
    x, y = objective.split(batch)
    mixed, same = objective.shuffle(x, y)
    assert torch.equal(same, y)
    assert torch.equal(mixed.first, x.first)
    assert all(not torch.equal(one, other) for one, other in zip(mixed.other, x.other, strict=True))


def test_each_encoder_normalizes_by_its_own_view_and_a_run_finds_partners(tmp_path) -> None:
    words = ["dataset=halves", "dataset@dataset.images=fake_images", "dataset.kept=top", "domain=natural",
             "objective=clip", "objective.other.widths=[4,8]", "backbone.widths=[4,8]", "batch_size=16",
             "budget.unit=steps", "budget.amount=4", "evaluation=[linear,pretext]", "evaluation.linear.grid.steps=20",
             "evaluation.pretext.batch_size=16", "controls=[]", "logger=none", "trainer.accelerator=cpu",
             "dataset.images.examples=60", "dataset.images.test_examples=20"]  # fmt: skip
    result = read_result(run(RunRequest.of(composed(words, output=str(tmp_path)), words)))
    state = torch.load(next((tmp_path).rglob("last.ckpt")), weights_only=True)["state_dict"]
    means = [state[f"objective.{name}.normalize.mean"].tolist() for name in ("encoder", "other")]
    assert means[0] != means[1]
    names = {metric.name for each in result.results for metric in each.metrics}
    assert {"accuracy", "loss", "information_bound"} <= names


def test_an_encoder_of_text_learns_beside_one_of_images(tmp_path) -> None:
    """`illustrations`: the first view has no statistics; those of the images are of their encoder alone."""
    values = list(range(0, 120, 2))
    for value in values:
        Image.fromarray(np.full((8, 8), value, dtype=np.uint8)).save(tmp_path / f"{value}.png")
    lines = ["file,caption", *(f"{value}.png,image number {value}" for value in values)]
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    words = ["dataset=illustrations", f"dataset.path={tmp_path / 'captions.csv'}", "dataset.size=8", "dataset.length=8",
             "dataset.channels=1", "dataset.label_column=null", "objective=clip", "backbone=bert_tiny",
             "backbone.dim=16", "backbone.heads=2", "backbone@objective.other=convnet",
             "objective.other.widths=[4,8]", "batch_size=8",
             "budget.unit=steps", "budget.amount=2", "evaluation=[]", "controls=[]", "logger=none",
             "trainer.accelerator=cpu"]  # fmt: skip
    run(RunRequest.of(composed(words, output=str(tmp_path / "outputs")), words))
    state = torch.load(next(tmp_path.rglob("last.ckpt")), weights_only=True)["state_dict"]
    assert state["objective.other.normalize.mean"].item() == pytest.approx(59 / 255, abs=0.05)
    assert not [name for name in state if name.startswith("objective.encoder") and "normalize" in name]


def test_one_view_is_refused() -> None:
    config = typed(composed(["objective=clip", "evaluation=[]", "logger=none", "dataset=fake_images"]))
    with pytest.raises(ConfigError, match=r"reads two views of each example; .* has one. Datasets that fit: .*halves"):
        check_fit(config)
    assert "halves" in partners("objective", CLIP)["dataset"]
    assert "mnist" not in partners("objective", CLIP)["dataset"]


def test_an_encoder_of_another_kind_than_the_second_view_is_refused() -> None:
    config = typed(
        composed(["objective=clip", "backbone@objective.other=bert_tiny", "dataset=halves", "evaluation=[]"])
    )
    spec = construct.source(config)[1]
    with pytest.raises(ConfigError, match=r"objective.other reads text, and the second view of each example is images"):
        construct.objective(config, spec)
    with pytest.raises(ConfigError, match=r"objective.other: the dataset has no second view"):
        construct.objective(config, ImageSpec(channels=1, height=8, width=8))


def test_a_batch_of_one_example_or_one_view_is_refused() -> None:
    objective, batch = made("clip")
    with pytest.raises(ValueError, match="batch_size is 1"):
        objective.split(Batch(batch.data[:1], batch.label[:1], batch.index[:1], batch.other[:1]))
    with pytest.raises(ValueError, match="have one view"):
        objective.split(batch._replace(other=None))
