import math

import pytest
import torch
from special_ids import PAD

from ssl_runner.losses import tokens
from ssl_runner.losses.tokens import mean_nll, mean_of_real, token_nll


def test_worked_by_hand():
    logits = torch.tensor([[[0.0, 0.0, math.log(3), 0.0], [1.0, 2.0, 3.0, 4.0]]])  # probabilities 1/6, 1/6, 3/6, 1/6
    target = torch.tensor([[2, PAD]])
    nll = token_nll(logits, target, PAD)
    assert nll.shape == (1, 2)
    assert nll[0, 0].item() == pytest.approx(math.log(2))
    assert nll[0, 1].item() == 0
    assert mean_of_real(nll, target, PAD).item() == pytest.approx(math.log(2))
    assert mean_of_real(nll, torch.full((1, 2), PAD), PAD).item() == 0


def test_half_precision_is_widened():
    assert token_nll(torch.randn(2, 3, 5).bfloat16(), torch.ones(2, 3).long(), PAD).dtype == torch.float32


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_the_mean_in_blocks_is_that_of_all_scores_with_its_gradients(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tokens.BLOCK, "cpu", rows * 7)
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((2, 5, 4), (7, 4), (7,))]
    given[2][0] = -torch.inf  # padding's
    target = torch.tensor([[1, 2, 0, 6, 0], [3, 3, 5, 1, 0]])
    ours, plain = ([each.clone().requires_grad_() for each in given] for _ in range(2))
    value = mean_nll(ours[0], ours[1], ours[2], target, 0)
    expected = mean_of_real(token_nll(torch.nn.functional.linear(*plain), target, 0), target, 0)
    torch.testing.assert_close(value, expected)
    (3 * value).backward()
    (3 * expected).backward()
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    with torch.no_grad():
        torch.testing.assert_close(mean_nll(given[0], given[1], given[2], target, 0), expected.detach())


def test_a_text_of_padding_alone_has_no_loss() -> None:
    states, weight = torch.randn(1, 2, 3, requires_grad=True), torch.randn(5, 3)
    value = mean_nll(states, weight, torch.zeros(5), torch.zeros(1, 2, dtype=torch.long), 0)
    value.backward()
    assert value == 0
    assert not states.grad.any()


def test_under_autocast_the_products_are_narrow_and_the_mean_is_not() -> None:
    states, weight = torch.randn(6, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
    bias, target = torch.zeros(50), torch.arange(1, 7)
    with torch.autocast("cpu", torch.bfloat16):
        value = mean_nll(states, weight, bias, target, 0)
        expected = token_nll(torch.nn.functional.linear(states, weight, bias), target, 0).mean()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected, rtol=1e-2, atol=1e-2)
    value.backward()
    assert states.grad.dtype == weight.grad.dtype == torch.float32
