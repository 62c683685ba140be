import libraries
import pytest
import torch

from ssl_runner.assembly import check, construct
from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.backbones.mlp import VectorMLP
from ssl_runner.backbones.per_frame import PerFrame
from ssl_runner.backbones.vit import ViT
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.paths import conf_dir
from ssl_runner.config.schema import typed
from ssl_runner.interfaces import FrameEncoder, ImageSpec, VectorSpec, VideoSpec

SPEC = VideoSpec(frames=4, channels=3, height=8, width=12)
IMAGE = ImageSpec(channels=3, height=8, width=12)
IMAGES = sorted(path.stem for path in (conf_dir() / "backbone" / "image").glob("*.yaml"))


def image(kind: str) -> ConvNet | ViT:
    torch.manual_seed(0)
    if kind == "map":
        return ConvNet(IMAGE, widths=[4, 6], norm="group")
    return ViT(IMAGE, dim=8, depth=2, heads=2, patch=4, mlp_ratio=2.0, pool="mean", drop_path=0.0)


def encoder(kind: str = "map", pool: str = "mean") -> PerFrame:
    return PerFrame(SPEC, image=image(kind), pool=pool)


@pytest.mark.parametrize("kind", ["map", "patch"])
def test_each_frame_is_what_the_image_backbone_makes_of_it(kind):
    whole, x = encoder(kind), torch.rand(2, 5, 3, 8, 12)
    with torch.no_grad():
        features, grid = whole(x), whole.map(x)
        frames = [whole.image(x[:, t]) for t in range(5)]
    each = torch.stack([frame.tokens for frame in frames], dim=1)  # (B, T, N, D)
    torch.testing.assert_close(features.tokens, each.flatten(1, 2))
    torch.testing.assert_close(features.pooled, torch.stack([frame.pooled for frame in frames]).mean(0))
    assert grid.shape == (2, whole.dim, 5, 2, 3)
    assert torch.equal(grid.flatten(2).mT, features.tokens)
    for t in range(5):
        torch.testing.assert_close(grid[:, :, t].flatten(2).mT, frames[t].tokens)


@pytest.mark.parametrize("kind", ["map", "patch"])
@pytest.mark.parametrize(("pool", "more"), [("mean", 0), ("lstm", 1), ("attention", 1)])
def test_layers_are_those_of_the_frames_and_what_pools(kind, pool, more):
    features = encoder(kind, pool)(torch.rand(2, 4, 3, 8, 12), layers=True)
    assert len(features.layers) == 2 + more
    assert all(len(layer) == 2 and layer.ndim == 2 for layer in features.layers)
    torch.testing.assert_close(features.layers[-1], features.pooled)


@pytest.mark.parametrize(("pool", "ordered"), [("mean", False), ("lstm", True), ("attention", True)])
def test_whether_the_order_of_frames_is_seen(pool, ordered):
    whole, x = encoder(pool=pool).eval(), torch.rand(2, 4, 3, 8, 12)
    with torch.no_grad():
        difference = (whole(x).pooled - whole(x[:, [2, 0, 3, 1]]).pooled).abs().max()
    assert whole.ordered == ordered == bool(difference > 1e-4)


def test_the_lstm_gives_its_last_state():
    whole, x = encoder(pool="lstm"), torch.rand(2, 4, 3, 8, 12)
    with torch.no_grad():
        frames = torch.stack([whole.image(x[:, t]).pooled for t in range(4)], dim=1)
        _, (hidden, _) = whole.pool.lstm(frames)
        torch.testing.assert_close(whole(x).pooled, hidden[0])


@pytest.mark.parametrize("pool", ["mean", "lstm", "attention"])
def test_clips_of_any_length_are_read_and_every_weight_is_used(pool):
    whole = encoder(pool=pool)
    assert whole(torch.rand(2, 1, 3, 8, 12)).pooled.shape == (2, whole.dim)
    whole(torch.rand(2, 7, 3, 8, 12)).pooled.square().sum().backward()
    assert [name for name, p in whole.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_what_is_no_backbone_of_images_and_no_pool_is_refused():
    vectors = VectorMLP(VectorSpec(count=2, width=8), widths=[8])
    with pytest.raises(ValueError, match=r"backbone\.image is a VectorMLP; it must be a backbone of images"):
        PerFrame(SPEC, image=vectors, pool="mean")
    with pytest.raises(ValueError, match=r"backbone\.pool is 'max'; it must be mean, lstm or attention"):
        PerFrame(SPEC, image=image("map"), pool="max")


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.sampled(5)
def test_every_image_backbone_can_be_chosen(name):
    chosen = compose(["backbone=per_frame", f"backbone/image={name}", "evaluation=[]", "logger=none"])
    libraries.needs(name)
    assert chosen["names"]["backbone/image"] == name
    assert chosen["backbone"]["image"] == compose([f"backbone={name}"])["backbone"]
    with torch.device("meta"):
        made = construct.encoder(typed(chosen).backbone, VideoSpec(frames=4, channels=1, height=32, width=32))
    assert isinstance(made, FrameEncoder)


def test_no_image_backbone_is_forgotten():
    ours = {"convnet", "vgg19_bn", "revnet14", "revnet50", "vit_micro", "vit_small", "vit_tiny"}
    ours |= {f"resnet{depth}" for depth in ("14", "14_v2", "18", "34", "50", "50_v2")}
    assert set(IMAGES) == ours | {"huggingface", "huggingface_vit", "timm", "timm_vit", "torchvision"}


def test_it_does_not_read_images():
    with pytest.raises(ConfigError, match="backbone=per_frame reads video clips; dataset=fake_images is images"):
        check.validate(typed(compose(["backbone=per_frame", "dataset=fake_images", "evaluation=[]", "logger=none"])))
