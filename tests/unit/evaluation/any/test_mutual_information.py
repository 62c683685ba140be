"""The bound on mutual information: by loops, at its limits, and with the best critic of correlated Gaussians."""

import math

import pytest
import torch
from findings import keys, metric, value
from torch import Tensor

from ssl_runner.data.any.module import DataModule
from ssl_runner.data.vectors.correlated_gaussians import CorrelatedGaussians
from ssl_runner.evaluation.any.mutual_information import MutualInformation, bound
from ssl_runner.evaluation.any.subject import FrozenSubject
from ssl_runner.interfaces import Batch, Contrasts, Encoder, Features, Finding, Loss, Objective


def test_the_bound_by_explicit_loops() -> None:
    torch.manual_seed(0)
    scores = torch.randn(7, 7)
    terms = []
    for start in (0, 3):  # the seventh is left over
        for i in range(start, start + 3):
            among = [math.exp(scores[i, j]) for j in range(start, start + 3)]
            terms.append(math.log(3 * math.exp(scores[i, i]) / sum(among)))
    assert bound(scores, 3).item() == pytest.approx(sum(terms) / 6, rel=1e-6)


def test_a_perfect_critic_reaches_log_n_and_a_blind_one_nothing() -> None:
    assert bound(1e4 * torch.eye(8), 8).item() == pytest.approx(math.log(8))
    assert bound(torch.zeros(8, 8), 8).item() == pytest.approx(0)
    assert bound(torch.randn(8, 1).expand(8, 8), 4).item() == pytest.approx(0, abs=1e-6)


class First(Encoder):
    dim = 4

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        return Features(x, x.mean(1))


class Best(Objective[Tensor, Tensor]):
    """log p(b | a) / p(b) of correlated Gaussians, from the formula; `scale` 0 knows nothing."""

    def __init__(self, information: float, scale: float) -> None:
        super().__init__()
        self.encoder = First()
        self.noise = math.exp(-2 * information / 4)
        self.scale = scale

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.data.transpose(0, 1), batch.index

    def loss(self, x: Tensor, y: Tensor) -> Loss:
        return Loss(x.sum())

    def critic(self, x: Tensor) -> Tensor:
        a, b = x
        rho = math.sqrt(1 - self.noise)
        error = (b[None] - rho * a[:, None]).square().sum(dim=2)
        return self.scale * (b.square().sum(dim=1) - error / self.noise) / 2


def ask(information: float, scale: float, candidates: list[int], examples: int = 6000) -> Finding:
    source = CorrelatedGaussians(
        examples=examples, test_examples=8192, width=4, information=information, val_fraction=0.1, seed=0
    )
    data = DataModule(source, batch_size=8, seed=0)
    data.setup()
    objective = Best(information, scale)
    assert isinstance(objective, Contrasts)
    subject = FrozenSubject(
        objective.encoder,
        data,
        seed=0,
        device=torch.device("cpu"),
        batch_size=8,
    )
    return MutualInformation(candidates=candidates)(objective, subject)


def test_the_best_critic_rises_to_the_truth_and_stays_below_log_n() -> None:
    candidates = [2, 8, 64, 512]
    found = ask(1.5, 1.0, candidates)
    values = [value(found, "bound", candidates=n) for n in candidates]
    assert value(found, "truth") == 1.5
    assert [metric(found, "bound", candidates=n).headline for n in candidates] == [False, False, False, True]
    on_val = [value(found, "bound", "val", candidates=n) for n in candidates]
    assert on_val == pytest.approx(values, abs=0.15)
    assert values == sorted(values)
    assert all(value < math.log(n) for value, n in zip(values, candidates, strict=True))
    assert values[-1] == pytest.approx(1.5, abs=0.06)
    assert values[0] < 0.6


def test_a_critic_that_knows_nothing_finds_nothing() -> None:
    assert value(ask(1.5, 0.0, [2, 16]), "bound", candidates=16) == pytest.approx(0, abs=1e-9)


def test_of_val_there_is_what_it_has_candidates_for() -> None:
    found = ask(1.5, 1.0, [2, 16], examples=100)  # 10 of them are val
    assert [key for key in keys(found) if key[1] == "val"] == [("bound", "val", (("candidates", 2),))]
    assert found.protocol.measured["val examples"] == 10


@pytest.mark.parametrize("candidates", [[], [1, 2], [4, 2], [2, 2]])
def test_what_is_refused(candidates: list[int]) -> None:
    with pytest.raises(ValueError, match=r"evaluation\.mutual_information\.candidates is"):
        MutualInformation(candidates=candidates)


def test_more_candidates_than_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="must be at most the 8192 examples of test"):
        ask(1.0, 1.0, [10_000])
