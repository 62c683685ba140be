"""Encoders of images around networks of libraries, written for their library: one of each family, read back by it.

Those of texts need a tokenizer beside them: see tests/unit/commands/test_export.py.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import libraries
import pytest
import torch
from exported_backbones import exported

from ssl_runner.assembly import read_back
from ssl_runner.backbones.torchvision_map import FAMILIES
from ssl_runner.interfaces import Encoder, ImageSpec, Portable

LARGE = ImageSpec(channels=3, height=64, width=64)
TORCHVISION: dict[str, dict[str, Any]] = {  # name -> settings that make it small; one of each of FAMILIES
    "alexnet": {},
    "convnext_tiny": {},
    "densenet121": {},
    "efficientnet_b0": {},
    "mobilenet_v2": {"width_mult": 0.25},
    "mobilenet_v3_small": {"width_mult": 0.5},
    "regnet_y_400mf": {},
    "resnet18": {},
    "shufflenet_v2_x0_5": {},
    "squeezenet1_1": {},
    "vgg11": {},
}
BIG = ("alexnet", "convnext_tiny", "vgg11")  # their initialization takes seconds
NETWORKS = {
    name: each
    for name, each in libraries.NETWORKS.items()
    if each[0] in ("timm", "timm_vit", "huggingface", "huggingface_vit")
}


def read_by_its_library(encoder: Encoder, x: torch.Tensor, folder: Path) -> torch.Tensor:
    assert isinstance(encoder, Portable)
    encoder.save_for_library(folder)
    return torch.from_numpy(read_back.LOADERS[encoder.library](folder)(x.numpy())["pooled"])


def large(option: str, settings: dict[str, Any]) -> Encoder:
    """With the library's own stem, which is all that a library loads."""
    own = {"timm": {"settings": None, "stem": "large"}, "huggingface": {"stem": "large"}}.get(option, {})
    return exported(option, LARGE, **own | settings)


def test_every_family_of_torchvision_is_tried() -> None:
    import torchvision

    modules = {torchvision.models.get_model_builder(name).__module__.rpartition(".")[2] for name in TORCHVISION}
    assert modules == set(FAMILIES)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in BIG else name for name in TORCHVISION]
)
@pytest.mark.sampled(3)
def test_torchvision_reads_its_networks(name: str, tmp_path: Path) -> None:
    encoder = exported("torchvision", LARGE, name=name, settings=TORCHVISION[name] or None, stem="large")
    x = torch.rand(3, 3, 64, 64)
    with torch.inference_mode():
        expected = encoder(x).pooled
    found = read_by_its_library(encoder, x, tmp_path)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.sampled(3)
def test_a_library_reads_its_networks(name: str, tmp_path: Path) -> None:
    encoder = large(*NETWORKS[name])
    x = torch.rand(3, 3, 64, 64)
    with torch.inference_mode():
        expected = encoder(x).pooled
    found = read_by_its_library(encoder, x, tmp_path)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * max(1.0, float(expected.abs().max())))


@pytest.mark.parametrize(
    ("option", "settings"),
    [("timm", {"name": "test_convnext"}), ("huggingface_vit", libraries.SMALLER["huggingface_vit"])],
)
def test_untrained_parts_are_the_same_each_time(option: str, settings: dict[str, Any], tmp_path: Path) -> None:
    """And the generator of the caller is as it was."""
    encoder = large(option, settings)
    assert isinstance(encoder, Portable)
    digests = set()
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        encoder.save_for_library(tmp_path)
        assert torch.equal(torch.get_rng_state(), before)
        digests.add(hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest())
    assert len(digests) == 1
    about = json.loads((tmp_path / "config.json").read_text())
    assert about["untrained"]


@pytest.mark.parametrize(
    ("channels", "stem", "problem"),
    [(3, "small", r"the small stem \(backbone.stem\)"), (1, "large", "1 channels, and torchvision's have 3")],
)
def test_a_network_that_torchvision_does_not_have_is_refused(
    channels: int, stem: str, problem: str, tmp_path: Path
) -> None:
    spec = ImageSpec(channels=channels, height=64, width=64)
    encoder = exported("torchvision", spec, name="resnet18", stem=stem)
    assert isinstance(encoder, Portable)
    with pytest.raises(ValueError, match=problem):
        encoder.save_for_library(tmp_path)
    assert list(tmp_path.iterdir()) == []
