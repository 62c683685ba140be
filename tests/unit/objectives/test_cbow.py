"""CBOW: the mean of what stands around, the loss by a loop."""

import pytest
import torch
from special_ids import EOS, PAD, UNK
from torch.nn import functional as F

from ssl_runner.backbones.word_vectors import WordVectors
from ssl_runner.interfaces import Batch, TextSpec
from ssl_runner.losses.word_outputs import NegativeSampling, Softmax, WordOutput
from ssl_runner.nn.word_windows import ROW
from ssl_runner.objectives.cbow import CBOW

SPEC = TextSpec(length=12, vocabulary=20, counts=tuple([0, 9, 0, 0, 0, 9, *range(14, 0, -1)]))


def task(output: str, subsample: float | None = None, gradient: str = "dense") -> CBOW:
    torch.manual_seed(0)
    encoder = WordVectors(SPEC, width=6, gradient=gradient)
    chosen: WordOutput = (
        Softmax(encoder, SPEC)
        if output == "softmax"
        else NegativeSampling(encoder, SPEC, negatives=3, power=0.75, shared=4)
    )
    torch.nn.init.normal_(chosen.table.weight)
    return CBOW(encoder, SPEC, window=2, subsample=subsample, output=chosen)


def batch(length: int = 12) -> Batch:
    torch.manual_seed(1)
    data = torch.randint(6, 20, (5, length))
    data[:, 4], data[:, 8], data[:, 10] = EOS, UNK, EOS
    return Batch(data, torch.full((5,), -1), torch.arange(5))


@pytest.mark.parametrize("output", ["softmax", "negative_sampling"])
@pytest.mark.parametrize("gradient", ["dense", "sparse"])
@pytest.mark.parametrize("length", [12, 50])
def test_the_loss_and_its_gradient_are_those_of_a_loop(output: str, gradient: str, length: int) -> None:
    """In float64; examples of 50 words take several rows, of which windows cross the borders."""
    objective = task(output, gradient=gradient).double()
    x, y = objective.split(batch(length))
    v, u = objective.encoder.embedding.weight, objective.output.table.weight
    losses = []
    for b in range(5):
        for i in range(x.word.shape[1]):
            near = range(i - int(x.before[b, i]), i + int(x.after[b, i]) + 1)
            around = [int(x.word[b, j]) for j in near if j != i]
            assert (int(y.word[b, i]) == PAD) == (not around)
            if around:
                assert y.word[b, i] == x.word[b, i] != PAD
                score = u @ v[around].mean(dim=0)
                if output == "softmax":
                    losses.append(F.cross_entropy(score, y.word[b, i]))
                else:
                    noise = score[y.noise[b, i // ROW]]
                    losses.append(-F.logsigmoid(score[y.word[b, i]]) - 3 * F.logsigmoid(-noise).mean())
    expected, value = torch.stack(losses).mean(), objective.loss(x, y).value
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
    value.backward()
    for one, other in zip((v, u), torch.autograd.grad(expected, (v, u)), strict=True):
        torch.testing.assert_close(one.grad.to_dense(), other, rtol=1e-9, atol=1e-12)


def test_a_word_alone_in_its_sentence_is_not_asked_for() -> None:
    x, y = task("softmax").split(batch())
    assert (x.word[:, 8] != PAD).all()
    assert (y.word[:, 8] == PAD).all()  # place 11, the ninth word: the sentence before it ends at place 10
    assert (y.word[:, :8] != PAD).all()


def test_shuffled_words_are_those_of_the_batch() -> None:
    objective = task("negative_sampling", subsample=0.05)
    x, y = objective.split(batch())
    same, moved = objective.shuffle(x, y)
    asked = y.word != PAD
    assert same is x
    assert torch.equal(moved.word != PAD, asked)
    assert sorted(moved.word[asked].tolist()) == sorted(y.word[asked].tolist())
    assert (moved.word != y.word).any()


def test_a_batch_without_words_costs_nothing() -> None:
    objective = task("negative_sampling")
    data = torch.full((3, 12), UNK)
    value = objective.loss(*objective.split(Batch(data, data[:, 0], data[:, 0]))).value
    value.backward()
    assert value == 0
    assert objective.encoder.embedding.weight.grad.abs().sum() == 0
