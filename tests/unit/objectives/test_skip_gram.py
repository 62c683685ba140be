"""Skip-gram: which words are asked of which, the loss by a loop, what it learns."""

import pytest
import torch
from special_ids import EOS, MASK, UNK
from torch.nn import functional as F

from ssl_runner.backbones.word_vectors import WordVectors
from ssl_runner.interfaces import Batch, TextSpec
from ssl_runner.losses.word_outputs import NegativeSampling, Softmax
from ssl_runner.objectives.skip_gram import SkipGram

SPEC = TextSpec(length=12, vocabulary=20, counts=tuple([0, 9, 0, 0, 0, 9, *range(14, 0, -1)]))


def task(output: str = "negative_sampling", gradient: str = "dense", subsample: float | None = None) -> SkipGram:
    torch.manual_seed(0)
    encoder = WordVectors(SPEC, width=6, gradient=gradient)
    chosen = (
        Softmax(encoder, SPEC)
        if output == "softmax"
        else NegativeSampling(encoder, SPEC, negatives=3, power=0.75, shared=4)
    )
    torch.nn.init.normal_(chosen.table.weight)
    return SkipGram(encoder, SPEC, window=2, subsample=subsample, output=chosen)


def batch(size: int = 5) -> Batch:
    torch.manual_seed(1)
    data = torch.randint(6, 20, (size, 12))
    data[:, 4], data[:, 8] = EOS, UNK
    return Batch(data, torch.full((size,), -1), torch.arange(size))


def test_pairs_are_of_one_sentence_and_skip_unknown_words() -> None:
    x, y = task().split(batch())
    assert torch.equal(x == MASK, (batch().data < 6))
    assert torch.equal(x, y.word)
    found = set(map(tuple, y.pairs.nonzero()[:, 1:].tolist()))
    assert {(3, 5), (5, 3)} & found == set()  # the sentence ends between
    assert all(4 not in pair and 8 not in pair for pair in found)
    assert {(i, j) for i in range(12) for j in range(12) if abs(i - j) == 1} - found == {
        (3, 4), (4, 3), (4, 5), (5, 4), (7, 8), (8, 7), (8, 9), (9, 8)
    }  # fmt: skip
    assert {(7, 9), (9, 7)} <= found


def test_the_loss_is_that_of_a_loop() -> None:
    for output in ("softmax", "negative_sampling"):
        objective = task(output)
        x, y = objective.split(batch())
        v, u = objective.encoder.embedding.weight, objective.output.table.weight
        total = torch.zeros(())
        for b, i, j in y.pairs.nonzero().tolist():
            score = u @ v[x[b, i]]
            if output == "softmax":
                total = total + F.cross_entropy(score, y.word[b, j])
            else:
                noise = score[y.noise[b]]
                total = total - F.logsigmoid(score[y.word[b, j]]) - 3 * F.logsigmoid(-noise).mean()
        torch.testing.assert_close(objective.loss(x, y).value, total / y.pairs.sum())


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_sparse_gradients_make_the_same_step() -> None:
    tables = []
    for gradient in ("dense", "sparse"):
        objective = task(gradient=gradient)
        optimizer = torch.optim.Adagrad(objective.parameters(), lr=0.1)
        for _ in range(3):
            torch.manual_seed(2)
            optimizer.zero_grad()
            objective.loss(*objective.split(batch())).value.backward()
            optimizer.step()
        tables.append((objective.encoder.embedding.weight.detach(), objective.output.table.weight.detach()))
    for dense, sparse in zip(*tables, strict=True):
        torch.testing.assert_close(dense, sparse)


def test_shuffled_words_are_those_of_the_batch() -> None:
    objective = task(subsample=0.05)
    x, y = objective.split(batch())
    same, moved = objective.shuffle(x, y)
    assert same is x
    kept = y.word != MASK
    assert torch.equal(moved.word != MASK, kept)
    assert sorted(moved.word[kept].tolist()) == sorted(y.word[kept].tolist())
    assert torch.equal(moved.pairs, y.pairs)
    assert (moved.word != y.word).any()


@pytest.mark.parametrize("output", ["softmax", "negative_sampling"])
def test_words_of_one_topic_come_together(output: str) -> None:
    """Two languages of seven words each that never meet in a sentence."""
    torch.manual_seed(3)
    data = torch.randint(7, (200, 12)) + 6 + 7 * torch.randint(2, (200, 1))
    objective = task(output)
    torch.nn.init.zeros_(objective.output.table.weight)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        objective.loss(*objective.split(Batch(data, data[:, 0], data[:, 0]))).value.backward()
        optimizer.step()
    v = F.normalize(objective.encoder.embedding.weight[6:].detach(), dim=1)
    cosine = v @ v.T
    within = torch.block_diag(torch.ones(7, 7), torch.ones(7, 7)).bool()
    assert cosine[within].min() > cosine[~within].max() + 0.5


def test_of_unrelated_pairs_the_score_is_minus_the_log_of_the_negatives() -> None:
    """Where words are independent, log p(pair) / (p(word) noise(word)) is 0 for a noise like the words."""
    torch.manual_seed(4)
    spec = TextSpec(length=12, vocabulary=10)
    encoder = WordVectors(spec, width=4, gradient="dense")
    output = NegativeSampling(encoder, spec, negatives=4, power=1.0, shared=12)
    objective = SkipGram(encoder, spec, window=3, subsample=None, output=output)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.02)
    for _ in range(400):
        data = torch.randint(6, 10, (64, 12))
        optimizer.zero_grad()
        objective.loss(*objective.split(Batch(data, data[:, 0], data[:, 0]))).value.backward()
        optimizer.step()
    score = encoder.embedding.weight[6:] @ output.table.weight[6:].T
    assert score.mean().item() == pytest.approx(-torch.tensor(4.0).log().item(), abs=0.05)
