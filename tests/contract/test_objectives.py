"""What every objective promises, for every YAML in conf/objective; and with networks of libraries, for all that fit."""

import copy
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
from objective_cases import TRAINED

from ssl_runner.assembly import construct
from ssl_runner.config.paths import conf_dir
from ssl_runner.config.schema import Config, typed
from ssl_runner.config.signatures import locate
from ssl_runner.data.any.tensors import Splits
from ssl_runner.data.any.tensors import chosen as taken
from ssl_runner.interfaces import (
    Batch,
    BiCausalEncoder,
    CausalEncoder,
    ClipEncoder,
    CountEncoder,
    FrameEncoder,
    ImageSpec,
    MixtureEncoder,
    Objective,
    PatchEncoder,
    TextSpec,
    TubeEncoder,
    VectorSpec,
    VideoSpec,
    WordEncoder,
)
from ssl_runner.testing import objectives
from ssl_runner.testing.objectives import (  # noqa: F401
    loss,
    tensors,
    test_a_prediction_has_the_form_of_y,
    test_a_reconstruction_is_an_image,
    test_every_trainable_parameter_gets_a_gradient,
    test_every_trainable_parameter_is_in_one_group,
    test_loss_is_a_finite_scalar_and_moves_no_state,
    test_shuffling_breaks_the_tie_and_nothing_else,
    test_split_leaves_batch_and_module_unchanged_and_repeats_under_a_seed,
    test_state_round_trips,
    test_what_shows_a_collapse_is_logged_and_has_not_come,
)

PATCHES = ["backbone=vit_micro", "backbone.dim=32", "backbone.depth=1", "backbone.heads=2"]
BACKBONE = {"mae": PATCHES, "ijepa": PATCHES, "simmim": PATCHES, "ibot": PATCHES,
            "vq": ["backbone.widths=[8,16,16]"]}  # fmt: skip
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
        for name in TRAINED:
            if (network, name) in libraries.TOO_SMALL or (reads is TextSpec and target(name).reads_pairs):
                continue  # the second: pairs of texts are read from files
            hints = get_type_hints(target(name).__init__)
            if issubclass(backbone, hints["encoder"]) and issubclass(reads, hints["spec"]):
                found.append(f"{name}{ON}{network}")
    return found


def config_on(name: str, network: str) -> Config:
    option, settings = libraries.NETWORKS[network]
    libraries.needs(option)
    backbone = locate(yaml.safe_load((conf_dir() / "backbone" / f"{option}.yaml").read_text())["_target_"])
    text = get_type_hints(backbone.__init__)["spec"] is TextSpec
    images = ["dataset=halves" if target(name).reads_pairs else "dataset=fake_images"]
    data = made_text.overrides() if text else images
    chosen = typed(composed([*SMALL, *data, f"objective={name}", f"backbone={option}"]))
    chosen.backbone.update(settings)
    if name == "vq":
        spec = construct.source(chosen)[1]
        assert isinstance(spec, ImageSpec)
        side = construct.encoder(chosen.backbone, spec).map(spec.to_input(spec.fake(1))).shape[-1]
        chosen.objective["decoder_widths"] = [8] * (
            (spec.width // side).bit_length() - 1
        )  # as often as the network halves the sides
    if issubclass(backbone, PatchEncoder) and name in ("dino", "lejepa", "swav"):
        chosen.objective["small_views"]["size"] = None  # it reads images of one size
    return chosen


def config(name: str) -> Config:
    if ON in name:
        return config_on(*name.split(ON))
    hints = get_type_hints(target(name).__init__)
    if issubclass(TextSpec, hints["spec"]) and hints["spec"] is TextSpec:
        data = made_text.overrides()
        backbone = READERS.get(hints["encoder"], ["backbone=bert_tiny", "backbone.depth=1"])
    elif hints["spec"] is VectorSpec:
        data, backbone = ["dataset=linear_gaussian"], ["backbone=mlp", "backbone.widths=[16]"]
    elif hints["spec"] is VideoSpec:
        data, backbone = CLIPS, OF_MAPS if name == "next_frame" else WATCHERS[hints["encoder"]]
    else:
        pairs = target(name).reads_pairs
        data, backbone = (
            ["dataset=halves" if pairs else "dataset=fake_images"],
            BACKBONE.get(name, ["backbone.widths=[8,16]"]),
        )
        if hints["encoder"] is MixtureEncoder:
            backbone = ["backbone=mixture", "backbone.components=4"]
    return typed(composed([*SMALL, *data, f"objective={name}", *backbone]))


@cache
def original(name: str) -> tuple[Objective, Batch]:
    chosen = config(name)
    source, spec = construct.source(chosen)
    data = Splits(source)
    if isinstance(spec, TextSpec):  # exact once it is read, as in a run
        spec = replace(source.spec, size=len(data.examples("train").label))
    batch = taken(data, "train", torch.arange(16), torch.device("cpu"))
    made = construct.objective(chosen, spec)
    if ON in name:  # statistics of batches, without which deep networks give next to nothing in eval mode
        with torch.no_grad():
            for _ in range(20):
                made.encoder(batch.data)
    return made, batch


@pytest.fixture(params=[*TRAINED, *(pytest.param(each, marks=pytest.mark.slow) for each in on_libraries())])
def task(request: pytest.FixtureRequest) -> tuple[Objective, Batch]:
    return copy.deepcopy(original(request.param))


test_a_few_steps_on_one_batch_lower_the_loss = pytest.mark.sampled(12)(
    objectives.test_a_few_steps_on_one_batch_lower_the_loss
)


def test_objectives_are_found() -> None:
    assert {"simclr", "rotation", "mae", "autoencoder", "supervised"} <= set(TRAINED)


@pytest.mark.parametrize("name", TRAINED)
def test_the_docstring_says_the_equation(name: str) -> None:
    text = locate(config(name).objective["_target_"]).__doc__
    assert text
    assert "x =" in text
    assert "loss =" in text
    assert name == "supervised" or "Differs from" in text


@pytest.mark.parametrize("example", ["window", "sentence"])
@pytest.mark.parametrize(
    "name", [each for each in TRAINED if get_type_hints(target(each).__init__)["spec"] is TextSpec]
)
@pytest.mark.sampled(8)
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
