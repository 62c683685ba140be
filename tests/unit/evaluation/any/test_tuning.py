import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ssl_runner.backbones.convnet import ConvNet
from ssl_runner.evaluation.any import tuning
from ssl_runner.evaluation.any.tuning import (
    Classifier,
    Recipe,
    calibrated,
    pace,
    train,
    tuned_accuracies,
)
from ssl_runner.interfaces import Examples, Views

RECIPE = {
    "epochs": 2,
    "least_steps": 1,
    "batch_size": 60,
    "learning_rate": 0.01,
    "weight_decay": 0.1,
    "layer_decay": 1.0,
}


def fine_tune(asked, examples, recipe):
    return tuning.fine_tune(asked, calibrated(asked, recipe), examples, recipe)


def first(table, n):
    return Examples(*(part[:n] for part in table.examples("train")))


def test_one_step_is_adamw(subject, encoders, table):
    """One batch of all examples and two epochs: a step at the pace of 1/2, and one at 0, which moves nothing."""
    net = encoders["blocks"]
    net.first[3].p = 0.0
    ours = Classifier(net, subject(net).features("train").data, 4)
    nn.init.normal_(ours.head.weight, generator=torch.Generator().manual_seed(0))  # at 0 the encoder's gradient is 0
    start = copy.deepcopy(ours)
    train(ours, table.spec, table.examples("train"), Recipe(**RECIPE), torch.device("cpu"))
    x, y = table.spec.to_input(table.examples("train").data), table.examples("train").label
    F.cross_entropy(start.train()(x), y).backward()
    rate = 0.01 * pace(0.5)
    for (name, before), after in zip(start.named_parameters(), ours.parameters(), strict=True):
        kept = before * (1 - rate * 0.1) if before.ndim > 1 else before
        expected = kept - rate * before.grad.sign()  # Adam's first step has the size of the rate, whatever the gradient
        clear = before.grad.abs() > 1e-4
        assert clear.any() or name == "encoder.first.0.bias"  # which BatchNorm takes off again
        assert torch.allclose(after[clear], expected[clear], atol=1e-5), name


@pytest.mark.parametrize(
    ("n", "size", "epochs", "least", "steps"),
    [(60, 16, 10, 1, 30), (60, 16, 10, 31, 31), (10, 16, 3, 1, 3), (10, 10, 3, 20, 20), (31, 16, 3, 1, 3)],
)
def test_steps_are_whole_batches_of_the_epochs_or_the_least(n, size, epochs, least, steps):
    assert Recipe(**RECIPE | {"epochs": epochs, "least_steps": least, "batch_size": size}).steps(n) == steps


@pytest.mark.parametrize(("n", "size", "seen"), [(10, 10, 10), (10, 64, 10), (11, 4, 8), (2, 64, 2)])
def test_batches_are_whole_and_an_epoch_repeats_no_example(table, n, size, seen):
    """Two epochs; what is seen of each is as many different examples as fill whole batches."""
    batches = []

    class Sees(nn.Linear):
        def forward(self, x):
            batches.append(x.flatten(1))
            return super().forward(x.flatten(1))

    recipe = Recipe(**RECIPE | {"batch_size": size})
    train(Sees(12, 4), table.spec, first(table, n), recipe, torch.device("cpu"))
    assert {len(batch) for batch in batches} == {min(size, n)}
    for epoch in (batches[: len(batches) // 2], batches[len(batches) // 2 :]):
        rows = torch.cat(epoch)
        assert len(rows) == len(rows.unique(dim=0)) == seen


@pytest.mark.parametrize("n", [2, 10, 17])
def test_few_examples_are_learned_through_batch_norm(subject, table, n):
    """Also where a batch of 16 would leave one over, of which BatchNorm has no statistics."""
    recipe = Recipe(epochs=1, least_steps=150, batch_size=16, learning_rate=0.03, weight_decay=0.0, layer_decay=1.0)
    network = fine_tune(subject("blocks"), first(table, n), recipe)
    assert all(value.isfinite().all() for value in network.state_dict().values())
    chosen = first(table, n)
    with torch.no_grad():
        guess = network.eval()(table.spec.to_input(chosen.data)).argmax(dim=1)
    assert (guess == chosen.label).float().mean() > 0.9


def test_one_example_is_refused(subject, table):
    with pytest.raises(ValueError, match="1 labeled example is too few"):
        fine_tune(subject("blocks"), first(table, 1), Recipe(**RECIPE))


@pytest.mark.parametrize("calm", [True, False], ids=["calibrated", "random"])
def test_the_head_reads_standardized_features_wherever_training_starts(subject, encoders, table, calm):
    """As they are in training, by batches: a random start's batch normalization knows nothing of the data."""
    net = encoders["blocks"]
    net.first[3].p = 0.0
    if calm:
        net.first[1].momentum = None
        net.train()(table.spec.to_input(table.examples("train").data))
    recipe = Recipe(**RECIPE)
    network = fine_tune(subject(net), first(table, 4), recipe)
    again = Classifier(copy.deepcopy(net), calibrated(subject(net), recipe).features, 4).train()
    torch.testing.assert_close(network.mean, again.mean)
    with torch.no_grad():
        seen = (again.encoder(table.spec.to_input(table.examples("train").data)).pooled - network.mean) / network.std
    std, mean = torch.std_mean(seen, dim=0, correction=0)
    torch.testing.assert_close(mean, torch.zeros(6), atol=0.02, rtol=0)
    torch.testing.assert_close(std, torch.ones(6), atol=0.03, rtol=0)


def test_the_subject_is_not_calibrated(subject, encoders):
    net = encoders["blocks"]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    start = calibrated(subject(net), Recipe(**RECIPE))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.first[1].momentum == start.encoder.first[1].momentum == 0.1
    assert not torch.equal(start.encoder.first[1].running_mean, before["first.1.running_mean"])


def test_what_has_no_batch_normalization_is_taken_as_it_is(subject):
    asked = subject("label")
    start = calibrated(asked, Recipe(**RECIPE))
    assert start.encoder is asked.encoder
    assert torch.equal(start.features, asked.features("train").data)


def test_every_view_is_an_example_of_its_label(table):
    seen = []

    class Sees(nn.Linear):
        def forward(self, x):
            seen.append(x.flatten(1))
            return super().forward(x.flatten(1))

    class Turned(Views):
        def forward(self, x):
            return torch.stack((x, x.flip(2)))

    asked = []

    def loss(logits, label):
        asked.append(label)
        return F.cross_entropy(logits, label)

    recipe = Recipe(**RECIPE | {"epochs": 1})
    train(Sees(12, 4), table.spec, table.examples("train"), recipe, torch.device("cpu"), loss, Turned())
    (x,), (y,) = seen, asked
    plain, turned = x.view(2, 60, 1, 3, 4)
    assert torch.equal(turned, plain.flip(2))
    assert torch.equal(y[:60], y[60:])
    assert torch.equal(plain[:, 0, 0].argmax(dim=1), y[:60])  # the first row names the class


def test_accuracy_is_counted_in_eval_mode_and_leaves_the_mode(subject, table):
    """Dropout of everything but a bias would name class 2 only; in eval mode all are named right."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Dropout(1.0)).train()
    nn.init.zeros_(network[1].bias)
    with torch.no_grad():
        network[1].weight.copy_(torch.eye(4, 12))
    assert [each.value for each in tuned_accuracies(network, subject("label"), batch_size=7)] == [1, 1]
    with torch.no_grad():
        network[1].weight.zero_()[2].fill_(1.0)
    found = {each.split: each.value for each in tuned_accuracies(network, subject("label"), batch_size=7)}
    assert found == {"test": 10 / 40, "val": pytest.approx((torch.arange(30) % 4 == 2).sum() / 30)}
    assert network.training


def test_pace():
    assert [pace(p) for p in (0.05, 0.1, 0.55, 1.0)] == pytest.approx([0.5, 1.0, 0.5, 0.0])


def test_lower_layers_move_less(subject, table):
    start = ConvNet(table.spec, widths=[4, 4], norm="none")
    recipe = Recipe(**RECIPE | {"layer_decay": 1e-3, "weight_decay": 0.0, "epochs": 5, "batch_size": 20})
    network = fine_tune(subject(start), first(table, 40), recipe)
    moved = [(a - b).abs().max().item() for a, b in zip(network.encoder.parameters(), start.parameters(), strict=True)]
    assert 0 < max(moved[:2]) < 0.01 * max(moved[2:])  # the first stage, the second
    with pytest.raises(ValueError, match="a Blocks shows no list of its blocks"):
        fine_tune(subject("blocks"), first(table, 40), recipe)
    with pytest.raises(ValueError, match=r"a\.recipe\.layer_decay is 1\.5"):
        Recipe(**RECIPE | {"layer_decay": 1.5}).check("a.recipe")
