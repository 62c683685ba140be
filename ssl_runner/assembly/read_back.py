"""Load what `ssl-export` wrote and run it, in a process of its own that cannot import this project.

A program by itself: `python -P read_back.py FORMAT FOLDER INPUTS.npz OUTPUTS.npz`. The input `i` of `INPUTS.npz` gives
the arrays `i.NAME` of `OUTPUTS.npz`, one for each output.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
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
    classes = {"num_classes": about["num_classes"]} if "num_classes" in about else {}
    whole = get_model(about["architecture"], weights=None, **classes, **about["settings"])
    model = whole if classes else whole.features
    model.load_state_dict(load_file(folder / "model.safetensors"))
    model.eval()

    def pooled(x: torch.Tensor) -> torch.Tensor:
        return model(x) if classes else model(x).mean((2, 3))

    return _images(pooled, about["mean"], about["std"])


def timm(folder: Path) -> Loaded:
    import timm
    import torch

    model: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()

    def pooled(x: torch.Tensor) -> torch.Tensor:
        features = model.forward_features(x)
        if features.ndim == 4:
            return features.mean((2, 3))
        return features[:, 0] if model.global_pool == "token" else features[:, model.num_prefix_tokens :].mean(1)

    return _images(pooled, model.pretrained_cfg["mean"], model.pretrained_cfg["std"])


def huggingface(folder: Path) -> Loaded:
    import torch
    from transformers import AutoModel, AutoTokenizer

    model, found = AutoModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    if wrong := [name for key in ("missing_keys", "unexpected_keys", "mismatched_keys") for name in found[key]]:
        raise ValueError(f"{wrong[0]} is not in both of config.json and model.safetensors")
    model.eval()
    images = folder / "preprocessor_config.json"
    if images.is_file():
        about = json.loads(images.read_text(encoding="utf-8"))

        def pooled(x: torch.Tensor) -> torch.Tensor:
            features = model(pixel_values=x).last_hidden_state
            if features.ndim == 4:
                return features.mean((2, 3))
            patches = (model.config.image_size // model.config.patch_size) ** 2
            return features[:, -patches:].mean(1)  # those before them are class and register tokens

        return _images(pooled, about["image_mean"], about["image_std"])
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)

    def run(x: np.ndarray) -> Mapping[str, np.ndarray]:
        ids = torch.from_numpy(x)
        kept, after = (ids != tokenizer.pad_token_id).long(), (ids == tokenizer.sep_token_id).long()
        given = {"input_ids": ids, "attention_mask": kept}
        if "token_type_ids" in tokenizer.model_input_names:
            given["token_type_ids"] = (after.cumsum(1) - after).clamp(max=1)
        with torch.no_grad():
            tokens = model(**given).last_hidden_state
        return {"pooled": ((tokens * kept[..., None]).sum(1) / kept.sum(1, keepdim=True)).numpy()}

    return run


def _images(pooled: Callable[[Any], Any], mean: Sequence[float], std: Sequence[float]) -> Loaded:
    """A network of a library, which reads images that are normalized already."""
    import torch

    shift, scale = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))

    def run(x: np.ndarray) -> Mapping[str, np.ndarray]:
        with torch.no_grad():
            return {"pooled": pooled((torch.from_numpy(x) - shift) / scale).numpy()}

    return run


LOADERS: Mapping[str, Callable[[Path], Loaded]] = {
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
