"""The test of normality against its closed form, pair by pair, and LeJEPA's use of it."""

import math

import pytest
import torch

from ssl_runner.losses.normality import epps_pulley, sigreg


def closed_form(x: list[float]) -> float:
    """n times the integral over all frequencies, which has no quadrature in it."""
    n = len(x)
    pairs = sum(math.exp(-((a - b) ** 2) / 2) for a in x for b in x) * math.sqrt(2 * math.pi) / n**2
    cross = 2 * sum(math.exp(-(a**2) / 4) for a in x) * math.sqrt(math.pi) / n
    return n * (pairs - cross + math.sqrt(2 * math.pi / 3))


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.8, 1.0), (0.0, 0.3), (-0.5, 1.3)])
def test_the_integral_is_that_of_the_closed_form(shift: float, scale: float) -> None:
    torch.manual_seed(0)
    x = shift + scale * torch.randn(20, 3, dtype=torch.float64)
    for column, value in enumerate(epps_pulley(x)):
        assert value.item() == pytest.approx(closed_form(x[:, column].tolist()), rel=3e-3)


def test_normal_samples_have_the_stated_mean_and_others_more() -> None:
    torch.manual_seed(0)
    normal = torch.randn(100, 2000)
    expected = math.sqrt(2 * math.pi) * (1 - 1 / math.sqrt(3))
    assert epps_pulley(normal).mean().item() == pytest.approx(expected, rel=0.05)
    for other in (normal + 0.5, 2 * normal, normal.sign(), torch.zeros(100, 5)):
        assert epps_pulley(other).mean() > 5 * expected


def test_directions_are_scaled_and_views_are_tested_one_by_one() -> None:
    torch.manual_seed(0)
    z, directions = torch.randn(2, 9, 4, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    total = 0.0
    for view in z:
        for direction in directions.T:
            along = view @ direction / direction.norm()
            total += epps_pulley(along[:, None]).item()
    assert sigreg(z, directions).item() == pytest.approx(total / 12, rel=1e-9)
    torch.testing.assert_close(sigreg(z, 7 * directions), sigreg(z, directions))
