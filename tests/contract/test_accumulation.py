"""A step of two batches is the step of one batch that holds both: every objective, in float64, through the trainer.

`trainer.accumulate` promises that for losses that read single examples. Normalisation in backbones is by groups, and
batch normalisation in heads is in eval mode: by the batch, each would be of half as many examples. Texts are of one
length. `APART` says for which objectives it cannot hold nevertheless, and why; docs/scaling.md says so too.
"""

import copy
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from objective_cases import CASES, half, optimizer_of, task
from small_runs import do
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from ssl_runner import checkpoints
from ssl_runner.config import Budget
from ssl_runner.interfaces import Batch, Objective, VectorSpec
from ssl_runner.optim import Constant
from ssl_runner.training import Clock, Pretrainer

IN_BATCH = "negatives are the other examples of the batch"
UNEQUAL = "a mean over what is asked for, of which two batches hold unequal numbers"
APART = {}
TRIED = [case for case in CASES if not case.startswith("bert with") or case == "bert with next sentence"]
DRAWN = {"simclr with clusters"}  # whose state also depends on draws


@pytest.fixture(scope="module", params=TRIED)
def taken(request: pytest.FixtureRequest) -> tuple[str, dict[str, Tensor], dict[str, Tensor]]:
    """The case; what there is after a step of the whole batch, and after one of its two halves."""
    objective, x, y = task(request.param, norm="group", equal=True)
    for part in objective.modules():
        if isinstance(part, _NormBase):
            part.eval()
    halves = [(half(x, number), half(y, number)) for number in range(2)]
    return request.param, step(request.param, objective, [(x, y)]), step(request.param, objective, halves)


def step(case: str, objective: Objective, batches: list[tuple[Any, Any]]) -> dict[str, Tensor]:
    """All weights, gradients and buffers after a step of these x and y."""
    objective = copy.deepcopy(objective)
    given = iter(batches)
    objective.split = lambda batch: next(given)
    spec = VectorSpec(count=1, width=1)
    clock = Clock(Budget("steps", 1), 1)
    module = Pretrainer(objective, spec, optimizer_of(case, objective), Constant(), clock, 0, "none", 0)
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=1, accumulate_grad_batches=len(batches), logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    loaded = [Batch(torch.zeros(1, 1, 1), torch.zeros(1).long(), torch.zeros(1).long()) for _ in batches]
    trainer.fit(module, loaded)
    return {name: value.detach() for name, value in [*objective.named_parameters(), *objective.named_buffers()]}


def test_a_step_of_two_batches_is_that_of_one(taken: tuple[str, dict[str, Tensor], dict[str, Tensor]]) -> None:
    case, whole, parts = taken
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-9, atol=1e-12, msg=name)
