import pytest
import torch
from findings import keys, metric, value
from torch import Tensor

from ssl_runner.evaluation.any.layers import Layers
from ssl_runner.evaluation.any.linear import LinearProbe
from ssl_runner.evaluation.any.logistic import Grid
from ssl_runner.interfaces import Encoder, Features

SETTINGS = {"learning_rates": [0.1, 1.0], "weight_decays": [1e-4], "steps": 100, "batch_size": 32}


class Buried(Encoder):
    """Three blocks: noise, the class, and a class that is hard to read."""

    dim = 4

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        first = x[:, 0, 1]
        middle = x[:, 0, 0]
        last = 0.1 * x[:, 0, 0] + x[:, 0, 2]
        return Features(last[:, None], last, (first, middle, last) if layers else ())


def test_every_block_has_the_linear_probes_figure(subject) -> None:
    frozen = subject(Buried())
    found = Layers(grid=Grid(**SETTINGS))(frozen)
    blocks = (-1, -2, -3)
    assert keys(found) == [("accuracy", split, (("layer", layer),)) for layer in blocks for split in ("test", "val")]
    for layer in blocks:
        alone = LinearProbe(layer=layer, grid=Grid(**SETTINGS))(frozen)
        for split in ("test", "val"):
            assert value(found, "accuracy", split, layer=layer) == value(alone, "accuracy", split)
        assert found.protocol.chosen[str(layer)] == alone.protocol.chosen
        assert metric(found, "accuracy", layer=layer).headline
    assert value(found, "accuracy", layer=-2) == 1
    assert found.protocol.chosen["best layer"] == -2
    curve = found.figures["accuracy by depth"]
    assert list(curve.x) == [-3, -2, -1]
    assert curve.y["accuracy"] == [value(found, "accuracy", layer=layer) for layer in reversed(blocks)]


def test_the_layer_is_chosen_on_val_never_on_test(subject, table) -> None:
    """On test the first block would be the best; on val it is the last."""

    class Trap(Encoder):
        dim = 4

        def forward(self, x: Tensor, *, layers: bool = False) -> Features:
            label, noise = x[:, 0, 0], x[:, 0, 1]
            of_test = torch.cat([(x == image).flatten(1).all(1)[:, None] for image in test], dim=1).any(1)[:, None]
            first, last = torch.where(of_test, label, noise), torch.where(of_test, noise, label)
            return Features(last[:, None], last, (first, last) if layers else ())

    test = table.examples("test").data.float() / 255
    found = Layers(grid=Grid(**SETTINGS))(subject(Trap()))
    assert found.protocol.chosen["best layer"] == -1
    assert value(found, "accuracy", "val", layer=-1) == 1 > value(found, "accuracy", layer=-1)


def test_of_equals_the_last_block_is_the_best(subject) -> None:
    class Twice(Encoder):
        dim = 4

        def forward(self, x: Tensor, *, layers: bool = False) -> Features:
            return Features(x[:, :, 0], x[:, 0, 0], (x[:, 0, 0],) * 2 if layers else ())

    assert Layers(grid=Grid(**SETTINGS))(subject(Twice())).protocol.chosen["best layer"] == -1


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"evaluation\.layers\.grid\.steps is 0"):
        Layers(grid=Grid(**SETTINGS | {"steps": 0}))
