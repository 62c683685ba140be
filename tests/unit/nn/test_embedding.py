import torch
from special_ids import PAD

from ssl_runner.nn.embedding import embedded, token_embedding


def test_vectors_are_of_length_one_and_padding_is_zero() -> None:
    torch.manual_seed(0)
    table = token_embedding(500, 64, PAD)
    lengths = table.weight.norm(dim=1)
    assert lengths[PAD] == 0
    assert 0.95 < lengths[PAD + 1 :].mean() < 1.05


def test_padding_stays_zero() -> None:
    table = token_embedding(8, 4, PAD)
    table(torch.tensor([PAD, 3])).sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad.any(dim=1).tolist() == [False] * 3 + [True] + [False] * 4


def test_what_is_read_has_deviation_one() -> None:
    torch.manual_seed(0)
    table = token_embedding(500, 64, PAD)
    read = embedded(table, torch.arange(1, 500)[None])
    assert 0.97 < read.std() < 1.03
    torch.testing.assert_close(read[0, 3], 8 * table.weight[4])
