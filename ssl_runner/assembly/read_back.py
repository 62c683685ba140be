"""Load what `ssl-export` wrote and run it, in a process of its own that cannot import this project.

A program by itself: `python -P read_back.py FORMAT FOLDER INPUTS.npz OUTPUTS.npz`. The input `i` of `INPUTS.npz` gives
the arrays `i.NAME` of `OUTPUTS.npz`, one for each output.
"""

import json
import sys
from collections.abc import Callable, Mapping
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import numpy as np

Loaded = Callable[[np.ndarray], Mapping[str, np.ndarray]]  # the input -> its outputs, by name


class Refuse(MetaPathFinder):
    """Refuses to import this project."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] == "ssl_runner":
            raise ImportError(f"{name} was asked for: what was exported needs this project")


def onnx(folder: Path) -> Loaded:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # errors
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    names = [each.name for each in session.get_outputs()]
    return lambda x: dict(zip(names, session.run(None, {given.name: x}), strict=True))


def torch_export(folder: Path) -> Loaded:
    import torch

    program = torch.export.load(folder / "model.pt2").module()
    return lambda x: {name: value.detach().numpy() for name, value in program(torch.from_numpy(x)).items()}


def torchvision(folder: Path) -> Loaded:
    import torch
    from safetensors.torch import load_file
    from torchvision.models import get_model

    about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    model = get_model(about["architecture"], weights=None, num_classes=about["num_classes"])
    model.load_state_dict(load_file(folder / "model.safetensors"))
    model.eval()
    mean, std = (torch.tensor(about[key]).view(-1, 1, 1) for key in ("mean", "std"))

    def run(x: np.ndarray) -> Mapping[str, np.ndarray]:
        with torch.no_grad():
            return {"pooled": model((torch.from_numpy(x) - mean) / std).numpy()}

    return run


LOADERS: Mapping[str, Callable[[Path], Loaded]] = {  # a library whose networks are backbones adds its own
    "onnx": onnx,
    "torch_export": torch_export,
    "torchvision": torchvision,
}


def main(format: str, folder: str, inputs: str, outputs: str) -> None:
    sys.meta_path.insert(0, Refuse())
    run = LOADERS[format](Path(folder))
    found: dict[str, np.ndarray] = {}
    with np.load(inputs) as given:
        for key in given.files:
            found |= {f"{key}.{name}": value for name, value in run(given[key]).items()}
    np.savez(outputs, allow_pickle=False, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
