"""What only a GPU can show: the same numbers as on the CPU, no waiting in a step, whole runs, and memory that runs out.

Skipped where there is none. Every objective is tried; `tests/objective_cases.py` has them.
"""

import copy
import signal
from pathlib import Path

import pytest
import torch
from objective_cases import CASES, made, mapped, optimizer_of, task
from small_runs import do, folder_of, in_batch, rows, weights
from torch import Tensor

from ssl_runner.commands.run import run
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.request import RunRequest
from ssl_runner.interfaces import Batch, Objective
from ssl_runner.results.result import read_result
from ssl_runner.runtime.signals import Stopped
from ssl_runner.training.optim import lay_out

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that CUDA reaches")

WAITS = {  # name -> why its step may wait for the device
    "ngram": "counting needs the number of distinct n-grams",
}
ON_GPU = ["trainer.accelerator=gpu", "trainer.precision=auto"]
DIGITS = ["dataset=mnist_5k", "batch_size=64", "backbone.widths=[16,32]", *ON_GPU]
TEXTS = ["dataset=wiki_sample", "dataset.vocabulary=2000", "batch_size=32", *ON_GPU]
CLIPS = [
    "dataset=moving_digits",
    "dataset.clips=200",
    "dataset.val_clips=60",
    "dataset.test_clips=60",
    "batch_size=16",
    *ON_GPU,
]
RUNS = {
    "image": [*DIGITS, "objective=simclr", "evaluation=[linear,knn,few_label,finetune]", "controls=[random_start]"],
    "masked image": ["dataset=mnist_5k", *ON_GPU, "objective=mae", "backbone=vit_micro", "evaluation=[linear]"],
    "text": [*TEXTS, "objective=bert", "backbone=bert_tiny", "evaluation=[masked_words,senses]"],
    "next word": [*TEXTS, "objective=language_model", "backbone=gpt_tiny", "evaluation=[perplexity,senses]"],
    "words": [
        *TEXTS, "objective=skip_gram", "backbone=word_vectors", "optimizer=adagrad",
        "evaluation=[word_similarity,neighbors]",
    ],
    "video": [
        *CLIPS, "objective=next_frame", "backbone=per_frame",
        "evaluation=[prediction,label_propagation,linear]",
    ],
}  # fmt: skip


def to_gpu(value: Tensor) -> Tensor:
    return value.cuda()


def gradients(objective: Objective, x: object, y: object) -> dict[str, Tensor]:
    loss = objective.loss(x, y)
    loss.value.backward()
    found = {name: p.grad.cpu() for name, p in objective.named_parameters() if p.grad is not None}
    return found | {"loss": loss.value.detach().cpu()}


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_those_of_the_cpu(case: str) -> None:
    objective, x, y = task(case)
    expected = gradients(copy.deepcopy(objective), x, y)
    found = gradients(objective.cuda(), mapped(x, to_gpu), mapped(y, to_gpu))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name].to_dense(), value.to_dense(), rtol=1e-6, atol=1e-9, msg=name)


@pytest.mark.parametrize("case", [case for case in CASES if case not in WAITS])
def test_a_step_never_waits_for_the_device(case: str) -> None:
    objective, batch = made(case)
    objective.cuda().train()
    batch = Batch(*map(to_gpu, batch))
    optimizer = optimizer_of(case, objective)
    lay_out(optimizer)

    def step() -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = objective.loss(*objective.split(batch))
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        with torch.no_grad():
            objective.after_step([loss.carry], 0.5)

    step()  # libraries start, and state that is made at the first one
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("kind", RUNS)
def test_a_run_and_its_evaluations(kind: str, tmp_path: Path) -> None:
    words = [*RUNS[kind], "budget.unit=steps", "budget.amount=40", "logger=csv", f"output={tmp_path}"]
    plain = compose(words)
    result = read_result(run(RunRequest.of(plain, words)))
    assert result.cost.device == torch.cuda.get_device_name()
    found = {each.evaluator for each in result.results if each.subject == "pretrained"}
    assert found == set(plain["evaluation"])


def test_what_was_stopped_ends_with_the_same_weights(tmp_path: Path) -> None:
    words = ["objective=moco", "objective.queue=64", *ON_GPU, "trainer.checkpoint_steps=2"]
    whole = do(tmp_path / "whole", *words)

    with in_batch(6, lambda _: signal.raise_signal(signal.SIGTERM)), pytest.raises(Stopped):
        do(tmp_path / "stopped", *words)
    again = do(tmp_path / "stopped", *words)
    assert weights(again) == weights(whole)
    assert rows(again) == rows(whole)


def test_too_large_a_batch_says_what_to_lower(tmp_path: Path) -> None:
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(max(free - 2**29, 1), dtype=torch.uint8, device="cuda")  # so that half a gibibyte is left
    words = ["dataset.height=64", "dataset.width=64", "dataset.examples=2500", "batch_size=2048", "objective=simclr"]
    try:
        with pytest.raises(ConfigError, match=r"out of memory.*Lower batch_size \(2048\).*trainer.accumulate"):
            do(tmp_path, *words, "backbone.widths=[64,64]", *ON_GPU)
    finally:
        del taken
        torch.cuda.empty_cache()
    assert not list(folder_of(tmp_path, *words, "backbone.widths=[64,64]", *ON_GPU).glob("result.json"))
