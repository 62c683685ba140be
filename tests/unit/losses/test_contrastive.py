"""Contrastive rules against cases worked by hand, loops over pairs, pytorch-metric-learning, and each other."""

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning import distances, losses
from pytorch_metric_learning.reducers import DoNothingReducer
from torch import Tensor

from ssl_runner.losses import contrastive as rules
from ssl_runner.losses.contrastive import info_nce
from ssl_runner.losses.similarity import Similarity, cosine_similarity

LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 1])


def masks(source: Tensor) -> tuple[Tensor, Tensor]:
    same = source[:, None] == source[None, :]
    return same & ~torch.eye(len(source), dtype=torch.bool), ~same


@pytest.fixture
def z() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(12, 5, dtype=torch.float64)


@pytest.fixture
def distance(z: Tensor) -> Tensor:
    return torch.cdist(z, z)


def pairs(pos: Tensor) -> list[tuple[int, int]]:
    return [(i, j) for i, j in product(range(len(pos)), range(pos.shape[1])) if pos[i, j]]


# ----------------------------------------------------------------------------------------------------------- info_nce


def test_info_nce_worked_by_hand() -> None:
    sim = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 3.0]])
    pos = torch.tensor([[True, False, False], [False, True, False]])
    neg = torch.tensor([[False, True, True], [True, False, True]])
    first = math.log(1 + math.exp(-1) + math.exp(-2))
    second = math.log(2 + math.exp(-3))
    assert info_nce(sim, pos, neg).item() == pytest.approx((first + second) / 2)


def test_info_nce_against_a_double_loop_with_several_positives(z: Tensor) -> None:
    pos, neg = masks(LABELS)
    sim = cosine_similarity(z, z) / 0.3
    terms = []
    for i, j in pairs(pos):
        negatives = sum(math.exp(sim[i, k]) for k in range(len(z)) if neg[i, k])
        terms.append(-math.log(math.exp(sim[i, j]) / (math.exp(sim[i, j]) + negatives)))
    assert info_nce(sim, pos, neg).item() == pytest.approx(sum(terms) / len(terms), rel=1e-12)


def test_info_nce_of_two_views_is_nt_xent(z: Tensor) -> None:
    """The cross-entropy of each view's twin among all other views."""
    source = torch.arange(6).repeat(2)
    sim = cosine_similarity(z, z) / 0.5
    others = sim.masked_fill(torch.eye(12, dtype=torch.bool), float("-inf"))
    expected = F.cross_entropy(others, torch.arange(12).roll(6))
    assert info_nce(sim, *masks(source)).item() == pytest.approx(expected.item(), rel=1e-12)
    theirs = losses.NTXentLoss(temperature=0.5)(z, source)
    assert info_nce(sim, *masks(source)).item() == pytest.approx(theirs.item(), rel=1e-10)


def test_weights_of_negatives_count_them_several_times(z: Tensor) -> None:
    """Whole weights are copies of a candidate; weights of 1 are the mask itself."""
    sim = cosine_similarity(z, z)
    pos, neg = masks(torch.arange(6).repeat(2))
    weight = neg * torch.arange(12, dtype=torch.float64)
    copies = torch.arange(12).repeat_interleave(torch.arange(12))
    for rule in (
        info_nce,
        rules.soft_nearest_neighbors,
        rules.supervised_contrastive,
        lambda s, p, n: rules.nce(s, p, n, torch.tensor(0.3), torch.tensor(-1.0)),
        lambda *args: rules.pair(*args, attract=1.0, repel=0.1),
        lambda *args: rules.triplet(*args, margin=0.3, mining="all"),
        lambda *args: rules.debiased_info_nce(*args, prior=0.1, least=torch.tensor(-1.0)),
    ):
        assert rule(sim, pos, neg.double()).item() == pytest.approx(rule(sim, pos, neg).item(), rel=1e-12)
        wide = torch.cat((sim, sim[:, copies]), dim=1)  # positives in the first columns, negatives in the others
        blank = torch.zeros_like(sim[:, copies], dtype=torch.bool)
        expected = rule(wide, torch.cat((pos, blank), 1), torch.cat((torch.zeros_like(neg), neg[:, copies]), 1))
        assert rule(sim, pos, weight).item() == pytest.approx(expected.item(), rel=1e-12)


# ---------------------------------------------------------------------------------------------------- margins


def test_pair_worked_by_hand() -> None:
    """Distances 0.5 and 2 to a positive, 0.4 and 3 to a negative; margin 1."""
    sim = -torch.tensor([[0.5, 0.4, 2.0, 3.0]])
    pos, neg = torch.tensor([[True, False, True, False]]), torch.tensor([[False, True, False, True]])
    assert rules.pair(sim, pos, neg, attract=0.0, repel=-1.0).item() == pytest.approx(((0.25 + 4) / 2 + 0.6**2 / 2) / 2)


def test_pair_against_pytorch_metric_learning(z: Tensor, distance: Tensor) -> None:
    """Theirs is not squared: square its terms."""
    theirs = losses.ContrastiveLoss(
        0, 3, distance=distances.LpDistance(normalize_embeddings=False), reducer=DoNothingReducer()
    )(z, LABELS)
    expected = sum(theirs[part]["losses"].square().mean() for part in ("pos_loss", "neg_loss")) / 2
    ours = rules.pair(-distance, *masks(LABELS), attract=0.0, repel=-3.0)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-10)


def triplets(sim: Tensor, pos: Tensor, neg: Tensor, margin: float, mining: str) -> list[float]:
    """Every triplet that is looked at, by brute force."""
    terms = []
    for i, j in pairs(pos):
        negatives = [sim[i, k].item() for k in range(sim.shape[1]) if neg[i, k]]
        below = [s for s in negatives if s < sim[i, j].item()]
        chosen = {
            "all": negatives,
            "hard": [max(negatives)],
            "semi_hard": [max(below)] if below else [min(negatives)],
        }[mining]
        terms += [max(0, margin + s - sim[i, j].item()) for s in chosen]
    return terms


@pytest.mark.parametrize("mining", ["all", "semi_hard", "hard"])
@pytest.mark.parametrize("margin", [0.05, 0.5, 5.0])
def test_triplets_against_brute_force(z: Tensor, distance: Tensor, margin: float, mining: str) -> None:
    for sim in (-distance, cosine_similarity(z, z)):
        pos, neg = masks(LABELS)
        neg &= torch.rand(neg.shape) < 0.7  # rows of different length
        terms = triplets(sim, pos, neg, margin, mining)
        ours = rules.triplet(sim, pos, neg, margin=margin, mining=mining)
        assert ours.item() == pytest.approx(sum(terms) / len(terms), rel=1e-10)


def test_all_triplets_against_pytorch_metric_learning(z: Tensor, distance: Tensor) -> None:
    from pytorch_metric_learning.reducers import MeanReducer

    plain = distances.LpDistance(normalize_embeddings=False)
    theirs = losses.TripletMarginLoss(margin=0.7, distance=plain, reducer=MeanReducer())(z, LABELS)
    ours = rules.triplet(-distance, *masks(LABELS), margin=0.7, mining="all")
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-10)


@pytest.mark.parametrize("mining", ["all", "semi_hard", "hard"])
def test_gradients_of_triplets_are_those_of_the_differences(z: Tensor, mining: str) -> None:
    pos, neg = masks(LABELS)
    sim = cosine_similarity(z, z).requires_grad_()
    rules.triplet(sim, pos, neg, margin=0.3, mining=mining).backward()
    step = 1e-6
    for i, j in ((0, 1), (3, 7), (5, 2), (11, 4)):
        up, down = sim.detach().clone(), sim.detach().clone()
        up[i, j] += step
        down[i, j] -= step
        rise = rules.triplet(up, pos, neg, margin=0.3, mining=mining) - rules.triplet(
            down, pos, neg, margin=0.3, mining=mining
        )
        assert sim.grad[i, j].item() == pytest.approx(rise.item() / (2 * step), abs=1e-6)


def test_cosines_and_half_the_margin_are_facenet(z: Tensor) -> None:
    """Squared distances of unit vectors are 2 - 2 cos."""
    unit = F.normalize(z, dim=1)
    squared = Similarity("squared_euclidean", 5)(unit, unit)
    for mining in ("all", "semi_hard", "hard"):
        theirs = rules.triplet(squared, *masks(LABELS), margin=0.2, mining=mining)
        ours = rules.triplet(cosine_similarity(z, z), *masks(LABELS), margin=0.1, mining=mining)
        assert theirs.item() == pytest.approx(2 * ours.item(), rel=1e-9)


def test_lifted_worked_by_hand() -> None:
    """Two pairs: anchors 0, 1 and 2, 3."""
    sim = -torch.tensor([[0.0, 1.0, 2.0, 3.0], [1.0, 0.0, 1.5, 2.5], [2.0, 1.5, 0.0, 0.5], [3.0, 2.5, 0.5, 0.0]])
    between = math.log(sum(math.exp(1 - d) for d in (2, 3, 1.5, 2.5)))
    expected = (max(0, between + 1) ** 2 + max(0, between + 0.5) ** 2) / 2 / 2
    ours = rules.lifted(sim, *masks(torch.tensor([0, 0, 1, 1])), margin=1.0)
    assert ours.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("margin", [0.5, 2.0])
def test_lifted_against_pytorch_metric_learning(z: Tensor, distance: Tensor, margin: float) -> None:
    theirs = losses.LiftedStructureLoss(margin, distance=distances.LpDistance(normalize_embeddings=False))(z, LABELS)
    ours = rules.lifted(-distance, *masks(LABELS), margin=margin)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-9)


# --------------------------------------------------------------------------------------------------- likelihoods


def test_n_pair_against_pytorch_metric_learning(z: Tensor) -> None:
    """The paper's batch: the anchors are of one view, the candidates of the other."""
    source = torch.arange(6)
    first, second = z.chunk(2)
    pos = torch.eye(6, dtype=torch.bool)
    theirs = losses.NPairsLoss(distance=distances.DotProductSimilarity(normalize_embeddings=False))
    interleaved = torch.stack((first, second), dim=1).flatten(0, 1)
    ours = info_nce(first @ second.T, pos, ~pos)
    assert ours.item() == pytest.approx(theirs(interleaved, source.repeat_interleave(2)).item(), rel=1e-9)
    by_hand = [
        math.log(1 + sum(math.exp(first[i] @ second[k] - first[i] @ second[i]) for k in range(6) if k != i))
        for i in range(6)
    ]
    assert ours.item() == pytest.approx(sum(by_hand) / 6, rel=1e-10)


def test_nce_against_a_double_loop(z: Tensor) -> None:
    pos, neg = masks(LABELS)
    sim = cosine_similarity(z, z)
    log_noise = torch.randn(12, dtype=torch.float64)
    terms = []
    for i, j in pairs(pos):
        count = int(neg[i].sum())

        def is_data(place: int, i: int = i, count: int = count) -> float:
            model = math.exp(sim[i, place] - 0.4)
            return model / (model + count * math.exp(log_noise[place]))

        noise = sum(math.log(1 - is_data(k)) for k in range(12) if neg[i, k])
        terms.append(-math.log(is_data(j)) - noise)
    ours = rules.nce(sim, pos, neg, torch.tensor(0.4), log_noise)
    assert ours.item() == pytest.approx(sum(terms) / len(terms), rel=1e-6)


def test_nce_recovers_the_normalizer_of_a_gaussian() -> None:
    """Model e^{-t^2 / 2 - c}, data from it, noise from a wider Gaussian: c is log sqrt(2 pi)."""
    torch.manual_seed(0)
    data, noise = torch.randn(4000, dtype=torch.float64), 2 * torch.randn(40_000, dtype=torch.float64)
    t = torch.cat((data, noise))
    log_noise = -t.square() / 8 - math.log(2 * math.sqrt(2 * math.pi))
    c = torch.zeros((), dtype=torch.float64, requires_grad=True)
    # One anchor a row: the data are spread over rows, and each has ten samples of noise of its own.
    candidates, noises = t[:4000, None], log_noise[:4000, None]
    sim = torch.cat((candidates, t[4000:].view(4000, 10)), dim=1).square() / -2
    noises = torch.cat((noises, log_noise[4000:].view(4000, 10)), dim=1)
    pos = torch.zeros(4000, 11, dtype=torch.bool)
    pos[:, 0] = True
    optimizer = torch.optim.LBFGS([c], max_iter=50)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = rules.nce(sim, pos, ~pos, c, noises)
        value.backward()
        return value

    optimizer.step(closure)
    assert c.item() == pytest.approx(math.log(math.sqrt(2 * math.pi)), abs=0.02)


def test_nce_is_least_at_the_normalizer_of_a_discrete_model() -> None:
    """In expectation, whatever the noise: data and noise enter as weights."""
    torch.manual_seed(1)
    score = torch.randn(1, 7, dtype=torch.float64)
    data, noise = score.softmax(dim=1), torch.rand(1, 7, dtype=torch.float64).softmax(dim=1)
    c = score.logsumexp(dim=1).sum().requires_grad_()
    rules.nce(score, data, 5 * noise, c, noise.log()).backward()
    assert c.grad.item() == pytest.approx(0, abs=1e-12)
    for shift in (-0.1, 0.1):
        assert rules.nce(score, data, 5 * noise, c + shift, noise.log()) > rules.nce(
            score, data, 5 * noise, c, noise.log()
        )


def test_soft_nearest_neighbors_against_a_double_loop(z: Tensor, distance: Tensor) -> None:
    """Frosst et al., eq. 1, with temperature 3."""
    terms = []
    for i in range(12):
        weight = [math.exp(-(distance[i, k].item() ** 2) / 3) for k in range(12)]
        same = sum(weight[k] for k in range(12) if k != i and LABELS[k] == LABELS[i])
        terms.append(-math.log(same / sum(weight[k] for k in range(12) if k != i)))
    ours = rules.soft_nearest_neighbors(-distance.square() / 3, *masks(LABELS))
    assert ours.item() == pytest.approx(sum(terms) / 12, rel=1e-10)


def test_supcon_against_pytorch_metric_learning_and_a_double_loop(z: Tensor) -> None:
    sim = cosine_similarity(z, z) / 0.2
    ours = rules.supervised_contrastive(sim, *masks(LABELS)).item()
    assert ours == pytest.approx(losses.SupConLoss(temperature=0.2)(z, LABELS).item(), rel=1e-9)
    terms = []
    for i in range(12):
        every = math.log(sum(math.exp(sim[i, k]) for k in range(12) if k != i))
        same = [k for k in range(12) if k != i and LABELS[k] == LABELS[i]]
        terms.append(sum(every - sim[i, j].item() for j in same) / len(same))
    assert ours == pytest.approx(sum(terms) / 12, rel=1e-10)


def test_with_one_positive_three_rules_are_one(z: Tensor) -> None:
    sim = cosine_similarity(z, z) / 0.2
    pos, neg = masks(torch.arange(6).repeat(2))
    expected = info_nce(sim, pos, neg).item()
    assert rules.soft_nearest_neighbors(sim, pos, neg).item() == pytest.approx(expected, rel=1e-12)
    assert rules.supervised_contrastive(sim, pos, neg).item() == pytest.approx(expected, rel=1e-12)


def test_with_one_negative_info_nce_and_nce_are_logistic() -> None:
    """InfoNCE asks which of two is the positive; a smooth triplet."""
    torch.manual_seed(0)
    sim = torch.randn(9, 2, dtype=torch.float64)
    pos = torch.tensor([[True, False]]).expand(9, 2)
    expected = F.softplus(sim[:, 1] - sim[:, 0]).mean().item()
    assert info_nce(sim, pos, ~pos).item() == pytest.approx(expected, rel=1e-12)
    each = F.softplus(-sim[:, 0]) + F.softplus(sim[:, 1])
    ours = rules.nce(sim, pos, ~pos, torch.tensor(0.0), torch.tensor(0.0))
    assert ours.item() == pytest.approx(each.mean().item(), rel=1e-12)


def test_debiased_against_the_formula(z: Tensor) -> None:
    pos, neg = masks(torch.arange(6).repeat(2))
    sim = cosine_similarity(z, z) / 0.5
    terms = []
    for i, j in pairs(pos):
        own = math.exp(sim[i, j])
        mean = sum(math.exp(sim[i, k]) for k in range(12) if neg[i, k]) / 10
        estimate = max((mean - 0.2 * own) / 0.8, math.exp(-1 / 0.5))
        terms.append(-math.log(own / (own + 10 * estimate)))
    ours = rules.debiased_info_nce(sim, pos, neg, prior=0.2, least=torch.tensor(-2.0))
    assert ours.item() == pytest.approx(sum(terms) / 12, rel=1e-10)
    without = rules.debiased_info_nce(sim, pos, neg, prior=0.0, least=torch.tensor(-2.0))
    assert without.item() == pytest.approx(info_nce(sim, pos, neg).item(), rel=1e-12)


# ---------------------------------------------------------------------------------------------------- every rule

EVERY = {
    "pair": lambda *a: rules.pair(*a, attract=1.0, repel=-1.0),
    "triplet": lambda *a: rules.triplet(*a, margin=0.5, mining="all"),
    "triplet, semi-hard": lambda *a: rules.triplet(*a, margin=0.5, mining="semi_hard"),
    "triplet, hard": lambda *a: rules.triplet(*a, margin=0.5, mining="hard"),
    "lifted": lambda *a: rules.lifted(*a, margin=1.0),
    "nce": lambda s, p, n: rules.nce(s, p, n, torch.tensor(0.0), torch.tensor(0.0)),
    "info_nce": info_nce,
    "debiased": lambda *a: rules.debiased_info_nce(*a, prior=0.1, least=torch.tensor(-5.0)),
    "soft_nn": rules.soft_nearest_neighbors,
    "supcon": rules.supervised_contrastive,
}


@pytest.mark.parametrize("name", EVERY)
def test_more_like_the_positive_and_less_like_negatives_is_better(name: str, z: Tensor) -> None:
    pos, neg = masks(torch.arange(6).repeat(2))
    sim = cosine_similarity(z, z).requires_grad_()
    EVERY[name](sim, pos, neg).backward()
    assert (sim.grad[pos] <= 0).all()
    assert (sim.grad[pos] < 0).any()
    assert (sim.grad[neg] >= 0).all()
    assert (sim.grad[neg] > 0).any()
    assert (sim.grad[torch.eye(12, dtype=torch.bool)] == 0).all()


@pytest.mark.parametrize("name", EVERY)
def test_the_order_of_anchors_and_candidates_does_not_matter(name: str, z: Tensor) -> None:
    pos, neg = masks(LABELS)
    sim = cosine_similarity(z, z)
    rows, columns = torch.randperm(12), torch.randperm(12)
    shuffled = (each[rows][:, columns] for each in (sim, pos, neg))
    assert EVERY[name](*shuffled).item() == pytest.approx(EVERY[name](sim, pos, neg).item(), rel=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_anchors_without_positives_or_negatives_leave_value_and_gradient_finite(name: str, z: Tensor) -> None:
    pos, neg = masks(torch.arange(6).repeat(2))
    neg[0] = pos[1] = pos[2] = neg[2] = False
    for weight in (neg, neg.double(), torch.zeros_like(neg)):
        sim = cosine_similarity(z, z).requires_grad_()
        value = EVERY[name](sim, pos, weight)
        value.backward()
        assert value.isfinite()
        assert value < 100
        assert sim.grad.isfinite().all()


@pytest.mark.parametrize("name", EVERY)
def test_extreme_similarities_stay_finite(name: str) -> None:
    sim = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    eye = torch.eye(2, dtype=torch.bool)
    value = EVERY[name](sim, ~eye, eye)  # the positives are the unlikely ones
    value.backward()
    assert value.isfinite()
    assert sim.grad.isfinite().all()
    assert name != "info_nce" or value.item() == pytest.approx(2e4)


@pytest.mark.parametrize("name", EVERY)
def test_similarities_of_half_precision_are_computed_in_float32(name: str) -> None:
    z = torch.randn(8, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sim = cosine_similarity(z.bfloat16(), z.bfloat16())
        value = EVERY[name](sim.bfloat16(), *masks(torch.arange(4).repeat(2)))
    assert sim.dtype == torch.float32
    assert value.dtype == torch.float32


# ---------------------------------------------------------------------------------------- candidates, what to watch


def test_sampled_takes_the_first_and_no_other() -> None:
    torch.manual_seed(0)
    neg = torch.rand(50, 20) < 0.6
    priority = torch.rand(50, 20)
    chosen = rules.sampled(neg, priority, 5)
    for i in range(50):
        there = neg[i].nonzero().flatten().tolist()
        best = sorted(there, key=lambda k: -priority[i, k].item())[:5]
        assert chosen[i].nonzero().flatten().tolist() == sorted(best)
    assert torch.equal(rules.sampled(neg, priority, 100), neg)


def test_sampled_is_uniform() -> None:
    torch.manual_seed(0)
    neg = torch.ones(4000, 8, dtype=torch.bool)
    neg[:, 3] = False
    share = rules.sampled(neg, torch.rand(4000, 8), 2).double().mean(dim=0)
    expected = torch.full((8,), 2 / 7, dtype=torch.float64)
    expected[3] = 0
    torch.testing.assert_close(share, expected, atol=0.03, rtol=0)


def test_hard_weights_follow_similarity_and_average_to_one(z: Tensor) -> None:
    sim = cosine_similarity(z, z)
    _, neg = masks(LABELS)
    weight = rules.hard_weights(sim, neg, 2.0)
    assert (weight[~neg] == 0).all()
    torch.testing.assert_close(weight.sum(dim=1), neg.sum(dim=1).double())
    i, (a, b) = 0, neg[0].nonzero().flatten()[:2].tolist()
    assert (weight[i, a] / weight[i, b]).item() == pytest.approx(math.exp(2 * (sim[i, a] - sim[i, b])))
    torch.testing.assert_close(rules.hard_weights(sim, neg, 0.0), neg.double())


def test_what_is_watched(z: Tensor) -> None:
    pos, neg = masks(torch.arange(6).repeat(2))
    sim = cosine_similarity(z, z)
    logs = rules.watched(sim, sim / 0.2, pos, neg)
    assert logs["log_candidates"].item() == pytest.approx(math.log(11))
    assert logs["information_bound"].item() == pytest.approx(math.log(11) - info_nce(sim / 0.2, pos, neg).item())
    assert logs["positive_similarity"].item() == pytest.approx(sim[pos].mean().item())
    assert logs["negative_similarity"].item() == pytest.approx(sim[neg].mean().item())
    others = sim.masked_fill(torch.eye(12, dtype=torch.bool), -2)
    right = (others.argmax(dim=1) == torch.arange(12).roll(6)).double().mean()
    assert logs["accuracy"].item() == pytest.approx(right.item())


def test_the_bound_never_exceeds_log_n(z: Tensor) -> None:
    pos, neg = masks(torch.arange(6).repeat(2))
    perfect = torch.where(pos, 1e3, -1e3)
    assert rules.watched(perfect, perfect, pos, neg)["information_bound"].item() == pytest.approx(math.log(11))
