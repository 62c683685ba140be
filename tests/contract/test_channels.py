"""Every objective of images learns from images of any number of channels, or says that it needs color."""

from dataclasses import replace
from typing import Any, get_type_hints

import libraries
import pytest
import torch
import yaml
from backbones import each_backbone
from composed import composed
from objective_cases import BACKBONES, SMALL

from ssl_runner.assembly import check, construct
from ssl_runner.assembly.construct import objective
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.paths import conf_dir
from ssl_runner.config.schema import Config, typed
from ssl_runner.config.signatures import locate
from ssl_runner.data.any.tensors import fake_batch
from ssl_runner.interfaces import ImageSpec, MixtureEncoder, PatchEncoder
from ssl_runner.training.task_figures import task_pictures

NEED_COLOR = {"colorization"}
CHANNELS = [1, 2, 4, 13]


def target(name: str) -> type[Any]:
    return locate(yaml.safe_load((conf_dir() / "objective" / f"{name}.yaml").read_text())["_target_"])


OBJECTIVES = sorted(
    path.stem
    for path in (conf_dir() / "objective").glob("*.yaml")
    if target(path.stem).trains and issubclass(ImageSpec, get_type_hints(target(path.stem).__init__)["spec"])
)


def config(name: str, channels: int, *more: str) -> Config:
    encoder = get_type_hints(target(name).__init__)["encoder"]
    backbone = BACKBONES[encoder] if encoder in (PatchEncoder, MixtureEncoder) else ["backbone.widths=[8,16]"]
    data = ["dataset=fake_images", f"dataset.channels={channels}", "dataset.classes=2"]
    words = ["evaluation=[]", "logger=none", *data, f"objective={name}", *backbone, *SMALL.get(name, []), *more]
    return typed(composed(words))


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.sampled(16)
def test_every_objective_takes_any_number_of_channels(name: str, channels: int) -> None:
    made = config(name, channels, "domain=bands")
    spec = ImageSpec(channels=channels, height=32, width=32, classes=2, stored="float32", range=(-1, 2))
    if target(name).reads_pairs:
        spec = replace(spec, other=spec)
    if name in NEED_COLOR:
        with pytest.raises(ConfigError, match=rf"images have {channels} channels?; objective={name} needs red, green"):
            objective(made, spec)
        return
    model = objective(made, spec)
    check.rehearse(model, spec, made)
    torch.manual_seed(0)
    batch = fake_batch(spec, 4)
    loss = model.loss(*model.split(batch)).value
    loss.backward()
    assert loss.isfinite()
    figure = task_pictures(model, batch, spec, predict=True)
    assert any(row.ndim in (3, 4) for row in figure.rows.values())
    assert ("the mean of their channels" in figure.note) == (channels != 1)


@pytest.mark.parametrize(("views", "keys"), [
    ("natural", r"objective\.views\.saturation=0\.4, objective\.views\.hue=0\.1, objective\.views\.gray=0\.2 change"),
    ("pair", r"objective\.views\.saturation=0\.8, objective\.views\.hue=0\.2, objective\.views\.gray=0\.2 change"),
])  # fmt: skip
def test_views_that_change_color_are_refused_before_training(views: str, keys: str) -> None:
    for channels in (2, 4, 13):
        with pytest.raises(ConfigError, match=rf"{keys} color, .* have {channels} channels, .* set domain=bands"):
            check.validate(config("simclr", channels, f"objective/views={views}"))


def test_views_of_an_evaluation_are_refused_with_its_key() -> None:
    words = ["domain=bands", "evaluation=[finetune]", "objective/views@evaluation.finetune.views=natural"]
    with pytest.raises(ConfigError, match=r"^evaluation\.finetune\.views\.saturation=0\.4, .* set domain=bands"):
        check.validate(config("simclr", 4, *words))


def test_the_default_job_takes_bands() -> None:
    """Views and evaluations follow the domain."""
    made = typed(composed(["dataset=fake_images", "dataset.channels=4", "domain=bands", "logger=none"]))
    _, spec = check.validate(made)
    assert isinstance(spec, ImageSpec)
    assert spec.channels == 4
    assert made.objective["views"]["hue"] == 0
    assert "linear" in made.evaluation


@pytest.mark.parametrize("name", each_backbone())
@pytest.mark.sampled(6)
def test_every_backbone_of_images_takes_any_number_of_channels(name: str) -> None:
    node = yaml.safe_load((conf_dir() / "backbone" / f"{name}.yaml").read_text())
    if not issubclass(ImageSpec, get_type_hints(locate(node["_target_"]).__init__)["spec"]):
        pytest.skip("it reads other data")
    libraries.needs(name)
    for channels in CHANNELS:
        spec = ImageSpec(channels=channels, height=32, width=32, stored="uint16", range=(0, 65535))
        chosen = typed(composed([f"backbone={name}", "logger=none", *libraries.words(name)])).backbone
        encoder = construct.encoder(chosen, spec).eval()
        with torch.no_grad():
            assert encoder(spec.to_input(spec.fake(2))).pooled.shape == (2, encoder.dim)
