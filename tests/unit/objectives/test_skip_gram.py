"""Skip-gram: which words are asked of which, the loss by a loop, what it learns."""

import pytest
import torch
from special_ids import EOS, PAD, UNK
from torch.nn import functional as F

from ssl_runner.backbones.word_vectors import WordVectors
from ssl_runner.interfaces import Batch, TextSpec
from ssl_runner.losses.word_outputs import NegativeSampling, Softmax
from ssl_runner.nn.word_windows import ROW
from ssl_runner.objectives.skip_gram import Around, SkipGram

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


def batch(size: int = 5, length: int = 12) -> Batch:
    torch.manual_seed(1)
    data = torch.randint(6, 20, (size, length))
    data[:, 4], data[:, 8] = EOS, UNK
    return Batch(data, torch.full((size,), -1), torch.arange(size))


def test_pairs_are_of_one_sentence_and_skip_unknown_words() -> None:
    x, y = task().split(batch())
    assert torch.equal(x, y.word)
    for row, kept in zip(x, batch().data, strict=True):
        assert row.tolist() == kept[kept >= 6].tolist() + [PAD] * 6
    # Places 0 to 3 are a sentence, 5 to 11 without 8 the other.
    assert (y.after[:, :4].flip(1) <= torch.arange(4)).all()
    assert (y.before[:, 4:8] <= torch.arange(4)).all()
    assert (y.after[:, 0] >= 1).all()
    assert (y.before[:, 7] >= 1).all()  # over the unknown word
    assert (y.before + y.after)[:, 10:].sum() == 0


def pairs_of(y: Around) -> list[tuple[int, int, int]]:
    """Example, place, place: those of which the first predicts the second, by a loop."""
    return [
        (b, i, j)
        for b in range(len(y.word))
        for i in range(y.word.shape[1])
        for j in range(i - int(y.before[b, i]), i + int(y.after[b, i]) + 1)
        if j != i
    ]


@pytest.mark.parametrize("output", ["softmax", "negative_sampling"])
@pytest.mark.parametrize("gradient", ["dense", "sparse"])
@pytest.mark.parametrize("length", [12, 50])
def test_the_loss_and_its_gradient_are_those_of_a_loop(output: str, gradient: str, length: int) -> None:
    """In float64; examples of 50 words take several rows, of which windows cross the borders."""
    objective = task(output, gradient).double()
    x, y = objective.split(batch(length=length))
    v, u = objective.encoder.embedding.weight, objective.output.table.weight
    total, found = torch.zeros((), dtype=torch.float64), pairs_of(y)
    assert len(found) == (y.before + y.after).sum() > 0
    for b, i, j in found:
        score = u @ v[x[b, i]]
        if output == "softmax":
            total = total + F.cross_entropy(score, y.word[b, j])
        else:
            noise = score[y.noise[b, i // ROW]]
            total = total - F.logsigmoid(score[y.word[b, j]]) - 3 * F.logsigmoid(-noise).mean()
    expected = total / len(found)
    value = objective.loss(x, y).value
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)
    value.backward()
    for one, other in zip((v, u), torch.autograd.grad(expected, (v, u)), strict=True):
        torch.testing.assert_close(one.grad.to_dense(), other, rtol=1e-9, atol=1e-12)


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
    kept = y.word != PAD
    assert torch.equal(moved.word != PAD, kept)
    assert sorted(moved.word[kept].tolist()) == sorted(y.word[kept].tolist())
    assert moved.before is y.before
    assert moved.after is y.after
    assert moved.noise is y.noise
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


def test_a_batch_without_words_costs_nothing() -> None:
    objective = task()
    data = torch.full((3, 12), UNK)
    value = objective.loss(*objective.split(Batch(data, data[:, 0], data[:, 0]))).value
    value.backward()
    assert value == 0
    assert objective.encoder.embedding.weight.grad.abs().sum() == 0


def test_a_word_is_said_apart_from_those_around_it() -> None:
    task_ = task()
    x, y = task_.split(batch())
    said = task_.passages(x, y, lambda ids: " ".join(map(str, ids)))
    for row, before, after, word, around in zip(x, y.before, y.after, *said.values(), strict=True):
        place = int((before + after).argmax())
        first, last = place - int(before[place]), place + int(after[place])
        ids = row.tolist()
        assert word == str(ids[place])
        sides = [ids[first:place], ids[place + 1 : last + 1]]
        assert [side.split() for side in around.split("…")] == [list(map(str, side)) for side in sides]
