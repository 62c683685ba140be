import copy

import pytest
import torch
from benchmarks.memory import kept
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ssl_runner.nn.reversible import ReversibleChain


def branch(width: int = 4, *more: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, padding=1, bias=False), *more
    )


def chains(count: int, *more: nn.Module, dtype: torch.dtype = torch.float64) -> tuple[ReversibleChain, ReversibleChain]:
    """The reversible form, and the plain one with the same weights."""
    torch.manual_seed(0)
    recomputed = ReversibleChain([branch(4, *more) for _ in range(count)], recompute=True).to(dtype)
    plain = copy.deepcopy(recomputed)
    plain.recompute = False
    return recomputed, plain


def halves(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    both = torch.randn(2, 3, 4, 5, 5, generator=generator, dtype=dtype)
    return both[0].clone().requires_grad_(), both[1].clone().requires_grad_()


def gradients(chain: ReversibleChain, dtype: torch.dtype = torch.float64, seed: int = 2) -> list[Tensor]:
    """Outputs, and the gradients of inputs and weights for a loss that weighs all outputs differently."""
    a, b = halves(dtype)
    torch.manual_seed(seed)  # of dropout
    outputs = chain(a, b)
    weights = [torch.randn(part.shape, generator=torch.Generator().manual_seed(3)).to(dtype) for part in outputs]
    sum((part * weight).sum() for part, weight in zip(outputs, weights, strict=True)).backward()
    grads = [a.grad, b.grad, *(weight.grad for weight in chain.parameters())]
    return [*(part.detach() for part in outputs), *grads]


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_those_of_the_plain_form(count: int, training: bool) -> None:
    recomputed, plain = (chain.train(training) for chain in chains(count))
    for ours, theirs in zip(gradients(recomputed), gradients(plain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_channels_padded_with_zeros_pass_no_gradient_on() -> None:
    """After the first normalization they are exactly zero, at which ReLU's derivative is a convention."""
    found = []
    for chain in chains(6):
        a, b = halves()
        padded = b.detach() * torch.tensor([1.0, 1.0, 0.0, 0.0]).view(-1, 1, 1)
        sum(part.square().sum() for part in chain(a, padded)).backward()
        found.append([weight.grad for weight in chain.parameters()])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_gradients_agree_with_finite_differences() -> None:
    chain, _ = chains(3)
    a, b = (half[:2, :, :2, :2].detach().requires_grad_() for half in halves())
    assert torch.autograd.gradcheck(lambda *x: chain.eval()(*x), (a, b))


def test_the_inputs_are_found_again_from_the_outputs() -> None:
    _, chain = chains(4)
    chain.eval()
    with torch.no_grad():
        a, b = halves()
        c, d = chain(a, b)
        for each in reversed(chain.branches):
            c, d = d - each(c), c
    torch.testing.assert_close((c, d), (a, b), rtol=1e-10, atol=1e-10)


def test_running_statistics_are_updated_once() -> None:
    recomputed, plain = chains(3)
    gradients(recomputed)
    gradients(plain)
    for (name, ours), theirs in zip(recomputed.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(ours, theirs), name
    assert all(part.num_batches_tracked == 1 for part in recomputed.modules() if isinstance(part, nn.BatchNorm2d))
    assert all(part.track_running_stats for part in recomputed.modules() if isinstance(part, nn.BatchNorm2d))


def test_the_second_pass_draws_the_same_random_numbers() -> None:
    recomputed, plain = chains(3, nn.Dropout(0.5))
    for ours, theirs in zip(gradients(recomputed), gradients(plain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    other = gradients(recomputed, seed=5)
    assert not torch.allclose(other[0], gradients(plain)[0])  # it is random


def test_random_generators_go_on_as_after_the_plain_form() -> None:
    after = []
    for chain in chains(2, nn.Dropout(0.5)):
        gradients(chain)
        after.append(torch.rand(3))
    assert torch.equal(*after)


@pytest.mark.parametrize("inside", [True, False])
def test_the_second_pass_has_the_precision_of_the_first(inside: bool) -> None:
    """Whether the backward pass runs within autocast or after it."""
    found = []
    for chain in chains(3, dtype=torch.float32):
        a, b = halves(torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out, other = chain(a, b)
            loss = out.square().mean() + other.square().mean()
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        assert out.dtype == torch.float32
        assert all(weight.grad is not None for weight in chain.parameters())
        found.append([out.detach(), a.grad, *(weight.grad for weight in chain.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-3)


def test_halves_in_bfloat16_are_kept_in_float32() -> None:
    chain = ReversibleChain([nn.Conv2d(4, 4, 1)], recompute=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, other = chain(*(half.bfloat16() for half in halves(torch.float32)))
    assert (out.dtype, other.dtype) == (torch.float32, torch.float32)


def test_bytes_kept_do_not_grow_with_depth() -> None:
    (short, plain_short), (long, plain_long) = chains(2), chains(8)
    assert (
        kept(short, *halves()) == kept(long, *halves()) == 3 * 3 * 4 * 5 * 5 * 8
    )  # both outputs and the first input, in float64
    assert kept(plain_long, *halves()) > 3 * kept(plain_short, *halves())


def test_weights_that_are_frozen_or_used_twice() -> None:
    shared, frozen = branch(), branch()
    frozen.requires_grad_(False)
    torch.manual_seed(0)
    recomputed = ReversibleChain([shared, frozen, shared], recompute=True).double()
    plain = copy.deepcopy(recomputed)
    plain.recompute = False
    for chain in (recomputed, plain):
        a, b = halves()
        torch.stack([part.square().sum() for part in chain(a, b)]).sum().backward()
    for (name, ours), theirs in zip(recomputed.named_parameters(), plain.parameters(), strict=True):
        assert (ours.grad is None) == (not ours.requires_grad), name
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-10)


def test_operations_of_both_passes_are_counted() -> None:
    """By the counter of `training.flops`, which hooks on to what modules read."""
    counts = []
    for chain in chains(3):
        with FlopCounterMode(display=False) as counter:
            gradients(chain)
        counts.append(counter.get_total_flops())
    assert counts[0] == pytest.approx(counts[1] * 4 / 3)  # forward twice, and a backward pass of two products each


def test_without_gradients_nothing_is_kept() -> None:
    chain, plain = chains(2)
    with torch.no_grad():
        assert torch.equal(chain(*halves())[0], plain(*halves())[0])
        assert chain(*halves())[0].grad_fn is None
