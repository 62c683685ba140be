"""Activations that are computed again: same loss, gradients and state; and fewer are kept."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from composed import composed
from objective_cases import mapped, task
from safetensors.torch import load_file
from small_runs import do, weights
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ssl_runner.assembly import construct
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.schema import typed
from ssl_runner.interfaces import Encoder, Features, ImageSpec, Objective
from ssl_runner.nn.recompute import normalizes_over_batch, outermost, recomputing, units

SPEC = ImageSpec(channels=3, height=16, width=16)
SIMCLR = "simclr"


def after(objective: Objective, x: Any, y: Any, **how: Any) -> dict[str, Tensor]:
    """Loss, gradients and buffers after a forward and a backward pass."""
    objective = copy.deepcopy(objective)
    torch.manual_seed(3)
    with recomputing(objective, **({"blocks": False, "chunk": None} | how)):
        loss = objective.loss(x, y).value
        torch.rand(1)  # other draws between the passes change nothing
        loss.backward()
    found = {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}
    return found | dict(objective.named_buffers()) | {"loss": loss.detach()}


@pytest.mark.parametrize("case", [SIMCLR, "simcse", "clip"])
def test_the_gradient_in_parts_is_that_of_the_whole_batch(case: str) -> None:
    objective, x, y = task(case, norm="group")
    for part in objective.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    expected = after(objective, x, y)
    found = after(objective, x, y, chunk=5)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=name)


def test_in_single_precision_it_is_that_to_a_millionth() -> None:
    objective, x, y = task(SIMCLR, norm="group")
    objective.float()
    x, y = (mapped(part, lambda v: v.float() if v.is_floating_point() else v) for part in (x, y))
    expected, found = after(objective, x, y), after(objective, x, y, chunk=7)
    names = [name for name, _ in objective.named_parameters() if name in expected]
    whole, parts = (torch.cat([each[name].flatten() for name in names]) for each in (expected, found))
    assert (parts - whole).norm() <= 1e-6 * whole.norm()


@pytest.mark.parametrize(
    "words",
    [["backbone=vit_micro", "backbone.depth=3"], ["backbone=resnet14", "backbone.widening=1"]],
    ids=["vit", "resnet"],
)
def test_the_gradient_by_blocks_is_the_same_and_less_is_kept(words: list[str]) -> None:
    torch.manual_seed(0)
    encoder = construct.encoder(compose(words)["backbone"], SPEC).double()
    images = torch.rand(4, 3, 16, 16, dtype=torch.float64)
    kept, results = [], []
    for blocks in (False, True):
        net = copy.deepcopy(encoder)
        sizes: dict[int, int] = {}

        def pack(part: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[part.untyped_storage().data_ptr()] = part.untyped_storage().nbytes()
            return part

        with recomputing(net, blocks=blocks, chunk=None):
            with saved_tensors_hooks(pack, lambda part: part):
                loss = net(images).pooled.square().sum()
            loss.backward()
        kept.append(sum(sizes.values()))
        results.append({name: p.grad for name, p in net.named_parameters()} | dict(net.named_buffers()))
    for name, value in results[0].items():
        if value is not None:
            assert torch.equal(results[1][name], value), name
    assert kept[1] < kept[0] / 2


def test_dropout_is_drawn_again_as_it_was() -> None:
    torch.manual_seed(0)
    layer = Dropping()
    x = torch.rand(6, 40)
    with recomputing(layer, blocks=False, chunk=4):
        torch.manual_seed(1)
        features = layer(x)
        torch.rand(100)
        features.pooled.sum().backward()
    assert torch.equal(layer.weight.grad != 0, (features.pooled != 0).any(dim=0))


class Dropping(Encoder):
    """Weights that drop out."""

    kind = "of the test"

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(40))
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        seen = self.drop(self.weight) * x
        return Features(seen[:, None], seen, (seen,) if layers else ())


def test_encoders_and_their_blocks_are_found() -> None:
    objective, _, _ = task("moco")
    assert outermost(objective) == [objective.encoder, objective.key_encoder.module]
    resnet = construct.encoder(compose(["backbone=resnet18"])["backbone"], SPEC)
    assert len(units(resnet)) == 8  # two blocks in each of four stages
    assert normalizes_over_batch(resnet)
    vit = construct.encoder(compose(["backbone=vit_micro"])["backbone"], SPEC)
    assert len(units(vit)) == 4
    assert not normalizes_over_batch(vit)


def test_afterwards_all_is_as_before() -> None:
    objective, _, _ = task(SIMCLR, norm="group")
    with recomputing(objective, blocks=True, chunk=2):
        assert "forward" in vars(objective.encoder)
    assert not any("forward" in vars(part) for part in objective.modules())


@pytest.mark.slow
def test_runs_end_with_the_same_weights(tmp_path: Path) -> None:
    """By blocks to the last bit; in parts up to rounding."""
    words = ["objective=simclr", "backbone.norm=group"]
    whole, blocks, parts = (
        do(tmp_path / way, *words, *more)
        for way, more in (("whole", []), ("blocks", ["trainer.recompute=blocks"]), ("parts", ["trainer.chunk=10"]))
    )
    assert weights(blocks) == weights(whole)
    assert blocks.name == whole.name == parts.name  # the same run
    ours, theirs = (load_file(folder / "encoder" / "encoder.safetensors") for folder in (parts, whole))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_compilation_and_recomputation_do_not_go_together() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.compile is true, and trainer\.chunk is 8"):
        typed(composed(["trainer.compile=true", "trainer.chunk=8"]))
