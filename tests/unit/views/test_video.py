from pathlib import Path

import pytest
import torch
import yaml

from ssl_runner.views.image import ImageViews
from ssl_runner.views.pair import NOTHING
from ssl_runner.views.video import ClipViews

STILL = {
    "views": 2, "frames": None, "stride": 1, "size": None, "crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0),
    "flip": 0.0, "jitter": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "gray": 0.0,
}  # fmt: skip
JITTER = {"jitter": 1.0, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "gray": 0.3}


def numbered(count: int, frames: int) -> torch.Tensor:
    """Clips whose frame t is of value t / frames everywhere."""
    return (torch.arange(frames) / frames).view(1, -1, 1, 1, 1).repeat(count, 1, 1, 4, 4)


def test_views_are_frames_at_an_even_distance_and_all_that_fit_come():
    torch.manual_seed(0)
    views = ClipViews(**STILL | {"views": 3, "frames": 3, "stride": 2})
    places = (views(numbered(500, 8)) * 8).round().long()[..., 0, 0, 0]  # (3, 500, 3)
    assert places.shape == (3, 500, 3)
    found = {tuple(each) for each in places.flatten(0, 1).tolist()}
    assert found == {(s, s + d, s + 2 * d) for d in (1, 2) for s in range(8 - 2 * d)}
    assert not torch.equal(places[0], places[1])  # each view has its own


def test_strides_and_starts_are_even():
    torch.manual_seed(0)
    views = ClipViews(**STILL | {"views": 1, "frames": 3, "stride": 5})  # of 7 frames no stride but 1, 2 and 3 fits
    places = (views(numbered(6000, 7)) * 7).round().long()[0, ..., 0, 0, 0]
    stride = places[:, 1] - places[:, 0]
    frequency = stride.bincount(minlength=4)[1:] / 6000
    torch.testing.assert_close(frequency, torch.full((3,), 1 / 3), atol=0.03, rtol=0)
    start = places[stride == 1, 0]
    torch.testing.assert_close(start.bincount() / len(start), torch.full((5,), 0.2), atol=0.04, rtol=0)


@pytest.mark.parametrize(("length", "frames"), [(8, 4), (5, 3), (1, 1)])
def test_null_is_half_of_the_clip(length, frames):
    assert ClipViews(**STILL)(numbered(2, length)).shape == (2, 2, frames, 1, 4, 4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [None, 6])
def test_what_changes_is_alike_in_all_frames(channels, size):
    """Frames that are alike stay alike, and views differ."""
    torch.manual_seed(0)
    still = torch.rand(4, 1, channels, 8, 10).expand(-1, 6, -1, -1, -1)
    views = ClipViews(**STILL | JITTER | {"size": size, "crop_scale": (0.3, 0.9), "flip": 0.5})(still)
    assert views.shape == (2, 4, 3, channels, *((8, 10) if size is None else (6, 6)))
    torch.testing.assert_close(views, views[:, :, :1].expand_as(views))
    assert (views[0] - views[1]).abs().amax((1, 2, 3, 4)).min() > 0.01
    assert views.min() >= 0
    assert views.max() <= 1


def test_colors_of_a_still_clip_are_those_of_its_image():
    """Of a clip that does not move, contrast is towards the same mean: the frames are what `ImageViews` draws."""
    still = torch.rand(5, 1, 3, 8, 8).expand(-1, 4, -1, -1, -1)
    clips = ClipViews(**STILL | JITTER | {"views": 1, "frames": 1})
    images = ImageViews(**NOTHING | JITTER)
    torch.manual_seed(3)
    ours = clips(still)[0, :, 0]
    torch.manual_seed(3)
    clips._places(still)  # what it draws before the colors
    torch.testing.assert_close(ours, images(still[:, 0])[0])


def test_nothing_drawn_changes_nothing():
    x = torch.rand(3, 5, 1, 6, 6)
    views = ClipViews(**STILL | {"frames": 5, "stride": 3})(x)
    assert torch.equal(views, x.expand(2, -1, -1, -1, -1, -1))


def test_half_precision_stays():
    assert ClipViews(**STILL | JITTER)(torch.rand(2, 4, 3, 6, 6).bfloat16()).dtype == torch.bfloat16


def test_views_longer_than_the_clip_are_refused():
    with pytest.raises(ValueError, match=r"objective\.views\.frames is 5, and clips have 4 frames"):
        ClipViews(**STILL | {"frames": 5})(torch.rand(2, 4, 1, 6, 6))


def test_images_are_refused():
    with pytest.raises(ValueError, match="these views are for clips, and the data are not clips"):
        ClipViews(**STILL)(torch.rand(2, 1, 6, 6))


def test_the_preset_frames_changes_none():
    conf = Path(__file__).parents[3] / "conf/objective/views"
    config = yaml.safe_load((conf / "video.yaml").read_text()) | yaml.safe_load((conf / "frames.yaml").read_text())
    x = numbered(3, 8)
    views = ClipViews(**{key: value for key, value in config.items() if key not in ("_target_", "defaults")})(x)
    assert views.shape[:3] == (2, 3, 4)
    assert {value.item() for value in views.unique()} <= {value.item() for value in x.unique()}


@pytest.mark.parametrize(
    ("key", "value"),
    [("views", 0), ("frames", 0), ("stride", 0), ("flip", 2.0), ("crop_scale", (0.5, 2.0)), ("hue", 1)],
)
def test_bad_values_are_refused_by_name(key, value):
    with pytest.raises(ValueError, match=rf"^objective\.views\.{key} is "):
        ClipViews(**STILL | {key: value})
