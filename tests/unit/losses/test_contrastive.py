"""InfoNCE against a double loop, torch's cross-entropy and pytorch-metric-learning's NT-Xent."""

import math

import pytest
import torch
import torch.nn.functional as F

from ssl_runner.losses.contrastive import InfoNCE, cosine_similarity, info_nce


def masks(source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    same = source[:, None] == source[None, :]
    return same & ~torch.eye(len(source), dtype=torch.bool), ~same


@pytest.fixture
def z() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(12, 5, dtype=torch.float64)


def test_a_case_worked_by_hand() -> None:
    sim = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 3.0]])
    pos = torch.tensor([[True, False, False], [False, True, False]])
    neg = torch.tensor([[False, True, True], [True, False, True]])
    first = math.log(1 + math.exp(-1) + math.exp(-2))
    second = math.log(2 + math.exp(-3))
    assert info_nce(sim, pos, neg).item() == pytest.approx((first + second) / 2)


def test_against_a_double_loop_with_several_positives(z: torch.Tensor) -> None:
    pos, neg = masks(torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 1]))
    sim = cosine_similarity(z, z) / 0.3
    terms = []
    for i in range(len(z)):
        negatives = sum(math.exp(sim[i, k]) for k in range(len(z)) if neg[i, k])
        for j in range(len(z)):
            if pos[i, j]:
                terms.append(-math.log(math.exp(sim[i, j]) / (math.exp(sim[i, j]) + negatives)))
    assert info_nce(sim, pos, neg).item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)


def test_two_views_are_nt_xent(z: torch.Tensor) -> None:
    """The cross-entropy of each view's twin among all other views."""
    source = torch.arange(6).repeat(2)
    sim = cosine_similarity(z, z) / 0.5
    others = sim.masked_fill(torch.eye(12, dtype=torch.bool), float("-inf"))
    twin = torch.arange(12).roll(6)
    ours = InfoNCE(temperature=0.5)(cosine_similarity(z, z), *masks(source))
    assert ours.item() == pytest.approx(F.cross_entropy(others, twin).item(), rel=1e-12)


def test_against_pytorch_metric_learning(z: torch.Tensor) -> None:
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    source = torch.arange(6).repeat(2)
    theirs = losses.NTXentLoss(temperature=0.2)(z, source)
    ours = InfoNCE(temperature=0.2)(cosine_similarity(z, z), *masks(source))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-10)


def test_similarities_of_half_precision_are_computed_in_float32() -> None:
    z = torch.randn(8, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sim = cosine_similarity(z.bfloat16(), z.bfloat16())
        value = info_nce(sim, *masks(torch.arange(4).repeat(2)))
    assert sim.dtype == torch.float32
    assert value.dtype == torch.float32


def test_extreme_similarities_stay_finite() -> None:
    sim = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    eye = torch.eye(2, dtype=torch.bool)
    value = info_nce(sim, ~eye, eye)  # the positives are the unlikely ones
    value.backward()
    assert value.item() == pytest.approx(2e4)
    assert torch.isfinite(sim.grad).all()


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
def test_a_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"objective\.loss\.temperature"):
        InfoNCE(temperature=temperature)
