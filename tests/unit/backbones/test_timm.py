"""Networks of timm as encoders: what they compute is timm's, and how they suit the images is said."""

import sys
from typing import Any

import pytest
import torch

from ssl_runner.backbones.timm_map import TimmMap
from ssl_runner.backbones.timm_vit import TimmViT
from ssl_runner.interfaces import Batch, ImageSpec
from ssl_runner.objectives.mae import MAE

timm = pytest.importorskip("timm")
NONE: dict[str, Any] = {
    "weights": "none", "source": None, "license": None, "prefix": None, "matched": 1.0, "mean": None, "std": None,
}  # fmt: skip
SPEC = ImageSpec(channels=3, height=32, width=32)
SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 3}
VITS = {  # plain; class and register tokens; rotary positions; norm before; no class token
    "vit_tiny_patch16_224": SMALL,
    "vit_small_patch14_reg4_dinov2": SMALL,
    "vit_small_patch16_dinov3": SMALL,
    "vit_small_patch16_rope_mixed_224": SMALL,
    "vit_base_patch32_clip_224": SMALL,
    "vit_base_patch16_siglip_224": SMALL,
}


def cnn(name: str = "test_resnet", spec: ImageSpec = SPEC, **more: Any) -> TimmMap:
    torch.manual_seed(0)
    return TimmMap(spec, **{"name": name, "settings": None, "stem": "auto", **NONE, **more}).eval()


def vit(name: str = "vit_tiny_patch16_224", spec: ImageSpec = SPEC, **more: Any) -> TimmViT:
    torch.manual_seed(0)
    settings = {"settings": VITS.get(name), "patch": None, "pool": "mean"}
    return TimmViT(spec, **{"name": name, **settings, **NONE, **more}).eval()


def images(count: int = 2, side: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "mobilenetv3_small_050"])
def test_the_map_is_timms(name: str) -> None:
    encoder = cnn(name, stem="large")
    theirs = timm.create_model(name, num_classes=0, global_pool="").eval()
    theirs.load_state_dict(encoder.net.state_dict(), strict=False)  # less what follows the pooling
    x = images(side=64)
    with torch.no_grad():
        torch.testing.assert_close(encoder.map(x), theirs.forward_features(x))
        found = encoder(x, layers=True)
    assert len(found.layers) >= 4
    torch.testing.assert_close(found.pooled, theirs.forward_features(x).mean((2, 3)))


@pytest.mark.parametrize("name", VITS)
def test_all_patches_are_timms_tokens(name: str) -> None:
    encoder = vit(name)
    theirs = timm.create_model(name, num_classes=0, global_pool="", img_size=32, patch_size=encoder.patch, **VITS[name])
    theirs.load_state_dict(encoder.net.state_dict(), strict=False)
    x = images()
    with torch.no_grad():
        expected = theirs.eval().forward_features(x)[:, theirs.num_prefix_tokens :]
        torch.testing.assert_close(encoder(x).tokens, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", VITS)
def test_the_kept_patches_see_each_other_and_the_class_and_register_tokens_alone(name: str) -> None:
    encoder, x, lengths = vit(name), images(), []
    for block in encoder.net.blocks:
        block.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    keep = torch.tensor([[3, 60, 17], [5, 0, 40]])
    with torch.no_grad():
        few = encoder(x, keep).tokens
    assert lengths == [3 + encoder.prefix] * len(encoder.net.blocks)
    assert few.shape == (2, 3, encoder.dim)
    changed = x.clone()
    changed[:, :, :4, :4] = 0  # the first patch, which the second image keeps
    with torch.no_grad():
        again = encoder(changed, keep).tokens
    assert torch.equal(few[0], again[0])
    assert not torch.equal(few[1], again[1])


def test_mae_encodes_only_what_it_keeps() -> None:
    encoder = vit("vit_small_patch14_reg4_dinov2")
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
    encoder.net.blocks[0].register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    x, y = objective.split(Batch(images(), torch.zeros(2).long(), torch.arange(2)))
    loss = objective.loss(x, y).value
    assert lengths == [16 + 5]  # a quarter of 8 x 8 patches; a class token and four registers
    loss.backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_the_class_token_can_be_the_features() -> None:
    encoder, x = vit(pool="class"), images()
    with torch.no_grad():
        found = encoder(x, layers=True)
        expected = encoder.net.forward_features(x)[:, 0]
    torch.testing.assert_close(found.pooled, expected)
    torch.testing.assert_close(found.layers[-1], expected)
    assert not torch.allclose(found.pooled, found.tokens.mean(1))


@pytest.mark.parametrize(
    ("name", "side", "stem", "said", "grid"),
    [
        ("resnet18", 32, "auto", "small stem (3x3 convolution, stride 1, no pooling)", 4),
        ("resnet18", 96, "auto", "its own stem", 3),
        ("resnet18", 32, "large", "its own stem", 1),
        ("test_resnet", 32, "auto", "small stem (first convolution of stride 1, no pooling)", 4),
        ("test_efficientnet", 32, "small", "small stem (first convolution of stride 1)", 2),
        ("test_convnext", 32, "auto", "its own stem", 1),
    ],
)
def test_the_stem_suits_the_resolution_and_is_said(name: str, side: int, stem: Any, said: str, grid: int) -> None:
    encoder = cnn(name, ImageSpec(channels=3, height=side, width=side), stem=stem)
    assert encoder.note == f"timm's {name}, {said}, a grid of {grid}x{grid} for images of {side}x{side}"
    assert encoder.map(images(side=side)).shape[2:] == (grid, grid)


@pytest.mark.parametrize(
    ("size", "name", "patch"),
    [((32, 32), "vit_tiny_patch16_224", 4), ((64, 64), "vit_tiny_patch16_224", 16),
     ((28, 28), "vit_tiny_patch16_224", 4), ((56, 56), "vit_small_patch14_reg4_dinov2", 14),
     ((32, 64), "vit_tiny_patch16_224", 4)],
)  # fmt: skip
def test_the_patch_suits_the_resolution_and_is_said(size: tuple[int, int], name: str, patch: int) -> None:
    encoder = vit(name, ImageSpec(channels=1, height=size[0], width=size[1]))
    assert (encoder.patch, encoder.grid) == (patch, (size[0] // patch, size[1] // patch))
    assert f"{size[0] // patch}x{size[1] // patch} patches of {patch} pixels" in encoder.note


@pytest.mark.parametrize("made", [cnn, vit])
def test_the_seed_decides_the_weights(made: Any) -> None:
    first, second = made().state_dict(), made().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_no_part_is_without_use() -> None:
    assert "net.conv_head.weight" not in cnn("mobilenetv3_small_050").state_dict()
    assert "net.head.norm.weight" not in cnn("test_convnext").state_dict()
    assert not [
        name for name in vit("vit_base_patch16_siglip_224").state_dict() if "attn_pool" in name or "head" in name
    ]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: cnn("resnt18"), "backbone.name is 'resnt18', which timm .* does not have; did you mean resnet18 or"),
        (lambda: cnn("hf-hub:someone/net"), "which timm .* does not have"),
        (lambda: cnn("local-dir:/tmp"), "which timm .* does not have"),
        (lambda: cnn("vit_tiny_patch16_224"), "which gives no map .* or backbone=timm_vit"),
        (lambda: cnn("swin_tiny_patch4_window7_224"), "gives no map of features for images of any size"),
        (lambda: cnn("test_convnext", stem="small"), "backbone.stem is small, which is not known of test_convnext"),
        (lambda: cnn(stem="tiny"), "backbone.stem is 'tiny'; it must be auto, small or large"),
        (lambda: cnn(settings={"checkpoint_path": "x.pth"}), r"backbone\.settings\.checkpoint_path cannot be set"),
        (lambda: cnn(settings={"pretrained_cfg": {}}), r"backbone\.settings\.pretrained_cfg cannot be set"),
        (lambda: cnn(settings={"nothing": 1}), "cannot be built by timm as backbone=timm needs it: .*nothing"),
        (lambda: vit("resnet18"), "cannot be built by timm as backbone=timm_vit needs it"),
        (lambda: vit("beit_base_patch16_224", settings={"depth": 1}), "is not a Vision Transformer whose patches can"),
        (lambda: vit(patch=5), "backbone.patch is 5; it must divide the images, .* one of 1, 2, 4, 8, 16, 32, or null"),
        (lambda: vit("vit_base_patch16_siglip_224", pool="class"), "has no class token; set backbone.pool=mean"),
        (lambda: vit(pool="max"), "backbone.pool is 'max'; it must be mean or class"),
        (lambda: vit(weights="pretrained"), "backbone.source is not set, and the weights are pretrained"),
    ],
)  # fmt: skip
def test_what_does_not_go_is_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"backbone=timm needs the package timm: pip install 'ssl-runner\[timm\]'"):
        cnn()
