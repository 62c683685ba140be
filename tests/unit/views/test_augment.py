"""Each operation against torchvision's functional form, example by example, for fixed parameters.

Tolerances: 1e-5 for the same computation in another order of float32 operations; 2e-4 where gray values enter, as
torchvision's gray weights sum to 0.9999 and ours to 1.
"""

import pytest
import torch
import torchvision.transforms.v2.functional as oracle
from torch import Tensor, tensor
from torchvision.transforms import InterpolationMode

from ssl_runner.views import augment

SAME = {"atol": 1e-5, "rtol": 0}
GRAY = {"atol": 2e-4, "rtol": 0}
ONE = torch.ones(5)


@pytest.fixture
def images() -> Tensor:
    """Five different images, red-green-blue, 20 high and 26 wide, with flat and gray regions."""
    x = torch.rand(5, 3, 20, 26, generator=torch.Generator().manual_seed(0))
    x[:, :, :4, :4] = 0.3
    x[:, :, :4, 4:8] = 0.0
    x[:, :, :4, 8:12] = 1.0
    x[:, 1, 4:8] = x[:, 2, 4:8]  # two channels tie, above and below the third
    return x


@pytest.fixture
def smooth() -> Tensor:
    """Four low-frequency images, 1 channel of 40 x 40, on which interpolating twice costs little."""
    row, column = torch.meshgrid(torch.linspace(0, 3, 40), torch.linspace(0, 3, 40), indexing="ij")
    return torch.stack([0.5 + 0.5 * torch.sin(row * a + column) for a in (0.3, 0.7, 1.1, 1.5)])[:, None]


def whole(x: Tensor) -> Tensor:
    return tensor([0.0, 0.0, *x.shape[2:]]).expand(len(x), 4)


def no(x: Tensor) -> Tensor:
    return torch.zeros(len(x), dtype=torch.bool)


# ------------------------------------------------------------------------------------------------------------ geometry

BOXES = [[0, 0, 20, 26], [3, 5, 10, 7], [0, 13, 20, 13], [7, 2, 1, 1], [2, 1, 16, 22]]


@pytest.mark.parametrize("size", [(20, 26), (32, 32), (7, 9)])
def test_crops_as_torchvision(images: Tensor, size: tuple[int, int]) -> None:
    out = augment.resample(images, tensor(BOXES).float(), no(images), None, size)
    expected = [
        oracle.resized_crop(x, *box, list(size), interpolation=InterpolationMode.BILINEAR, antialias=False)
        for x, box in zip(images, BOXES, strict=True)
    ]
    torch.testing.assert_close(out, torch.stack(expected), **SAME)


def test_flips_the_chosen_as_torchvision(images: Tensor) -> None:
    flip = tensor([True, False, True, False, True])
    out = augment.resample(images, tensor(BOXES).float(), flip, None, (16, 16))
    plain = augment.resample(images, tensor(BOXES).float(), no(images), None, (16, 16))
    expected = [oracle.horizontal_flip(x) if f else x for x, f in zip(plain, flip, strict=True)]
    torch.testing.assert_close(out, torch.stack(expected), **SAME)


def test_rotates_as_torchvision(images: Tensor) -> None:
    angles = [0.0, 17.0, -33.5, 90.0, 180.0]
    out = augment.resample(images, whole(images), no(images), tensor(angles), (20, 26))
    expected = [
        oracle.rotate(x, a, interpolation=InterpolationMode.BILINEAR) for x, a in zip(images, angles, strict=True)
    ]
    torch.testing.assert_close(
        out, torch.stack(expected), atol=1e-4, rtol=0
    )  # positions round: 1e-6 x 26 pixels x slope


def test_rotates_first_then_crops_then_flips(smooth: Tensor) -> None:
    angles, boxes, flip = [10.0, -25.0, 40.0, 5.0], [[8, 6, 20, 24], [12, 12, 16, 16]] * 2, [True, False, False, True]
    out = augment.resample(smooth, tensor(boxes).float(), tensor(flip), tensor(angles), (30, 30))
    for view, x, a, box, f in zip(out, smooth, angles, boxes, flip, strict=True):
        expected = oracle.rotate(x, a, interpolation=InterpolationMode.BILINEAR)
        expected = oracle.resized_crop(expected, *box, [30, 30], antialias=False)
        expected = oracle.horizontal_flip(expected) if f else expected
        torch.testing.assert_close(view, expected, atol=5e-3, rtol=0)  # the oracle interpolates twice


def test_crops_between_pixels() -> None:
    """A ramp read half a pixel to the right of its pixels: worked by hand."""
    x = tensor([0.0, 0.1, 0.2, 0.3]).expand(1, 1, 4, 4)
    out = augment.resample(x, tensor([[0.0, 0.5, 4.0, 3.0]]), no(x), None, (4, 3))
    torch.testing.assert_close(out[0, 0, 0], tensor([0.05, 0.15, 0.25]), **SAME)


def test_squares_as_torchvision(images: Tensor) -> None:
    top, left = tensor([[0, 14], [3, 2], [7, 7], [13, 0], [1, 9]]), tensor([[0, 20], [5, 19], [7, 8], [0, 20], [2, 3]])
    out = augment.crops(images, top, left, 6)
    assert out.shape == (2, 5, 3, 6, 6)
    for k in range(2):
        for n, x in enumerate(images):
            assert torch.equal(out[k, n], oracle.crop(x, int(top[n, k]), int(left[n, k]), 6, 6))


# -------------------------------------------------------------------------------------------------------------- color

FACTORS = [0.0, 0.4, 1.0, 1.3, 2.5]


def test_brightness_as_torchvision(images: Tensor) -> None:
    out = augment.adjust_color(images, tensor(FACTORS), ONE, ONE)
    expected = [oracle.adjust_brightness(x, f) for x, f in zip(images, FACTORS, strict=True)]
    torch.testing.assert_close(out, torch.stack(expected), **SAME)


def test_contrast_as_torchvision(images: Tensor) -> None:
    out = augment.adjust_color(images, ONE, tensor(FACTORS), ONE)
    expected = [oracle.adjust_contrast(x, f) for x, f in zip(images, FACTORS, strict=True)]
    torch.testing.assert_close(out, torch.stack(expected), **GRAY)


def test_saturation_as_torchvision(images: Tensor) -> None:
    out = augment.adjust_color(images, ONE, ONE, tensor(FACTORS))
    expected = [oracle.adjust_saturation(x, f) for x, f in zip(images, FACTORS, strict=True)]
    torch.testing.assert_close(out, torch.stack(expected), **GRAY)


def test_saturation_zero_is_grayscale(images: Tensor) -> None:
    out = augment.adjust_color(images, ONE, ONE, 0 * ONE)
    torch.testing.assert_close(out, oracle.rgb_to_grayscale(images, num_output_channels=3), **GRAY)
    assert (out == out[:, :1]).all()


def test_the_chain_as_torchvision_where_nothing_is_clamped(images: Tensor) -> None:
    x = 0.4 + 0.2 * images
    b, c, s = tensor([0.9, 1.1, 1.2, 0.8, 1.0]), tensor([1.2, 0.7, 1.0, 0.9, 1.3]), tensor([0.5, 1.3, 0.0, 1.0, 1.5])
    out = augment.adjust_color(x, b, c, s)
    for view, image, *factors in zip(out, x, b.tolist(), c.tolist(), s.tolist(), strict=True):
        expected = oracle.adjust_contrast(oracle.adjust_brightness(image, factors[0]), factors[1])
        torch.testing.assert_close(view, oracle.adjust_saturation(expected, factors[2]), **GRAY)


def test_one_channel_has_brightness_and_contrast_but_no_saturation(images: Tensor) -> None:
    x, b, c = images[:, :1], [0.5, 1.0, 1.4, 0.9, 1.0], [0.7, 1.2, 0.6, 1.0, 0.0]
    out = augment.adjust_color(x, tensor(b), tensor(c), 0 * ONE)
    for view, image, brightness, contrast in zip(out, x, b, c, strict=True):
        bright = image * brightness
        expected = (contrast * bright + (1 - contrast) * bright.mean()).clamp(0, 1)
        torch.testing.assert_close(view, expected, **SAME)


def test_hue_as_torchvision(images: Tensor) -> None:
    turns = [-0.5, -0.1, 0.0, 0.07, 0.5]
    out = augment.adjust_hue(images, tensor(turns))
    expected = [oracle.adjust_hue(x, t) for x, t in zip(images, turns, strict=True)]
    torch.testing.assert_close(out, torch.stack(expected), **SAME)


def test_hue_by_hand() -> None:
    red, orange, gray = [1.0, 0.0, 0.0], [0.8, 0.4, 0.0], [0.5, 0.5, 0.5]
    x = tensor([red, orange, gray])[:, :, None, None]
    out = augment.adjust_hue(x, tensor([1 / 3, 1 / 6, 0.2]))[:, :, 0, 0]
    torch.testing.assert_close(out, tensor([[0.0, 1.0, 0.0], [0.4, 0.8, 0.0], gray]), **SAME)


def test_solarize_as_torchvision(images: Tensor) -> None:
    thresholds = [0.0, 0.3, 0.5, 0.9, 1.0]
    out = augment.solarize(images, tensor(thresholds))
    expected = [oracle.solarize(x, t) for x, t in zip(images, thresholds, strict=True)]
    torch.testing.assert_close(out, torch.stack(expected), **SAME)


# ------------------------------------------------------------------------------------------------ blur, cutout, noise


@pytest.mark.parametrize("radius", [1, 4])
def test_blur_as_torchvision(images: Tensor, radius: int) -> None:
    sigmas = [0.1, 0.5, 1.0, 2.0, 5.0]
    out = augment.gaussian_blur(images, tensor(sigmas), radius)
    expected = [oracle.gaussian_blur(x, [2 * radius + 1] * 2, [s, s]) for x, s in zip(images, sigmas, strict=True)]
    torch.testing.assert_close(out, torch.stack(expected), **SAME)


def test_cutout_as_torchvision(images: Tensor) -> None:
    boxes = [[0, 0, 5, 5], [3, 7, 10, 2], [15, 20, 5, 6], [4, 4, 0, 0], [0, 0, 20, 26]]
    out = augment.cutout(images, tensor(boxes))
    expected = [oracle.erase(x, *box, torch.zeros(3, 1, 1)) for x, box in zip(images, boxes, strict=True)]
    torch.testing.assert_close(out, torch.stack(expected), rtol=0, atol=0)


def test_cutout_over_the_border_by_hand() -> None:
    out = augment.cutout(torch.ones(2, 1, 3, 3), tensor([[-1, -1, 2, 2], [2, 1, 2, 9]]))
    assert out[0, 0].tolist() == [[0, 1, 1], [1, 1, 1], [1, 1, 1]]
    assert out[1, 0].tolist() == [[1, 1, 1], [1, 1, 1], [1, 0, 0]]


def test_noise_as_torchvision(images: Tensor) -> None:
    for x, std in zip(images, [0.0, 0.05, 0.1, 0.3, 1.0], strict=True):
        torch.manual_seed(3)
        out = augment.gaussian_noise(x[None], tensor([std]))[0]
        torch.manual_seed(3)
        torch.testing.assert_close(out, oracle.gaussian_noise(x, mean=0.0, sigma=std), **SAME)


def test_noise_has_its_own_strength_per_example() -> None:
    torch.manual_seed(0)
    out = augment.gaussian_noise(torch.full((3, 1, 64, 64), 0.5), tensor([0.0, 0.02, 0.1]))
    torch.testing.assert_close(out.std((1, 2, 3)), tensor([0.0, 0.02, 0.1]), atol=0, rtol=0.05)


# ----------------------------------------------------------------------------------------------------------------- all

NEUTRAL = {
    "resample": lambda x: augment.resample(x, whole(x), no(x), None, (20, 26)),
    "resample by 0 degrees": lambda x: augment.resample(x, whole(x), no(x), 0 * ONE, (20, 26)),
    "adjust_color": lambda x: augment.adjust_color(x, ONE, ONE, ONE),
    "adjust_hue": lambda x: augment.adjust_hue(x, 0 * ONE),
    "gaussian_blur": lambda x: augment.gaussian_blur(x, 0 * ONE, 3),
    "solarize": lambda x: augment.solarize(x, 2 * ONE),
    "cutout": lambda x: augment.cutout(x, torch.zeros(5, 4)),
    "gaussian_noise": lambda x: augment.gaussian_noise(x, 0 * ONE),
}


@pytest.mark.parametrize("name", NEUTRAL)
def test_neutral_parameters_leave_the_image_and_the_input_alone(images: Tensor, name: str) -> None:
    before = images.clone()
    torch.testing.assert_close(NEUTRAL[name](images), before, **SAME)
    assert torch.equal(images, before)
