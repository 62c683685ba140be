"""Networks of timm: how they are built, and their weights. https://github.com/huggingface/pytorch-image-models"""

import difflib
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ssl_runner.backbones.library import LibraryEncoder, check_stem, drawn, fill, offline, write
from ssl_runner.interfaces import ImageSpec
from ssl_runner.nn.normalize import Normalize
from ssl_runner.nn.published import adapt_channels, missing_library

OURS = (  # arguments of timm.create_model that a config cannot set: the encoder does, or they read files
    "num_classes", "in_chans", "img_size", "patch_size", "global_pool", "features_only", "checkpoint_path", "cache_dir",
    "scriptable", "exportable", "no_jit", "device", "dtype",
)  # fmt: skip


def create(name: str, option: str, settings: Mapping[str, Any] | None, **ours: Any) -> Any:
    """A network of timm without classifier, randomly initialized. Reads no file and downloads nothing.

    `option`: of conf/backbone/, for messages; `settings`: `backbone.settings`. Raises ValueError for an unknown name,
    and for settings that timm does not take.
    """
    try:
        import timm
    except ImportError as error:
        raise missing_library(option, "timm", "timm") from error

    known = timm.list_models()
    if name.partition(".")[0] not in known:
        near = difflib.get_close_matches(name, known, n=3)
        raise ValueError(
            f"backbone.name is {name!r}, which timm {timm.__version__} does not have"
            + (f"; did you mean {' or '.join(near)}?" if near else "; timm.list_models() lists what it has")
        )
    for key in settings or {}:
        if key in OURS or key.startswith("pretrained"):
            raise ValueError(f"backbone.settings.{key} cannot be set: the encoder sets it, or it would read a file")
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, global_pool="", **(settings or {}), **ours)
    except (TypeError, AssertionError, RuntimeError, KeyError) as error:
        raise ValueError(
            f"backbone.name={name} cannot be built by timm as backbone={option} needs it: {error}; choose another "
            "network, or other backbone.settings"
        ) from error


class TimmEncoder(LibraryEncoder):
    """What encoders around a network of timm share: normalization, published weights, and files for timm."""

    library: Literal["timm"] = "timm"
    normalize: Normalize
    spec: ImageSpec
    name: str
    arguments: Mapping[str, Any]  # of timm.create_model, but for the number of classes; plain values

    def library_weights(self) -> Mapping[str, Tensor]:
        about = self.net.pretrained_cfg
        hub, url, name = about.get("hf_hub_id"), about.get("url"), about.get("architecture")
        if (not hub and not url) or about.get("custom_load"):
            raise ValueError(
                f"backbone.weights is pretrained; timm has no weights of {name} that can be read as tensors: choose "
                f"another name (timm.list_pretrained() lists them), or set backbone.weights to a file"
            )
        found: Mapping[str, Tensor]
        place = f"https://huggingface.co/{hub}" if hub else url
        try:
            if hub:
                from timm.models import load_state_dict_from_hf

                names = {"filename": about["hf_hub_filename"]} if about.get("hf_hub_filename") else {}
                found = load_state_dict_from_hf(hub, weights_only=True, **names)
                return found
            found = torch.hub.load_state_dict_from_url(url, map_location="cpu", weights_only=True)
            return found
        except Exception as error:  # of the network, which has many
            raise ValueError(offline(place, error)) from error

    def adapted(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """By timm's own filter of checkpoints, which interpolates positions and patches, then channels."""
        convert: Callable[..., Mapping[str, Tensor]] | None = getattr(
            sys.modules[type(self.net).__module__], "checkpoint_filter_fn", None
        )
        if convert is not None:
            # It expects the weights that it knows, and fails at those of another network, which then do not match.
            with suppress(KeyError, IndexError, ValueError, TypeError, AttributeError, RuntimeError, AssertionError):
                state = convert(dict(state), self.net)
        first = self.net.pretrained_cfg.get("first_conv")
        for name in (first,) if isinstance(first, str) else first or ():
            state = adapt_channels(state, f"{name}.weight", self.spec.channels)
        return state

    def library_statistics(self, file: Path | None) -> tuple[Sequence[float], Sequence[float]] | None:
        about = self.net.pretrained_cfg
        return about["mean"], about["std"]

    def save_for_library(self, folder: Path) -> None:
        """Write `model.safetensors` and `config.json`, which timm.create_model("local-dir:FOLDER", pretrained=True)
        loads strictly, and timm's hub reads: https://huggingface.co/docs/timm/hf_hub.

        Features are made of `forward_features`: the mean over the grid of maps; of Vision Transformers what
        `global_pool` says. Parts that these do not use are as timm initializes them, `untrained` in config.json.
        Raises ValueError for a small stem.
        """
        check_stem(self.library, self.small)
        import timm

        name = self.name.partition(".")[0]  # without the tag of published weights
        whole: Any = drawn(lambda: timm.create_model(name, pretrained=False, num_classes=0, **self.arguments))
        untrained = fill(whole, self.net)
        theirs = whole.pretrained_cfg
        prepared = {
            "input_size": [self.spec.channels, self.spec.height, self.spec.width],
            "fixed_input_size": theirs.get("fixed_input_size", False),
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "mean": self.normalize.mean.tolist(),
            "std": self.normalize.std.tolist(),
            "num_classes": 0,
            "first_conv": theirs.get("first_conv"),
            "classifier": theirs.get("classifier"),
        }
        about = {
            "architecture": name,
            "num_classes": 0,
            "num_features": self.dim,
            "model_args": dict(self.arguments),
            "pretrained_cfg": prepared,
        }
        write(folder, whole.state_dict(), about | ({"untrained": untrained} if untrained else {}))


def positional(net: nn.Module) -> Mapping[str, str]:
    """The spelling of names of `nn.Sequential(*net.children())`, as lightly's examples build backbones."""
    return {f"net.{name}.": f"{place}." for place, (name, _) in enumerate(net.named_children())}
