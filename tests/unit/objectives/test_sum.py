"""A sum of objectives: its loss, its learned weights, its parts by name, and what it refuses."""

import copy
import re
from typing import Any

import pytest
import torch
from composed import composed
from objective_cases import made, task

from ssl_runner.assembly import construct
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.fit import check_fit
from ssl_runner.config.identity import identity
from ssl_runner.config.schema import typed
from ssl_runner.interfaces import ImageSpec
from ssl_runner.objectives.sum import Sum
from ssl_runner.training.task_figures import task_figure

SMALL = ["evaluation=[]", "logger=none", "dataset=fake_images", "backbone.widths=[4,8]", "objective=sum"]
SPEC = ImageSpec(channels=3, height=16, width=16, classes=3, size=64)


def built(*words: str) -> Sum:
    objective = construct.objective(typed(composed([*SMALL, *words])), SPEC)
    assert isinstance(objective, Sum)
    return objective


def alone(objective: Sum, x: Any, y: Any) -> dict[str, float]:
    """The loss of each part by itself."""
    each = zip(objective.combined().items(), x, y, strict=True)
    return {name: part.loss(its_x, its_y).value.item() for (name, part), its_x, its_y in each}


def test_the_loss_is_the_weighted_sum_of_the_parts() -> None:
    objective, x, y = task("sum")
    assert isinstance(objective, Sum)
    objective.weights = {"rotation": 0.5, "simclr": 3.0}
    losses = alone(objective, x, y)
    found = objective.loss(x, y)
    assert found.value.item() == pytest.approx(0.5 * losses["rotation"] + 3 * losses["simclr"], rel=1e-5)
    assert found.logs["rotation_loss"].item() == pytest.approx(losses["rotation"], rel=1e-5)
    assert 0 <= found.logs["rotation_accuracy"].item() <= 1


def test_gradients_are_the_weighted_sum_of_those_of_the_parts() -> None:
    objective, x, y = task("sum")
    assert isinstance(objective, Sum)
    objective.weights = {"rotation": 0.5, "simclr": 3.0}
    apart = []
    for (name, part), its_x, its_y in zip(objective.combined().items(), x, y, strict=True):
        objective.zero_grad()
        (objective.weights[name] * part.loss(its_x, its_y).value).backward()
        apart.append([p.grad.clone() for p in objective.encoder.parameters()])
    objective.zero_grad()
    objective.loss(x, y).value.backward()
    for parameter, *each in zip(objective.encoder.parameters(), *apart, strict=True):
        torch.testing.assert_close(parameter.grad, sum(each), rtol=1e-4, atol=1e-6)


def test_learned_weights_are_those_of_kendall() -> None:
    """sum_p exp(-s_p) loss_p + s_p / 2, whose minimum over s_p is where exp(-s_p) = 1 / (2 loss_p)."""
    objective = built("objective.weighting=uncertainty", "objective.weights.rotation=0.25")
    assert objective.log_variance is not None
    assert objective.log_variance.exp().tolist() == pytest.approx([4, 1])
    _, batch = made("sum")
    x, y = objective.split(batch)
    losses = torch.tensor(list(alone(objective, x, y).values()))
    s = objective.log_variance.detach()
    assert objective.loss(x, y).value.item() == pytest.approx(((-s).exp() * losses + s / 2).sum().item(), rel=1e-5)
    with torch.no_grad():
        objective.log_variance.copy_((2 * losses).log())
    found = objective.loss(x, y)
    found.value.backward()
    assert objective.log_variance.grad.abs().max() < 1e-5
    assert found.logs["simclr_weight"].item() == pytest.approx(1 / (2 * losses[1].item()), rel=1e-4)


def test_every_part_is_given_its_carries_of_all_batches() -> None:
    objective = built("objective/parts=[byol,moco]", "objective.parts.moco.queue=40")
    _, batch = made("sum")
    carries = [objective.loss(*objective.split(batch)).carry for _ in range(2)]
    objective.after_step(carries, 0.5)
    assert objective.combined()["moco"].get_buffer("queue.pushed") == 2 * len(batch.data)


def test_all_parts_train_one_encoder_and_keep_their_own_learning_rates() -> None:
    objective = built("objective/parts=[inpainting,rotation]")
    assert all(part.encoder is objective.encoder for part in objective.combined().values())
    assert objective.exported is objective.encoder
    scales = [group["lr_scale"] for group in objective.groups()]
    assert len(scales) == len(set(scales)) == 2


def test_the_order_of_the_parts_changes_nothing() -> None:
    one, other = (composed([*SMALL, f"objective/parts=[{names}]"]) for names in ("rotation,vae", "vae,rotation"))
    assert identity(one) == identity(other)
    states = [construct.objective(typed(each), SPEC).state_dict() for each in (one, other)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_what_a_class_says_of_others_follows_from_the_parts() -> None:
    objective = built("objective/parts=[vae,rotation]")
    vae = objective.combined()["vae"]
    assert dict(objective.floors) == {f"vae_{name}": value for name, value in vae.floors.items()}
    assert objective.logged["rotation_accuracy"] == vae.logged["accuracy"]
    assert "of vae, " in objective.collapse
    assert Sum.floors == {}


def test_a_picture_shows_the_task_of_every_part() -> None:
    objective, batch = made("sum")
    figure = task_figure(objective, batch, SPEC, predict=True)
    assert {"x of rotation", "x of simclr, view 1", "x of simclr, view 2"} <= set(figure.rows)
    assert "predicted of rotation below" in figure.note


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["objective.weights.simclr=0"], r"objective.weights.simclr is 0; it must be a number above 0"),
        (["objective.weights.simclr=true"], r"objective.weights.simclr is True; it must be a number"),
        (["+objective.weights.vae=1"], r"objective.weights is of .*vae; it must have a number for each part"),
        (["~objective.weights.simclr"], r"objective.weights is of rotation; it must"),
        (["objective/parts=[none,simclr]"], r"objective.parts.none trains nothing"),
        (["objective.parts.simclr.hardness=-1"], r"objective.parts.simclr.hardness is -1"),
    ],
)
def test_what_cannot_be_summed_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        built(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["objective/parts=[rotation,bert]"],
            r"objective.parts.bert reads text; .*\nobjective.parts.bert needs a token",
        ),
        (["objective/parts=[rotation,mae]"], r"objective.parts.mae needs a patch encoder"),
    ],
)
def test_every_part_must_fit_the_data_and_the_backbone(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_fit(typed(composed([*SMALL, *words])))
    assert re.search(message, "\n".join(refused.value.problems))


def test_a_part_is_checked_like_an_objective() -> None:
    with pytest.raises(ConfigError, match=r"objective.parts.simclr.projecto: no such"):
        typed(composed([*SMALL, "+objective.parts.simclr.projecto=[3]"]))
    plain = copy.deepcopy(composed([*SMALL]))
    plain["objective"]["parts"]["simclr"]["_target_"] = "ssl_runner.backbones.convnet.ConvNet"
    with pytest.raises(ConfigError, match=r"does not belong here; it must be Objective"):
        typed(plain)
