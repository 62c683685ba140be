"""The queue against a list that grows and is cut."""

import pytest
import torch

from ssl_runner.nn.queue import Queue


@pytest.mark.parametrize("counts", [[3, 3, 3], [2, 5, 1, 4, 3], [7, 7], [9, 2], [20]])
def test_it_keeps_the_last_keys(counts: list[int]) -> None:
    queue = Queue(7, 4)
    every = torch.empty(0, 4)
    for start, count in enumerate(counts):
        keys = torch.randn(count, 4)
        every = torch.cat((every, keys))
        queue.push(keys, torch.full((count,), start))
        held = min(7, len(every))
        assert queue.pushed == len(every)
        assert queue.pointer == len(every) % 7  # as if they had come one by one
        assert queue.filled.sum() == held
        kept, expected = queue.keys[queue.filled], every[-held:]
        assert sorted(kept.tolist()) == sorted(expected.tolist())
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))[-7:]
    assert sorted(queue.labels[queue.filled].tolist()) == sorted(labels.tolist())


def test_the_oldest_goes_first() -> None:
    queue = Queue(3, 1)
    for value in range(5):
        queue.push(torch.full((1, 1), float(value)), torch.tensor([value]))
    assert queue.keys.flatten().tolist() == [3, 4, 2]
    assert queue.pointer == 2
    queue.push(torch.tensor([[5.0], [6.0]]), torch.tensor([5, 6]))
    assert queue.keys.flatten().tolist() == [6, 4, 5]
    assert queue.labels.tolist() == [6, 4, 5]


def test_before_the_first_push_it_holds_random_unit_vectors() -> None:
    queue = Queue(5, 3)
    torch.testing.assert_close(queue.keys.norm(dim=1), torch.ones(5))
    assert not queue.filled.any()
    assert (queue.labels == -1).all()


def test_what_is_pushed_has_no_gradient() -> None:
    queue = Queue(4, 2)
    z = torch.randn(3, 2, requires_grad=True)
    queue.push(z * 2, torch.zeros(3, dtype=torch.long))
    assert not queue.keys.requires_grad


def test_it_can_be_saved_and_goes_on_where_it_was() -> None:
    queue, twin = Queue(4, 2), Queue(4, 2)
    queue.push(torch.randn(3, 2), torch.arange(3))
    twin.load_state_dict(queue.state_dict())
    keys = torch.randn(2, 2)
    for each in (queue, twin):
        each.push(keys, torch.arange(2))
    assert torch.equal(queue.keys, twin.keys)
    assert torch.equal(queue.filled, twin.filled)


def test_a_queue_holds_something() -> None:
    with pytest.raises(ValueError, match="at least 1 key"):
        Queue(0, 2)
