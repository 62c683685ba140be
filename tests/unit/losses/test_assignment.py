"""Sinkhorn against the paper's alternation in loops, its marginals, and lightly where it is installed."""

import math

import pytest
import torch

from ssl_runner.losses.assignment import perplexity, sinkhorn


@pytest.fixture
def scores() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(7, 3, dtype=torch.float64) * 2 - 1  # cosines


def test_against_the_alternation_in_loops(scores: torch.Tensor) -> None:
    n, k = scores.shape
    q = [[math.exp(scores[i, j].item() / 0.3) for j in range(k)] for i in range(n)]
    for _ in range(3):
        for j in range(k):
            total = sum(q[i][j] for i in range(n))
            for i in range(n):
                q[i][j] /= total * k
        for i in range(n):
            total = sum(q[i])
            q[i] = [each / (total * n) for each in q[i]]
    expected = torch.tensor(q, dtype=torch.float64) * n
    torch.testing.assert_close(sinkhorn(scores, epsilon=0.3, iterations=3), expected, rtol=1e-10, atol=1e-12)


def test_many_iterations_use_every_prototype_alike(scores: torch.Tensor) -> None:
    q = sinkhorn(scores, epsilon=0.3, iterations=200)
    torch.testing.assert_close(q.sum(1), torch.ones(7, dtype=torch.float64))
    torch.testing.assert_close(q.sum(0), torch.full((3,), 7 / 3, dtype=torch.float64))


def test_it_solves_the_problem(scores: torch.Tensor) -> None:
    """No balanced step away from the solution raises <Q, scores> + epsilon entropy(Q)."""
    q = sinkhorn(scores, epsilon=0.3, iterations=500)

    def objective(q: torch.Tensor) -> float:
        return ((q * scores).sum() + 0.3 * torch.special.entr(q).sum()).item()

    for seed in range(10):
        torch.manual_seed(seed)
        step = torch.randn_like(scores)
        step = step - step.mean(0) - step.mean(1, keepdim=True) + step.mean()  # rows and columns keep their sums
        assert objective(q + 1e-3 * step / step.abs().max() * q.min()) < objective(q)


def test_each_of_several_crops_is_balanced_by_itself(scores: torch.Tensor) -> None:
    both = torch.stack((scores, scores.flip(1) * 0.5))
    q = sinkhorn(both, epsilon=0.3, iterations=3)
    for v in range(2):
        torch.testing.assert_close(q[v], sinkhorn(both[v], epsilon=0.3, iterations=3))


def test_examples_that_all_prefer_one_prototype_are_shared_out() -> None:
    scores = torch.tensor([[1.0, 0.0], [1.0, 0.5], [1.0, 0.9], [1.0, 0.99]])
    q = sinkhorn(scores, epsilon=0.02, iterations=200)
    assert q.argmax(1).tolist() == [0, 0, 1, 1]
    assert q[:, 0].diff().max() < 0  # who prefers it most gets most of it


def test_a_small_epsilon_does_not_overflow(scores: torch.Tensor) -> None:
    q = sinkhorn(scores.float(), epsilon=1e-4, iterations=3)
    torch.testing.assert_close(q.sum(1), torch.ones(7))


def test_against_lightly(scores: torch.Tensor) -> None:
    theirs = pytest.importorskip("lightly.loss.swav_loss")
    expected = theirs.sinkhorn(scores, iterations=3, epsilon=0.05)
    torch.testing.assert_close(sinkhorn(scores, epsilon=0.05, iterations=3), expected, rtol=1e-9, atol=1e-12)


def test_it_has_no_gradient_and_is_computed_in_float32() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        q = sinkhorn(torch.randn(4, 3, requires_grad=True).bfloat16(), epsilon=0.05, iterations=3)
    assert not q.requires_grad
    assert q.dtype == torch.float32


def test_perplexity_counts_prototypes() -> None:
    assert perplexity(torch.full((5, 4), 0.25)).item() == pytest.approx(4)
    assert perplexity(torch.eye(4)).item() == pytest.approx(4)
    assert perplexity(torch.tensor([[0.0, 1.0], [0.0, 1.0]])).item() == pytest.approx(1)
    # shares 3/4 and 1/4
    expected = math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert perplexity(torch.eye(2)[[0, 0, 0, 1]]).item() == pytest.approx(expected)
