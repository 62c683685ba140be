import pytest
import torch
from special_ids import IDS, PAD
from torch import nn

from ssl_runner.nn.vocabulary import TokenScores


class Table(nn.Module):
    """An encoder as far as scores know it."""

    head = None

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.special = IDS
        self.dim = dim
        self.embedding = nn.Embedding(9, width, padding_idx=PAD)


@pytest.mark.parametrize(("output", "width"), [("tied", 4), ("tied", 6), ("own", 6)])
def test_scores_are_products_and_padding_has_none(output, width):
    torch.manual_seed(0)
    table = Table(width, 4)
    scores = TokenScores(table, output)
    nn.init.normal_(scores.bias)
    states = torch.randn(2, 3, 4)
    found = scores(states, table.embedding)
    h = states if width == 4 or output == "own" else states @ scores.project.weight.T
    weight = table.embedding.weight if output == "tied" else scores.weight
    for v in range(1, 9):
        torch.testing.assert_close(found[..., v], (h * weight[v]).sum(2) + scores.bias[v])
    assert (found[..., PAD] == -torch.inf).all()
    assert found.softmax(2)[..., PAD].eq(0).all()


def test_the_vector_of_padding_gets_no_gradient_through_the_scores():
    table = Table(4, 4)
    scores = TokenScores(table, "tied")
    scores(torch.randn(5, 4), table.embedding).log_softmax(1)[:, 3].sum().backward()
    assert not table.embedding.weight.grad[PAD].any()
    assert table.embedding.weight.grad[1:].abs().sum(1).min() > 0
    assert scores.bias.grad[PAD] == 0
    assert table.embedding.weight.grad.isfinite().all()


def test_only_what_is_its_own_is_saved():
    assert set(TokenScores(Table(4, 4), "tied").state_dict()) == {"bias"}
    assert set(TokenScores(Table(6, 4), "tied").state_dict()) == {"bias", "project.weight"}
    assert set(TokenScores(Table(6, 4), "own").state_dict()) == {"bias", "weight"}


def test_another_output_is_refused():
    with pytest.raises(ValueError, match=r"objective\.output is 'shared'; it must be tied or own"):
        TokenScores(Table(4, 4), "shared")
