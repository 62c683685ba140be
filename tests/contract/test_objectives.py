"""What every objective promises, for every YAML in conf/objective; and with networks of libraries, for all that fit."""

import copy
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_type_hints

import libraries
import made_bert
import made_text
import pytest
import torch
import yaml
from composed import composed

from ssl_runner.assembly import construct
from ssl_runner.config.paths import conf_dir
from ssl_runner.config.schema import Config, typed
from ssl_runner.config.signatures import locate
from ssl_runner.interfaces import (
    Batch,
    BiCausalEncoder,
    CausalEncoder,
    ClipEncoder,
    CountEncoder,
    FrameEncoder,
    Objective,
    PatchEncoder,
    Predicts,
    Reconstructs,
    TextSpec,
    TubeEncoder,
    VideoSpec,
    WordEncoder,
)

OBJECTIVES = sorted(path.stem for path in (conf_dir() / "objective").glob("*.yaml"))
BACKBONE = {"mae": ["backbone=vit_micro", "backbone.dim=32", "backbone.depth=1", "backbone.heads=2"]}
SMALL = ["evaluation=[]", "logger=none"]
READERS = {  # of text: kind of encoder -> one that is small
    CausalEncoder: ["backbone=gpt_tiny", "backbone.depth=1"],
    BiCausalEncoder: ["backbone=bilstm", "backbone.width=16"],
    WordEncoder: ["backbone=word_vectors", "backbone.width=16"],
    CountEncoder: ["backbone=ngram"],
}
CLIPS = ["dataset=moving_digits", "dataset.color=true", "dataset.frames=16", "dataset.side=16", "dataset.digit_side=8",
         "dataset.clips=16", "dataset.val_clips=4", "dataset.test_clips=4"]  # fmt: skip
OF_MAPS = ["backbone=per_frame", "backbone.image.widths=[8,16]"]  # for what does not read the pooled vector
WATCHERS = {  # of clips, likewise
    ClipEncoder: ["backbone=per_frame", "backbone.pool=lstm", "backbone.image.widths=[8,16]"],
    FrameEncoder: ["backbone=per_frame", "backbone.image.widths=[8,16]"],
    TubeEncoder: ["backbone=vivit_micro", "backbone.dim=24", "backbone.depth=1"],
}


ON = " on "  # between an objective and a network of `libraries.NETWORKS`


@cache
def target(name: str) -> type[Objective]:
    return locate(yaml.safe_load((conf_dir() / "objective" / f"{name}.yaml").read_text())["_target_"])


def on_libraries() -> list[str]:
    """Every objective with every network of a library that its annotations allow."""
    found = []
    for network, (option, _) in libraries.NETWORKS.items():
        backbone = locate(yaml.safe_load((conf_dir() / "backbone" / f"{option}.yaml").read_text())["_target_"])
        reads = get_type_hints(backbone.__init__)["spec"]
        for name in OBJECTIVES:
            hints = get_type_hints(target(name).__init__)
            if issubclass(backbone, hints["encoder"]) and issubclass(reads, hints["spec"]):
                found.append(f"{name}{ON}{network}")
    return found


def config_on(name: str, network: str) -> Config:
    option, settings = libraries.NETWORKS[network]
    libraries.needs(option)
    backbone = locate(yaml.safe_load((conf_dir() / "backbone" / f"{option}.yaml").read_text())["_target_"])
    text = get_type_hints(backbone.__init__)["spec"] is TextSpec
    chosen = typed(
        composed(
            [*SMALL, *(made_text.overrides() if text else ["dataset=fake_images"]), f"objective={name}",
             f"backbone={option}"]
        )
    )  # fmt: skip
    chosen.backbone.update(settings)
    if issubclass(backbone, PatchEncoder) and name in ("dino", "swav"):
        chosen.objective["small_views"]["size"] = None  # it reads images of one size
    return chosen


def config(name: str) -> Config:
    if ON in name:
        return config_on(*name.split(ON))
    hints = get_type_hints(target(name).__init__)
    if issubclass(TextSpec, hints["spec"]) and hints["spec"] is TextSpec:
        data = made_text.overrides()
        backbone = READERS.get(hints["encoder"], ["backbone=bert_tiny", "backbone.depth=1"])
    elif hints["spec"] is VideoSpec:
        data, backbone = CLIPS, OF_MAPS if name == "next_frame" else WATCHERS[hints["encoder"]]
    else:
        data, backbone = ["dataset=fake_images"], BACKBONE.get(name, ["backbone.widths=[8,16]"])
    return typed(composed([*SMALL, *data, f"objective={name}", *backbone]))


@cache
def original(name: str) -> tuple[Objective, Batch]:
    chosen = config(name)
    source, spec = construct.source(chosen)
    data = source.load()["train"]
    if isinstance(spec, TextSpec):  # exact once it is read, as in a run
        spec = replace(source.spec, size=len(data.label))
    batch = Batch(spec.to_input(data.data[:16]), data.label[:16], torch.arange(16))
    made = construct.objective(chosen, spec)
    if ON in name:  # statistics of batches, without which deep networks give next to nothing in eval mode
        with torch.no_grad():
            for _ in range(20):
                made.encoder(batch.data)
    return made, batch


@pytest.fixture(params=[*OBJECTIVES, *(pytest.param(each, marks=pytest.mark.slow) for each in on_libraries())])
def task(request: pytest.FixtureRequest) -> tuple[Objective, Batch]:
    return copy.deepcopy(original(request.param))


def tensors(value: torch.Tensor | Iterable[torch.Tensor]) -> list[torch.Tensor]:
    return [value] if isinstance(value, torch.Tensor) else list(value)


def loss(objective: Objective, batch: Batch, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return objective.loss(*objective.split(batch)).value


def test_objectives_are_found() -> None:
    assert {"simclr", "rotation", "mae", "autoencoder", "supervised"} <= set(OBJECTIVES)


def test_split_leaves_batch_and_module_unchanged_and_repeats_under_a_seed(task: tuple[Objective, Batch]) -> None:
    objective, batch = task
    before, state = copy.deepcopy(batch), copy.deepcopy(objective.state_dict())
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append([each for part in objective.split(batch) for each in tensors(part)])
    for first, second in zip(*drawn, strict=True):
        assert torch.equal(first, second)
    for now, then in zip(batch, before, strict=True):
        assert torch.equal(now, then)
    for name, value in objective.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_loss_is_a_finite_scalar_and_moves_no_state(task: tuple[Objective, Batch]) -> None:
    objective, batch = task
    state = copy.deepcopy(objective.state_dict())
    value = loss(objective, batch)
    assert value.shape == ()
    assert torch.isfinite(value)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for name, now in objective.state_dict().items():
        assert name.endswith(statistics) or torch.equal(now, state[name]), name


def test_what_shows_a_collapse_is_logged_and_has_not_come(task: tuple[Objective, Batch]) -> None:
    objective, batch = task
    logs = objective.eval().loss(*objective.split(batch)).logs
    assert all(logs[name].item() > floor for name, floor in objective.floors.items())
    assert objective.collapse


def test_every_trainable_parameter_gets_a_gradient(task: tuple[Objective, Batch]) -> None:
    objective, batch = task
    loss(objective, batch).backward()
    for name, parameter in objective.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


def test_every_trainable_parameter_is_in_one_group(task: tuple[Objective, Batch]) -> None:
    objective, _ = task
    grouped = [id(p) for group in objective.groups() for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in objective.parameters() if p.requires_grad)


def test_a_few_steps_on_one_batch_lower_the_loss(task: tuple[Objective, Batch]) -> None:
    objective, batch = task
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        torch.manual_seed(0)
        found = objective.loss(*objective.split(batch))
        found.value.backward()
        optimizer.step()
        if isinstance(objective.encoder, CountEncoder):  # it learns by counting alone
            objective.after_step([found.carry], 0.5)
        losses.append(found.value.item())
    assert sum(losses[-3:]) < sum(losses[:3])


def test_state_round_trips(task: tuple[Objective, Batch]) -> None:
    objective, batch = task
    objective.eval()
    twin = copy.deepcopy(objective)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    twin.load_state_dict(objective.state_dict())
    with torch.no_grad():
        assert torch.equal(loss(objective, batch), loss(twin, batch))


def test_shuffling_breaks_the_tie_and_nothing_else(task: tuple[Objective, Batch]) -> None:
    objective, batch = task
    torch.manual_seed(3)
    x, y = objective.split(batch)
    given, state = copy.deepcopy((x, y)), copy.deepcopy(objective.state_dict())
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        drawn.append(objective.shuffle(x, y))
    parts, before = ([*tensors(a), *tensors(b)] for a, b in (drawn[0], (x, y)))
    assert [type(part) for part in drawn[0]] == [type(x), type(y)]
    assert all(torch.equal(a, b) for a, b in zip(parts, [*tensors(drawn[1][0]), *tensors(drawn[1][1])], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, [*tensors(given[0]), *tensors(given[1])], strict=True))
    assert all(torch.equal(value, state[name]) for name, value in objective.state_dict().items())
    assert [(part.shape, part.dtype) for part in parts] == [(part.shape, part.dtype) for part in before]
    assert not all(torch.equal(a, b) for a, b in zip(parts, before, strict=True))
    assert torch.isfinite(objective.loss(*drawn[0]).value)
    if type(objective).shuffle is Objective.shuffle:  # x as it was, each y once, at another example
        assert drawn[0][0] is x
        assert all(len(part) == len(batch.data) for part in tensors(y))
        assert rows(drawn[0][1]) == rows(y)


def rows(y: object) -> list[tuple[bytes, ...]]:
    """The examples of y, in an order that does not depend on theirs."""
    return sorted(tuple(part.numpy().tobytes() for part in each) for each in zip(*tensors(y), strict=True))


def test_a_prediction_has_the_form_of_y(task: tuple[Objective, Batch]) -> None:
    objective, batch = task
    if not isinstance(objective, Predicts):
        pytest.skip("offers no prediction")
    objective.eval()
    x, y = objective.split(batch)
    with torch.no_grad():
        predicted = objective.predict(x)
    assert type(predicted) is type(y)
    for ours, theirs in zip(tensors(predicted), tensors(y), strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype


def test_a_reconstruction_is_an_image(task: tuple[Objective, Batch]) -> None:
    objective, batch = task
    if not isinstance(objective, Reconstructs):
        pytest.skip("reconstructs nothing")
    objective.eval()
    x, _ = objective.split(batch)
    with torch.no_grad():
        image = objective.reconstruct(x)
    assert image.shape == batch.data.shape
    assert image.min() >= 0
    assert image.max() <= 1
    values, hidden = objective.compared(batch.data), objective.hidden(x)
    assert hidden.dtype is torch.bool
    assert hidden.shape == values.shape
    assert hidden.flatten(1).any(dim=1).all()
    assert torch.allclose(objective.compared(image)[~hidden], values[~hidden], atol=1e-6)  # what is shown is right
    assert "pixels" in objective.hides()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_docstring_says_the_equation(name: str) -> None:
    text = locate(config(name).objective["_target_"]).__doc__
    assert text
    assert "x =" in text
    assert "loss =" in text
    assert name == "supervised" or "Differs from" in text


@pytest.mark.parametrize("example", ["window", "sentence"])
@pytest.mark.parametrize(
    "name", [each for each in OBJECTIVES if get_type_hints(target(each).__init__)["spec"] is TextSpec]
)
def test_texts_cut_by_a_published_tokenizer(name: str, example: str, tmp_path: Path) -> None:
    """Whatever is drawn of words is of ordinary ids, and what is special in y has the vocabulary's own ids."""
    (tmp_path / "tokenizer.json").write_text(made_bert.tokenizer(made_text.words()).to_str())
    more = [f"dataset.tokenizer={tmp_path}", f"dataset.example={example}", f"objective={name}"]
    hints = get_type_hints(target(name).__init__)
    backbone = READERS.get(hints["encoder"], ["backbone=bert_tiny", "backbone.depth=1"])
    if name == "bert":
        more.append(f"objective.next_sentence={int(example == 'window')}")
    chosen = typed(composed([*SMALL, *made_text.overrides(), *more, *backbone]))
    source, _ = construct.source(chosen)
    data = source.load()["train"]
    spec = replace(source.spec, size=len(data.label))
    assert isinstance(spec, TextSpec)
    assert spec.special == made_bert.IDS
    ids = spec.to_input(data.data[:16])
    assert set(ids[spec.special.among(ids)].tolist()) <= {0, 101, 102}
    objective = construct.objective(chosen, spec)
    assert torch.isfinite(loss(objective, Batch(ids, data.label[:16], torch.arange(16))))
    x, y = objective.split(Batch(ids, data.label[:16], torch.arange(16)))
    for part in (x, y):
        for each in tensors(part):
            if each.dtype == torch.int64 and each.ndim > 1 and name != "simcse":  # its y are places, no ids
                assert not torch.isin(each, torch.tensor([1, 2, 3, 4, 5])).any()  # [unused0] and so on
