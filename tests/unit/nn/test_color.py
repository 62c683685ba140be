"""L*a*b* against published values, the CIE's formulas on single numbers, and there and back."""

import pytest
import torch

from ssl_runner.nn.color import ab_centers, lab_to_rgb, rgb_to_lab

KNOWN = {  # sRGB under D65, to two decimals, as color calculators give them
    (1, 0, 0): (53.24, 80.09, 67.20),
    (0, 1, 0): (87.73, -86.18, 83.18),
    (0, 0, 1): (32.30, 79.19, -107.86),
    (0, 1, 1): (91.11, -48.09, -14.13),
    (1, 0, 1): (60.32, 98.23, -60.82),
    (1, 1, 0): (97.14, -21.55, 94.48),
    (1, 1, 1): (100, 0, 0),
    (0, 0, 0): (0, 0, 0),
}


def one(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1)


@pytest.mark.parametrize("rgb", KNOWN)
def test_published_values(rgb: tuple[int, int, int]) -> None:
    assert rgb_to_lab(one(rgb)).flatten().tolist() == pytest.approx(KNOWN[rgb], abs=0.02)


def by_hand(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """The CIE's formulas as they are printed, with the constants of the standard in place of their ratios."""
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue))
    x = 0.4124564 * r + 0.3575761 * g + 0.1804375 * b
    y = 0.2126729 * r + 0.7151522 * g + 0.0721750 * b
    z = 0.0193339 * r + 0.1191920 * g + 0.9503041 * b
    fx, fy, fz = (
        t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in (x / 0.95047, y, z / 1.08883)
    )
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def test_against_single_numbers() -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 3, 6, 5, dtype=torch.float64)
    image[0] *= 0.05  # below the bends of both curves too
    lab = rgb_to_lab(image)
    for n in range(2):
        for i in range(6):
            for j in range(5):
                assert lab[n, :, i, j].tolist() == pytest.approx(by_hand(*image[n, :, i, j].tolist()), abs=1e-3)


def test_grays_have_no_color() -> None:
    gray = torch.linspace(0, 1, 256).expand(1, 3, 1, 256)
    lab = rgb_to_lab(gray)
    assert lab[:, 1:].abs().max() < 1e-3
    assert (lab[0, 0, 0].diff() > 0).all()


def test_there_and_back_is_exact_to_one_gray_level() -> None:
    """A third of the levels of each channel: every step of 3 from 0 to 255, 86^3 colors."""
    level = torch.arange(0, 256, 3) / 255
    image = torch.cartesian_prod(level, level, level).T.reshape(1, 3, 86, -1)
    back = lab_to_rgb(rgb_to_lab(image))
    assert torch.equal((back * 255).round(), (image * 255).round())
    assert (back - image).abs().max() < 0.01 / 255


def test_colors_that_a_screen_has_not_are_clamped() -> None:
    rgb = lab_to_rgb(torch.tensor([[50.0, 200.0, 0.0], [120.0, 0.0, 0.0], [-5.0, 0.0, 0.0]])[..., None, None])
    assert rgb.min() >= 0
    assert rgb.max() <= 1
    torch.testing.assert_close(rgb[1:, :, 0, 0], torch.tensor([[1.0] * 3, [0.0] * 3]))


def test_half_precision_is_widened() -> None:
    image = torch.rand(1, 3, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(rgb_to_lab(image), rgb_to_lab(image.clone()))
        assert rgb_to_lab(image.bfloat16()).dtype == torch.float32
    assert (lab_to_rgb(rgb_to_lab(image)) - image).abs().max() < 1e-4


def test_every_color_lies_in_one_of_the_squares() -> None:
    torch.manual_seed(0)
    ab = rgb_to_lab(torch.rand(1, 3, 400, 500))[0, 1:].flatten(1).T
    for step in (10.0, 20.0):
        centers = ab_centers(step)
        assert len(torch.unique(centers, dim=0)) == len(centers)
        squares = torch.unique((ab / step).round(), dim=0) * step
        assert set(map(tuple, squares.tolist())) <= set(map(tuple, centers.tolist()))
    assert len(ab_centers(10.0)) == 262
