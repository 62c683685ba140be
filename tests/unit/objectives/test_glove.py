"""GloVe: counts by a double loop, and a pass of it against the sum of the paper."""

from collections import defaultdict

import pytest
import torch
from special_ids import EOS, UNK

from ssl_runner.backbones.word_vectors import WordVectors
from ssl_runner.interfaces import Batch, TextSpec
from ssl_runner.objectives.glove import GloVe

SPEC = TextSpec(length=15, vocabulary=14, size=12)
SETTINGS = {"window": 3, "x_max": 4.0, "alpha": 0.75, "entries": 1000}


def corpus() -> torch.Tensor:
    torch.manual_seed(0)
    data = torch.randint(6, 14, (12, 15))
    return torch.where(torch.rand(12, 15) < 0.15, torch.tensor([UNK, EOS])[torch.randint(2, (12, 15))], data)


def task(**changes: float) -> GloVe:
    torch.manual_seed(1)
    objective = GloVe(WordVectors(SPEC, width=5, gradient="dense"), SPEC, **SETTINGS | changes)
    for table in (objective.encoder.embedding, objective.table, objective.first_bias, objective.second_bias):
        torch.nn.init.normal_(table.weight)
    return objective


def batches(size: int = 4) -> list[Batch]:
    return [
        Batch(data, index, index)
        for data, index in zip(corpus().split(size), torch.arange(12).split(size), strict=True)
    ]


def read(objective: GloVe) -> None:
    for batch in batches():
        objective.after_step([objective.loss(*objective.split(batch)).carry], 0.0)


def looped() -> dict[tuple[int, int], float]:
    """X by the definition: in both orders, 1 / d."""
    counts: dict[tuple[int, int], float] = defaultdict(float)
    for row in corpus().tolist():
        sentence: list[int] = []
        for word in [*row, EOS]:
            if word == EOS:
                for i, first in enumerate(sentence):
                    for j, second in enumerate(sentence):
                        if 0 < abs(i - j) <= 3:
                            counts[first, second] += 1 / abs(i - j)
                sentence = []
            elif word != UNK:
                sentence.append(word)
    return counts


def test_counts_are_those_of_a_loop_and_each_example_counts_once() -> None:
    objective, truth = task(), looped()
    for _ in range(2):
        read(objective)
        for i in range(6, 14):
            for j in range(6, 14):
                key = torch.tensor([min(i, j) * 14 + max(i, j)])
                assert objective.counts(key).item() == pytest.approx(truth[i, j], rel=1e-5)
    assert objective.counts.uncounted == 0


def test_a_pass_is_the_sum_of_the_paper() -> None:
    objective = task()
    read(objective)
    value, met = torch.zeros(()), 0
    for batch in batches():
        x, y = objective.split(batch)
        pairs = 2 * int((x.share > 0).sum())
        value = value + objective.loss(x, y).value * pairs
        met += pairs
    v, u = objective.encoder.embedding.weight, objective.table.weight
    a, b = objective.first_bias.weight[:, 0], objective.second_bias.weight[:, 0]
    total = torch.zeros(())
    for (i, j), count in looped().items():
        total = total + min(1, (count / 4) ** 0.75) * (v[i] @ u[j] + a[i] + b[j] - torch.tensor(count).log()) ** 2
    assert met > 100
    torch.testing.assert_close(value, total, rtol=1e-4, atol=1e-3)
    weights = [v, u, objective.first_bias.weight]
    for ours, theirs in zip(torch.autograd.grad(value, weights), torch.autograd.grad(total, weights), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_before_the_first_pass_a_meeting_counts_itself() -> None:
    objective = task()
    x, y = objective.split(batches()[0])
    near = x.share > 0
    word = x.word[:, torch.arange(15)[:, None].add(torch.arange(1, 4)).clamp_max(14)]
    same = word == x.word[:, :, None]
    torch.testing.assert_close(y.times, torch.where(near & same, 2 * x.share, x.share))
    assert objective.loss(x, y).value > 0


def test_words_are_moved_together_and_sentences_kept_apart() -> None:
    data = torch.tensor([[7, UNK, 8, EOS, 9, 10, UNK, UNK, 11, EOS, EOS, EOS, EOS, EOS, EOS]])
    x, _ = task().split(Batch(data, data[:, 0], torch.tensor([0])))
    assert x.word[0, :5].tolist() == [7, 8, 9, 10, 11]
    assert x.word[0, 5:].sum() == 0
    assert x.share[0, :5].tolist() == [[1, 0, 0], [0, 0, 0], [1, 0.5, 0], [1, 0, 0], [0, 0, 0]]
    assert x.share[0, 5:].sum() == 0


def test_a_full_table_leaves_pairs_out() -> None:
    objective = task(entries=10)
    read(objective)
    assert 0.3 < objective.counts.uncounted < 1
    x, y = objective.split(batches()[0])
    left_out = (x.share > 0) & (y.times == 0)
    assert left_out.any()
    more = y._replace(times=torch.where(left_out, 3.0, y.times))
    assert objective.loss(x, more).value > objective.loss(x, y).value


def test_shuffled_counts_are_those_of_other_pairs() -> None:
    objective = task()
    read(objective)
    x, y = objective.split(batches()[0])
    same, moved = objective.shuffle(x, y)
    near = x.share > 0
    assert same is x
    assert sorted(moved.times[near].tolist()) == sorted(y.times[near].tolist())
    assert (moved.times[~near] == 0).all()
    assert (moved.times != y.times).any()


def test_a_count_is_saved_and_goes_on() -> None:
    objective, other = task(), task()
    read(objective)
    other.load_state_dict(objective.state_dict())
    _, y = other.split(batches()[0])
    assert torch.equal(y.times, objective.split(batches()[0])[1].times)
    assert other.seen[:12].all()


@pytest.mark.parametrize(("key", "value"), [("window", 0), ("x_max", 0.0), ("alpha", -1.0), ("entries", 0)])
def test_refusals(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"objective\.{key} is {value}"):
        task(**{key: value})
