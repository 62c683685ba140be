"""Networks of the transformers library: their configuration, and their weights. https://huggingface.co/docs/transformers"""

import copy
import difflib
import inspect
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ssl_runner.backbones.library import LibraryEncoder, check_stem, drawn, fill, offline
from ssl_runner.interfaces import ImageSpec
from ssl_runner.nn.normalize import Normalize
from ssl_runner.nn.published import missing_library

ABOUT = "config.json"
IMAGES = "preprocessor_config.json"
NOT_ARCHITECTURE = (  # keys of a configuration that say where it comes from, or what classes mean
    "_name_or_path", "architectures", "auto_map", "dtype", "id2label", "label2id", "model_type", "torch_dtype",
    "transformers_version",
)  # fmt: skip
NOT_SET = (
    "attn_implementation", "auto_map", "experts_implementation", "model_type", "quantization_config",
    "trust_remote_code",
)  # fmt: skip


def configuration(name: str, settings: Mapping[str, Any] | None, option: str) -> Any:
    """The configuration of a network: of a model type with its defaults, a local folder, or the hub.

    `settings` (`backbone.config`) take precedence. Only config.json is read, or downloaded: it is data. Raises
    ValueError for a name that is none of these, and offline.
    """
    try:
        import transformers
    except ImportError as error:
        raise missing_library(option, "transformers", "hf") from error

    from huggingface_hub.errors import StrictDataclassError

    transformers.logging.set_verbosity_error()  # else it says what it thinks of every configuration
    transformers.logging.disable_progress_bar()
    given = dict(settings or {})
    for key in NOT_SET:
        if key in given:
            raise ValueError(f"backbone.config.{key} cannot be set: it may choose other code")
    try:
        if name in transformers.CONFIG_MAPPING:
            made = transformers.CONFIG_MAPPING[name](**given)
        else:
            made = _read(transformers, name, given)
    except (TypeError, AttributeError, StrictDataclassError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"backbone.config does not suit {name}: {reason}") from error
    if getattr(made, "quantization_config", None) is not None:
        raise ValueError(f"backbone.name is {name}, whose weights are quantized; choose weights of full precision")
    # A config.json may name a kernel of the hub here, which is code: the library's own choice is taken.
    made._attn_implementation = made._experts_implementation = None
    return made


def _read(transformers: Any, name: str, given: Mapping[str, Any]) -> Any:
    folder = Path(name).expanduser()
    if folder.is_dir() or name.count("/") != 1:
        if not (folder / ABOUT).is_file():
            near = difflib.get_close_matches(name, transformers.CONFIG_MAPPING.keys(), n=3)
            raise ValueError(
                f"backbone.name is {name!r}; it must be a model type of transformers {transformers.__version__}"
                + (f" (did you mean {' or '.join(near)}?)" if near else "")
                + f", a folder with a {ABOUT}, or an id of the hub, such as google/vit-base-patch16-224"
            )
        try:
            return transformers.AutoConfig.from_pretrained(
                str(folder), trust_remote_code=False, local_files_only=True, **given
            )
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"backbone.name: {str(folder)!r} cannot be read: {str(error).splitlines()[0]}") from error
    return _downloaded(transformers.AutoConfig, name, given)


def _downloaded(reader: Any, name: str, given: Mapping[str, Any]) -> Any:
    """The configuration of an id of the hub: from the library's cache, which asks nobody, or else downloaded."""
    try:
        return reader.from_pretrained(name, trust_remote_code=False, local_files_only=True, **given)
    except (OSError, ValueError, KeyError):
        pass
    try:
        return reader.from_pretrained(name, trust_remote_code=False, **given)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"backbone.name is {name}, and its {ABOUT} cannot be downloaded from https://huggingface.co/{name} "
            f"({str(error).splitlines()[0][:200]}); fetch its folder on another machine, put it anywhere on this one, "
            "and set backbone.name to its path"
        ) from error


def create(config: Any) -> Any:
    """A network of a configuration, randomly initialized from torch's generator, in float32."""
    from transformers import AutoModel

    try:
        return AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False)
    except (TypeError, ValueError, KeyError, AttributeError, ImportError) as error:
        raise ValueError(f"backbone.config: no {config.model_type} can be built of it: {error}") from error


def portable(config: Any) -> dict[str, Any]:
    """All of a configuration that makes the network, as plain values, so that neither folder nor hub is needed."""
    plain: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return {key: value for key, value in plain.items() if key not in NOT_ARCHITECTURE}


class HuggingFaceEncoder(LibraryEncoder):
    """What encoders around a network of transformers share: names, weights and statistics, files for transformers."""

    library: Literal["huggingface"] = "huggingface"
    name: str
    normalize: Normalize  # of images
    config: Any  # as the network is; sizes are those of the data
    spellings = ({"net.": ""},)

    def rebuilt(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**super().rebuilt(node), "name": self.config.model_type, "config": portable(self.config)}

    @classmethod
    def places(cls, node: Mapping[str, Any]) -> Mapping[str, Path]:
        folder = Path(node["name"]).expanduser()
        named = {"name": folder / ABOUT} if (folder / ABOUT).is_file() else {}
        if named and node["weights"] == "pretrained":
            return {**named, "weights": folder}
        return {**named, **super().places(node)}

    def library_weights(self) -> Mapping[str, Tensor]:
        from transformers import CONFIG_MAPPING

        if self.name in CONFIG_MAPPING:
            raise ValueError(
                f"backbone.weights is pretrained, and backbone.name is {self.name}, a type of network; set "
                "backbone.name to an id of the hub (https://huggingface.co/models), or to a folder"
            )
        folder = Path(self.name).expanduser()
        return self._read(str(folder) if folder.is_dir() else self.name, folder.is_dir())

    def folder_weights(self, folder: Path) -> Mapping[str, Tensor] | None:
        return self._read(str(folder), True) if (folder / ABOUT).is_file() else None

    def _read(self, place: str, local: bool) -> dict[str, Tensor]:
        """Weights by the names that this version of transformers has for them, whichever the file has."""
        try:
            state, about = self._load(place, local)
        except Exception as error:  # of the network, or of the file, which have many
            if local:
                reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
                raise ValueError(f"{place!r} cannot be read by transformers: {reason}") from error
            raise ValueError(offline(f"https://huggingface.co/{place}", error)) from error
        missing = set(about["missing_keys"])
        known = {name: value for name, value in state.items() if name not in missing}
        return {**known, **{name: torch.empty(0) for name in about["unexpected_keys"]}}  # which are counted

    def _load(self, place: str, local: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
        from transformers import AutoModel

        net, about = with_weights(AutoModel, place, local)
        return net.state_dict(), about

    def library_statistics(self, folder: Path | None) -> tuple[Sequence[float], Sequence[float]] | None:
        """Those of preprocessor_config.json, of the folder or of the hub."""
        place = Path(self.name).expanduser() if folder is None else folder
        file = place / IMAGES
        if folder is None and not place.is_dir():
            from huggingface_hub import hf_hub_download

            try:
                file = Path(hf_hub_download(self.name, IMAGES))
            except Exception:  # it is asked for, then
                return None
        if not file.is_file():
            return None
        about = json.loads(file.read_text(encoding="utf-8"))
        if not about.get("do_normalize", True):
            return (0.0,), (1.0,)
        found = about.get("image_mean"), about.get("image_std")
        return None if None in found else found  # type: ignore[return-value]

    def save_for_library(self, folder: Path) -> None:
        """Write `config.json` and `model.safetensors`, which AutoModel.from_pretrained loads, and the files of what
        prepares its input. Features are made of its last hidden state. Parts that this does not use, such as a pooler,
        are as transformers initializes them, `untrained` in config.json. Raises ValueError for a small stem."""
        check_stem("transformers", self.small)
        config = copy.deepcopy(self.config)
        config.name_or_path = ""  # it may be a folder of this machine
        whole = drawn(lambda: create(config))
        if untrained := fill(whole, self.net):
            whole.config.untrained = untrained
        whole.save_pretrained(folder)
        self._save_reader(folder)

    @abstractmethod
    def _save_reader(self, folder: Path) -> None:
        """Write the files by which transformers prepares the input."""


def save_image_processor(folder: Path, spec: ImageSpec, normalize: Normalize) -> None:
    """Write preprocessor_config.json: pictures are resized, and normalized as the encoder does it by itself."""
    about = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": spec.height, "width": spec.width},
        "resample": 3,  # bicubic
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": normalize.mean.tolist(),
        "image_std": normalize.std.tolist(),
    }
    (folder / IMAGES).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def with_weights(kind: Any, place: str, local: bool) -> tuple[Any, dict[str, Any]]:
    """A network of a folder or of the hub with its weights, and which of them were missing; none of their code is run.

    Its configuration is read as `configuration` reads it: with sizes of its own, not those of the data.
    """
    net, about = kind.from_pretrained(
        place,
        config=configuration(place, None, "huggingface"),
        trust_remote_code=False,
        local_files_only=local,
        output_loading_info=True,
        dtype=torch.float32,
    )
    return net, about


def takes(net: Any, argument: str) -> bool:
    """Whether a network's `forward` has an argument of that name."""
    return argument in inspect.signature(net.forward).parameters
