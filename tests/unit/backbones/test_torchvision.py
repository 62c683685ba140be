"""Networks of torchvision as encoders: what they compute is torchvision's."""

from typing import Any

import pytest
import torch
from torchvision import models

from ssl_runner.assembly import construct, weights
from ssl_runner.backbones.torchvision_map import TorchvisionMap
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.schema import StartFile
from ssl_runner.interfaces import ImageSpec

NONE: dict[str, Any] = {
    "weights": "none", "source": None, "license": None, "prefix": None, "matched": 1.0, "mean": None, "std": None,
}  # fmt: skip
KNOWN = {"source": "made in this test", "license": "unknown"}
SPEC = ImageSpec(channels=3, height=64, width=64)
MAPS = {  # the part of each whose output is the map of features
    "resnet18": "layer4", "shufflenet_v2_x0_5": "conv5", "regnet_y_400mf": "trunk_output",
    "squeezenet1_1": "features", "mobilenet_v2": "features", "mobilenet_v3_small": "features",
    "efficientnet_b0": "features", "densenet121": "features",
}  # fmt: skip


def encoder(name: str = "shufflenet_v2_x0_5", spec: ImageSpec = SPEC, **more: Any) -> TorchvisionMap:
    torch.manual_seed(0)
    return TorchvisionMap(spec, **{"name": name, "settings": None, "stem": "large", **NONE, **more}).eval()


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.sampled(3)
def test_the_map_is_torchvisions(name: str) -> None:
    ours = encoder(name)
    torch.manual_seed(1)
    theirs = models.get_model(name, weights=None).eval()
    ours.load_state_dict(
        {f"net.{key}": value for key, value in theirs.state_dict().items() if f"net.{key}" in ours.state_dict()},
        strict=False,
    )
    seen: list[torch.Tensor] = []
    theirs.get_submodule(MAPS[name]).register_forward_hook(lambda *given: seen.append(given[2]))
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        theirs(x)
        found = ours(x, layers=True)
    expected = seen[0].relu() if name == "densenet121" else seen[0]
    torch.testing.assert_close(ours.map(x), expected)
    assert found.pooled.shape == (2, ours.dim)
    torch.testing.assert_close(found.pooled, expected.mean((2, 3)))
    assert len(found.layers) >= 2


@pytest.mark.parametrize("name", ["vgg11", "alexnet", "convnext_tiny"])
def test_large_ones_have_the_right_width(name: str) -> None:
    with torch.device("meta"):
        made = TorchvisionMap(SPEC, name=name, settings=None, stem="auto", **NONE)
    assert made.dim == {"vgg11": 512, "alexnet": 256, "convnext_tiny": 768}[name]


def test_what_is_built_from_values_is_built_without_a_look_at_its_size() -> None:
    """RegNet computes widths with tensors, of which the meta device has no values."""
    node = {"_target_": "ssl_runner.backbones.torchvision_map.TorchvisionMap", "name": "regnet_y_400mf"}
    assert construct.encoder({**node, "settings": None, "stem": "auto", **NONE}, SPEC).dim == 440


@pytest.mark.parametrize(
    ("name", "said", "grid"),
    [
        ("resnet18", "small stem (3x3 convolution, stride 1, no pooling)", 8),
        ("shufflenet_v2_x0_5", "small stem (first convolution of stride 1, no pooling)", 8),
        ("mobilenet_v3_small", "small stem (first convolution of stride 1)", 4),
        ("alexnet", "its own stem", 1),
    ],
)
def test_the_stem_suits_the_resolution_and_is_said(name: str, said: str, grid: int) -> None:
    made = encoder(name, stem="auto")
    assert made.note == f"torchvision's {name}, {said}"
    assert made.map(torch.rand(1, 3, 64, 64)).shape[2:] == (grid, grid)


@pytest.mark.parametrize("channels", [1, 3])
def test_its_own_weights_are_read_with_their_statistics(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    theirs = models.shufflenet_v2_x0_5(weights=None).eval()
    kind = models.get_model_weights("shufflenet_v2_x0_5")
    monkeypatch.setattr(kind, "get_state_dict", lambda *_, **__: theirs.state_dict())
    ours = encoder(spec=ImageSpec(channels=channels, height=64, width=64), weights="pretrained", **KNOWN)
    assert weights.begin(ours, None, StartFile(), "all")
    x = torch.rand(2, channels, 64, 64)
    mean, std = (torch.tensor(each) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    if channels == 1:
        mean, std = mean.mean().expand(3), std.mean().expand(3)
    with torch.no_grad():
        theirs.fc = torch.nn.Identity()
        expected = theirs((x.expand(-1, 3, -1, -1) - mean[:, None, None]) / std[:, None, None])
        torch.testing.assert_close(ours(x).pooled, expected, atol=1e-5, rtol=1e-4)


def test_older_names_of_densenet_are_read() -> None:
    ours = encoder("densenet121", weights="pretrained", **KNOWN)
    given = {"features.denseblock1.denselayer1.norm.1.weight": torch.ones(64)}
    assert list(ours.adapted(given)) == ["features.denseblock1.denselayer1.norm1.weight"]


def test_a_download_that_fails_says_where_a_file_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(models.get_model_weights("shufflenet_v2_x0_5"), "get_state_dict", fail)
    ours = encoder(weights="pretrained", **KNOWN)
    with pytest.raises(ConfigError, match=r"from https://download.pytorch.org/.*no route to host.*fetch"):
        weights.begin(ours, None, StartFile(), "all")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: encoder("resnt18"), "which torchvision .* does not have; did you mean resnet18"),
        (lambda: encoder("vit_b_16"), "of torchvision's vision_transformer, which gives no map .* backbone=timm_vit"),
        (lambda: encoder("mnasnet0_5"), "of torchvision's mnasnet"),
        (lambda: encoder("swin_t"), "of torchvision's swin_transformer, which gives no map"),
        (lambda: encoder("googlenet"), "of torchvision's googlenet, which gives no map"),
        (lambda: encoder("fcn_resnet50"), "does not have"),
        (lambda: encoder(settings={"weights": "DEFAULT"}), r"backbone\.settings\.weights cannot be set"),
        (lambda: encoder(settings={"nothing": 1}), "cannot be built by torchvision with these settings: .*nothing"),
        (lambda: encoder("alexnet", stem="small"), "backbone.stem is small, which is not known of alexnet"),
    ],
)
def test_what_does_not_go_is_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
