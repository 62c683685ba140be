"""Weights from elsewhere: files that other libraries wrote reach an encoder, by name, shape and statistics."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from composed import composed
from safetensors.torch import save_file
from small_runs import SMALL
from torch import nn

from ssl_runner.assembly import construct, export, weights
from ssl_runner.assembly.load import exported_encoder
from ssl_runner.assembly.places import with_contents
from ssl_runner.backbones.resnet import ResNet
from ssl_runner.commands import evaluate
from ssl_runner.commands.run import run
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.request import RunRequest
from ssl_runner.config.schema import StartFile, typed
from ssl_runner.interfaces import Encoder, ImageSpec, VideoSpec
from ssl_runner.results.result import read_result

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
KNOWN = {"source": "made in this test", "license": "unknown"}
SPEC = ImageSpec(channels=3, height=32, width=32)
ABOUT = StartFile(**KNOWN, mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7])
TIMM: dict[str, Any] = {
    "_target_": "ssl_runner.backbones.timm_map.TimmMap", "name": "test_resnet", "settings": None, "stem": "large",
    "weights": "none", "source": None, "license": None, "prefix": None, "matched": 1.0, "mean": None, "std": None,
}  # fmt: skip


def resnet() -> ResNet:
    torch.manual_seed(0)
    return ResNet(SPEC, depth=18, widening=4, stem="large", last_relu=True).eval()


def torchvision_resnet() -> nn.Module:
    from torchvision.models import resnet18

    torch.manual_seed(1)
    net = resnet18()
    with torch.no_grad():  # statistics of batches, which an untrained one has not
        net(torch.rand(8, 3, 64, 64))
    return net.eval()


def pooled(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Features of torchvision's ResNet before its classifier."""
    net.fc = nn.Identity()
    mean, std = (torch.tensor(each)[:, None, None] for each in (ABOUT.mean, ABOUT.std))
    with torch.no_grad():
        return net((x - mean) / std)


def features(encoder: Encoder, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return encoder.eval()(x).pooled


def begun(encoder: Encoder, path: Path, about: StartFile = ABOUT) -> Encoder:
    assert weights.begin(encoder, path, about, "all")
    return encoder


X = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("form", ["torch", "safetensors", "folder", "shards"])
def test_a_file_of_torchvision_is_read_into_our_resnet(form: str, tmp_path: Path) -> None:
    net = torchvision_resnet()
    path = tmp_path / "model.safetensors"
    match form:
        case "torch":
            path = tmp_path / "resnet18.pth"
            torch.save(net.state_dict(), path)
        case "safetensors" | "folder":
            save_file(net.state_dict(), path)
        case "shards":
            state = net.state_dict()
            halves = {"a.safetensors": list(state)[:60], "b.safetensors": list(state)[60:]}
            for name, names in halves.items():
                save_file({each: state[each] for each in names}, tmp_path / name)
            index = {"weight_map": {each: name for name, names in halves.items() for each in names}}
            (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    encoder = begun(resnet(), path if form in ("torch", "safetensors") else tmp_path)
    torch.testing.assert_close(features(encoder, X), pooled(net, X), atol=1e-5, rtol=1e-5)
    assert "100 of 100 tensors matched; 2 unexpected: fc.bias, fc.weight" in encoder.note
    assert "mean [0.1, 0.2, 0.3] and deviation [0.5, 0.6, 0.7]" in encoder.note


@pytest.mark.parametrize("way", ["attribute", "children", "momentum"])
def test_a_checkpoint_of_lightning_is_read(way: str, tmp_path: Path) -> None:
    """As lightly's examples build backbones: `nn.Sequential(*children)`, with a head and a momentum copy beside."""
    pl = pytest.importorskip("pytorch_lightning")
    heads = pytest.importorskip("lightly.models.modules.heads")
    net = torchvision_resnet()

    class Module(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.backbone = net if way == "attribute" else nn.Sequential(*list(net.children())[:-1])
            self.projection_head = heads.SimCLRProjectionHead(512, 64, 32)
            if way == "momentum":
                self.backbone_momentum = nn.Sequential(*list(torchvision_resnet().children())[:-1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0)

        def training_step(self, batch: torch.Tensor, number: int) -> torch.Tensor:
            return self.projection_head(self.backbone(batch).flatten(1)[:, :512]).mean()

    trainer = pl.Trainer(
        accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    module = Module()
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "epoch.ckpt", weights_only=True)
    encoder = begun(resnet(), tmp_path / "epoch.ckpt")
    torch.testing.assert_close(features(encoder, X), pooled(net, X), atol=1e-5, rtol=1e-5)
    assert "100 of 100 tensors matched under the prefix 'state_dict.backbone.'" in encoder.note
    assert ("as many are under 'state_dict.backbone_momentum.'" in encoder.note) == (way == "momentum")
    if way == "momentum":
        about = replace(ABOUT, prefix="state_dict.backbone_momentum.")
        other = begun(resnet(), tmp_path / "epoch.ckpt", about)
        assert "under the prefix 'state_dict.backbone_momentum.'" in other.note


def test_a_part_of_the_weights_is_refused_below_the_stated_share(tmp_path: Path) -> None:
    state = torchvision_resnet().state_dict()
    state["conv1.weight"] = torch.rand(64, 3, 3, 3)  # another stem
    del state["bn1.weight"]
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(ConfigError) as caught:
        begun(resnet(), tmp_path / "a.safetensors")
    assert (
        "98 of 100 tensors matched; 1 missing: stem.1.weight; 1 of another shape: stem.0.weight is (64, 3, 3, 3) in "
        "the file and (64, 3, 7, 7) here; 2 unexpected: fc.bias, fc.weight; choose the backbone that it is of, or set "
        "start_file.matched to 0.98 to begin with the rest random"
    ) in str(caught.value)
    own = resnet().state_dict()
    encoder = begun(resnet(), tmp_path / "a.safetensors", replace(ABOUT, matched=0.98))
    now = encoder.state_dict()
    assert torch.equal(now["stem.0.weight"], own["stem.0.weight"])
    assert torch.equal(now["stages.3.1.conv2.weight"], state["layer4.1.conv2.weight"])


class Exploit:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_a_pickle_that_would_be_executed_is_refused(tmp_path: Path) -> None:
    torch.save(
        {"model": torchvision_resnet().state_dict(), "args": Exploit(tmp_path / "executed")}, tmp_path / "bad.pth"
    )
    with pytest.raises(ConfigError, match="cannot be read as tensors alone, and what is in it beside is not executed"):
        begun(resnet(), tmp_path / "bad.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({**KNOWN}, "start_file.mean is null, and nothing states how images were normalized"),
        ({"license": "MIT"}, "start_file.source is not set, and the weights are"),
        ({"source": "me"}, "start_file.license is not set, and the weights are"),
        ({**KNOWN, "mean": [0.5]}, "start_file.mean and start_file.std must both be set"),
        ({**KNOWN, "mean": [0.5], "std": [0.0]}, r"start_file.std is \[0.0\]; each must be above 0"),
        ({**KNOWN, "matched": 0.0}, "start_file.matched is 0.0; it is a share of tensors and must lie in"),
    ],
)
def test_what_is_not_known_of_a_file_is_asked_for(about: dict[str, Any], said: str, tmp_path: Path) -> None:
    save_file(torchvision_resnet().state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match=said):
        begun(resnet(), tmp_path / "a.safetensors", StartFile(**about))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no encoder in .*neither of a finished run .* nor of another library: .* holds no file of weights"),
        ({"readme.txt": b"x"}, "holds no file of weights"),
        ({"a.pth": b"x", "b.pth": b"y"}, r"holds several files of weights \(a.pth, b.pth\): name one of them"),
        ({"a.safetensors": b"x"}, "cannot be read as tensors alone"),
        ({"a.pth": b"x"}, "cannot be read as tensors alone"),
        ({"model.safetensors.index.json": b'{"weight_map": {"a": "../b"}}'}, "it names files outside of its folder"),
    ],
)
def test_what_holds_no_weights_is_refused(files: dict[str, bytes], said: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        begun(resnet(), tmp_path)


def timm_encoder(**settings: Any) -> Encoder:
    pytest.importorskip("timm")
    torch.manual_seed(0)
    channels = settings.pop("channels", 3)
    return construct.encoder(TIMM | settings, ImageSpec(channels=channels, height=32, width=32))


def timm_net(name: str = "test_resnet", **more: Any) -> nn.Module:
    timm = pytest.importorskip("timm")
    torch.manual_seed(5)
    net: nn.Module = timm.create_model(name, num_classes=10, **more)
    with torch.no_grad():
        net(torch.rand(8, *net.pretrained_cfg["input_size"]))
    return net.eval()


def test_a_file_of_timm_is_read_with_its_statistics(tmp_path: Path) -> None:
    net = timm_net()
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    encoder = timm_encoder(**KNOWN, weights=str(tmp_path / "model.safetensors"))
    assert weights.begin(encoder, None, StartFile(), "files")
    with torch.no_grad():
        expected = net.forward_features((X - 0.5) / 0.5).mean((2, 3))  # the statistics of this network
    torch.testing.assert_close(features(encoder, X), expected, atol=1e-5, rtol=1e-5)
    assert "2 unexpected: fc.bias, fc.weight" in encoder.note


def test_weights_of_three_channels_are_read_for_one(tmp_path: Path) -> None:
    """A gray image gives the features that it has as three equal channels."""
    net = timm_net()
    torch.save({"model": net.state_dict()}, tmp_path / "model.pth")
    encoder = timm_encoder(channels=1, **KNOWN, weights=str(tmp_path / "model.pth"))
    weights.begin(encoder, None, StartFile(), "files")
    gray = X[:, :1]
    with torch.no_grad():
        expected = net.forward_features((gray.expand(-1, 3, -1, -1) - 0.5) / 0.5).mean((2, 3))
    torch.testing.assert_close(features(encoder, gray), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["test_vit", "vit_small_patch14_reg4_dinov2"])
def test_positions_and_patches_of_a_vit_are_interpolated_as_timm_does(name: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    small = {} if name == "test_vit" else {"embed_dim": 48, "depth": 2, "num_heads": 3, "img_size": 56}
    net = timm_net(name, **small) if not small else timm.create_model(name, num_classes=0, **small)
    torch.save(net.state_dict(), tmp_path / "vit.pth")
    size = {"img_size": 32, "patch_size": 8}
    theirs = timm.create_model(
        name, pretrained=True, num_classes=0, pretrained_cfg_overlay={"file": str(tmp_path / "vit.pth"), "url": None,
        "hf_hub_id": None}, **{**small, **size},
    ).eval()  # fmt: skip
    node = {key: value for key, value in TIMM.items() if key != "stem"} | {
        "_target_": "ssl_runner.backbones.timm_vit.TimmViT", "name": name, "patch": 8, "pool": "mean", **KNOWN,
        "settings": {key: value for key, value in small.items() if key != "img_size"} or None,
        "weights": str(tmp_path / "vit.pth"), "mean": [0.0] * 3, "std": [1.0] * 3,
    }  # fmt: skip
    encoder = construct.encoder(node, SPEC)
    weights.begin(encoder, None, StartFile(), "files")
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = theirs.forward_features(x)[:, theirs.num_prefix_tokens :]
        torch.testing.assert_close(encoder.eval()(x).tokens, expected, atol=1e-5, rtol=1e-5)


def test_a_download_that_fails_says_where_a_file_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    models = pytest.importorskip("timm.models")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(models, "load_state_dict_from_hf", fail)
    encoder = timm_encoder(name="resnet18.a1_in1k", **KNOWN, weights="pretrained")
    assert weights.begin(encoder, None, StartFile(), "files")  # nothing is downloaded yet
    with pytest.raises(ConfigError, match=r"timm/resnet18.a1_in1k \(no route to host\); fetch the file"):
        weights.begin(encoder, None, StartFile(), "all")


def test_the_librarys_own_weights_are_matched_too(monkeypatch: pytest.MonkeyPatch) -> None:
    models = pytest.importorskip("timm.models")
    net = timm_net()
    monkeypatch.setattr(models, "load_state_dict_from_hf", lambda *_, **__: net.state_dict())
    encoder = timm_encoder(**KNOWN, weights="pretrained")
    weights.begin(encoder, None, StartFile(), "all")
    assert torch.equal(encoder.state_dict()["net.layer1.0.conv1.weight"], net.state_dict()["layer1.0.conv1.weight"])


def test_an_exported_encoder_needs_no_file_and_no_download(tmp_path: Path) -> None:
    net = timm_net()
    file = tmp_path / "model.safetensors"
    save_file(net.state_dict(), file)
    node = TIMM | KNOWN | {"weights": str(file)}
    encoder = timm_encoder(**KNOWN, weights=str(file))
    weights.begin(encoder, None, StartFile(), "files")
    export.export_encoder(tmp_path / "encoder", encoder, node, SPEC)
    file.unlink()
    again = exported_encoder(tmp_path / "encoder")
    assert torch.equal(features(again, X), features(encoder, X))
    about = export.about_encoder(tmp_path / "encoder")["backbone"]
    assert (about["weights"], about["source"]) == ("none", KNOWN["source"])
    pretrained = timm_encoder(**KNOWN, weights="pretrained")  # random: nothing has been set
    export.export_encoder(tmp_path / "other", pretrained, TIMM | KNOWN | {"weights": "pretrained"}, SPEC)
    exported_encoder(tmp_path / "other")


@pytest.mark.thorough
def test_a_run_from_a_file_is_itself_by_what_the_file_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its identity, its result, its random start; and it is evaluated again when the file is gone."""
    net = timm_net()
    file = tmp_path / "model.safetensors"
    save_file(net.state_dict(), file)
    words = ["backbone=timm", "backbone.name=test_resnet", f"backbone.weights={file}", "backbone.source=made here",
             "backbone.license=MIT", "dataset.height=16", "dataset.width=16", "backbone.stem=large", "objective=byol",
             "controls=[random_start]", "evaluation=[geometry]"]  # fmt: skip
    config = composed([word for word in SMALL if "widths" not in word] + words, output=str(tmp_path / "out"))
    folder = run(RunRequest.of(config))
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "tensors matched; 2 unexpected: fc.bias, fc.weight; images are normalized by the mean [0.5, 0.5, 0.5]" in said
    )
    result = read_result(folder)
    assert result.config["backbone"]["license"] == "MIT"
    assert exported_encoder(folder).normalize.mean.tolist() == [0.5] * 3
    assert set(result.config["contents"]) == {"backbone.weights"}
    moved = tmp_path / "elsewhere.safetensors"
    file.rename(moved)
    same = RunRequest.of({**config, "backbone": config["backbone"] | {"weights": str(moved)}})
    assert with_contents(same, *construct.source(same.config)).identity == result.identity
    save_file({name: value + 1 for name, value in net.state_dict().items()}, moved)
    other = RunRequest.of({**config, "backbone": config["backbone"] | {"weights": str(moved)}})
    assert with_contents(other, *construct.source(other.config)).identity != result.identity
    moved.unlink()
    evaluate.again(compose([f"run={folder}", "evaluation=[geometry]"], "evaluate"))
    missing = RunRequest.of(config)
    with pytest.raises(ConfigError, match=r"backbone\.weights: .* does not exist"):
        run(missing)


def test_every_copy_of_the_encoder_begins_with_the_weights_and_their_statistics(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file(timm_net().state_dict(), file)
    node = TIMM | KNOWN | {"weights": str(file)}
    config = replace(typed(composed([*SMALL, "objective=byol"])), backbone=node)
    _, spec = construct.source(config)
    model = construct.objective(config, spec, None, "files")
    assert len([part for part in model.modules() if type(part) is type(model.encoder)]) == 2
    for part in model.modules():
        if type(part) is type(model.encoder):
            assert part.normalize.mean.tolist() == [0.5] * 3
            assert torch.equal(part.net.conv1[0].weight, model.encoder.net.conv1[0].weight)
    start = construct.random_start(config, spec)
    assert not torch.equal(start.net.conv1[0].weight, model.encoder.net.conv1[0].weight)


def test_two_beginnings_are_refused(tmp_path: Path) -> None:
    save_file(timm_net().state_dict(), tmp_path / "model.safetensors")
    encoder = timm_encoder(**KNOWN, weights=str(tmp_path / "model.safetensors"))
    with pytest.raises(ConfigError, match=r"start_from and backbone\.weights are both set"):
        begun(encoder, tmp_path / "model.safetensors")


def test_an_image_backbone_of_clips_gets_them(tmp_path: Path) -> None:
    save_file(timm_net().state_dict(), tmp_path / "model.safetensors")
    node = {"_target_": "ssl_runner.backbones.per_frame.PerFrame", "pool": "lstm",
            "image": TIMM | KNOWN | {"weights": str(tmp_path / "model.safetensors")}}  # fmt: skip
    spec = VideoSpec(frames=2, channels=3, height=32, width=32)
    encoder = construct.encoder(node, spec)
    assert weights.begin(encoder, None, StartFile(), "files")
    assert "tensors matched" in encoder.note
    assert encoder.image.normalize.mean.tolist() == [0.5] * 3
    assert weights.named_files(node, "backbone").keys() == {"backbone.image.weights"}
    assert encoder.rebuilt(node)["image"]["weights"] == "none"
