"""Less memory for the backward pass: activations computed again, block by block or a part of the batch at a time."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from ssl_runner.interfaces import Encoder, Features
from ssl_runner.nn.sharding import LISTS

Forward = Callable[..., Any]


@contextmanager
def recomputing(objective: nn.Module, *, blocks: bool, chunk: int | None) -> Iterator[None]:
    """Within, an objective's encoders keep fewer activations between the forward and the backward pass.

    `blocks`: of every block of a Transformer and every stage of a convolutional network, or block within a stage, only
    the input is kept, and the rest computed again in the backward pass. Chen, Xu, Zhang, Guestrin 2016, "Training Deep
    Nets with Sublinear Memory Cost", https://arxiv.org/abs/1604.06174.

    `chunk`: encoders read so many examples at a time, and nothing of them is kept but their features; the backward pass
    takes them one after the other, with the gradient of the whole batch's loss for their features. So a contrastive
    loss has the negatives of a batch of any size. Gao, Zhang, Han, Callan 2021, "Scaling Deep Contrastive Learning
    Batch Size under Memory Limited Setup" (GradCache), https://arxiv.org/abs/2101.06983. Differs from the paper:
    autograd holds the gradients of features, and calls for one part after another.

    The gradient is the same: draws (dropout) are repeated, running statistics move once. With `chunk` dropout draws
    anew for each part, and batch normalization would be over a part: see `normalizes_over_batch`.
    """
    replaced: list[nn.Module] = []
    for encoder in outermost(objective):
        if blocks and any(p.requires_grad for p in encoder.parameters()):
            for unit in units(encoder):
                unit.forward = _recomputed(unit)
                replaced.append(unit)
        if chunk is not None:
            encoder.forward = _in_parts(encoder, chunk)  # type: ignore[method-assign]
            replaced.append(encoder)
    try:
        yield
    finally:
        for module in replaced:
            del module.forward  # the class's own again


def outermost(module: nn.Module) -> list[Encoder]:
    """The encoders of an objective, copies included, apart from those within another encoder."""
    if isinstance(module, Encoder):
        return [module]
    return [encoder for child in module.children() for encoder in outermost(child)]


def units(encoder: nn.Module) -> list[nn.Module]:
    """The blocks of an encoder, input to output: those of its lists that `LISTS` names; of a stage that is a sequence
    of blocks, these."""
    found = []
    for name, part in encoder.named_modules():
        if isinstance(part, nn.ModuleList) and name.rpartition(".")[2] in LISTS:
            for unit in part:
                inner = list(unit.children()) if isinstance(unit, nn.Sequential) else []
                whole = not inner or any(not list(each.children()) for each in inner)
                found += [unit] if whole else inner
    return found


def normalizes_over_batch(module: nn.Module) -> bool:
    """Whether what it makes of an example in training depends on the others of the batch."""
    return any(isinstance(part, _NormBase) for part in module.modules())


def _recomputed(module: nn.Module) -> Forward:
    forward = module.forward

    def call(*args: Any, **kwargs: Any) -> Any:
        return _kept_short(module, forward, *args, **kwargs)

    return call


def _in_parts(encoder: Encoder, chunk: int) -> Forward:
    forward: Forward = encoder.forward

    def call(x: Tensor, keep: Tensor | None = None, **kwargs: Any) -> Features:
        starts = range(0, len(x), chunk)
        if len(starts) < 2:
            return forward(x, **_with(keep), **kwargs)
        parts = []
        for start in starts:
            rows = slice(start, start + chunk)
            its = _with(None if keep is None else keep[rows])
            parts.append(_kept_short(encoder, forward, x[rows], **its, **kwargs))
        layers = zip(*(part.layers for part in parts), strict=True)
        tokens, pooled = (torch.cat([getattr(part, name) for part in parts]) for name in ("tokens", "pooled"))
        return Features(tokens, pooled, tuple(torch.cat(each) for each in layers))

    return call


def _with(keep: Tensor | None) -> dict[str, Tensor]:
    return {} if keep is None else {"keep": keep}


def _kept_short(module: nn.Module, forward: Forward, *args: Any, **kwargs: Any) -> Any:
    """`forward`, of which only arguments and results are kept for the backward pass."""
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _without_statistics(module)

    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


@contextmanager
def _without_statistics(module: nn.Module) -> Iterator[None]:
    """Running statistics stay as they are: the forward pass has moved them already. They are still passed on, since
    both passes must keep the same tensors."""
    norms = [part for part in module.modules() if isinstance(part, _NormBase) and part.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.sub_(1)
