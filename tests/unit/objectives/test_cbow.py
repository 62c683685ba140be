"""CBOW: the mean of what stands around, the loss by a loop."""

import pytest
import torch
from special_ids import EOS, MASK, UNK
from torch.nn import functional as F

from ssl_runner.backbones.word_vectors import WordVectors
from ssl_runner.interfaces import Batch, TextSpec
from ssl_runner.losses.word_outputs import NegativeSampling, Softmax, WordOutput
from ssl_runner.objectives.cbow import CBOW

SPEC = TextSpec(length=12, vocabulary=20, counts=tuple([0, 9, 0, 0, 0, 9, *range(14, 0, -1)]))


def task(output: str, subsample: float | None = None) -> CBOW:
    torch.manual_seed(0)
    encoder = WordVectors(SPEC, width=6, gradient="dense")
    chosen: WordOutput = (
        Softmax(encoder, SPEC)
        if output == "softmax"
        else NegativeSampling(encoder, SPEC, negatives=3, power=0.75, shared=4)
    )
    torch.nn.init.normal_(chosen.table.weight)
    return CBOW(encoder, SPEC, window=2, subsample=subsample, output=chosen)


def batch() -> Batch:
    torch.manual_seed(1)
    data = torch.randint(6, 20, (5, 12))
    data[:, 4], data[:, 8], data[:, 10] = EOS, UNK, EOS
    return Batch(data, torch.full((5,), -1), torch.arange(5))


@pytest.mark.parametrize("output", ["softmax", "negative_sampling"])
def test_the_loss_is_that_of_a_loop(output: str) -> None:
    objective = task(output)
    x, y = objective.split(batch())
    v, u = objective.encoder.embedding.weight, objective.output.table.weight
    losses = []
    for b in range(5):
        for i in range(12):
            around = [int(x.word[b, j]) for j in range(12) if x.pairs[b, i, j]]
            assert (int(y.word[b, i]) == MASK) == (not around)
            if around:
                assert y.word[b, i] == batch().data[b, i]
                score = u @ v[around].mean(dim=0)
                if output == "softmax":
                    losses.append(F.cross_entropy(score, y.word[b, i]))
                else:
                    noise = score[y.noise[b]]
                    losses.append(-F.logsigmoid(score[y.word[b, i]]) - 3 * F.logsigmoid(-noise).mean())
    torch.testing.assert_close(objective.loss(x, y).value, torch.stack(losses).mean())


def test_a_word_alone_in_its_sentence_is_not_asked_for() -> None:
    _, y = task("softmax").split(batch())
    assert (y.word[:, 11] == MASK).all()  # the sentence before it ends at place 10, and the example after it


def test_shuffled_words_are_those_of_the_batch() -> None:
    objective = task("negative_sampling", subsample=0.05)
    x, y = objective.split(batch())
    same, moved = objective.shuffle(x, y)
    asked = y.word != MASK
    assert same is x
    assert torch.equal(moved.word != MASK, asked)
    assert sorted(moved.word[asked].tolist()) == sorted(y.word[asked].tolist())
    assert (moved.word != y.word).any()
