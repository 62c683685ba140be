"""Features of each position after a block of an encoder. B batch, N positions, D width, T frames."""

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import (
    ClipEncoder,
    Encoder,
    MapEncoder,
    MixtureEncoder,
    PatchEncoder,
    Published,
    TextEncoder,
    TubeEncoder,
)

PARTS = ("stages", "blocks")  # what a network calls the list of its blocks (CONTRIBUTING.md, On several devices)


def positions_of(encoder: Encoder, x: Tensor, layer: int, count: int) -> Tensor:
    """(B, N, D): the features of each position, in the order of `Features.tokens`.

    `layer`: one of `count` blocks, from the last (-1). Raises ValueError where the network does not show its blocks.
    """
    cells = _cells(encoder, x, layer, count)
    return cells if cells.ndim == 3 else cells.flatten(2).mT


def grid_of(encoder: Encoder, x: Tensor, layer: int, count: int) -> Tensor:
    """(B, D, h, w), of clips (B, D, t, h, w): the same as a grid. Raises ValueError where positions form none."""
    cells = _cells(encoder, x, layer, count)
    if cells.ndim > 3:
        return cells
    if isinstance(encoder, PatchEncoder | TubeEncoder):
        return cells.mT.unflatten(2, (-1, *encoder.grid[1:]))
    raise ValueError(f"per is grid, and the positions of {encoder.kind} form none; ask for per='position'")


def _cells(encoder: Encoder, x: Tensor, layer: int, count: int) -> Tensor:
    """(B, N, D), or (B, D, ...) on a grid."""
    if isinstance(encoder, TextEncoder):
        return encoder.states(x)[layer]
    blocks = _blocks(encoder, count) if layer != -1 else None
    if blocks is None or count + layer >= len(blocks) - 1:  # after the last block a norm may follow
        return encoder.map(x) if isinstance(encoder, MapEncoder | ClipEncoder) else encoder(x).tokens
    found: list[Tensor] = []
    before = next((part.prefix for part in encoder.modules() if isinstance(part, PatchEncoder)), 0)  # a class token
    hook = blocks[count + layer].register_forward_hook(lambda _, __, output: found.append(_whole(output)[:, before:]))
    try:
        encoder(x)
    finally:
        hook.remove()
    return _of_clips(encoder, x, found[0]) if isinstance(encoder, ClipEncoder) else found[0]


def _whole(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The output of a block; that of a reversible one is two halves of the channels."""
    return output if isinstance(output, Tensor) else torch.cat(output, dim=1)


def _blocks(encoder: Encoder, count: int) -> nn.ModuleList:
    """The blocks behind `Features.layers`, of which the last may stand for what pools over time."""
    # A library may call other things so, and blocks of a mixture are no blocks of positions.
    for part in () if isinstance(encoder, Published | MixtureEncoder) else encoder.modules():
        for name, child in part.named_children():
            if name in PARTS and isinstance(child, nn.ModuleList) and len(child) in (count, count - 1):
                return child
    shown = f"a {type(encoder).__name__} shows the positions of its last layer alone"
    raise ValueError(f"{shown}; set layer to -1, or ask for per='example'")


def _of_clips(encoder: ClipEncoder, x: Tensor, cells: Tensor) -> Tensor:
    """The output of a block for clips (B, T, C, H, W), which a network may have read frame by frame."""
    frames = x.shape[:2]
    if len(cells) != frames.numel() or cells.ndim > 4:
        return cells
    if cells.ndim == 4:  # (B T, D, h, w)
        return cells.unflatten(0, frames).transpose(1, 2)
    with torch.no_grad():
        grid = encoder.map(x[:1, :1]).shape[3:]  # (B T, N, D)
    return cells.mT.unflatten(2, grid).unflatten(0, frames).transpose(1, 2)
