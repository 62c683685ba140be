"""Two processes with half a batch each take the step of one with all of it: every objective, in float64.

Each process has the whole model, or its part of every weight. The same x and y are given to both, so that what is
compared is `loss`, what it gathers, the gradients, their norm, the optimizer's step and `after_step`; dropout is off.
One pair of processes goes through all of them.
"""

import copy
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from objective_cases import CASES, half, optimizer_of, task
from pair import in_two_processes
from torch import nn

from ssl_runner.interfaces import Objective
from ssl_runner.nn.gather import mean_over_ranks
from ssl_runner.nn.sharding import local, shard, unfused, whole
from ssl_runner.nn.synced_norm import SyncedBatchNorm, synced

NORM = 0.1  # at which gradients are clipped
WAYS = ["ddp", "fsdp"]
UNSHARDABLE = {("ngram", "fsdp")}  # `commands.launch` refuses it: its tables are whole everywhere
ALWAYS = ("barlow_twins", "bert", "byol", "language_model", "mae", "simclr", "swav")  # which the tests below name
CANNOT = {  # name -> why; docs/scaling.md says so too
    "simclr with clusters": "a cluster that has run empty begins again at a random example, and the two draw others",
}


def step(case: str, objective: Objective, x: Any, y: Any, way: str = "") -> dict[str, Any]:
    """Take one: the loss, every gradient and their norm; every weight and buffer after it."""
    optimizer = optimizer_of(case, objective)
    if way == "fsdp":
        unfused(optimizer)
    loss = objective.loss(x, y)
    loss.value.backward()
    trained = {name: p for name, p in objective.named_parameters() if p.grad is not None}
    if way == "ddp":
        for parameter in trained.values():
            parameter.grad = mean_over_ranks(parameter.grad)
    gradients = {f"gradient of {name}": p.grad.clone() for name, p in trained.items()}
    norm = nn.utils.clip_grad_norm_(trained.values(), NORM)
    optimizer.step()
    with torch.no_grad():
        objective.after_step([loss.carry], 0.5)
    after = {name: p.detach() for name, p in objective.named_parameters()} | dict(objective.named_buffers())
    return whole({"loss": mean_over_ranks(loss.value), "norm": norm, **gradients, **after})


def work(number: int, port: int, folder: str) -> None:
    tasks = torch.load(Path(folder) / "tasks.pt", weights_only=False)
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", address, rank=number, world_size=2, timeout=timedelta(seconds=60))
    torch.set_num_threads(1)
    held: dict[tuple[str, str], Any] = {}
    for case, (objective, x, y) in tasks.items():
        for way in WAYS:
            if (case, way) in UNSHARDABLE:
                continue
            try:
                own = synced(copy.deepcopy(objective), torch.device("cpu"))
                if way == "fsdp":
                    shard(own, torch.device("cpu"))
                    parts = [local(p).numel() / p.numel() for p in own.parameters() if p.shape[0] % 2 == 0]
                    held[case, "parts"] = set(parts)
                held[case, way] = step(case, own, half(x, number), half(y, number), way)
            except Exception:  # is said by the test of the case
                held[case, way] = traceback.format_exc()
    torch.save(held, Path(folder) / f"{number}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def tasks(request: pytest.FixtureRequest) -> dict[str, tuple[Objective, Any, Any]]:
    """Those of the cases that are tried now."""
    given = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    asked = {each.get("case") for each in given if "way" in each}
    return {case: task(case) for case in CASES if case in asked or case in ALWAYS}


@pytest.fixture(scope="module")
def alone(tasks: dict[str, tuple[Objective, Any, Any]]) -> dict[str, dict[str, Any]]:
    """The step of one process with the whole batch."""
    return {case: step(case, *copy.deepcopy(task)) for case, task in tasks.items()}


@pytest.fixture(scope="module")
def pair(
    tasks: dict[str, tuple[Objective, Any, Any]], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[tuple[str, str], Any]]:
    folder = tmp_path_factory.mktemp("pair")
    torch.save(tasks, folder / "tasks.pt")
    in_two_processes(work, folder)
    return [torch.load(folder / f"{number}.pt") for number in range(2)]


def compare(held: Any, expected: dict[str, Any], case: str) -> None:
    assert not isinstance(held, str), held
    assert held.keys() == expected.keys()
    moved = [name for name in expected if name == "positives" or name.startswith("positives.")]
    for name, value in expected.items():
        if case not in CANNOT or name not in moved:
            torch.testing.assert_close(held[name], value, rtol=1e-5, atol=1e-9, msg=name)


@pytest.mark.parametrize(
    ("case", "way"), [(case, way) for case in CASES for way in WAYS if (case, way) not in UNSHARDABLE]
)
@pytest.mark.sampled(16)
def test_two_processes_take_the_step_of_one(
    case: str, way: str, alone: dict[str, dict[str, Any]], pair: list[dict[tuple[str, str], Any]]
) -> None:
    compare(pair[0][case, way], alone[case], case)
    if way == "ddp":  # else the first has all
        for name, value in pair[0][case, way].items():
            assert torch.equal(value, pair[1][case, way][name]), f"the two processes differ in {name}"


@pytest.mark.parametrize("case", ["bert", "byol", "mae", "simclr"])
def test_each_process_has_half_of_every_weight(case: str, pair: list[dict[tuple[str, str], Any]]) -> None:
    """Those of momentum encoders too."""
    assert [held[case, "parts"] for held in pair] == [{0.5}, {0.5}]


def test_the_two_would_differ_without_what_is_gathered(tasks: dict[str, tuple[Objective, Any, Any]]) -> None:
    """What the identity compares can fail: each half by itself, in one process, gives other gradients."""
    for case in ("simclr", "barlow_twins", "language_model", "swav"):
        whole_batch = step(case, *copy.deepcopy(tasks[case]))
        halves = []
        for number in range(2):
            objective, x, y = copy.deepcopy(tasks[case])
            halves.append(step(case, objective, half(x, number), half(y, number)))
        names = [name for name in whole_batch if name == "loss" or name.startswith("gradient of ")]
        apart = {name: (halves[0][name] + halves[1][name]) / 2 for name in names}
        assert not all(torch.allclose(apart[name], whole_batch[name], rtol=1e-3) for name in names), case


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(3), nn.BatchNorm2d(3, affine=False), nn.BatchNorm1d(3, momentum=None)])
def test_one_process_keeps_its_batch_normalization(norm: nn.Module) -> None:
    assert synced(norm, torch.device("cpu")) is norm
    x = torch.randn(4, 3, 5) if isinstance(norm, nn.BatchNorm1d) else torch.randn(4, 3, 5, 5)
    other = SyncedBatchNorm(norm)
    assert list(other.state_dict()) == list(norm.state_dict())
    torch.testing.assert_close(other(x), norm.eval()(x) if not norm.training else norm(x))
