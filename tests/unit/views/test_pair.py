from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import yaml
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ssl_runner.views import augment
from ssl_runner.views.pair import Augmentation, PairViews, QuarterTurns

PRESET = yaml.safe_load((Path(__file__).parents[3] / "conf/objective/views/pair.yaml").read_text())
TARGET = PRESET.pop("_target_")
EACH = [name for name in get_args(Augmentation) if name != "none"]


def make(first: str, second: str, **changes: Any) -> PairViews:
    return PairViews(**PRESET | {"first": first, "second": second} | changes)


def images(n: int = 6, channels: int = 3, height: int = 16, width: int = 16) -> Tensor:
    return torch.rand(n, channels, height, width, generator=torch.Generator().manual_seed(1))


def drawn(views: PairViews | QuarterTurns, x: Tensor, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return views(x)


def test_the_preset_is_of_this_class() -> None:
    assert TARGET == "ssl_runner.views.pair.PairViews"
    assert drawn(PairViews(**PRESET), images()).shape == (2, 6, 3, 16, 16)


@pytest.mark.parametrize("name", EACH)
def test_one_branch_is_augmented_and_the_other_is_the_image_itself(name: str) -> None:
    x = images()
    augmented, plain = drawn(make(name, name), x)
    assert torch.equal(plain, x)
    assert ((augmented - x).abs().flatten(1).amax(1) > 1e-3).sum() >= 4  # most: jitter may leave one alone


@pytest.mark.parametrize("name", EACH)
def test_both_branches_are_drawn_independently(name: str) -> None:
    x = images(12)
    one, other = drawn(make(name, name, branches="both"), x)
    for view in (one, other):
        assert ((view - x).abs().flatten(1).amax(1) > 1e-3).sum() >= 8
    assert ((one - other).abs().flatten(1).amax(1) > 1e-3).sum() >= 5  # of three turns, a third agree


@pytest.mark.parametrize("name", EACH)
def test_the_same_twice_and_with_none_is_applied_once(name: str) -> None:
    x = images()
    once = drawn(make(name, name), x)
    assert torch.equal(drawn(make(name, "none"), x), once)
    assert torch.equal(drawn(make("none", name), x), once)


def test_none_is_the_image() -> None:
    x = images()
    for branches in ("one", "both"):
        assert torch.equal(make("none", "none", branches=branches)(x), torch.stack((x, x)))


def test_the_second_is_applied_to_what_the_first_leaves() -> None:
    """A square cut out of noise is black all over; noise on a black square shows."""
    x = torch.full((8, 1, 16, 16), 0.5)
    cut_last = drawn(make("noise", "cutout", noise=0.05), x)[0]
    cut_first = drawn(make("cutout", "noise", noise=0.05), x)[0]
    assert ((cut_last == 0).flatten(1).sum(1) >= 16).all()  # a quarter of the 8 x 8 square, in a corner
    dark = cut_first < 0.25  # 5 deviations away from the rest
    assert dark.any()
    assert (cut_first[dark] > 0).any()


def test_the_numbers_reach_their_augmentation() -> None:
    """Each in turn, with values of which the outcome is known."""
    gray, red = torch.full((400, 1, 8, 8), 0.5), torch.zeros(400, 3, 8, 8)
    red[:, 0] = 0.5
    level = drawn(make("color", "color", jitter=1.0, brightness=0.2, contrast=0.0), gray)[0, :, 0, 0, 0]
    assert 0.4 <= level.min() < 0.405
    assert 0.595 < level.max() <= 0.6
    assert drawn(make("noise", "noise", noise=0.05), gray)[0].std().item() == pytest.approx(0.05, rel=0.02)
    still = {"jitter": 0.0, "gray": 1.0}
    luma = drawn(make("color", "color", **still), red)[0]
    torch.testing.assert_close(luma, torch.full_like(luma, 0.5 * 0.299))
    assert (drawn(make("cutout", "cutout", cutout_size=0.25), gray)[0] == 0).flatten(1).sum(1).max() == 4
    x = images()
    blurred = drawn(make("blur", "blur", blur_sigma=(0.7, 0.7)), x)[0]
    torch.testing.assert_close(blurred, augment.gaussian_blur(x, torch.full((6,), 0.7), radius=3))
    mirrored = drawn(make("crop", "crop", crop_scale=(1.0, 1.0), flip=1.0), x)[0]
    torch.testing.assert_close(mirrored, x.flip(3), atol=1e-5, rtol=0)


def test_turns_are_quarter_turns_each_as_likely() -> None:
    x = images(1).expand(600, -1, -1, -1)
    turned = drawn(QuarterTurns(), x)[0]
    counts = []
    for k in (1, 2, 3):
        same = (turned - torch.rot90(x, k, dims=(2, 3))).abs().flatten(1).amax(1) < 1e-4
        counts.append(int(same.sum()))
    assert sum(counts) == 600
    assert min(counts) > 160


def test_what_is_not_square_keeps_its_shape_and_its_middle() -> None:
    """Of a 4 x 8 image turned by a quarter, 4 x 4 pixels in the middle remain; a half turn keeps all."""
    x = images(60, height=4, width=8) * 0.5 + 0.5
    turned = drawn(QuarterTurns(), x)[0]
    assert turned.shape == x.shape
    torch.manual_seed(0)
    turns = torch.randint(1, 4, (60,))
    for k, before, after in zip(turns.tolist(), x, turned, strict=True):
        if k == 2:
            torch.testing.assert_close(after, before.flip(1, 2), atol=1e-5, rtol=0)
        else:
            expected = torch.zeros_like(before)
            expected[:, :, 2:6] = torch.rot90(before[:, :, 2:6], k, dims=(1, 2))
            torch.testing.assert_close(after, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("branches", ["one", "both"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shape_range_type_and_the_input_stays(branches: str, channels: int, dtype: torch.dtype) -> None:
    x = images(channels=channels).to(dtype)
    before = x.clone()
    for first in EACH:
        for second in EACH:
            out = make(first, second, branches=branches)(x)
            assert (out.shape, out.dtype) == ((2, *x.shape), dtype)
            assert 0 <= out.min() <= out.max() <= 1
            out.zero_()
    assert torch.equal(x, before)


def test_a_seed_repeats() -> None:
    views = make("rotate", "crop", branches="both")
    assert torch.equal(drawn(views, images(), 5), drawn(views, images(), 5))
    assert not torch.equal(drawn(views, images(), 5), drawn(views, images(), 6))


def test_it_never_waits_for_the_device() -> None:
    """Fake tensors have no values: whatever reads one raises."""
    with FakeTensorMode():
        for name in EACH:
            assert make(name, "noise", branches="both")(torch.rand(6, 3, 16, 16)).shape == (2, 6, 3, 16, 16)


@pytest.mark.parametrize(
    "wrong",
    [
        {"first": "sobel"},
        {"second": "jitter"},
        {"branches": "none"},
        {"crop_scale": (0.5, 1.5)},
        {"gray": 1.5},
        {"noise": -0.1},
        {"blur_sigma": (2.0, 1.0)},
        {"cutout_size": 1.5},
    ],
    ids=str,
)
def test_refusals(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^objective\.views\.{next(iter(wrong))} is .*; it must be"):
        PairViews(**PRESET | wrong)
