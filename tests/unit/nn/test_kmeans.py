import pytest
import torch
from sklearn.cluster import KMeans

from ssl_runner.nn.kmeans import kmeans, nearest


def test_by_hand():
    points = torch.tensor([[[0.0], [1.0], [10.0], [12.0], [30.0]]])  # mean 10.6: the first center is 30, the second 0
    assert sorted(kmeans(points, 2).flatten().tolist()) == [5.75, 30]
    assert sorted(kmeans(points, 3).flatten().tolist()) == [0.5, 11, 30]


def test_it_ends_where_scikit_learn_ends_from_the_same_start():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(3, 60, 2, generator=generator, dtype=torch.float64)
    points += 6 * torch.randint(3, (3, 60, 2), generator=generator)
    ours = kmeans(points, 5)
    for own, centers in zip(points.numpy(), ours, strict=True):
        start = farthest(own, 5)
        theirs = KMeans(5, init=start, n_init=1, max_iter=10, tol=0).fit(own).cluster_centers_
        torch.testing.assert_close(centers, torch.as_tensor(theirs))


def farthest(points, count):
    """By loops: the point farthest from the mean, then ever the one farthest from all chosen."""
    chosen = [max(points, key=lambda p: ((p - points.mean(0)) ** 2).sum())]
    while len(chosen) < count:
        chosen.append(max(points, key=lambda p: min(((p - c) ** 2).sum() for c in chosen)))
    return torch.tensor([list(p) for p in chosen], dtype=torch.float64).numpy()


def test_few_points_far_from_all_others_have_a_center():
    points = torch.cat([0.01 * torch.randn(1, 1000, 2), torch.tensor([[[50.0, 0], [0, 50]]])], dim=1)
    centers = kmeans(points, 3)[0]
    assert {tuple(c) for c in centers.round().abs().tolist()} == {(0, 0), (50, 0), (0, 50)}


def test_points_that_differ_by_rounding_are_one_group():
    points = torch.tensor([0.0, 0.0, 40.0, 40.0, 80.0]).view(1, 5, 1) + 1e-5 * torch.rand(1, 5, 1)
    centers = kmeans(points, 5)
    assert nearest(points, centers).tolist() == [[1, 1, 2, 2, 0]]
    torch.testing.assert_close(centers[0, :3, 0], torch.tensor([80.0, 0, 40]), atol=1e-4, rtol=0)
    assert (centers[0, 3:] > 400).all()  # to spare


@pytest.mark.parametrize("count", [1, 4])
def test_equal_points_have_one_center(count):
    points = torch.full((2, 6, 2), 3.0)
    centers = kmeans(points, count)
    assert torch.equal(centers[:, 0], torch.full((2, 2), 3.0))
    assert torch.equal(nearest(points, centers), torch.zeros(2, 6).long())


def test_each_set_has_its_own_nearest():
    points, centers = torch.rand(2, 7, 2), torch.rand(2, 3, 2)
    for b in range(2):
        for i in range(7):
            expected = min(range(3), key=lambda k: (points[b, i] - centers[b, k]).norm().item())
            assert nearest(points, centers)[b, i] == expected
