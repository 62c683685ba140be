"""Similarities against torch's own, pair by pair."""

import pytest
import torch
import torch.nn.functional as F

from ssl_runner.losses.similarity import Similarity, cosine_similarity

BY_PAIR = {
    "cosine": lambda a, b: F.cosine_similarity(a, b, dim=0),
    "dot": torch.dot,
    "euclidean": lambda a, b: -torch.dist(a, b),
    "squared_euclidean": lambda a, b: -(torch.dist(a, b) ** 2),
    "bilinear": torch.dot,  # as it starts
}


@pytest.mark.parametrize("name", BY_PAIR)
def test_each_pair_by_itself(name: str) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(4, 3), torch.randn(6, 3)
    sim = Similarity(name, 3)(a, b)
    assert sim.shape == (4, 6)
    for i in range(4):
        for j in range(6):
            assert sim[i, j].item() == pytest.approx(BY_PAIR[name](a[i], b[j]).item(), abs=1e-5)


def test_bilinear_is_not_symmetric() -> None:
    similarity = Similarity("bilinear", 2)
    with torch.no_grad():
        similarity.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert similarity(a, b).item() == 2
    assert similarity(b, a).item() == 3


@pytest.mark.parametrize("name", ["euclidean", "squared_euclidean"])
def test_a_vector_and_itself_have_a_finite_gradient(name: str) -> None:
    z = torch.randn(5, 3, requires_grad=True)
    Similarity(name, 3)(z, z).sum().backward()
    assert z.grad.isfinite().all()


def test_only_bilinear_learns() -> None:
    for name in BY_PAIR:
        assert bool(list(Similarity(name, 3).parameters())) == (name == "bilinear")


@pytest.mark.parametrize("name", BY_PAIR)
def test_half_precision_is_compared_in_float32(name: str) -> None:
    z = torch.randn(4, 3).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Similarity(name, 3)(z, z).dtype == torch.float32
        assert cosine_similarity(z, z).dtype == torch.float32
