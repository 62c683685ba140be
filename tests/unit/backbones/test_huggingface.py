"""Networks of transformers for images as encoders: what they compute is the library's, and its folders are read."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ssl_runner.assembly import construct, export, weights
from ssl_runner.assembly.load import exported_encoder
from ssl_runner.backbones.huggingface_map import HuggingFaceMap
from ssl_runner.backbones.huggingface_vit import HuggingFaceViT
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.schema import StartFile
from ssl_runner.interfaces import Batch, ImageSpec
from ssl_runner.objectives.mae import MAE

transformers = pytest.importorskip("transformers")
NONE: dict[str, Any] = {
    "weights": "none", "source": None, "license": None, "prefix": None, "matched": 1.0, "mean": None, "std": None,
}  # fmt: skip
KNOWN = {"source": "made in this test", "license": "unknown"}
SPEC = ImageSpec(channels=3, height=32, width=32)
RESNET = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"}
STAGES = {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2}
MAPS = {
    "resnet": RESNET,
    "regnet": {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "groups_width": 8},
    "convnext": STAGES,
    "convnextv2": STAGES,
}
VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VITS = ("vit", "deit", "vit_msn", "ijepa", "dinov2", "dinov2_with_registers")
NODE = {"_target_": "ssl_runner.backbones.huggingface_vit.HuggingFaceViT", "patch": 8, "config": None, **NONE}


def cnn(name: str = "resnet", spec: ImageSpec = SPEC, **more: Any) -> HuggingFaceMap:
    torch.manual_seed(0)
    return HuggingFaceMap(spec, **{"name": name, "config": MAPS.get(name), "stem": "large", **NONE, **more}).eval()


def vit(name: str = "vit", spec: ImageSpec = SPEC, **more: Any) -> HuggingFaceViT:
    torch.manual_seed(0)
    return HuggingFaceViT(spec, **{"name": name, "config": VIT, "patch": 8, **NONE, **more}).eval()


def images(count: int = 2, channels: int = 3, side: int = 32) -> torch.Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(1))


def library_vit(folder: Path, name: str = "vit", mean: float | None = 0.25) -> Any:
    """A classifier that transformers wrote, of 64 pixels in patches of 8: its names begin with that of the network."""
    torch.manual_seed(5)
    config = transformers.CONFIG_MAPPING[name](**VIT, image_size=64, patch_size=8)
    made = transformers.AutoModelForImageClassification.from_config(config).eval()
    made.save_pretrained(folder)
    if mean is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [mean] * 3, "image_std": [0.5] * 3}))
    return made


@pytest.mark.parametrize("name", MAPS)
def test_the_map_is_that_of_the_library(name: str) -> None:
    encoder = cnn(name)
    theirs = transformers.AutoModel.from_config(encoder.config).eval()
    theirs.load_state_dict(encoder.net.state_dict(), strict=False)  # less what follows the pooling
    x = images(side=64)
    with torch.no_grad():
        expected = theirs(x, output_hidden_states=True)
        torch.testing.assert_close(encoder.map(x), expected.last_hidden_state)
        found = encoder(x, layers=True).layers
    assert len(found) == 3
    torch.testing.assert_close(found[1], expected.hidden_states[1].mean((2, 3)))


@pytest.mark.parametrize("name", VITS)
def test_all_patches_are_the_tokens_of_the_library(name: str) -> None:
    encoder = vit(name)
    theirs = transformers.AutoModel.from_config(encoder.config).eval()
    theirs.load_state_dict(encoder.net.state_dict(), strict=False)
    x = images()
    with torch.no_grad():
        torch.testing.assert_close(encoder(x).tokens, theirs(x).last_hidden_state[:, encoder.prefix :])
    assert encoder.prefix == {"deit": 2, "ijepa": 0, "dinov2_with_registers": 5}.get(name, 1)


@pytest.mark.parametrize("name", VITS)
def test_mae_encodes_only_what_it_keeps(name: str) -> None:
    encoder = vit(name)
    objective = MAE(
        encoder,
        SPEC,
        ratio=0.75,
        mask="random",
        target="pixels",
        crop_scale=(1, 1),
        flip=0.0,
        decoder_dim=16,
        decoder_depth=1,
        decoder_heads=2,
    )
    lengths: list[int] = []
    blocks = encoder.net.encoder.layer if hasattr(encoder.net, "encoder") else encoder.net.layers
    for block in blocks:
        block.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    x, y = objective.split(Batch(images(), torch.zeros(2).long(), torch.arange(2)))
    objective.loss(x, y).value.backward()
    assert lengths == [4 + encoder.prefix] * 2  # a quarter of 4 x 4 patches
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    assert encoder.keep is None


def test_a_folder_of_the_library_is_read_with_its_statistics(tmp_path: Path) -> None:
    theirs = library_vit(tmp_path)
    encoder = vit(str(tmp_path), ImageSpec(channels=3, height=64, width=64), config=None, weights="pretrained", **KNOWN)
    assert weights.begin(encoder, None, StartFile(), "all")
    x = images(side=64)
    with torch.no_grad():
        expected = theirs.vit((x - 0.25) / 0.5).last_hidden_state[:, 1:]
        torch.testing.assert_close(encoder(x).tokens, expected, atol=1e-5, rtol=1e-5)
    assert "tensors matched; 2 unexpected: classifier.bias, classifier.weight" in encoder.note
    assert encoder.normalize.mean.tolist() == [0.25] * 3


@pytest.mark.parametrize("way", ["backbone.weights", "start_from"])
def test_a_folder_is_read_into_a_network_that_is_named_by_its_type(way: str, tmp_path: Path) -> None:
    theirs = library_vit(tmp_path)
    named = {"weights": str(tmp_path), **KNOWN} if way == "backbone.weights" else {}
    encoder = vit(spec=ImageSpec(channels=1, height=64, width=64), **named)
    start = tmp_path if way == "start_from" else None
    assert weights.begin(encoder, start, StartFile(**KNOWN), "files")
    gray = images(channels=1, side=64)
    with torch.no_grad():
        expected = theirs.vit((gray.expand(-1, 3, -1, -1) - 0.25) / 0.5).last_hidden_state[:, 1:]
        torch.testing.assert_close(encoder(gray).tokens, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["vit", "dinov2"])
def test_positions_are_interpolated_as_the_library_does(name: str, tmp_path: Path) -> None:
    theirs = library_vit(tmp_path, name)
    encoder = vit(name, weights=str(tmp_path), mean=[0.0] * 3, std=[1.0] * 3, **KNOWN)
    weights.begin(encoder, None, StartFile(), "files")
    x = images()
    more = {"interpolate_pos_encoding": True} if name == "vit" else {}
    with torch.no_grad():
        expected = theirs.base_model(x, **more).last_hidden_state[:, 1:]
        torch.testing.assert_close(encoder(x).tokens, expected, atol=1e-4, rtol=1e-4)


def test_patches_of_another_size_are_interpolated(tmp_path: Path) -> None:
    theirs = library_vit(tmp_path)
    encoder = vit(weights=str(tmp_path), patch=4, **KNOWN)
    weights.begin(encoder, None, StartFile(), "files")
    kernel = theirs.vit.embeddings.patch_embeddings.projection.weight
    found = encoder.state_dict()["net.embeddings.patch_embeddings.projection.weight"]
    torch.testing.assert_close(found, F.interpolate(kernel, (4, 4), mode="bicubic", antialias=True))


def test_statistics_that_nobody_states_are_asked_for(tmp_path: Path) -> None:
    library_vit(tmp_path, mean=None)
    encoder = vit(weights=str(tmp_path), **KNOWN)
    with pytest.raises(ConfigError, match=r"backbone\.mean is null, and nothing states how images were normalized"):
        weights.begin(encoder, None, StartFile(), "files")


def test_an_exported_encoder_needs_neither_folder_nor_hub(tmp_path: Path) -> None:
    library_vit(tmp_path / "theirs")
    node = NODE | {"name": str(tmp_path / "theirs"), "weights": "pretrained", **KNOWN}
    encoder = construct.encoder(node, SPEC)
    weights.begin(encoder, None, StartFile(), "all")
    export.export_encoder(tmp_path / "encoder", encoder, node, SPEC)
    assert weights.named_files(node, "backbone").keys() == {"backbone.name", "backbone.weights"}
    for file in (tmp_path / "theirs").iterdir():
        file.unlink()
    again, x = exported_encoder(tmp_path / "encoder"), images()
    with torch.no_grad():
        assert torch.equal(again(x).tokens, encoder.eval()(x).tokens)
    about = export.about_encoder(tmp_path / "encoder")["backbone"]
    assert (about["name"], about["weights"], about["license"]) == ("vit", "none", "unknown")
    torch.manual_seed(3)
    first = construct.encoder(about, SPEC).state_dict()  # the random start of the same architecture
    torch.manual_seed(3)
    assert all(torch.equal(value, first[name]) for name, value in construct.encoder(about, SPEC).state_dict().items())


def test_a_folder_counts_by_what_it_holds(tmp_path: Path) -> None:
    library_vit(tmp_path)
    node = NODE | {"name": str(tmp_path)}
    assert weights.named_files(node, "backbone") == {"backbone.name": {".json": tmp_path / "config.json"}}


@pytest.mark.parametrize("made", [cnn, vit])
def test_the_seed_decides_the_weights(made: Any) -> None:
    first, second = made().state_dict(), made().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_stem_suits_the_resolution_and_is_said() -> None:
    assert cnn(stem="auto").note == "transformers' resnet, small stem (3x3 convolution, stride 1, no pooling)"
    assert cnn(stem="auto").map(images()).shape[2:] == (16, 16)
    assert cnn("regnet", stem="auto").note == "transformers' regnet, small stem (first convolution of stride 1)"
    assert cnn("convnext", stem="auto").note == "transformers' convnext, its own stem"


def offline_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", fail)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: cnn("resnt"), r"it must be a model type of transformers .* \(did you mean resnet"),
        (lambda: cnn("someone/net"), "its config.json cannot be downloaded from https://huggingface.co/someone/net"),
        (lambda: cnn("/nowhere/at/all"), "a folder with a config.json, or an id of the hub"),
        (lambda: cnn("vit"), "of type vit; backbone=huggingface reads resnet, regnet, .* backbone=huggingface_vit"),
        (lambda: vit("resnet", config=None), "of type resnet; backbone=huggingface_vit reads vit, deit, "),
        (lambda: vit("beit"), "of type beit; backbone=huggingface_vit reads"),
        (lambda: vit(spec=ImageSpec(channels=3, height=32, width=64)), "read square ones: choose backbone=timm_vit"),
        (lambda: vit(patch=5), "backbone.patch is 5; it must divide the images"),
        (lambda: vit(config={"auto_map": {}}), r"backbone\.config\.auto_map cannot be set: it may choose"),
        (lambda: vit(config={"hidden_size": "wide"}), "backbone.config does not suit vit"),
        (lambda: cnn("convnext", stem="small"), "backbone.stem is small, which is not known of convnext"),
    ],
)
def test_what_does_not_go_is_refused(make: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    offline_hub(monkeypatch)
    with pytest.raises(ValueError, match=said):
        make()


def test_a_folder_chooses_no_kernel_of_the_hub(tmp_path: Path) -> None:
    """Which would be code."""
    library_vit(tmp_path)
    about = json.loads((tmp_path / "config.json").read_text()) | {"attn_implementation": "someone/kernel"}
    (tmp_path / "config.json").write_text(json.dumps(about))
    encoder = vit(str(tmp_path), ImageSpec(channels=3, height=64, width=64), config=None, weights="pretrained", **KNOWN)
    weights.begin(encoder, None, StartFile(), "all")
    assert encoder.net.config._attn_implementation in ("sdpa", "eager")


def test_a_type_has_no_weights() -> None:
    encoder = vit(weights="pretrained", **KNOWN)
    with pytest.raises(ConfigError, match=r"backbone.name is vit, a type of network; set backbone.name to an id"):
        weights.begin(encoder, None, StartFile(), "all")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"needs the package transformers: pip install 'ssl-runner\[hf\]'"):
        cnn()
