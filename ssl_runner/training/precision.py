"""The choice of the training precision on this machine.

`trainer.precision=auto` follows measured speed: precision.yaml says for a kind of processor and of network how many
times as fast a training step is under bfloat16 autocast. `python -m scripts.benchmarks precision` measures and
writes it. So the choice is the same at every start.
"""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import yaml
from torch import nn

from ssl_runner.nn.transformer import Attention

Network = Literal["volumetric", "convolutional", "attention", "recurrent", "dense", "table"]
Feature = Literal["amx_tile", "avx512_bf16"]  # of processors, the stronger first: each has those after it

TABLE = Path(__file__).with_name("precision.yaml")
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
LIGHTNING: dict[str, Literal["bf16-mixed", "32-true"]] = {"bfloat16": "bf16-mixed", "float32": "32-true"}  # its names
WORTH = 1.2  # times as fast at least, in the mean of a kind's networks: what gains less stays in float32


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The speed of one network's training step in both precisions, on one thread: a row of precision.yaml."""

    vendor: str  # of the processor: "AuthenticAMD"
    feature: Feature  # the strongest it has
    network: Network
    case: str  # what was trained, in the words of the command line
    float32: float  # examples/s
    bfloat16: float  # examples/s
    ratio: float  # of bfloat16 over float32: the median over rounds in which they took turns
    low: float  # the least of these rounds
    high: float  # the greatest
    torch: str  # version


class Processor(NamedTuple):
    """What decides how fast a processor computes in bfloat16."""

    vendor: str  # "": not known
    feature: Feature | None  # the strongest; None: none of those


class Decision(NamedTuple):
    """The precision to train in, and the reason, in words."""

    dtype: torch.dtype
    why: str


def decide(
    choice: Literal["auto", "bfloat16", "float32"], device: torch.device, network: nn.Module, begun: str = ""
) -> Decision:
    """The precision of `trainer.precision`; for `auto` that of the run's start (`begun`, by name), else the faster."""
    if choice != "auto":
        return Decision(DTYPES[choice], f"trainer.precision={choice}")
    here = fastest(device, kind(network))
    if begun in DTYPES and DTYPES[begun] != here.dtype:
        return Decision(
            DTYPES[begun], f"as at the start of the run; a new run would be in {name(here.dtype)} here: {here.why}"
        )
    return here


def fastest(device: torch.device, network: Network) -> Decision:
    """The precision in which such a network trains fastest, as far as it was measured."""
    if device.type == "cuda":
        half = torch.cuda.is_bf16_supported(including_emulation=False)
        return Decision(torch.bfloat16 if half else torch.float32, f"auto: CUDA with{'' if half else 'out'} bfloat16")
    if device.type != "cpu":
        return Decision(torch.float32, f"auto: not measured on {device.type}")
    return on_processor(processor(), network, table())


def on_processor(here: Processor, network: Network, rows: Sequence[Measured]) -> Decision:
    """The measurement in `rows` for such a network and processor; without one, bfloat16 only with AMX tiles."""
    what = f"{network} networks, {here.vendor or 'a processor of unknown make'}, {here.feature or 'no bfloat16'}"
    ratios = [row.ratio for row in rows if (row.vendor, row.feature, row.network) == (*here, network)]
    if not ratios:
        half = here.feature == "amx_tile"
        return Decision(torch.bfloat16 if half else torch.float32, f"auto: not measured ({what})")
    mean = statistics.geometric_mean(ratios)
    span = f", {min(ratios):.2f} to {max(ratios):.2f}" if len(ratios) > 1 else ""
    said = f"auto: bfloat16 was {mean:.2f} times as fast{span} ({what})"
    return Decision(torch.bfloat16 if mean >= WORTH else torch.float32, said)


def kind(network: nn.Module) -> Network:
    """The kind of a network's dominant operations, by the types of its modules.

    The first of these that it has: convolutions of clips; convolutions of images, unless there is attention, whose
    patches are cut by one; attention; recurrence; products with matrices; rows of a table alone.
    """
    parts = list(network.modules())

    def has(*types: type[nn.Module]) -> bool:
        return any(isinstance(part, types) for part in parts)

    attends = has(Attention, nn.MultiheadAttention)
    if has(nn.Conv3d) and not attends:
        return "volumetric"
    if has(nn.Conv1d, nn.Conv2d) and not attends:
        return "convolutional"
    if attends:
        return "attention"
    if has(nn.RNNBase):
        return "recurrent"
    return "dense" if has(nn.Linear) else "table"


@cache
def table() -> tuple[Measured, ...]:
    """The rows of precision.yaml."""
    return tuple(Measured(**row) for row in yaml.safe_load(TABLE.read_text(encoding="utf-8"))["rows"])


@cache
def processor() -> Processor:
    """The processor of this machine, as Linux describes it."""
    try:
        said = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        said = ""
    found = described(said, tiles=torch.cpu._is_amx_tile_supported())
    return found if bfloat16_on_cpu() else found._replace(feature=None)


def bfloat16_on_cpu() -> bool:
    """Whether the library that torch computes with has all operations in bfloat16 here: not without AVX-512, nor where
    the environment tells it to do without (DNNL_MAX_CPU_ISA)."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def described(said: str, *, tiles: bool) -> Processor:
    """What /proc/cpuinfo says; `tiles`: whether torch may use those of AMX."""
    lines = dict(re.findall(r"^(vendor_id|flags)\s*:[ \t]*(.*)$", said, re.MULTILINE))
    half = "avx512_bf16" in lines.get("flags", "").split()
    return Processor(lines.get("vendor_id", ""), "amx_tile" if tiles else "avx512_bf16" if half else None)


def name(dtype: torch.dtype) -> str:
    """The name of a dtype in configs, results and logs.

    >>> name(torch.bfloat16)
    'bfloat16'
    """
    return next(word for word, known in DTYPES.items() if known == dtype)
