"""The number of floating-point operations of a step, independent of the machine."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ssl_runner.interfaces import Batch, Objective

Shape = tuple[int, ...]


def flops_of_batch(objective: Objective, batch: Batch, dtype: torch.dtype) -> int:
    """FLOPs of `split`, `loss`, the backward pass and `after_step` on a batch of input: those of momentum encoders too.

    Products of matrices, convolutions, attention and recurrent layers are counted, a multiplication and an addition as
    two (torch.utils.flop_counter); what goes element by element, table look-ups and the optimizer are not. It takes the
    time and the memory of a step: a copy of the objective does one, on the batch's device, so that neither weights nor
    statistics nor generators move. Where processes train together, all must call it.
    """
    device = batch.data.device
    model = copy.deepcopy(objective).to(device).train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
            with torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16):
                loss = model.loss(*model.split(batch))
            if loss.value.requires_grad:
                loss.value.backward()
            model.after_step([loss.carry], 0.0)
    return counter.get_total_flops()


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """(B, heads, N, D), (B, heads, M, D), (B, heads, M, E): the scores, and the mean of values that they weigh."""
    return 2 * query[0] * query[1] * query[2] * key[2] * (key[3] + value[3])


def _attention_backward(_: Shape, query: Shape, key: Shape, value: Shape, *__: Any, **___: Any) -> int:
    """The scores once more, and the gradients of query, key and value and of the scores: as torch counts it on GPUs."""
    return 2 * query[0] * query[1] * query[2] * key[2] * (3 * key[3] + 2 * value[3])


def _recurrent(x: Shape, weights: list[Shape]) -> int:
    """(T, B, D): every matrix once a token."""
    return 2 * x[0] * x[1] * sum(shape[0] * shape[1] for shape in weights if len(shape) == 2)


def _layer(x: Shape, inner: Shape, between: Shape, *_: Any, **__: Any) -> int:
    return _recurrent(x, [inner, between])


def _layers(x: Shape, weights: list[Shape], *_: Any, **__: Any) -> int:
    return _recurrent(x, weights)


def _twice(formula: Callable[..., int]) -> Callable[..., int]:
    """Of the backward pass: the gradients of input and of weights."""
    return lambda *given, **settings: 2 * formula(*given, **settings)


aten = torch.ops.aten
FORMULAS: dict[Any, Callable[..., int]] = {  # of operations that torch's counter does not know
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    aten.mkldnn_rnn_layer: _layer,
    aten.mkldnn_rnn_layer_backward: _twice(_layer),
    aten._cudnn_rnn: _layers,
    aten._cudnn_rnn_backward: _twice(_layers),
}
