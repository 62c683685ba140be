"""Negative sampling and softmax by loops; noise by chi-square."""

import math

import pytest
import torch
from scipy.stats import chisquare
from torch.nn import functional as F

from ssl_runner.backbones.word_vectors import WordVectors
from ssl_runner.interfaces import TextSpec
from ssl_runner.losses.word_outputs import NegativeSampling, Softmax, negative_sampling, softmax, softplus, word_counts

SPEC = TextSpec(length=4, vocabulary=12, counts=(50, 3, 0, 9, 0, 70, 1000, 100, 10, 1, 1, 0))


def encoder(gradient: str = "dense") -> WordVectors:
    return WordVectors(SPEC, width=5, gradient=gradient)


def sampling(**changes: float) -> NegativeSampling:
    return NegativeSampling(encoder(), SPEC, **{"negatives": 5, "power": 0.75, "shared": 6} | changes)


def example(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """v (2, 4, 3), u (2, 4, 3), pairs (2, 4, 4), noise (2, 6, 3)."""
    torch.manual_seed(seed)
    pairs = torch.rand(2, 4, 4) < 0.4
    return torch.randn(2, 4, 3), torch.randn(2, 4, 3), pairs.float(), torch.randn(2, 6, 3)


def test_negative_sampling_and_its_gradient_are_those_of_a_loop() -> None:
    v, u, pairs, noise = (each.requires_grad_() for each in example())
    value = negative_sampling(v @ u.mT, pairs, v @ noise.mT, 5)
    gradients = torch.autograd.grad(value, (v, u, noise))

    total, count = 0.0, 0
    by_hand = [torch.zeros_like(each) for each in (v, u, noise)]
    with torch.no_grad():
        for b, i, j in pairs.nonzero().tolist():
            count += 1
            error = torch.sigmoid(v[b, i] @ u[b, j]) - 1  # derivative of -log s by the score
            total -= math.log(torch.sigmoid(v[b, i] @ u[b, j]))
            by_hand[0][b, i] += error * u[b, j]
            by_hand[1][b, j] += error * v[b, i]
            for s in range(6):  # 5 negatives in expectation: each of 6 counts 5 / 6
                p = torch.sigmoid(v[b, i] @ noise[b, s])
                total -= 5 / 6 * math.log(1 - p)
                by_hand[0][b, i] += 5 / 6 * p * noise[b, s]
                by_hand[2][b, s] += 5 / 6 * p * v[b, i]
    assert value.item() == pytest.approx(total / count, rel=1e-5)
    for ours, theirs in zip(gradients, by_hand, strict=True):
        torch.testing.assert_close(ours, theirs / count, atol=1e-6, rtol=1e-4)


def test_shared_noise_has_the_expectation_of_noise_for_each_pair() -> None:
    """Summed over all possible draws, with a noise of 3 words and 2 of them drawn."""
    v, u, pairs, _ = example()
    words, p = torch.randn(3, 3), torch.tensor([0.5, 0.3, 0.2])
    expected = sum(
        p[a] * p[b] * negative_sampling(v @ u.mT, pairs, v @ words[[a, b]].mT.expand(2, 3, 2), 5)
        for a in range(3)
        for b in range(3)
    )
    score = v @ u.mT
    each = -F.logsigmoid(score) - 5 * (F.logsigmoid(-v @ words.T) * p).sum(dim=2, keepdim=True)
    torch.testing.assert_close(expected, (each * pairs).sum() / pairs.sum())


def test_softplus_and_its_gradient_are_those_of_logsigmoid() -> None:
    x = torch.cat((torch.linspace(-40, 40, 161), torch.tensor([-1e4, -200.0, 200, 1e4]))).double().requires_grad_()
    torch.testing.assert_close(softplus(x), -F.logsigmoid(-x), rtol=1e-12, atol=1e-15)
    assert torch.autograd.gradcheck(softplus, x[1:-4].detach().requires_grad_())
    assert torch.equal(torch.autograd.grad(softplus(x).sum(), x)[0], torch.sigmoid(x))


def test_softmax_is_cross_entropy() -> None:
    v, _, pairs, _ = example()
    table, word = torch.randn(7, 3), torch.randint(7, (2, 4))
    value = softmax(v @ table[word].mT, pairs, v @ table.T)
    b, i, j = pairs.nonzero().unbind(1)
    torch.testing.assert_close(value, F.cross_entropy(v[b, i] @ table.T, word[b, j]))


def test_no_pairs_cost_nothing() -> None:
    v, u, pairs, noise = example()
    assert negative_sampling(v @ u.mT, 0 * pairs, v @ noise.mT, 5) == 0
    assert softmax(v @ u.mT, 0 * pairs, v @ u[0].T) == 0


def test_noise_is_counts_to_the_power() -> None:
    torch.manual_seed(0)
    output = sampling(shared=100)
    drawn = output.draw(500)
    assert drawn.shape == (500, 100)
    weight = torch.tensor([1000.0, 100, 10, 1, 1], dtype=torch.float64) ** 0.75
    seen = drawn.flatten().bincount(minlength=12)
    assert seen[:6].sum() == seen[11] == 0  # special ids, and a word that is never there
    assert chisquare(seen[6:11].numpy(), (50_000 * weight / weight.sum()).numpy()).pvalue > 0.001


def test_counts_that_are_not_known_are_alike() -> None:
    assert word_counts(SPEC).tolist() == [0] * 6 + [1000, 100, 10, 1, 1, 0]
    assert word_counts(TextSpec(length=4, vocabulary=9)).tolist() == [0] * 6 + [1] * 3
    assert word_counts(TextSpec(length=4, vocabulary=8, counts=(5, 5, 0, 0, 0, 0, 0, 0))).tolist() == [0] * 6 + [1, 1]


@pytest.mark.parametrize("kind", [Softmax, NegativeSampling])
def test_both_look_up_words_and_noise_at_once(kind: type) -> None:
    output = sampling() if kind is NegativeSampling else Softmax(encoder("sparse"), SPEC)
    assert output.table.weight.abs().sum() == 0
    assert output.table.sparse == (kind is Softmax)
    torch.nn.init.normal_(output.table.weight)
    word, noise = torch.randint(12, (3, 4)), output.draw(3)
    u, others = output.vectors(word, noise)
    assert torch.equal(u, output.table.weight[word])
    assert torch.equal(others, output.table.weight[noise])
    v = torch.randn(3, 4, 5)
    value = output.loss(v, (v * u).sum(dim=2, keepdim=True), torch.ones(3, 4, 1), others)
    if kind is Softmax:
        theirs = F.cross_entropy((v @ output.table.weight.T).flatten(0, 1), word.flatten())
    else:
        theirs = negative_sampling((v * u).sum(dim=2, keepdim=True), torch.ones(3, 4, 1), v @ others.mT, 5)
    torch.testing.assert_close(value, theirs)


@pytest.mark.parametrize("key", ["negatives", "shared"])
def test_refusals(key: str) -> None:
    with pytest.raises(ValueError, match=rf"objective\.output\.{key} is 0"):
        sampling(**{key: 0})
