import math

import numpy as np
import pytest
import torch
from findings import keys, value

from ssl_runner.evaluation.any.geometry import (
    Geometry,
    alignment,
    alpha,
    effective_rank,
    lidar,
    move,
    rankme,
    spread,
    uniformity,
)

SETTINGS = {"layer": "pooled", "examples": 100, "shift": 1, "spectrum": (1, 5), "views": 3, "delta": 1e-4}


def cloud(n=20, dim=4, seed=0):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def unit(row):
    return [v / math.hypot(*row) for v in row]


def distance2(a, b):
    return sum((p - q) ** 2 for p, q in zip(a, b, strict=True))


def test_uniformity_is_the_double_loop():
    x = cloud().tolist()
    kernel = [math.exp(-2 * distance2(unit(x[i]), unit(x[j]))) for i in range(20) for j in range(i)]
    assert uniformity(cloud()) == pytest.approx(math.log(sum(kernel) / 190), abs=1e-6)


def test_uniformity_by_hand():
    # Opposite ends of the circle's two axes: distances^2 are 4 (2 pairs) and 2 (4 pairs).
    x = torch.tensor([[3.0, 0], [-1, 0], [0, 2], [0, -5]])
    assert uniformity(x) == pytest.approx(math.log((2 * math.exp(-8) + 4 * math.exp(-4)) / 6))
    assert uniformity(torch.ones(7, 3)) == pytest.approx(0, abs=1e-6)


def test_alignment_is_the_loop():
    x, y = cloud().tolist(), cloud(seed=1).tolist()
    expected = sum(distance2(unit(a), unit(b)) for a, b in zip(x, y, strict=True)) / 20
    assert alignment(cloud(), cloud(seed=1)) == pytest.approx(expected, abs=1e-6)
    assert alignment(cloud(), -cloud()) == pytest.approx(4, abs=1e-5)
    assert alignment(cloud(), 3 * cloud()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shape", [(20, 4), (5, 12)], ids=str)
def test_effective_rank_against_numpy(shape):
    x = cloud(*shape)
    centered = x.double().numpy() - x.double().numpy().mean(0)
    share = np.linalg.svd(centered, compute_uv=False)
    share = share[share > 1e-9] / share.sum()
    assert effective_rank(x) == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-6)


def test_effective_rank_by_hand():
    equal = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]) + 7
    assert effective_rank(equal) == pytest.approx(2)
    assert effective_rank(torch.arange(6.0)[:, None] * torch.ones(3) + 5) == pytest.approx(1, abs=1e-5)
    # Singular values in the ratio 3 to 1: entropy of (3/4, 1/4).
    unequal = equal - 7
    unequal[:2] *= 3
    assert effective_rank(unequal) == pytest.approx(math.exp(0.75 * math.log(4 / 3) + 0.25 * math.log(4)))


def entropy_rank(values):
    shares = [value / sum(values) + 1e-7 for value in values]
    return math.exp(-sum(share * math.log(share) for share in shares))


@pytest.mark.parametrize("shape", [(20, 4), (5, 12)], ids=str)
def test_rankme_is_the_papers_formula(shape):
    """Equation 1: of the singular values of the features as they are, not centered."""
    x = cloud(*shape) + 3
    singular = np.linalg.svd(x.double().numpy(), compute_uv=False)
    assert rankme(x) == pytest.approx(entropy_rank(singular), rel=1e-6)
    assert rankme(x) < 0.8 * effective_rank(x)
    assert rankme(torch.zeros(5, 3)) == 0


def test_alpha_is_the_weighted_fit_over_the_ranks():
    """numpy's weighted fit, of the eigenvalues of numpy's covariance; its weights are of residuals, not of squares."""
    x = cloud(300, 12) * torch.arange(1, 13) ** -0.8
    values = np.linalg.eigvalsh(np.cov(x.double().numpy().T))[::-1]
    for first, last in ((1, 12), (4, 9), (4, 100)):
        rank = np.arange(first, min(last, 12) + 1)
        slope, _ = np.polyfit(np.log(rank), np.log(values[rank - 1]), 1, w=rank**-0.5)
        assert alpha(x, (first, last)) == pytest.approx(-slope, rel=1e-6)


def test_alpha_of_a_power_law_is_its_power():
    basis = torch.linalg.qr(cloud(64, 20).double() - cloud(64, 20).double().mean(0)).Q
    for power in (0.5, 1.0, 2.0):
        x = basis * torch.arange(1, 21).double() ** (-power / 2)
        assert alpha(x, (4, 20)) == pytest.approx(power, rel=1e-6)
    assert alpha(cloud(50, 4), (4, 100)) is None  # one eigenvalue is no line
    assert alpha(torch.ones(9, 8), (1, 8)) is None


@pytest.mark.parametrize("delta", [1e-4, 0.5])
def test_lidar_is_the_papers_formula(delta):
    """Equations 1 to 4 in loops."""
    n, q, width = 9, 4, 5
    x = (cloud(n, width)[:, None] + 0.3 * cloud(n * q, width, seed=1).view(n, q, width)).double().numpy()
    means = [sum(x[i]) / q for i in range(n)]
    middle = sum(means) / n
    between = sum(np.outer(mean - middle, mean - middle) for mean in means) / n
    within = sum(np.outer(x[i, j] - means[i], x[i, j] - means[i]) for i in range(n) for j in range(q)) / (n * q)
    values, vectors = np.linalg.eigh(within + delta * np.eye(width))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    assert lidar(torch.tensor(x), delta) == pytest.approx(
        entropy_rank(np.linalg.eigvalsh(root @ between @ root)), rel=1e-6
    )


def test_lidar_counts_directions_in_which_examples_differ():
    """Two directions tell examples apart, alike; in the others views of one example move as much as examples do."""
    corners = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    x = torch.cat([corners, torch.zeros(4, 3)], 1)[:, None] + 1e-3 * cloud(4 * 50, 5).view(4, 50, 5)
    assert lidar(x, 1e-6) == pytest.approx(2, abs=0.1)
    assert lidar(torch.ones(4, 3, 5), 1e-4) == 0


def test_collapse():
    same = torch.tensor([0.1, -3.0, 7.7]).expand(50, 3)
    assert effective_rank(same) == 0
    assert spread(same) == pytest.approx(0, abs=1e-6)


def test_spread_by_hand():
    assert spread(torch.tensor([[2.0, 0], [-1, 0], [0, 3], [0, -4]])) == pytest.approx(
        1
    )  # deviation 1/sqrt(2), times sqrt(2)
    assert spread(torch.tensor([[2.0, 0], [-1, 0]])) == pytest.approx(2**0.5 / 2)  # deviations 1 and 0


def test_move_by_hand():
    image = torch.arange(12, dtype=torch.uint8).view(1, 1, 3, 4)
    seen = set()
    for seed in range(60):
        g = torch.Generator().manual_seed(seed)
        moved = move(image, 1, g)
        g = torch.Generator().manual_seed(seed)
        down, across = torch.randint(-1, 2, (2, 1, 1), generator=g).flatten().tolist()
        seen.add((down, across))
        for row in range(3):
            for column in range(4):
                source = min(max(row - down, 0), 2), min(max(column - across, 0), 3)
                assert moved[0, 0, row, column] == image[0, 0, source[0], source[1]]
    assert len(seen) == 9


def test_each_image_moves_by_itself_and_channels_together():
    images = torch.rand(40, 1, 9, 9, generator=torch.Generator().manual_seed(0)).expand(40, 2, 9, 9)
    moved = move(images, 2, torch.Generator().manual_seed(1))
    assert moved.shape == images.shape
    assert torch.equal(moved[:, 0], moved[:, 1])
    still = (moved == images).flatten(1).all(1)
    assert 0 < (~still).sum() < 40 or still.sum() < 10


def test_the_evaluator_measures_the_features(subject):
    frozen = subject("blocks")
    found = Geometry(**SETTINGS)(frozen)
    x = frozen.features("test").data
    names = ["effective_rank", "rankme", "spread", "uniformity", "alpha", "alignment", "lidar"]
    assert keys(found) == [(name, "test", ()) for name in names]
    assert value(found, "rankme") == pytest.approx(rankme(x))
    assert value(found, "alpha") == pytest.approx(alpha(x, (1, 5)))
    assert 1 < value(found, "lidar") < x.shape[1] + 1
    assert value(found, "effective_rank") == pytest.approx(effective_rank(x))
    assert value(found, "uniformity") == pytest.approx(uniformity(x))
    assert 0 < value(found, "alignment") < 4
    assert found.protocol.measured["test examples"] == 40
    fewer = Geometry(**SETTINGS | {"examples": 10})(frozen)
    assert fewer.protocol.measured["test examples"] == 10
    assert value(fewer, "effective_rank") != value(found, "effective_rank")


def test_a_collapsed_encoder_is_seen(subject):
    found = Geometry(**SETTINGS)(subject("constant"))
    expected = {"effective_rank": 0, "rankme": 1, "spread": 0, "uniformity": 0, "alignment": 0, "lidar": 0}
    assert {each.name: each.value for each in found.metrics} == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "wrong", [{"examples": 1}, {"shift": 0}, {"spectrum": (3, 3)}, {"views": 1}, {"delta": 0.0}], ids=str
)
def test_refusals(wrong):
    with pytest.raises(ValueError, match=rf"evaluation\.geometry\.{next(iter(wrong))} is"):
        Geometry(**SETTINGS | wrong)
