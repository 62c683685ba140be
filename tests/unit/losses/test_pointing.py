import math

import torch

from ssl_runner.losses.pointing import copied, negative_log


def test_what_is_copied_by_loops():
    queries, keys, values = torch.randn(2, 3, 4), torch.randn(2, 5, 4), torch.rand(2, 5, 2)
    found = copied(queries, keys, values)
    for b in range(2):
        for i in range(3):
            weight = [math.exp(sum(queries[b, i] * keys[b, j]).item() / 2) for j in range(5)]
            expected = sum(w * values[b, j] for j, w in enumerate(weight)) / sum(weight)
            torch.testing.assert_close(found[b, i], expected)


def test_classes_are_copied_as_probabilities():
    values = torch.nn.functional.one_hot(torch.randint(3, (2, 6)), 3)
    found = copied(torch.randn(2, 4, 8), torch.randn(2, 6, 8), values)
    torch.testing.assert_close(found.sum(2), torch.ones(2, 4))


def test_the_loss_by_hand():
    p = torch.tensor([[[0.5, 0.5], [0.25, 0.75]]])
    torch.testing.assert_close(negative_log(p, torch.tensor([[0, 0]])), torch.tensor((math.log(2) + math.log(4)) / 2))


def test_a_class_that_nothing_points_to_costs_a_finite_loss():
    p = torch.tensor([[[1.0, 0.0]]], requires_grad=True)
    value = negative_log(p, torch.tensor([[1]]))
    torch.testing.assert_close(value, torch.tensor(-math.log(1e-6)))
    value.backward()
    assert p.grad.isfinite().all()


def test_it_is_computed_in_float32():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = copied(torch.randn(1, 2, 4).bfloat16(), torch.randn(1, 3, 4).bfloat16(), torch.ones(1, 3, 1).long())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.ones(1, 2, 1))
