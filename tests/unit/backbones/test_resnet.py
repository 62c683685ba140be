import pytest
import torch
from torchvision.models import resnet18

from ssl_runner.backbones.resnet import ResNet
from ssl_runner.interfaces import ImageSpec


def spec(side: int, channels: int = 3) -> ImageSpec:
    return ImageSpec(channels=channels, height=side, width=side)


@pytest.mark.parametrize(
    ("side", "stem", "grid"),
    [(28, "auto", 4), (32, "auto", 4), (64, "auto", 8), (65, "auto", 3), (96, "auto", 3), (32, "large", 1)],
)
def test_the_stem_follows_the_resolution(side, stem, grid):
    net = ResNet(spec(side), depth=18, widening=4, stem=stem, last_relu=True).eval()
    with torch.inference_mode():
        assert net.map(torch.rand(1, 3, side, side)).shape == (1, 512, grid, grid)


def test_the_shorter_side_decides():
    net = ResNet(ImageSpec(channels=3, height=64, width=200), depth=18, widening=4, stem="auto", last_relu=True)
    assert net.note == "small stem (3x3 convolution, stride 1, no pooling; chosen for images of 64x200 pixels)"


def test_the_note_says_which_stem_it_is():
    assert (
        ResNet(spec(96), depth=18, widening=4, stem="small", last_relu=True).note
        == "small stem (3x3 convolution, stride 1, no pooling)"
    )
    note = "large stem (7x7 convolution, stride 2, and pooling; chosen for images of 96x96 pixels)"
    assert ResNet(spec(96), depth=18, widening=4, stem="auto", last_relu=True).note == note


def test_with_the_large_stem_it_is_torchvisions():
    ours, theirs = (
        ResNet(spec(64), depth=18, widening=4, stem="large", last_relu=True).eval(),
        resnet18(weights=None).eval(),
    )
    theirs.fc = torch.nn.Identity()
    for mine, other in (
        (ours.stem[0], theirs.conv1),
        (ours.stem[1], theirs.bn1),
        *((ours.stages[i], getattr(theirs, f"layer{i + 1}")) for i in range(4)),
    ):
        other.load_state_dict(mine.state_dict())
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x).pooled, theirs(x))


def test_gray_images_are_read():
    net = ResNet(spec(28, channels=1), depth=18, widening=4, stem="auto", last_relu=True).eval()
    with torch.inference_mode():
        features = net(torch.rand(2, 1, 28, 28), layers=True)
    assert [layer.shape[1] for layer in features.layers] == [64, 128, 256, 512]


@pytest.mark.parametrize(
    ("depth", "dim", "millions"), [(18, 512, 11.2), (34, 512, 21.3), (50, 2048, 23.5), (152, 2048, 58.1)]
)
def test_sizes_are_those_of_the_paper(depth, dim, millions):
    with torch.device("meta"):
        net = ResNet(spec(224), depth=depth, widening=4, stem="auto", last_relu=True)
    assert net.dim == dim
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_other_depths_and_stems_are_refused():
    with pytest.raises(ValueError, match=r"backbone\.depth is 20; it must be 14, 18, 26, 34, 50, 101 or 152"):
        ResNet(spec(32), depth=20, widening=4, stem="auto", last_relu=True)
    with pytest.raises(ValueError, match=r"backbone\.stem is 'tiny'; it must be auto, small or large"):
        ResNet(spec(32), depth=18, widening=4, stem="tiny", last_relu=True)


@pytest.mark.parametrize(("widening", "dim"), [(1, 512), (2, 1024), (4, 2048)])
def test_features_are_512_times_the_widening_factor(widening: int, dim: int) -> None:
    with torch.device("meta"):
        net = ResNet(spec(32), depth=14, widening=widening, stem="auto", last_relu=True)
    assert net.dim == dim
    assert net.stem[0].out_channels == 16 * widening


@pytest.mark.parametrize("depth", [18, 50])
def test_all_widths_are_built_alike(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that torchvision does not have, in the form of those that it has."""
    from ssl_runner.backbones import resnet

    with torch.device("meta"):
        theirs = ResNet(spec(96), depth=depth, widening=4, stem="auto", last_relu=True)
        monkeypatch.setattr(resnet, "STANDARD", 0)
        ours = ResNet(spec(96), depth=depth, widening=4, stem="auto", last_relu=True)
    assert str(ours) == str(theirs)
    assert [(name, each.shape) for name, each in ours.state_dict().items()] == [
        (name, each.shape) for name, each in theirs.state_dict().items()
    ]


@pytest.mark.parametrize("depth", [14, 18])
def test_without_the_last_relu_the_last_block_gives_its_sum(depth: int) -> None:
    torch.manual_seed(0)
    plain = ResNet(spec(32), depth=depth, widening=1, stem="auto", last_relu=True).eval()
    torch.manual_seed(0)
    signed = ResNet(spec(32), depth=depth, widening=1, stem="auto", last_relu=False).eval()
    with torch.inference_mode():
        x = torch.rand(2, 3, 32, 32)
        assert (signed.map(x) < 0).any()
        torch.testing.assert_close(signed.map(x).relu(), plain.map(x))


def test_a_widening_factor_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"backbone\.widening is 0; it must be at least 1"):
        ResNet(spec(32), depth=14, widening=0, stem="auto", last_relu=True)
