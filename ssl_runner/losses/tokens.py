"""Log-likelihood of the tokens of a text. V ids of the vocabulary; `pad` is padding."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ssl_runner.losses.precision import float32
from ssl_runner.nn.gather import divisor


@float32
def token_nll(logits: Tensor, target: Tensor, pad: int) -> Tensor:
    """(..., V) scores and (...) ids -> (...) nats of each token; 0 where it is padding."""
    nll = F.cross_entropy(logits.flatten(0, -2), target.flatten(), ignore_index=pad, reduction="none")
    return nll.view_as(target)


def mean_of_real(values: Tensor, target: Tensor, pad: int) -> Tensor:
    """(...) values of tokens and (...) ids -> () the mean over all tokens but padding; 0 if there are none.

    Of several processes' tokens, in the mean over processes."""
    real = target != pad
    return (values * real).sum() / divisor(real.sum())


BLOCK = {"cpu": 2**22, "cuda": 2**26}  # scores computed at once: on a CPU they stay in its cache


def mean_nll(states: Tensor, weight: Tensor, bias: Tensor, target: Tensor, pad: int) -> Tensor:
    """`mean_of_real` of `token_nll`, for scores W h + b that are computed in blocks and never kept.

    states (..., D), weight (V, D), bias (V,), target (...) int64 -> () nats. Memory and time are those of a block of
    scores beside the products themselves: the gradient of each block is taken at once, since it is known up to the
    factor that comes later. Scores are products in the precision of autocast, and the rest is float32; it can be
    differentiated once.
    """
    real = target != pad
    share = real / divisor(real.sum())
    states, target, share = states.flatten(0, -2), target.flatten(), share.flatten()
    value: Tensor = _MeanNLL.apply(states, weight, bias, target, share, torch.is_grad_enabled())
    return value


class _MeanNLL(torch.autograd.Function):
    """sum_n share_n * -log softmax(W h_n + b)[y_n], for (N, D) states, and its gradient, a block of rows at a time."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor, target: Tensor, share: Tensor, differentiate: bool
    ) -> Tensor:
        device = states.device.type
        narrow = torch.is_autocast_enabled(device)
        with torch.autocast(device, enabled=False):
            dtype = torch.get_autocast_dtype(device) if narrow else states.dtype
            h, w, b = states.to(dtype), weight.to(dtype), bias.to(torch.promote_types(bias.dtype, torch.float32))
            total = torch.zeros((), dtype=b.dtype, device=h.device)
            grads = [torch.empty_like(h), torch.zeros_like(weight), torch.zeros_like(b)] if differentiate else []
            start, rows = 0, max(1, BLOCK.get(device, BLOCK["cuda"]) // len(w))
            for h_n, y, part in zip(h.split(rows), target.split(rows), share.to(b.dtype).split(rows), strict=True):
                scores = (h_n @ w.mT).to(b.dtype).add_(b)
                p = scores.softmax(dim=1)  # 0.4 of the time of log softmax and exp
                log_norm = scores.amax(dim=1) - p.amax(dim=1).log()
                nll = log_norm - scores.gather(1, y[:, None])[:, 0]
                total += (nll.where(part > 0, 0) * part).sum()
                if differentiate:
                    error = p.mul_(part[:, None])
                    error.scatter_add_(1, y[:, None], -part[:, None])
                    grads[2] += error.sum(dim=0)
                    error = error.to(dtype)
                    torch.mm(error, w, out=grads[0][start : start + len(y)])
                    grads[1] += error.mT @ h_n
                    start += len(y)
        if differentiate:
            ctx.save_for_backward(grads[0].to(states.dtype), grads[1], grads[2].to(bias.dtype))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, bias = (each * grad for each in ctx.saved_tensors)
        return states, weight, bias, None, None, None
