"""What a run starts from reaches the encoder and every copy that an objective keeps of it, statistics included."""

from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
from composed import composed
from objective_cases import TRAINED, made
from small_runs import SMALL
from torch import nn

from ssl_runner import load_encoder
from ssl_runner.assembly import construct, export
from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.commands import run as command
from ssl_runner.config.compose import compose
from ssl_runner.config.request import RunRequest
from ssl_runner.config.schema import typed
from ssl_runner.interfaces import ImageSpec, Objective


class CaughtError(Exception):
    """The objective as pretraining gets it."""

    def __init__(self, model: Objective) -> None:
        super().__init__()
        self.model = model


def copies(model: Objective) -> list[nn.Module]:
    """Modules of the encoder's class beside the encoder."""
    return [part for part in model.modules() if type(part) is type(model.encoder) and part is not model.encoder]


NETWORKS = {"convnet": ["backbone.widths=[4,8]"], "vit_micro": ["backbone=vit_micro", "backbone.patch=2"]}


@pytest.fixture(scope="module")
def owners() -> dict[str, list[str]]:
    """The objectives of images that keep a copy, as they stand in conf/objective/, by the network that they are given:
    the ConvNet where it fits."""
    found: dict[str, list[str]] = {network: [] for network in NETWORKS}
    for name in TRAINED:
        model = made(name)[0]
        if (
            model.second is None
            and copies(model)
            and issubclass(ImageSpec, get_type_hints(type(model).__init__)["spec"])
        ):
            fits = issubclass(ConvNet, get_type_hints(type(model).__init__)["encoder"])
            found["convnet" if fits else "vit_micro"].append(name)
    return found


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory, "convnet")


def exported(tmp_path_factory: pytest.TempPathFactory, network: str) -> Path:
    """An encoder of other weights and other statistics than a run on fake images begins with."""
    words = ["dataset=fake_images", *NETWORKS[network], "logger=none", "evaluation=[]", "seed=7"]
    config = typed(compose(words))
    _, spec = construct.source(config)
    encoder = construct.random_start(config, spec)
    construct.fit_statistics(encoder, lambda: (torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7])))
    folder = tmp_path_factory.mktemp("start")
    export.export_encoder(folder / "encoder", encoder, config.backbone, spec)
    return folder


def begun(folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str, network: str = "convnet") -> Objective:
    """The objective of a run when its training would begin."""
    others = [word for word in SMALL if not word.startswith("backbone.")]
    plain = composed([*others, *NETWORKS[network], *overrides], output=str(folder))

    def catch(config: Any, model: Objective, *others: Any) -> None:
        raise CaughtError(model)

    monkeypatch.setattr(command, "pretrain", catch)
    with pytest.raises(CaughtError) as caught:
        command.run(RunRequest.of(plain))
    return caught.value.model


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.thorough
def test_every_copy_of_the_encoder_has_the_weights_and_statistics(
    network: str,
    owners: dict[str, list[str]],
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert {"byol", "dino", "moco"} <= set(owners["convnet"])
    assert {"ibot", "ijepa"} <= set(owners["vit_micro"])
    start = exported(tmp_path_factory, network)
    expected = load_encoder(start).encoder.state_dict()
    for name in owners[network]:
        model = begun(tmp_path, monkeypatch, f"objective={name}", f"start_from={start}", network=network)
        for encoder in (model.encoder, *copies(model)):
            for key, value in encoder.state_dict().items():
                torch.testing.assert_close(value, expected[key], rtol=0, atol=0, msg=f"{name}: {key}")
        x = torch.rand(6, 3, 8, 8)
        ours = model.eval().encoder(x).pooled
        for encoder in copies(model):
            assert torch.cosine_similarity(ours - ours.mean(0), encoder(x).pooled - ours.mean(0)).min() > 0.999, name


def test_the_log_says_whose_statistics_they_are(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = begun(tmp_path / "from", monkeypatch, "objective=byol", f"start_from={start}")
    said = " ".join(capsys.readouterr().out.split())
    assert (
        f"starts from the weights of {start}, and images are normalized by that run's statistics, not by those of this"
        in said
    )
    assert model.encoder.normalize.mean.tolist() == pytest.approx([0.1, 0.2, 0.3])
    model = begun(tmp_path / "random", monkeypatch, "objective=byol")
    assert "start_from" not in capsys.readouterr().out
    for encoder in (model.encoder, *copies(model)):
        assert encoder.normalize.mean.tolist() == pytest.approx([0.5] * 3, abs=0.1)  # of this dataset
