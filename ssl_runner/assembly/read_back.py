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


def timm(folder: Path) -> Loaded:
    import timm as library
    import torch

    model: Any = library.create_model(f"local-dir:{folder}", pretrained=True).eval()
    mean, std = (torch.tensor(model.pretrained_cfg[key]).view(-1, 1, 1) for key in ("mean", "std"))

    def run(x: np.ndarray) -> Mapping[str, np.ndarray]:
        with torch.no_grad():
            found = model.forward_features((torch.from_numpy(x) - mean) / std)
        patches = found[:, model.num_prefix_tokens :] if found.ndim == 3 else found.flatten(2).mT
        return {"pooled": patches.mean(1).numpy()}

    return run


def huggingface(folder: Path) -> Loaded:
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True, trust_remote_code=False).eval()
    file = folder / "preprocessor_config.json"
    about = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}  # {}: it reads texts

    def images(x: torch.Tensor) -> torch.Tensor:
        mean, std = (torch.tensor(about[key]).view(-1, 1, 1) for key in ("image_mean", "image_std"))
        found = model((x - mean) / std).last_hidden_state
        if found.ndim == 4:
            return found.mean((2, 3))
        count = (model.config.image_size // model.config.patch_size) ** 2  # the last tokens are the patches
        return found[:, found.shape[1] - count :].mean(1)

    def texts(x: torch.Tensor) -> torch.Tensor:
        seen = x != model.config.pad_token_id
        more = {}
        if getattr(model.config, "type_vocab_size", 0) > 1:
            separator = (x == model.config.sep_token_id).long()
            more["token_type_ids"] = (separator.cumsum(1) - separator).clamp(max=1)
        found = model(input_ids=x, attention_mask=seen.long(), **more).last_hidden_state
        return (found * seen[:, :, None]).sum(1) / seen.sum(1, keepdim=True)

    def run(x: np.ndarray) -> Mapping[str, np.ndarray]:
        with torch.no_grad():
            given = torch.from_numpy(x)
            return {"pooled": (images(given) if about else texts(given)).numpy()}

    return run


LOADERS: Mapping[str, Callable[[Path], Loaded]] = {  # a library whose networks are backbones adds its own
    "onnx": onnx,
    "torch_export": torch_export,
    "torchvision": torchvision,
    "timm": timm,
    "huggingface": huggingface,
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
