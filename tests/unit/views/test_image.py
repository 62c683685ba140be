import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode

from ssl_runner.views.image import ImageViews

CONF = Path(__file__).parents[3] / "conf/objective/views"
NOTHING: dict[str, Any] = {
    "views": 1,
    "size": None,
    "crop_scale": (1.0, 1.0),
    "crop_ratio": (0.75, 1.3333),
    "rotation": 0.0,
    "flip": 0.0,
    "jitter": 0.0,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue": 0.1,
    "gray": 0.0,
    "blur": 0.0,
    "blur_sigma": (0.1, 2.0),
    "solarize": 0.0,
    "solarize_threshold": 0.5,
    "cutout": 0.0,
    "cutout_size": 0.5,
    "noise": 0.0,
}
EACH: dict[str, dict[str, Any]] = {
    "crop": {"crop_scale": (0.2, 1.0)},
    "rotation": {"rotation": 30.0},
    "flip": {"flip": 0.5},
    "jitter": {"jitter": 0.8},
    "gray": {"gray": 0.5},
    "blur": {"blur": 0.5},
    "solarize": {"solarize": 0.5},
    "cutout": {"cutout": 0.5},
    "noise": {"noise": 0.1},
}
EVERYTHING = {key: value for change in EACH.values() for key, value in change.items()}


def make(**changes: Any) -> ImageViews:
    return ImageViews(**{**NOTHING, **changes})


def images(n: int = 6, channels: int = 3, height: int = 20, width: int = 26) -> Tensor:
    return torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(1))


def alike(n: int, channels: int = 3) -> Tensor:
    return images(1, channels).expand(n, -1, -1, -1)


def test_doing_nothing_returns_the_input() -> None:
    x = images()
    torch.testing.assert_close(make(views=3)(x), x.expand(3, -1, -1, -1, -1), atol=1e-6, rtol=0)


def test_strengths_of_zero_return_the_input() -> None:
    """Chosen for everything, but to no effect."""
    x = images()
    still = make(jitter=1.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, cutout=1.0, cutout_size=0.0)
    torch.testing.assert_close(still(x)[0], x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", EACH)
def test_equal_images_come_out_different(name: str) -> None:
    """Each example and each view draws for itself; 2 x 8 results of one image, most of them changed."""
    torch.manual_seed(0)
    x = alike(8)
    out = make(views=2, **EACH[name])(x).flatten(0, 1)
    different = {tuple(view.flatten().mul(1e4).round().tolist()) for view in out}
    at_least = 2 if name in ("flip", "gray", "solarize") else 5  # these have two outcomes
    assert len(different) >= at_least
    assert (out != x.repeat(2, 1, 1, 1)).flatten(1).any(1).sum() >= 4


@pytest.mark.parametrize("channels", [1, 2, 3, 13])
@pytest.mark.parametrize("size", [None, 12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_shape_range_and_type(channels: int, size: int | None, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = images(channels=channels).to(dtype)
    x[0], x[1] = 0, 1
    before = x.clone()
    colorless = {} if channels in (1, 3) else {"saturation": 0.0, "hue": 0.0, "gray": 0.0}
    out = make(views=2, size=size, **{**EVERYTHING, **colorless})(x)
    assert out.shape == (2, 6, channels, *((20, 26) if size is None else (12, 12)))
    assert out.dtype == dtype
    assert out.device == x.device
    assert out.isfinite().all()
    assert out.min() >= 0
    assert out.max() <= 1
    assert torch.equal(x, before)


@pytest.mark.parametrize("changes", [{}, {"flip": 1.0}, EVERYTHING])
def test_views_share_no_memory_with_the_input(changes: dict[str, Any]) -> None:
    x = images()
    before = x.clone()
    make(**changes)(x).zero_()
    assert torch.equal(x, before)


def test_a_seed_repeats() -> None:
    views = make(views=2, **EVERYTHING)
    torch.manual_seed(5)
    first = views(images())
    torch.manual_seed(5)
    assert torch.equal(views(images()), first)
    assert not torch.equal(views(images()), first)


def test_order_of_dimensions() -> None:
    """Views of example i stand at [:, i]."""
    x = torch.arange(6)[:, None, None, None].div(10).expand(6, 3, 8, 8)
    out = make(views=2, crop_scale=(0.2, 1.0), flip=0.5)(x)
    torch.testing.assert_close(out, x.expand(2, -1, -1, -1, -1), atol=1e-6, rtol=0)


def test_autocast_does_not_coarsen_the_views() -> None:
    views = make(views=2, **EVERYTHING)
    torch.manual_seed(0)
    expected = views(images())
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(views(images()), expected)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_stays_on_the_device_and_never_waits_for_it(device: str) -> None:
    """Fake tensors have no values: whatever reads one (item, nonzero, boolean indexing) raises. No GPU is needed."""
    if device == "cuda" and not torch.backends.cuda.is_built():
        pytest.skip("this torch knows no CUDA")
    with FakeTensorMode():
        out = make(views=2, **EVERYTHING)(torch.rand(6, 3, 20, 26, device=device))
        assert out.shape == (2, 6, 3, 20, 26)
        assert out.device.type == device
        with pytest.raises(DynamicOutputShapeException):
            out[out > 0.5]


def test_memory_order_of_the_input_does_not_matter() -> None:
    views = make(views=2, **{**EVERYTHING, "crop_scale": (1.0, 1.0), "rotation": 0.0, "flip": 0.0, "noise": 0.0})
    torch.manual_seed(0)
    expected = views(images())
    torch.manual_seed(0)
    torch.testing.assert_close(views(images().contiguous(memory_format=torch.channels_last)), expected)


# ----------------------------------------------------------------------------------------------------- what is drawn


def ramps(n: int, height: int, width: int) -> Tensor:
    """Images whose two channels are the row and the column of each pixel, scaled to [0, 1]: crops can be read off."""
    row, column = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    return torch.stack((row, column)).expand(n, -1, -1, -1)


@pytest.mark.parametrize(("height", "width"), [(40, 40), (40, 60)])
def test_crops_have_the_area_and_ratio_asked_for(height: int, width: int) -> None:
    torch.manual_seed(0)
    x = ramps(2000, height, width)
    crop = make(crop_scale=(0.2, 0.5), crop_ratio=(0.75, 1.25), size=64)(x)[0]
    # rows of a crop ascend by its height / 64 pixels each; read in the middle, where nothing is clamped
    high = (crop[:, 0, 40, 32] - crop[:, 0, 24, 32]) * height * 64 / 16
    wide = (crop[:, 1, 32, 40] - crop[:, 1, 32, 24]) * width * 64 / 16
    area, ratio = high * wide / (height * width), wide / high
    assert 0.199 < area.min() < 0.21
    assert 0.49 < area.max() < 0.501
    assert abs(area.mean() - 0.35) < 0.01  # uniform
    assert 0.749 < ratio.min() < 0.76
    assert 1.24 < ratio.max() < 1.251
    assert abs(ratio.log().mean() - (math.log(0.75) + math.log(1.25)) / 2) < 0.02  # log-uniform
    middle = crop[:, 0, 31:33, 32].mean(1) * height + 0.5  # of the crop, pixels from the top edge
    assert (middle - high / 2).min() > -0.01
    assert (middle + high / 2).max() < height + 0.01
    assert (middle - high / 2).min() < 0.5
    assert (middle + high / 2).max() > height - 0.5


def test_a_crop_of_everything_fits_though_its_ratio_does_not() -> None:
    x = images(height=10, width=40)
    torch.testing.assert_close(make(flip=1.0)(x)[0], x.flip(-1), atol=1e-5, rtol=0)


def test_crops_are_at_least_a_pixel() -> None:
    torch.manual_seed(0)
    assert make(crop_scale=(1e-6, 1e-6), crop_ratio=(1.0, 1.0))(torch.ones(50, 1, 4, 4)).min() > 0.999


def test_rotation_stays_within_its_bound() -> None:
    torch.manual_seed(0)
    turned = make(rotation=20.0)(ramps(1000, 41, 41))[0]
    down, across = turned[:, 0, 21, 20] - turned[:, 0, 19, 20], turned[:, 0, 20, 21] - turned[:, 0, 20, 19]
    angle = torch.rad2deg(torch.atan2(across, down))
    assert -20.01 < angle.min() < -19.5
    assert 19.5 < angle.max() < 20.01
    assert abs(angle.mean()) < 1.5


@pytest.mark.parametrize("name", ["flip", "gray", "blur", "solarize", "cutout", "jitter"])
@pytest.mark.parametrize("probability", [0.2, 1.0])
def test_probabilities(name: str, probability: float) -> None:
    torch.manual_seed(0)
    x = alike(2000)[:, :, :8, :8]
    small = {"blur_sigma": (1.0, 1.0), "cutout_size": 0.25}
    changed = ((make(**{name: probability}, **small)(x)[0] - x).abs() > 1e-4).flatten(1).any(1).float().mean()
    assert abs(changed - probability) <= 0.03 * (probability < 1)


def test_solarize_by_hand() -> None:
    x = torch.tensor([0.2, 0.6, 0.9]).view(1, 1, 1, 3)
    out = make(solarize=1.0, solarize_threshold=0.6)(x)
    torch.testing.assert_close(out.flatten(), torch.tensor([0.2, 0.4, 0.1]))


def test_cutout_covers_its_square_and_reaches_every_place() -> None:
    torch.manual_seed(0)
    black = make(cutout=1.0, cutout_size=0.5)(torch.ones(2000, 1, 8, 12))[0, :, 0] == 0
    assert black.flatten(1).sum(1).max() == 16
    assert (black.flatten(1).sum(1) >= 4).all()  # a quarter of it, in a corner
    assert black.any(0).all()


def test_brightness_has_its_range_and_hue_turns_both_ways() -> None:
    torch.manual_seed(0)
    gray = torch.full((2000, 1, 2, 2), 0.5)
    level = make(jitter=1.0, brightness=0.4)(gray)[0, :, 0, 0, 0]
    assert 0.3 <= level.min() < 0.31
    assert 0.69 < level.max() <= 0.7
    red = torch.tensor([0.5, 0.0, 0.0])[None, :, None, None].expand(2000, 3, 2, 2)
    green, blue = make(jitter=1.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.1)(red)[0, :, 1:, 0, 0].T
    torch.testing.assert_close(green.max(), torch.tensor(0.3), atol=0.01, rtol=0)  # 6 x 0.1 of 0.5
    torch.testing.assert_close(blue.max(), torch.tensor(0.3), atol=0.01, rtol=0)
    assert (torch.minimum(green, blue) < 1e-6).all()


def test_one_channel_ignores_color() -> None:
    torch.manual_seed(0)
    x = images(channels=1)
    out = make(jitter=1.0, brightness=0.0, contrast=0.0, saturation=1.0, hue=0.5, gray=1.0)(x)[0]
    torch.testing.assert_close(out, x, atol=1e-6, rtol=0)


# ---------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("views", 0),
        ("size", 0),
        ("crop_scale", (0.2, 1.2)),
        ("crop_scale", (0.0, 1.0)),
        ("crop_scale", (0.9, 0.5)),
        ("crop_scale", (0.5,)),
        ("crop_ratio", (0.0, 1.0)),
        ("rotation", -1.0),
        ("rotation", 181.0),
        ("flip", 1.5),
        ("jitter", -0.1),
        ("gray", math.nan),
        ("blur", 2.0),
        ("solarize", -1.0),
        ("cutout", 1.01),
        ("brightness", -0.4),
        ("contrast", -0.4),
        ("saturation", -0.4),
        ("hue", 0.6),
        ("blur_sigma", (2.0, 1.0)),
        ("blur_sigma", (0.0, 1.0)),
        ("solarize_threshold", 128.0),
        ("cutout_size", 1.5),
        ("noise", -0.1),
    ],
)
def test_refuses_values_out_of_range(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^objective\.views\.{key} is .*; it must be"):
        make(**{key: value})


def test_the_message_says_what_is_needed() -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        make(crop_scale=(0.2, 1.2))
    assert str(error.value) == (
        "objective.views.crop_scale is [0.2, 1.2]; it must be [low, high] with 0 < low <= high <= 1"
    )


@pytest.mark.parametrize("name", ["digits", "natural"])
def test_presets_make_views(name: str) -> None:
    config = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert config.pop("_target_") == "ssl_runner.views.image.ImageViews"
    torch.manual_seed(0)
    out = ImageViews(**config)(alike(4, channels=1 if name == "digits" else 3))
    assert out.shape[:2] == (2, 4)
    assert len({tuple(view.flatten().tolist()) for view in out.flatten(0, 1)}) == 8


def test_digits_are_not_mirrored() -> None:
    assert yaml.safe_load((CONF / "digits.yaml").read_text())["flip"] == 0


def test_clips_are_refused() -> None:
    with pytest.raises(ValueError, match=r"these views are for images, .*objective/views=video"):
        make()(torch.rand(2, 3, 1, 4, 4))


@pytest.mark.parametrize("key", ["saturation", "hue", "gray"])
def test_changes_of_color_are_refused_where_channels_are_no_colors(key: str) -> None:
    views = make(jitter=1.0, **{"saturation": 0.0, "hue": 0.0} | {key: 0.2})
    with pytest.raises(ValueError, match=rf"^objective\.views\.{key}=0\.2 changes color, .* 4 channels"):
        views(images(channels=4))
    assert views(images(channels=1)).shape[2] == 1  # gray has a saturation and a hue of none
    assert make(saturation=0.4, hue=0.1)(images(channels=4)).shape[2] == 4  # without jitter they do nothing


def test_brightness_and_contrast_change_all_channels_alike() -> None:
    """Of four channels: out = gain x + shift, with one gain and one shift an image."""
    torch.manual_seed(0)
    x = images(channels=4) * 0.2 + 0.4
    out = make(jitter=1.0, brightness=0.1, contrast=0.1, saturation=0.0, hue=0.0)(x)[0]
    for before, after in zip(x, out, strict=True):
        line = torch.stack([before.flatten(), torch.ones(before.numel())], dim=1)
        found = torch.linalg.lstsq(line, after.flatten()[:, None]).solution
        torch.testing.assert_close(line @ found, after.flatten()[:, None], atol=1e-5, rtol=0)
