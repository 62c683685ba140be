import numpy as np
import pytest
import torch
from findings import keys, value
from torch import Tensor

from ssl_runner.evaluation.any.projection import Projection, principal_plane
from ssl_runner.figures import Scatter
from ssl_runner.interfaces import Encoder, Features


def test_principal_plane_is_that_of_scikit_learn():
    from sklearn.decomposition import PCA

    x = torch.randn(30, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5, 2, 0.1, 9]) + 3
    points, shown = principal_plane(x)
    pca = PCA(2).fit(x.numpy())
    assert np.allclose(np.abs(points), np.abs(pca.transform(x.numpy())), atol=1e-4)
    assert shown == pytest.approx(pca.explained_variance_ratio_.sum(), rel=1e-5)


def test_principal_plane_of_a_line_and_of_a_point():
    line, shown = principal_plane(torch.tensor([[0.0], [1], [3], [4]]))
    assert np.allclose(line, [[-2, 0], [-1, 0], [1, 0], [2, 0]])
    assert shown == pytest.approx(1)
    point, shown = principal_plane(torch.full((6, 3), 0.3))
    assert np.allclose(point, 0, atol=1e-6)
    assert shown == 0


class Groups(Encoder):
    """The class, one-hot, and a fifth of the noise that the image's second row has: groups, no two points of one place.

    Of points that lie on each other it is not said which neighbor is the nearer."""

    dim = 4

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        pooled = x[:, 0, 0] + 0.2 * x[:, 0, 1]
        return Features(pooled[:, None], pooled)


def trust(x: np.ndarray, points: np.ndarray, k: int) -> float:
    """Venna, Kaski 2001, equation 1: 1 less what neighbors in the plane lie beyond the k nearest in feature space."""
    n, beyond = len(x), 0
    for i in range(n):
        far, near = (np.linalg.norm(each - each[i], axis=1) for each in (x, points))
        rank = {j: place for place, j in enumerate(np.argsort(far))}  # the point itself has rank 0
        beyond += sum(max(0, rank[j] - k) for j in np.argsort(near)[1 : k + 1])
    return 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * beyond


@pytest.mark.parametrize(
    ("method", "metrics"), [("pca", ["trustworthiness", "explained_variance"]), ("tsne", ["trustworthiness"])]
)
def test_points_and_labels_belong_together(subject, table, method, metrics):
    asked = subject(Groups())
    found = Projection(layer="pooled", method=method, examples=40)(asked)
    assert keys(found) == [(name, "test", ()) for name in metrics]
    figure = found.figures[method]
    assert isinstance(figure, Scatter)
    assert figure.points.shape == (40, 2)
    assert figure.label.tolist() == table.examples("test").label.tolist()
    for place, point in enumerate(figure.points):
        nearest = np.argsort(np.linalg.norm(figure.points - point, axis=1))[:2]
        assert set(figure.label[nearest]) == {figure.label[place]}
    expected = trust(asked.features("test").data.numpy(), figure.points, k=10)
    assert value(found, "trustworthiness") == pytest.approx(expected)
    assert expected > 0.9  # of points in a random order: about a half


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_examples_are_chosen_with_their_labels(subject, table, method):
    figure = Projection(layer="pooled", method=method, examples=20)(subject(Groups())).figures[method]
    assert figure.points.shape == (20, 2)
    for place, point in enumerate(figure.points):
        nearest = np.argsort(np.linalg.norm(figure.points - point, axis=1))[1]
        assert figure.label[nearest] == figure.label[place]


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_collapsed_encoder_is_a_point(subject, method):
    found = Projection(layer="pooled", method=method, examples=40)(subject("constant"))
    assert np.allclose(found.figures[method].points, 0, atol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match=r"evaluation\.projection\.examples is 3"):
        Projection(layer="pooled", method="pca", examples=3)
