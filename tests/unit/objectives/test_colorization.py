"""Colorization: classes, weights against loops over colors, what is seen and what is not."""

import math

import pytest
import torch

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.interfaces import Batch, ImageSpec
from ssl_runner.nn.color import rgb_to_lab
from ssl_runner.objectives.colorization import Colorization, Colors


def colorization(channels: int = 3, **settings: object) -> Colorization:
    torch.manual_seed(0)
    spec = ImageSpec(channels=channels, height=16, width=24)
    given = {"cell": 4, "step": 20.0, "uniform": 0.5, "smoothing": 10.0, "temperature": 0.38, "head": 16} | settings
    return Colorization(ConvNet(spec, widths=[8, 16], norm="batch"), spec, **given)


def batch() -> Batch:
    data = torch.rand(6, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    return Batch(data, torch.zeros(6), torch.arange(6))


def test_the_encoder_sees_lightness_alone() -> None:
    x, y = colorization().split(batch())
    assert x.shape == (6, 3, 16, 24)
    assert torch.equal(x[:, 0], x[:, 1])
    assert torch.equal(x[:, 0], x[:, 2])
    torch.testing.assert_close(x[:, 0] * 100, rgb_to_lab(batch().data)[:, 0])
    assert torch.equal(y.image, batch().data)


def test_a_cell_has_the_mean_color_of_its_pixels() -> None:
    _, y = colorization().split(batch())
    lab = rgb_to_lab(batch().data)
    assert y.ab.shape == (6, 2, 4, 6)
    for i in range(4):
        for j in range(6):
            mean = lab[:, 1:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean((2, 3))
            torch.testing.assert_close(y.ab[:, :, i, j], mean, atol=1e-4, rtol=1e-4)


def test_classes_are_the_nearest_centers() -> None:
    """Of colors that exist: the center of the square they lie in."""
    task = colorization()
    ab = rgb_to_lab(torch.rand(1, 3, 50, 50))[:, 1:]
    classes = task.classes(ab)
    for i in range(50):
        for j in range(50):
            distance = (task.centers - ab[0, :, i, j]).abs().max(dim=1).values  # a square is a ball of this distance
            assert classes[0, i, j] == distance.argmin()


def test_colors_that_do_not_exist_go_to_the_nearest_that_does() -> None:
    task = colorization()
    far = torch.tensor([[500.0, 0.0], [-500.0, -500.0]]).view(2, 2, 1, 1)
    edge = torch.tensor([[140.0, 0.0], [-140.0, -140.0]])  # the table's ends: 7 squares of 20 each way
    expected = torch.cdist(edge, task.centers).argmin(dim=1)
    assert torch.equal(task.classes(far).flatten(), expected)


def test_weights_start_at_one() -> None:
    torch.testing.assert_close(colorization().weights(), torch.ones(len(colorization().centers)))


def test_weights_against_a_loop_over_colors() -> None:
    task = colorization(uniform=0.3)
    centers, q = task.centers.tolist(), len(task.centers)
    prior = torch.rand(q).square()
    prior /= prior.sum()
    task.after_step([prior], 0.5)
    smoothed = [0.0] * q
    for i in range(q):
        spread = [math.exp(-(math.dist(centers[i], centers[j]) ** 2) / (2 * 10.0**2)) for j in range(q)]
        for j in range(q):
            smoothed[j] += prior[i].item() * spread[j] / sum(spread)
    assert sum(smoothed) == pytest.approx(1)
    weight = [1 / (0.7 * p + 0.3 / q) for p in smoothed]
    mean = sum(p * w for p, w in zip(smoothed, weight, strict=True))
    assert task.weights().tolist() == pytest.approx([w / mean for w in weight], rel=1e-4)


def test_a_uniform_prior_rebalances_nothing() -> None:
    task = colorization(uniform=1.0)
    task.after_step([torch.eye(len(task.centers))[3]], 0.0)
    torch.testing.assert_close(task.weights(), torch.ones(len(task.centers)))


def test_rare_colors_count_more() -> None:
    task = colorization(uniform=0.1)
    task.after_step([torch.eye(len(task.centers))[3]], 0.0)
    assert task.weights().argmin() == 3


def test_the_prior_is_the_mean_over_batches() -> None:
    task = colorization()
    carried = [torch.rand(len(task.centers)) for _ in range(4)]
    for carry in carried:
        task.after_step([carry], 0.0)
    torch.testing.assert_close(task.prior, torch.stack(carried).mean(dim=0))


def test_the_loss_and_what_it_carries() -> None:
    task = colorization()
    task.after_step([torch.eye(len(task.centers))[3]], 0.0)
    x, y = task.split(batch())
    loss = task.loss(x, y)
    log_p, target, weight = task._logits(x).log_softmax(dim=1), task.classes(y.ab), task.weights()
    assert log_p.shape == (6, len(task.centers), 4, 6)
    terms, count = [], torch.zeros(len(task.centers))
    for b in range(6):
        for i in range(4):
            for j in range(6):
                q = int(target[b, i, j])
                terms.append(-weight[q] * log_p[b, q, i, j])
                count[q] += 1
    torch.testing.assert_close(loss.value, torch.stack(terms).mean())
    torch.testing.assert_close(loss.carry, count / 144)
    assert loss.logs["most_frequent"] == loss.carry.max()


def test_predictions_are_annealed_means() -> None:
    task = colorization(temperature=0.5).eval()
    x, _ = task.split(batch())
    with torch.no_grad():
        predicted, p = task.predict(x), task._logits(x).softmax(dim=1)
    sharp = p**2 / (p**2).sum(dim=1, keepdim=True)
    ab = sum(sharp[:, q, None] * task.centers[q, :, None, None] for q in range(len(task.centers)))
    assert isinstance(predicted, Colors)
    torch.testing.assert_close(predicted.ab, ab, atol=1e-3, rtol=1e-4)
    assert predicted.image.shape == (6, 3, 16, 24)


def test_a_cold_prediction_is_the_most_probable_color_at_the_given_lightness() -> None:
    task = colorization(temperature=1e-6).eval()
    torch.nn.init.zeros_(task.after[1].weight)
    torch.nn.init.zeros_(task.after[1].bias)
    task.after[1].bias.data[int((task.centers == torch.tensor([0.0, 0.0])).all(dim=1).nonzero())] = 1.0
    x, _ = task.split(batch())
    with torch.no_grad():
        image = task.reconstruct(x)
    torch.testing.assert_close(rgb_to_lab(image)[:, 0], 100 * x[:, 0], atol=0.02, rtol=0)
    assert (image.max(dim=1).values - image.min(dim=1).values).max() < 1e-3  # gray


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"channels": 1}, "images have 1 channel; objective=colorization needs red, green and blue"),
        ({"channels": 4}, "images have 4 channels; objective=colorization needs"),
        ({"cell": 17}, r"objective\.cell is 17; it must be at least 1 pixel and at most the image's side, 16"),
        ({"step": 0.0}, r"objective\.step is 0\.0; it must lie in \[1, 100\]"),
        ({"uniform": 0.0}, r"objective\.uniform is 0\.0; it must lie in \(0, 1\]"),
        ({"smoothing": 0.0}, r"objective\.smoothing is 0\.0; it must be above 0"),
        ({"temperature": -1.0}, r"objective\.temperature is -1\.0; it must be above 0"),
        ({"head": 0}, r"objective\.head is 0; it must be at least 1"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        colorization(**settings)
