"""CPC on text: the loss by explicit loops, the bound, and what padding and shuffling change."""

import math

import pytest
import torch
from sentences import SPEC, Running, made, padded
from special_ids import PAD

from ssl_runner.interfaces import Batch
from ssl_runner.objectives.cpc_text import CPCText, Future


def task(**changes: int) -> CPCText:
    torch.manual_seed(0)
    return CPCText(Running(), SPEC, **{"steps": 2, "negatives": 9} | changes)


def test_the_loss_by_explicit_loops() -> None:
    objective = task()
    x, y = objective.split(made([5, 2, 6, 1]))
    assert len(y.others) == len(y.others.unique()) == 9
    with torch.no_grad():
        loss = objective.loss(x, y)
        context, table = objective.encoder(x).tokens, objective.encoder.embedding.weight
        terms, right, candidates = [], [], []
        for b in range(4):
            for k in (1, 2):
                for t in range(8 - k):
                    if x[b, t + k] == PAD:
                        continue
                    guess = objective.predict_ahead[k - 1].weight @ context[b, t]
                    own = {n: math.exp(table[x[b, n]] @ guess) for n in range(8) if x[b, n] != PAD}
                    others = [p for p in y.others.tolist() if p // 8 != b and x[p // 8, p % 8] != PAD]
                    scores = [*own.values(), *(math.exp(table[x[p // 8, p % 8]] @ guess) for p in others)]
                    terms.append(-math.log(own[t + k] / sum(scores)))
                    candidates.append(math.log(len(scores)))
                    right.append(own[t + k] >= max(scores))
    count = len(terms)
    assert loss.value.item() == pytest.approx(sum(terms) / count, rel=1e-5)
    assert loss.logs["accuracy"].item() == pytest.approx(sum(right) / count)
    assert loss.logs["log_candidates"].item() == pytest.approx(sum(candidates) / count, rel=1e-5)
    bound = loss.logs["information_bound"].item()
    assert bound == pytest.approx((sum(candidates) - sum(terms)) / count, abs=1e-5)


def test_the_bound_stays_below_log_n() -> None:
    """Texts that count up are wholly predictable; the bound rises and does not pass log N."""
    spec_words = torch.arange(8) + 6
    data = torch.stack([(spec_words + shift - 6) % 14 + 6 for shift in range(14)])
    batch = Batch(data, torch.full((14,), -1), torch.arange(14))
    objective = task(steps=1, negatives=40)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.03)
    for _ in range(150):
        optimizer.zero_grad()
        loss = objective.loss(*objective.split(batch))
        loss.value.backward()
        optimizer.step()
        assert loss.logs["information_bound"] <= loss.logs["log_candidates"]
    assert loss.logs["information_bound"].item() > 2


def test_negatives_are_words_not_padding() -> None:
    objective = task(negatives=14)
    x, y = objective.split(made([5, 2, 6, 1] * 5))
    assert (x.flatten()[y.others] != PAD).all()
    few = task(negatives=500)
    x, y = few.split(made([5, 2]))
    assert len(y.others) == 16
    assert few.loss(x, y).logs["log_candidates"].item() == pytest.approx(math.log(5 + 2 + 4))


def test_padding_changes_nothing() -> None:
    objective = task()
    x, y = objective.split(made([5, 2, 6, 1]))
    longer = Future(padded(y.tokens, 3), y.others // 8 * 11 + y.others % 8)
    with torch.no_grad():
        torch.testing.assert_close(objective.loss(padded(x, 3), longer).value, objective.loss(x, y).value)


def test_shuffling_takes_what_is_predicted_from_another_text() -> None:
    objective = task()
    x, y = objective.split(made([6] * 5))
    same, other = objective.shuffle(x, y)
    assert same is x
    assert torch.equal(other.others, y.others)
    assert not (other.tokens == x).all(dim=1).any()
    assert sorted(other.tokens.tolist()) == sorted(x.tolist())
    assert torch.isfinite(objective.loss(same, other).value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 0}, r"objective\.steps is 0"),
        ({"steps": 8}, r"objective\.steps is 8; .* the 8 tokens"),
        ({"negatives": -1}, r"objective\.negatives is -1"),
    ],
)
def test_what_is_refused(change: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        task(**change)
