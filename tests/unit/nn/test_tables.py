"""Rows of a table: values and gradients of both kinds."""

import pytest
import torch
from torch import nn

from ssl_runner.nn.tables import look_up


@pytest.mark.parametrize("sparse", [False, True])
def test_rows_and_their_gradient_are_those_of_an_embedding(sparse: bool) -> None:
    torch.manual_seed(0)
    table = nn.Embedding(9, 5, sparse=sparse)
    ids, slope = torch.randint(9, (4, 3, 7)), torch.randn(4, 3, 7, 5)  # with repeated ids
    (expected,) = torch.autograd.grad(table(ids), table.weight, slope)
    found = look_up(table, ids)
    assert torch.equal(found, table(ids))
    (gradient,) = torch.autograd.grad(found, table.weight, slope)
    assert gradient.is_sparse == sparse
    torch.testing.assert_close(gradient.to_dense(), expected.to_dense())
