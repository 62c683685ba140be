"""Encoders as programs: one graph of torch.export, or of ONNX. B batch, T tokens, E width of what is read, D width."""

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_runner.config.errors import ConfigError
from ssl_runner.interfaces import (
    CountEncoder,
    DataSpec,
    Encoder,
    ImageSpec,
    TextEncoder,
    TextSpec,
    VectorSpec,
    VideoSpec,
)

LARGEST = 1_500_000_000  # bytes of weights within model.onnx, which protobuf limits to 2 GB
TRACED = 4  # examples, and tokens of each, that a program is traced with


class Input(NamedTuple):
    """The input of an exported encoder."""

    name: str  # "images", "clips", "vectors", "ids"
    shape: tuple[str | int, ...]  # free dimensions by name: ("batch", 3, 32, 32)
    dtype: Literal["float32", "int64"]
    longest: int | None = None  # tokens of a text; None: any number, or no text


def input_of(encoder: Encoder, spec: DataSpec) -> Input:
    """The input of an encoder that was pretrained on data of `spec`."""
    match spec:
        case ImageSpec():
            return Input("images", ("batch", spec.channels, spec.height, spec.width), "float32")
        case VideoSpec():
            return Input("clips", ("batch", spec.frames, spec.channels, spec.height, spec.width), "float32")
        case VectorSpec():
            return Input("vectors", ("batch", spec.count, spec.width), "float32")
        case TextSpec():
            longest = cast(TextEncoder, encoder).reach
            # to be traced, a free length needs room on either side
            length = "length" if longest is None or longest > TRACED else longest
            return Input("ids", ("batch", length), "int64", longest)
    raise ConfigError([f"an encoder of {spec.kind} cannot be exported"])


def examples(encoder: Encoder, spec: DataSpec, n: int, length: int) -> Tensor:
    """Random input of `n` examples, always the same; texts are of `length` tokens and fewer, some with two segments."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(n)
        if not isinstance(spec, TextSpec):
            return spec.to_input(spec.fake(n))
        x = spec.to_input(replace(spec, length=length).fake(n))
        if isinstance(encoder, CountEncoder):  # random ids would be words that never follow each other
            for place in range(1, length):
                x[:, place : place + 1] = encoder.log_probabilities(x[:, :place]).exp().multinomial(1)
        x[1::3, (length + 1) // 2 :] = spec.special.pad
        x[2::3, length // 2] = spec.special.sep
        return x


class _Program(nn.Module):
    """An encoder, whose outputs have names."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.encoder(x)
        return {"pooled": features.pooled, "tokens": features.tokens}


def write_torch_export(encoder: Encoder, spec: DataSpec, path: Path) -> None:
    """Write a program that `torch.export.load` reads. Raises ConfigError for what cannot be traced."""
    encoder = _own(encoder)
    _replace_recurrences(encoder, _Loop)
    with _quiet():
        torch.export.save(_traced(encoder, spec), path)


def write_onnx(encoder: Encoder, spec: DataSpec, path: Path) -> None:
    """Write a model of ONNX; weights above LARGEST bytes in a file beside it. Raises ConfigError as above."""
    encoder = _own(encoder)
    _replace_recurrences(encoder, _OnnxLSTM)
    given = input_of(encoder, spec)
    with _quiet():
        program = _traced(encoder, spec)
        if isinstance(encoder, CountEncoder):
            table = torch.export.default_decompositions()
            table[torch.ops.aten.searchsorted.Tensor] = _bisected
            program = program.run_decompositions(table)
        made = torch.onnx.export(
            program,
            dynamo=True,
            dynamic_shapes=({n: name for n, name in enumerate(given.shape) if isinstance(name, str)},),
            input_names=[given.name],
            output_names=["pooled", "tokens"],
            verbose=False,
        )
        assert made is not None  # with dynamo
        size = sum(value.numel() * value.element_size() for value in encoder.state_dict().values())
        made.save(path, external_data=size > LARGEST)


def _traced(encoder: Encoder, spec: DataSpec) -> torch.export.ExportedProgram:
    """The encoder as one graph, for any number of examples."""
    given = input_of(encoder, spec)
    most = {"batch": None, "length": given.longest}
    free = {n: torch.export.Dim(name, max=most[name]) for n, name in enumerate(given.shape) if isinstance(name, str)}
    x = examples(encoder, spec, TRACED, TRACED if 1 in free else given.longest or 0)
    with torch.no_grad():
        encoder(x)  # what is made when first asked for is made
        program = torch.export.export(_Program(encoder), (x,), dynamic_shapes=(free,), strict=False)
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # it has the paths of this machine
    return program


def _own(encoder: Encoder) -> Encoder:
    """A copy, which may be changed."""
    return copy.deepcopy(encoder).requires_grad_(False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of exporters, which name nothing that a user can change; `verify` is what counts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _bisected(table: Tensor, keys: Tensor, **settings: object) -> Tensor:
    """`torch.searchsorted` in an ascending table (n,), which ONNX does not have, in steps of n / 2, n / 4, ..., 1."""
    place, n = torch.zeros_like(keys), len(table)  # as many entries are below each key, at least
    for bit in reversed(range(n.bit_length())):
        further = (place + (1 << bit)).clamp(max=n)
        place = torch.where(table[further - 1] < keys, further, place)
    return place


def _replace_recurrences(encoder: nn.Module, form: Callable[[nn.LSTM], nn.Module]) -> None:
    """Replace every layer of LSTM, in place: tracing would unroll it over the one length that it is traced with."""
    for name, part in list(encoder.named_modules()):
        if isinstance(part, nn.LSTM):
            if part.num_layers > 1 or part.bidirectional or part.proj_size or not (part.bias and part.batch_first):
                refusal = f"{name} is an LSTM of several layers, of two directions or without biases"
                raise ConfigError([f"{refusal}, which cannot be exported"])
            encoder.set_submodule(name, form(part))


class _Loop(nn.Module):
    """One layer of LSTM as a loop over tokens: (B, T, E) -> (B, T, D), as `nn.LSTM` gives it."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.lstm = lstm

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        from torch._higher_order_ops import while_loop  # the only loop that a traced program can have

        entering, weight, *biases = self.lstm.all_weights[0]
        gates = F.linear(x, entering, biases[0] + biases[1]).transpose(0, 1).contiguous()
        state = gates.new_zeros(x.shape[0], self.lstm.hidden_size)
        outputs = gates.new_zeros(x.shape[1], x.shape[0], self.lstm.hidden_size)

        def more(place: Tensor, hidden: Tensor, cell: Tensor, outputs: Tensor) -> Tensor:
            return place < outputs.shape[0]

        def step(place: Tensor, hidden: Tensor, cell: Tensor, outputs: Tensor) -> tuple[Tensor, ...]:
            here = gates.index_select(0, place[None]).squeeze(0) + F.linear(hidden, weight)
            entered, kept, new, shown = here.chunk(4, dim=1)
            cell = kept.sigmoid() * cell + entered.sigmoid() * new.tanh()
            hidden = shown.sigmoid() * cell.tanh()
            return place + 1, hidden, cell, outputs.index_copy(0, place[None], hidden[None])

        start = torch.zeros((), dtype=torch.int64)
        *_, outputs = while_loop(more, step, (start, state, state.clone(), outputs))
        return outputs.transpose(0, 1), None


class _OnnxLSTM(nn.Module):
    """One layer of LSTM as the operator of ONNX, whose gates are in another order: input, output, forget, cell."""

    weight: Tensor  # (1, 4 D, E)
    recurrent: Tensor  # (1, 4 D, D)
    bias: Tensor  # (1, 8 D)

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.width = lstm.hidden_size
        weight, recurrent, *biases = map(_reordered, lstm.all_weights[0])
        self.register_buffer("weight", weight)
        self.register_buffer("recurrent", recurrent)
        self.register_buffer("bias", torch.cat(biases, dim=1))

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        outputs = torch.onnx.ops.symbolic(
            "LSTM",
            (x.transpose(0, 1), self.weight, self.recurrent, self.bias),
            attrs={"hidden_size": self.width},
            dtype=x.dtype,
            shape=(x.shape[1], 1, x.shape[0], self.width),
        )
        return outputs.squeeze(1).transpose(0, 1), None


def _reordered(gates: Tensor) -> Tensor:
    """(4 D, ...) in torch's order of gates -> (1, 4 D, ...) in that of ONNX."""
    entered, kept, new, shown = gates.detach().chunk(4)
    return torch.cat((entered, shown, kept, new))[None]
