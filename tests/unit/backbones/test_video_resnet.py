import pytest
import torch
from torchvision.models import video

from ssl_runner.backbones.video_resnet import VideoResNet
from ssl_runner.interfaces import VideoSpec

NAMES = {"3d": video.r3d_18, "2plus1d": video.r2plus1d_18}


def spec(channels: int = 3) -> VideoSpec:
    return VideoSpec(frames=4, channels=channels, height=16, width=16)


@pytest.mark.parametrize("convolution", ["3d", "2plus1d"])
def test_it_is_torchvisions(convolution):
    ours, theirs = VideoResNet(spec(), convolution=convolution).eval(), NAMES[convolution](weights=None).eval()
    theirs.fc = torch.nn.Identity()
    theirs.stem.load_state_dict(ours.stem.state_dict())
    for i in range(4):
        getattr(theirs, f"layer{i + 1}").load_state_dict(ours.stages[i].state_dict())
    x = torch.rand(2, 4, 3, 16, 16)
    with torch.inference_mode():
        features = ours(x, layers=True)
        torch.testing.assert_close(features.pooled, theirs(x.transpose(1, 2)))
        assert torch.equal(ours.map(x).flatten(2).mT, features.tokens)
    assert [layer.shape[1] for layer in features.layers] == [64, 128, 256, 512]
    assert torch.equal(features.layers[-1], features.pooled)


@pytest.mark.parametrize(
    ("clip", "grid"), [((16, 32, 48), (2, 2, 3)), ((1, 16, 16), (1, 1, 1)), ((9, 33, 17), (2, 3, 2))]
)
def test_the_grid_is_an_eighth_of_the_time_and_a_sixteenth_of_the_sides(clip, grid):
    net = VideoResNet(spec(1), convolution="3d").eval()
    frames, height, width = clip
    with torch.inference_mode():
        assert net.map(torch.rand(1, frames, 1, height, width)).shape == (1, 512, *grid)


def test_the_input_is_normalized_by_channel():
    net = VideoResNet(spec(), convolution="3d").eval()
    x, mean, std = torch.rand(1, 4, 3, 16, 16), torch.tensor([0.2, 0.4, 0.6]), torch.tensor([0.1, 0.2, 0.5])
    with torch.inference_mode():
        by_hand = net(torch.stack([(x[:, :, c] - mean[c]) / std[c] for c in range(3)], dim=2)).pooled
        net.normalize.fit(mean, std)
        torch.testing.assert_close(net(x).pooled, by_hand)


@pytest.mark.parametrize(("convolution", "millions"), [("3d", 33.2), ("2plus1d", 31.3)])
def test_sizes_are_those_of_the_paper(convolution, millions):
    with torch.device("meta"):
        net = VideoResNet(spec(), convolution=convolution)
    assert net.dim == 512
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_another_convolution_is_refused():
    with pytest.raises(ValueError, match=r"backbone\.convolution is '4d'; it must be 3d or 2plus1d"):
        VideoResNet(spec(), convolution="4d")
