"""Write an encoder so that others can use it without this project, and hold what was written against the encoder.

onnx, torch_export    a program: `Input` goes in, "pooled" and "tokens" come out; the number of examples is free, and
                      of text the length up to `Input.longest`
torchvision, ...      weights that a library loads into a network of its own, of encoders that are `Portable`
"""

import copy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from ssl_runner.assembly import read_back
from ssl_runner.assembly.tracing import examples, input_of, write_onnx, write_torch_export
from ssl_runner.config.errors import ConfigError
from ssl_runner.interfaces import DataSpec, Encoder, Portable, TextSpec

PROGRAMS = ("onnx", "torch_export")
TOLERANCE = 1e-5  # of the largest value of an output, or of 1 where that is less
ROUNDINGS = 4  # how often the encoder's own rounding may be exceeded: that of two programs adds up


class Verified(NamedTuple):
    """How far what was written is from the encoder, as parts of the largest value."""

    difference: float
    rounding: float = 0.0  # of the encoder itself, against float64; only where the difference is above `TOLERANCE`


def check(format: str, encoder: Encoder) -> None:
    """Raise ConfigError where an encoder has no such form, or a package is missing. `format`: see conf/export.yaml."""
    if format in PROGRAMS:
        missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
        if format == "onnx" and missing:
            refusal = f"format=onnx needs the package {missing[0]}: pip install 'ssl-runner[onnx]'"
            raise ConfigError([f"{refusal}; or set format=torch_export"])
        return
    if not isinstance(encoder, Portable) or encoder.library != format:
        refusal = f"format is {format}, and the backbone {type(encoder).__name__} is no network of that library"
        raise ConfigError([f"{refusal}; set format=onnx, which every backbone can be written to"])


def write(format: str, encoder: Encoder, spec: DataSpec, folder: Path) -> Verified:
    """Write the files of an encoder into `folder`, and read them back in a process that cannot import this project.

    `encoder`: in eval mode, on the CPU. Raises ConfigError where the encoder has no such form, and where what was
    written gives other features; then the files are of no use.
    """
    check(format, encoder)
    try:
        match format:
            case "onnx":
                write_onnx(encoder, spec, folder / "model.onnx")
            case "torch_export":
                write_torch_export(encoder, spec, folder / "model.pt2")
            case _:
                cast(Portable, encoder).save_for_library(folder)
    except ConfigError:
        raise
    except OSError:
        raise  # of a full disk
    except Exception as error:  # exporters raise what they please for a network that they cannot trace
        other = "torch_export" if format == "onnx" else "onnx"
        raise ConfigError([f"format is {format}: {_first_line(error)}; set format={other}"]) from error
    return verify(format, encoder, spec, folder)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def verify(format: str, encoder: Encoder, spec: DataSpec, folder: Path) -> Verified:
    """Compare an encoder with what was written of it, for two numbers of examples, and of text two lengths.

    Raises ConfigError for a difference above `TOLERANCE`, unless it is within a few times what float32 itself rounds in
    this network: a deep one may amplify rounding.
    """
    given = input_of(encoder, spec)
    long = short = 0
    if isinstance(spec, TextSpec):
        long = min(spec.length, given.longest or spec.length)
        short = long // 2 if "length" in given.shape else long
    inputs = [examples(encoder, spec, 1, long), examples(encoder, spec, 3, short)]
    found = read(format, folder, [x.numpy() for x in inputs])
    names = ("pooled", "tokens") if format in PROGRAMS else ("pooled",)
    expected = [_features(encoder, spec, x, names) for x in inputs]
    difference = max(map(_difference, expected, found))
    if difference <= TOLERANCE:
        return Verified(difference)
    exact = copy.deepcopy(encoder).double()
    precise = [_features(exact, spec, x.double() if x.is_floating_point() else x, names) for x in inputs]
    rounding = max(map(_difference, precise, expected))
    if difference <= ROUNDINGS * rounding:
        return Verified(difference, rounding)
    problem = f"format={format}: what was written gives features that differ by {difference:.1e} of the largest from"
    raise ConfigError([f"{problem} those of the encoder, more than {TOLERANCE:.0e}; nothing is kept"])


def _features(encoder: Encoder, spec: DataSpec, x: Tensor, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The features of `names`; those of padding, which are undefined, as not a number."""
    with torch.inference_mode():
        features = encoder(x)
    found = {name: getattr(features, name).numpy() for name in names}
    if isinstance(spec, TextSpec) and "tokens" in found:
        found["tokens"] = np.where((x == spec.special.pad).numpy()[:, :, None], np.nan, found["tokens"])
    return found


def _difference(expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> float:
    """The largest difference of any output, as a part of its largest value, or of 1 where that is less; infinite for
    other shapes and for what is not a number where a number is expected."""
    return max(_largest(value, found[name]) for name, value in expected.items())


def _largest(expected: np.ndarray, found: np.ndarray) -> float:
    if expected.shape != found.shape:
        return float("inf")
    known = ~np.isnan(expected)
    difference = np.abs(expected - found)[known].max(initial=0) / max(1.0, np.abs(expected[known]).max(initial=0))
    return float(difference) if np.isfinite(difference) else float("inf")


def read(format: str, folder: Path, inputs: Sequence[np.ndarray]) -> list[Mapping[str, np.ndarray]]:
    """The outputs for each input of what was written, from a process that cannot import this project. Raises
    ConfigError where it fails."""
    with tempfile.TemporaryDirectory() as scratch:
        given, found = Path(scratch) / "inputs.npz", Path(scratch) / "outputs.npz"
        np.savez(given, *inputs)
        # -P: modules beside the program are no packages of its own
        words = [sys.executable, "-P", str(read_back.__file__), format, str(folder), str(given), str(found)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["no message"]
            raise ConfigError([f"format={format}: what was written cannot be read back: {said[-1]}"])
        outputs: list[dict[str, np.ndarray]] = [{} for _ in inputs]
        with np.load(found) as arrays:
            for key in arrays.files:
                place, _, name = key.partition(".")
                outputs[int(place.removeprefix("arr_"))][name] = arrays[key]
    return list(outputs)
