import numpy as np
import torch
from torch.utils.data import DataLoader

from ssl_runner.data.any.tensors import EpochOrder, TensorData, identity
from ssl_runner.interfaces import Examples


def examples(n: int) -> Examples:
    return Examples(torch.arange(n * 2, dtype=torch.uint8).reshape(n, 1, 1, 2), torch.arange(n) * 10)


def test_a_batch_is_what_was_asked_for_in_that_order() -> None:
    batch = TensorData(examples(6)).__getitems__([4, 0, 5])
    assert batch.data.flatten().tolist() == [8, 9, 0, 1, 10, 11]
    assert batch.label.tolist() == [40, 0, 50]
    assert batch.index.tolist() == [4, 0, 5]
    assert (batch.data.dtype, batch.label.dtype, batch.index.dtype) == (torch.uint8, torch.int64, torch.int64)


def test_a_loader_gives_batches_whole() -> None:
    batches = list(DataLoader(TensorData(examples(5)), batch_size=2, collate_fn=identity))
    assert [batch.index.tolist() for batch in batches] == [[0, 1], [2, 3], [4]]


def test_memory_mapped_examples_are_gathered(tmp_path) -> None:
    np.arange(24, dtype=np.uint8).tofile(tmp_path / "raw")
    mapped = torch.from_numpy(np.memmap(tmp_path / "raw", dtype=np.uint8, mode="c", shape=(6, 1, 2, 2)))
    batch = TensorData(Examples(mapped, torch.zeros(6, dtype=torch.int64))).__getitems__([5, 1])
    assert batch.data.flatten().tolist() == [20, 21, 22, 23, 4, 5, 6, 7]


def order(seed: int, epoch: int) -> list[int]:
    sampler = EpochOrder(50, seed)
    list(sampler)  # what was drawn before must not matter
    sampler.set_epoch(epoch)
    return list(sampler)


def test_order_is_a_function_of_seed_and_epoch_alone() -> None:
    torch.manual_seed(1)
    first = order(3, 2)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert order(3, 2) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert sorted(first) == list(range(50))


def test_orders_of_other_seeds_and_epochs_differ() -> None:
    orders = {tuple(order(seed, epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    assert len(EpochOrder(50, 0)) == 50
