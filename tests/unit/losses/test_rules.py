"""Rules as configs choose them: temperatures, what they pass on, what they refuse."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_runner.losses import contrastive
from ssl_runner.losses.rules import NCE, InfoNCE, Lifted, NPair, Pair, SoftNearestNeighbors, SupCon, Triplet
from ssl_runner.losses.similarity import cosine_similarity


@pytest.fixture
def case() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    z = torch.randn(8, 3)
    source = torch.arange(4).repeat(2)
    same = source[:, None] == source
    return cosine_similarity(z, z), same & ~torch.eye(8, dtype=torch.bool), ~same


@pytest.mark.parametrize("rule", [InfoNCE, SoftNearestNeighbors, SupCon, NCE])
def test_a_learned_temperature_starts_where_a_fixed_one_is(rule: type, case: tuple[Tensor, Tensor, Tensor]) -> None:
    settings: dict[type, dict[str, Any]] = {InfoNCE: {"prior": 0.0}, NCE: {"log_normalizer": None}}
    extra = settings.get(rule, {})
    fixed, learned = (rule(temperature=0.3, learn_temperature=each, **extra) for each in (False, True))
    assert fixed(*case).item() == pytest.approx(learned(*case).item(), rel=1e-6)
    assert "temperature" not in fixed.watched()
    assert learned.watched()["temperature"].item() == pytest.approx(0.3)
    learned(*case).backward()
    assert learned.temperature.log.grad.isfinite()
    assert not any(name.startswith("temperature") for name, _ in fixed.named_parameters())


def test_a_learned_temperature_moves_to_where_the_loss_is_least(case: tuple[Tensor, Tensor, Tensor]) -> None:
    sim, pos, neg = case
    sim = torch.where(pos, 0.4 * sim + 0.5, sim)  # often, but not always, the most similar
    rule = InfoNCE(temperature=3.0, learn_temperature=True, prior=0.0)
    optimizer = torch.optim.Adam(rule.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        rule(sim, pos, neg).backward()
        optimizer.step()
    grid = [contrastive.info_nce(sim / t, pos, neg).item() for t in torch.logspace(-1, 1, 200).tolist()]
    assert rule(sim, pos, neg).item() == pytest.approx(min(grid), abs=1e-3)


def test_the_temperature_has_a_floor(case: tuple[Tensor, Tensor, Tensor]) -> None:
    rule = InfoNCE(temperature=1e-4, learn_temperature=True, prior=0.0)
    assert rule.watched()["temperature"].item() == pytest.approx(0.01)
    assert rule(*case).isfinite()


def test_the_critic_is_what_the_loss_reads(case: tuple[Tensor, Tensor, Tensor]) -> None:
    sim, pos, neg = case
    assert torch.equal(InfoNCE(temperature=0.5, learn_temperature=False, prior=0.0).critic(sim), sim / 0.5)
    assert torch.equal(NPair().critic(sim), sim)
    assert NPair()(sim, pos, neg) == InfoNCE(temperature=1.0, learn_temperature=False, prior=0.0)(sim, pos, neg)


def test_the_normalizer_is_of_the_mean_over_candidates(case: tuple[Tensor, Tensor, Tensor]) -> None:
    """G = s / tau - c - log k, whatever the number of candidates."""
    sim, pos, neg = case
    rule = NCE(temperature=0.5, learn_temperature=False, log_normalizer=0.7)
    ours = rule(sim, pos, neg)
    logit = sim / 0.5 - 0.7 - math.log(6)
    expected = torch.nn.functional.softplus(-logit)[pos].mean() + torch.nn.functional.softplus(logit)[neg].sum() / 8
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
    assert not rule.log_normalizer.requires_grad
    learned = NCE(temperature=0.5, learn_temperature=False, log_normalizer=None)
    assert learned.log_normalizer.requires_grad
    assert learned.watched()["log_normalizer"] == 0


def test_a_prior_debiases_with_the_least_cosine(case: tuple[Tensor, Tensor, Tensor]) -> None:
    sim, pos, neg = case
    ours = InfoNCE(temperature=0.5, learn_temperature=False, prior=0.1)(sim, pos, neg)
    expected = contrastive.debiased_info_nce(sim / 0.5, pos, neg, prior=0.1, least=torch.tensor(-2.0))
    assert ours == expected


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
def test_a_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match=r"objective\.loss\.temperature is .* above 0"):
        InfoNCE(temperature=temperature, learn_temperature=False, prior=0.0)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"objective\.loss\.prior is 1\.0; it must lie in \[0, 1\)"):
        InfoNCE(temperature=0.5, learn_temperature=False, prior=1.0)
    with pytest.raises(ValueError, match=r"objective\.loss\.repel is 1\.0 and objective\.loss\.attract 0\.5"):
        Pair(attract=0.5, repel=1.0)
    for rule in (Lifted, lambda margin: Triplet(margin=margin, mining="hard")):
        with pytest.raises(ValueError, match=r"objective\.loss\.margin is 0; it must be above 0"):
            rule(margin=0)
