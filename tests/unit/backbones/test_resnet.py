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
    net = ResNet(spec(side), depth=18, stem=stem).eval()
    with torch.inference_mode():
        assert net.map(torch.rand(1, 3, side, side)).shape == (1, 512, grid, grid)


def test_the_shorter_side_decides():
    net = ResNet(ImageSpec(channels=3, height=64, width=200), depth=18, stem="auto")
    assert net.note == "small stem (3x3 convolution, stride 1, no pooling; chosen for images of 64x200 pixels)"


def test_the_note_says_which_stem_it_is():
    assert ResNet(spec(96), depth=18, stem="small").note == "small stem (3x3 convolution, stride 1, no pooling)"
    note = "large stem (7x7 convolution, stride 2, and pooling; chosen for images of 96x96 pixels)"
    assert ResNet(spec(96), depth=18, stem="auto").note == note


def test_with_the_large_stem_it_is_torchvisions():
    ours, theirs = ResNet(spec(64), depth=18, stem="large").eval(), resnet18(weights=None).eval()
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
    net = ResNet(spec(28, channels=1), depth=18, stem="auto").eval()
    with torch.inference_mode():
        features = net(torch.rand(2, 1, 28, 28), layers=True)
    assert [layer.shape[1] for layer in features.layers] == [64, 128, 256, 512]


@pytest.mark.parametrize(("depth", "dim", "millions"), [(18, 512, 11.2), (34, 512, 21.3), (50, 2048, 23.5)])
def test_sizes_are_those_of_the_paper(depth, dim, millions):
    with torch.device("meta"):
        net = ResNet(spec(224), depth=depth, stem="auto")
    assert net.dim == dim
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_other_depths_and_stems_are_refused():
    with pytest.raises(ValueError, match=r"backbone\.depth is 20; it must be 18, 34 or 50"):
        ResNet(spec(32), depth=20, stem="auto")
    with pytest.raises(ValueError, match=r"backbone\.stem is 'tiny'; it must be auto, small or large"):
        ResNet(spec(32), depth=18, stem="tiny")
