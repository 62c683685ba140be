"""Write an encoder so that others can use it without this project, and hold what was written against the encoder.

onnx, torch_export    a program: `Input` goes in, "pooled" and "tokens" come out; the number of examples is free, and
                      of text the length up to `Input.longest`
torchvision, ...      weights that a library loads into a network of its own, of encoders that are `Portable`
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import numpy as np
import torch

from ssl_runner.assembly import read_back
from ssl_runner.assembly.tracing import examples, input_of, write_onnx, write_torch_export
from ssl_runner.config.errors import ConfigError
from ssl_runner.interfaces import DataSpec, Encoder, Portable, TextSpec

PROGRAMS = ("onnx", "torch_export")
TOLERANCE = 1e-5  # of the largest value of an output, or of 1 where that is less


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


def write(format: str, encoder: Encoder, spec: DataSpec, folder: Path) -> float:
    """Write the files of an encoder into `folder`, read them back in a process that cannot import this project, and
    return the largest difference, as a part of the largest value (see `TOLERANCE`).

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


def verify(format: str, encoder: Encoder, spec: DataSpec, folder: Path) -> float:
    """The largest difference between an encoder and what was written of it, for two numbers of examples, and of text
    two lengths; as a part of the largest value. Raises ConfigError where it is above `TOLERANCE`."""
    given = input_of(encoder, spec)
    long = short = 0
    if isinstance(spec, TextSpec):
        long = min(spec.length, given.longest or spec.length)
        short = long // 2 if "length" in given.shape else long
    inputs = [examples(encoder, spec, 1, long), examples(encoder, spec, 3, short)]
    found = read(format, folder, [x.numpy() for x in inputs])
    differences = []
    for x, outputs in zip(inputs, found, strict=True):
        with torch.inference_mode():
            features = encoder(x)
        differences.append(_difference(features.pooled.numpy(), outputs["pooled"]))
        if format in PROGRAMS:
            kept = (x != spec.special.pad).numpy() if isinstance(spec, TextSpec) else ...  # the others are undefined
            differences.append(_difference(features.tokens.numpy()[kept], outputs["tokens"][kept]))
    if not max(differences) <= TOLERANCE:
        problem = (
            f"format={format}: what was written gives features that differ by {max(differences):.1e} of the largest"
        )
        raise ConfigError([f"{problem} from those of the encoder, more than {TOLERANCE:.0e}; nothing is kept"])
    return max(differences)


def _difference(expected: np.ndarray, found: np.ndarray) -> float:
    """The largest difference, as a part of the largest value, or of 1 where that is less; infinite for other shapes and
    for what is not a number."""
    if expected.shape != found.shape:
        return float("inf")
    difference = np.abs(expected - found).max(initial=0) / max(1.0, np.abs(expected).max(initial=0))
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
