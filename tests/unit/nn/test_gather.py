"""Two processes that gather, against one with the whole batch."""

from pathlib import Path

import torch
import torch.distributed as dist
from pair import in_two_processes
from torch import Tensor

from ssl_runner.nn.gather import gather, mean_over_ranks, rank, ranks
from ssl_runner.nn.queue import Queue


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 4, generator=generator), torch.randn(4, 3, generator=generator)


def mean_loss(anchors: Tensor, candidates: Tensor) -> Tensor:
    """Any loss that is a mean over anchors and reads every candidate."""
    return (anchors @ candidates.T).logsumexp(dim=1).mean()


def work(number: int, port: int, folder: str) -> None:
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=number, world_size=2)
    x, weight = data()
    weight.requires_grad_()
    z = x[3 * number : 3 * number + 3] @ weight
    mean_loss(z, gather(z)).backward()
    dist.all_reduce(weight.grad)  # what DDP does
    queue = Queue(8, 3)
    queue.push(z, torch.full((3,), number))
    held = {
        "ranks": torch.tensor([rank(), ranks()]),
        "gathered": gather(z).detach(),
        "gradient": weight.grad / 2,
        "mean": mean_over_ranks(z),
        "queue": queue.keys[queue.filled],
        "labels": queue.labels[queue.filled],
    }
    torch.save(held, Path(folder) / f"{number}.pt")
    dist.destroy_process_group()


def test_two_processes_have_the_gradient_of_one(tmp_path: Path) -> None:
    in_two_processes(work, tmp_path)
    x, weight = data()
    weight.requires_grad_()
    z = x @ weight
    mean_loss(z, z).backward()
    for number in range(2):
        held = torch.load(tmp_path / f"{number}.pt")
        assert held["ranks"].tolist() == [number, 2]
        torch.testing.assert_close(held["gathered"], z.detach())
        torch.testing.assert_close(held["gradient"], weight.grad)
        torch.testing.assert_close(held["mean"], (z[:3] + z[3:]).detach() / 2)
        torch.testing.assert_close(held["queue"], z.detach())
        assert held["labels"].tolist() == [0, 0, 0, 1, 1, 1]


def test_a_single_process_gathers_nothing() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    assert (rank(), ranks()) == (0, 1)
    assert gather(x) is x
    assert torch.equal(mean_over_ranks(x), x)
    assert not mean_over_ranks(x).requires_grad
