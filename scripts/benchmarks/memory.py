"""bytes kept for the backward pass over depth, and with trainer.recompute and trainer.chunk; gradients

RevNet: residual networks of widening factor 1 on made images of 3 x 32 x 32. Bytes are those of the tensors that
autograd keeps between the passes, weights apart, each storage once; they depend on no machine. Gradients are compared
in float64: the largest difference of any weight's, as a part of that weight's largest. Seconds are the process's
processor time.

Recomputed: networks with `trainer.recompute=blocks`, and encoders that read a batch in parts (`trainer.chunk`), beside
the same ones without; in the backward pass the activations of one block, or of one part, come back, and count too.
"""

import argparse
import copy
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ssl_runner.assembly import construct
from ssl_runner.config.compose import compose
from ssl_runner.figures import Lines
from ssl_runner.interfaces import Encoder, ImageSpec
from ssl_runner.nn.recompute import normalizes_over_batch, recomputing, units
from ssl_runner.nn.reversible import ReversibleChain
from ssl_runner.reporting.plots import draw

from .shared import rates

PART = 16  # images that an encoder reads at a time, with trainer.chunk
RECOMPUTING = {  # network -> its overrides; those without batch normalization can read a batch in parts
    "ViT, 12 blocks": ["backbone=vit_tiny"],
    "ConvNet, group norm": ["backbone=convnet", "backbone.norm=group"],
    "ResNet-18": ["backbone=resnet18"],
    "ResNet-50": ["backbone=resnet50"],
}
DEPTHS = (14, 26, 50, 101, 152)
SPEC = ImageSpec(channels=3, height=32, width=32)
RECOMPUTED, KEPT = "RevNet, recomputed", "RevNet, kept"
NETWORKS = {
    RECOMPUTED: ["backbone=revnet50"],
    KEPT: ["backbone=revnet50", "backbone.recompute=false"],
    "ResNet v2": ["backbone=resnet50_v2"],
    "ResNet": ["backbone=resnet50"],
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=16, help="images")
    parser.add_argument("--rounds", type=int, default=3, help="of the seconds of a step; 0: none")
    parser.add_argument("--figure", type=Path, help="a PNG to draw")


def measure(arguments: argparse.Namespace) -> None:
    images = torch.rand(arguments.batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    megabytes = {
        name: [kept(network(words, depth), images) / 2**20 for depth in DEPTHS] for name, words in NETWORKS.items()
    }
    shown = Table("layers", *(f"{name}, MiB" for name in NETWORKS), "gradient, RevNet", "a step, recomputed / kept")
    for place, depth in enumerate(DEPTHS):
        cells = [f"{values[place]:.1f}" for values in megabytes.values()]
        slower = f"{ratio(depth, images, arguments.rounds):.2f}" if arguments.rounds else ""
        shown.add_row(str(depth), *cells, f"{difference(depth, images):.1e}", slower)
    Console().print(shown)
    Console().print(recomputed_table(arguments.batch, arguments.rounds))
    if arguments.figure:
        figure = Lines(x=DEPTHS, y=megabytes, x_label="layers", y_label=f"MiB kept, {arguments.batch} images")
        arguments.figure.write_bytes(draw(figure))


def recomputed_table(batch: int, rounds: int) -> Table:
    """Bytes, gradients and seconds with recomputation by blocks, and in parts of a batch four times as large."""
    titles = ("network", "images", "how", "kept, MiB", "of the plain form", "gradient", "a step, beside it")
    shown = Table(*titles, title="trainer.recompute and trainer.chunk")
    for name, words in RECOMPUTING.items():
        ways: dict[str, tuple[int, dict[str, Any]]] = {"blocks": (batch, {"blocks": True, "chunk": None})}
        net = built(words)
        if not normalizes_over_batch(net):
            ways[f"chunk={PART}"] = (4 * batch, {"blocks": False, "chunk": PART})
        for way, (count, how) in ways.items():
            images = torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))
            plain = kept(net, images)
            with recomputing(net, **how):
                less = kept(net, images)
            returns = most_of_one(net, images) if how["blocks"] else kept(net, images[:PART])
            share = f"{(less + returns) / plain:.2f}"
            cells = (f"{(less + returns) / 2**20:.1f}", share, f"{apart(words, images[: 2 * PART], how):.1e}")
            slower = f"{longer(net, images, how, rounds):.2f}" if rounds else ""
            shown.add_row(name, str(count), way, *cells, slower)
    return shown


def most_of_one(net: nn.Module, images: Tensor) -> int:
    """The most bytes that any one block keeps."""
    found: list[int] = []

    def count(block: nn.Module, arguments: tuple[Any, ...]) -> None:
        with torch.enable_grad():
            found.append(kept(block_of[block], *(part.detach() for part in arguments if isinstance(part, Tensor))))

    blocks = units(net)
    block_of = {block: copy.deepcopy(block).requires_grad_() for block in blocks}
    hooks = [block.register_forward_pre_hook(count) for block in blocks]
    with torch.no_grad():
        net(images)
    for hook in hooks:
        hook.remove()
    return max(found)


def apart(words: list[str], images: Tensor, how: dict[str, Any]) -> float:
    """Of the gradients with and without recomputation, in float64, as `difference` has them."""
    plain, other = (built(words).double() for _ in range(2))
    step(plain, images.double())
    with recomputing(other, **how):
        step(other, images.double())
    return largest(plain, other)


def longer(net: nn.Module, images: Tensor, how: dict[str, Any], rounds: int) -> float:
    """How many times as long a step with recomputation takes."""

    def seconds(ways: dict[str, Any]) -> float:
        begin = time.process_time()
        with recomputing(net, **ways):
            step(net, images)
        return time.process_time() - begin

    nothing = {"blocks": False, "chunk": None}
    found = rates({"how": lambda: seconds(how), "plain": lambda: seconds(nothing)}, rounds)
    return statistics.median(a / b for a, b in zip(found["how"], found["plain"], strict=True))


def built(words: list[str]) -> Encoder:
    """A network in training mode, always with the same weights."""
    torch.manual_seed(0)
    return construct.encoder(compose(words)["backbone"], SPEC)


def network(words: list[str], depth: int) -> Encoder:
    """A network of widening factor 1 in training mode, always with the same weights."""
    return built([*words, f"backbone.depth={depth}", "backbone.widening=1"])


def kept(net: nn.Module, *inputs: Tensor) -> int:
    """Bytes that autograd keeps between forward and backward pass, weights apart."""
    weights = {weight.data_ptr() for weight in net.parameters()}
    found: dict[int, int] = {}

    def pack(part: Tensor) -> Tensor:
        if part.data_ptr() not in weights:
            found[part.untyped_storage().data_ptr()] = part.untyped_storage().nbytes()
        return part

    with saved_tensors_hooks(pack, lambda part: part):
        outputs = net(*inputs)  # held until all is counted, so that no storage is used twice
    del outputs
    return sum(found.values())


def difference(depth: int, images: Tensor) -> float:
    """Of the gradients of the two forms of RevNet, in float64."""
    recomputed = network(NETWORKS[RECOMPUTED], depth).double()
    plain = copy.deepcopy(recomputed)
    for part in plain.modules():
        if isinstance(part, ReversibleChain):
            part.recompute = False
    for net in (recomputed, plain):
        step(net, images.double())
    return largest(plain, recomputed)


def largest(plain: nn.Module, other: nn.Module) -> float:
    """The largest difference of any weight's gradient, as a part of that weight's largest."""
    return max(
        float((ours.grad - theirs.grad).abs().max() / theirs.grad.abs().max().clamp_min(1e-30))
        for ours, theirs in zip(other.parameters(), plain.parameters(), strict=True)
        if ours.grad is not None and theirs.grad is not None
    )


def ratio(depth: int, images: Tensor, rounds: int) -> float:
    """How many times as long a step with recomputation takes."""
    nets = {name: network(NETWORKS[name], depth) for name in (RECOMPUTED, KEPT)}

    def seconds(name: str) -> float:
        begin = time.process_time()
        step(nets[name], images)
        return time.process_time() - begin

    found = rates({RECOMPUTED: lambda: seconds(RECOMPUTED), KEPT: lambda: seconds(KEPT)}, rounds)
    return statistics.median(a / b for a, b in zip(found[RECOMPUTED], found[KEPT], strict=True))


def step(net: nn.Module, images: Tensor) -> None:
    """Forward and backward pass of a loss in which every feature has another weight."""
    tokens = net(images).tokens
    (tokens * torch.linspace(-1, 1, tokens.shape[-1], dtype=tokens.dtype)).sum().backward()
