"""A step of two batches is the step of one batch that holds both: every objective, in float64, through the trainer.

That is what `trainer.accumulate` promises where a loss reads single examples. Here backbones normalize by groups, and
batch normalization in heads is in eval mode: in training it is by the batch at hand. Texts are of one length. `APART`
says for which objectives it cannot hold nevertheless, and why; docs/scaling.md says so too.
"""

import copy
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from objective_cases import TRAINED, half, optimizer_of, task
from small_runs import do
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.data import DataLoader

from ssl_runner.config.schema import Budget
from ssl_runner.interfaces import Batch, Objective, VectorSpec
from ssl_runner.results.result import read_result
from ssl_runner.runtime import checkpoint_files
from ssl_runner.training.optim import Constant
from ssl_runner.training.pretrainer import Clock, Pretrainer

IN_BATCH = "negatives are the other examples of the batch"
OVER_BATCH = "the loss is of a statistic over the batch"
UNEQUAL = "a mean over words that are drawn, of which two batches hold unequal numbers"
APART = {
    "simclr": IN_BATCH, "simclr with a queue": IN_BATCH, "simclr with labels": IN_BATCH,
    "exemplar_triplet": IN_BATCH, "simcse": IN_BATCH, "cpc_video": IN_BATCH, "sum": IN_BATCH, "clip": IN_BATCH,
    "nnclr": IN_BATCH, "swav": OVER_BATCH, "barlow_twins": OVER_BATCH, "vicreg": OVER_BATCH, "lejepa": OVER_BATCH,
    "skip_gram": UNEQUAL,
}  # fmt: skip
UNTRIED = {"cpc": IN_BATCH, "cpc_text": IN_BATCH}  # by their places in the batch: no half can be given them
VARIANTS = ["simclr with a queue", "simclr with labels", "mae with patches as they are", "sum by uncertainty"]

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*treespec, LeafSpec", "ignore:.*no `val_dataloader`",
    "ignore:Found .* in eval mode",
)  # fmt: skip


def step(
    case: str, objective: Objective, batches: list[tuple[Any, Any]], accumulate: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """All weights, and all buffers, after one step of these x and y."""
    objective = copy.deepcopy(objective)
    given = iter(batches)
    setattr(objective, "split", lambda batch: next(given))  # noqa: B010 - mypy takes no assignment to a method
    clock = Clock(Budget("steps", 1), 1)
    optimizer = optimizer_of(case, objective)
    module = Pretrainer(objective, VectorSpec(count=1, width=1), optimizer, Constant(), clock, 0, "none", 0)
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=1, accumulate_grad_batches=accumulate, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    unread = Batch(torch.zeros(1, 1, 1), torch.zeros(1).long(), torch.zeros(1).long())
    trainer.fit(module, DataLoader([unread for _ in batches], batch_size=None))
    weights = {name: value.detach() for name, value in objective.named_parameters()}
    return weights, {name: value.detach() for name, value in objective.named_buffers()}


@pytest.mark.parametrize("case", [case for case in [*TRAINED, *VARIANTS] if case not in UNTRIED])
@pytest.mark.sampled(10)
def test_a_step_of_two_batches_is_that_of_one_batch_of_both(case: str) -> None:
    objective, x, y = task(case, norm="group", equal=True)
    for part in objective.modules():
        if isinstance(part, _NormBase):
            part.eval()
    weights, moved = step(case, objective, [(x, y)], 1)
    our_weights, our_moved = step(case, objective, [(half(x, number), half(y, number)) for number in range(2)], 2)
    for name, value in moved.items():
        torch.testing.assert_close(our_moved[name], value, rtol=1e-9, atol=1e-12, msg=name)
    same = [torch.allclose(our_weights[name], value, rtol=1e-9, atol=1e-12) for name, value in weights.items()]
    assert all(same) == (case not in APART), APART.get(case, "every example counts by itself")


def test_the_last_step_of_an_epoch_is_by_the_mean_of_the_batches_that_are_left() -> None:
    """Two, where steps are of four."""
    objective, x, y = task("supervised", norm="group")
    expected, _ = step("supervised", objective, [(x, y)], 1)
    found, _ = step("supervised", objective, [(half(x, number), half(y, number)) for number in range(2)], 4)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12, msg=name)


def test_every_batch_of_a_step_is_in_the_queue(tmp_path: Path) -> None:
    """8 steps of 4 batches of 32."""
    folder = do(tmp_path, "objective=moco", "objective.queue=2048", "trainer.accumulate=4", "dataset.examples=1500")
    assert read_result(folder).pretraining.examples == 1024
    state = torch.load(checkpoint_files.files(folder)[0], weights_only=True)["state_dict"]
    assert state["objective.queue.pushed"] == 1024
