"""Write, check and read the files of an exported encoder. They contain no code, and none is executed."""

import hashlib
import json
import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ssl_runner.config.errors import ConfigError
from ssl_runner.config.names import current_node, tensors_now
from ssl_runner.config.plain_yaml import read_yaml
from ssl_runner.config.signatures import check_fields, locate
from ssl_runner.interfaces import (
    DataSpec,
    Encoder,
    SpecialTokens,
    TextEncoder,
    TextSpec,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer


log = logging.getLogger(__name__)

EXPORTED = ("encoder.safetensors", "config.yaml", "tokenizer.json", "tokens.json")  # the last two of text
SUMS = "SHA256SUMS"


def export_encoder(folder: Path, model: Encoder, node: Mapping[str, Any], spec: DataSpec) -> None:
    """Write `encoder.safetensors` and `config.yaml`: what `load_encoder` needs, and no code. Last, the checksums of all
    files, in the form that `sha256sum -c` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = vars(spec) | {"class_names": list(spec.class_names)}
    del fields["other"]  # the encoder reads the first view
    if isinstance(spec, TextSpec):  # what is long has files of its own
        _write(folder / "tokenizer.json", fields.pop("tokenizer"))
        tokens = {name: fields.pop(name) for name in ("counts", "starts", "ends")} | {
            "special": vars(fields.pop("special"))
        }
        _write(folder / "tokens.json", json.dumps(tokens))
        fields |= {name: dict(fields[name]) for name in ("tokens", "words", "characters")}
    fields.pop("linear", None)  # how vectors were made: no encoder needs it
    about: dict[str, Any] = {"backbone": dict(model.rebuilt(node)), "spec": {"_target_": _target(spec), **fields}}
    if isinstance(model, TextEncoder):
        about["reach"] = model.reach
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "encoder.safetensors.part")
    (folder / "encoder.safetensors.part").replace(folder / "encoder.safetensors")
    _write(folder / "config.yaml", yaml.safe_dump(about, sort_keys=False))
    sums = {name: _sha256(file) for name, file in exported_files(folder).items()}
    _write(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _target(instance: object) -> str:
    return f"{type(instance).__module__}.{type(instance).__qualname__}"


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def check_sums(folder: Path) -> None:
    """Compare the files of an exported encoder with their checksums; warn if an older version wrote none.

    This detects accidents, not forgery, since a checksum can be changed with its file. Raises ValueError and OSError.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        _say_unchecked(folder)
        return
    except ValueError as error:
        raise ValueError(f"{str(folder / SUMS)!r} is damaged: {error}") from error
    known = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name, file in exported_files(folder).items():
        if known.pop(name, None) != _sha256(file):
            raise ValueError(f"{str(file)!r} is damaged: its checksum does not match that in {SUMS}")
    if known:
        raise ValueError(f"{str(folder)!r} is damaged: {SUMS} lists {min(known)!r}, which is missing")


@lru_cache
def _say_unchecked(folder: Path) -> None:
    """Once."""
    log.warning("%s has no %s (it was written by an older version): damage to it cannot be detected", folder, SUMS)


def exported_files(folder: Path) -> dict[str, Path]:
    """The files of an exported encoder, by name."""
    return {name: folder / name for name in EXPORTED if (folder / name).is_file()}


def encoder_folder(path: Path) -> Path:
    """`path`, or the encoder/ in it where `path` is a run's folder. Raises ValueError if neither holds one."""
    if path.is_file():
        path = path.parent
    for folder in (path / "encoder", path):
        if (folder / "encoder.safetensors").is_file() and (folder / "config.yaml").is_file():
            return folder
    raise ValueError(
        f"no encoder in {str(path)!r}: looked for encoder/encoder.safetensors and encoder/config.yaml; "
        "give the folder of a finished run"
    )


def read_tokenizer(folder: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{str(file)!r} cannot be read as a tokenizer: {error}") from error


def exported_spec(path: Path) -> DataSpec:
    """The spec of the data that an exported encoder was pretrained on. Raises ValueError for a damaged file."""
    folder = encoder_folder(path)
    fields = dict(about_encoder(folder)["spec"])
    try:
        cls = locate(fields.pop("_target_", ""))
    except ConfigError as error:
        raise ValueError(f"{str(folder / 'config.yaml')!r}: spec.{error}") from error
    if not issubclass(cls, DataSpec):
        raise ValueError(
            f"{str(folder / 'config.yaml')!r}: spec._target_ is {cls.__name__}, which is not a kind of data"
        )
    if issubclass(cls, TextSpec):
        fields["tokenizer"] = read_tokenizer(folder).to_str()
        fields |= _tokens(folder / "tokens.json")
    if problems := check_fields(fields, cls, "spec"):
        raise ValueError(f"{str(folder / 'config.yaml')!r}: {'; '.join(problems)}")
    values: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in fields.items()}
    if "special" in values:
        values["special"] = SpecialTokens(**values["special"])
    return cls(**values)


def about_encoder(folder: Path) -> dict[str, Any]:
    """config.yaml of an exported encoder. Raises ValueError where it is none."""
    file = folder / "config.yaml"
    try:
        about = read_yaml(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{str(file)!r} is damaged: {error}") from error
    if not isinstance(about, dict) or not all(isinstance(about.get(key), dict) for key in ("backbone", "spec")):
        raise ValueError(f"{str(file)!r} is damaged: it must contain backbone and spec")
    reach = about.get("reach")
    if reach is not None and (type(reach) is not int or reach < 1):
        raise ValueError(f"{str(file)!r} is damaged: reach is {reach!r}; it must be a number of tokens, or null")
    return about | {key: current_node(about[key]) for key in ("backbone", "spec")}


def _tokens(file: Path) -> dict[str, list[Any]]:
    """What an exported encoder of text knows of its tokens. Raises ValueError for a damaged file."""
    try:
        tokens = json.loads(file.read_text(encoding="utf-8"))
        found = {name: tokens[name] for name in ("counts", "starts")}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{str(file)!r} is damaged: {error}") from error
    for name, kind in (("counts", int), ("starts", bool)):
        if not isinstance(found[name], list) or not all(type(each) is kind for each in found[name]):
            raise ValueError(f"{str(file)!r} is damaged: {name} must be a list, each of type {kind.__name__}")
    return found | {name: tokens[name] for name in ("special", "ends") if name in tokens}  # some are older


def read_encoder(path: Path, model: Encoder) -> None:
    """Load exported weights into `model`. Raises ConfigError for a missing, truncated or mismatched file."""
    try:
        folder = encoder_folder(path)
        check_sums(folder)
    except (ValueError, OSError) as error:
        raise ConfigError([f"{str(path)!r} cannot be read as an encoder: {error}"]) from error
    read_weights(folder, model)


def read_weights(folder: Path, model: Encoder) -> None:
    file = folder / "encoder.safetensors"
    try:
        state = tensors_now(load_file(file))
    except (ValueError, OSError, SafetensorError) as error:
        raise ConfigError([f"{str(file)!r} cannot be read as an encoder: {error}"]) from error
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    got = {name: tuple(value.shape) for name, value in state.items()}
    if own != got:
        differ = sorted(name for name in own.keys() | got.keys() if own.get(name) != got.get(name))
        raise ConfigError(
            [
                f"{str(file)!r} contains the weights of another backbone: {len(differ)} tensors differ, the first one "
                f"{differ[0]!r}, {got.get(differ[0], 'missing')} in the file and {own.get(differ[0], 'missing')} here; "
                "set backbone and its keys as in the run it comes from"
            ]
        )
    model.load_state_dict(state)
