"""Weights from elsewhere: files of other libraries are read as data, matched by name and shape, and set in an encoder.

Nothing in a file is executed: it is read by safetensors, or by `torch.load(weights_only=True)`.
"""

import json
import math
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ssl_runner.assembly.export import EXPORTED, encoder_folder, exported_files, read_encoder
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.schema import StartFile
from ssl_runner.config.signatures import locate
from ssl_runner.interfaces import Encoder, Origin, Published
from ssl_runner.nn.normalize import Normalize
from ssl_runner.nn.published import adapt_statistics
from ssl_runner.runtime.checkpoint_files import UNREADABLE

FOLDERS = ("model.safetensors", "pytorch_model.bin")  # of Hugging Face; with ".index.json" the list of several files
ABOUT = ("config.json", "preprocessor_config.json")  # beside them
ENDINGS = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".tar")  # of files of weights; a folder may have one
SHOWN = 5  # names in a message

Which = Literal["none", "files", "all"]  # of the weights that a config names: without, or with, those to download


def weight_files(path: Path) -> dict[str, Path]:
    """The files of published weights at `path`, by name: itself, or those of a folder. Raises ValueError for none."""
    if path.is_file():
        return {path.suffix: path}
    for name in FOLDERS:
        index = path / f"{name}.index.json"
        names = [name] if (path / name).is_file() else sorted(_indexed(index)) if index.is_file() else []
        if names:
            return {each: path / each for each in (*names, *ABOUT) if (path / each).is_file()}
    found = sorted(each for each in path.glob("*") if each.suffix in ENDINGS and each.is_file())
    if len(found) == 1:
        return {found[0].name: found[0]}
    what = "holds no file of weights" if path.is_dir() else "does not exist"
    if found:
        what = f"holds several files of weights ({', '.join(each.name for each in found[:SHOWN])}): name one of them"
    raise ValueError(f"{str(path)!r} {what}")


def _indexed(index: Path) -> set[str]:
    """The files that a list of several names; all are in its folder."""
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        if any(Path(name).name != name for name in names):
            raise ValueError("it names files outside of its folder")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{str(index)!r} is damaged: {error}") from error
    return names


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file or folder, by dotted names: {"state_dict": {"conv.weight": ...}} is
    "state_dict.conv.weight". Raises ValueError for a file that cannot be read without executing it."""
    state: dict[str, Tensor] = {}
    for name, file in weight_files(path).items():
        if name in ABOUT:
            continue
        try:
            if file.suffix == ".safetensors":
                state |= load_file(file)
            else:
                mapped = zipfile.is_zipfile(file)
                state |= _flat(torch.load(file, map_location="cpu", weights_only=True, mmap=mapped), "")
        except (*UNREADABLE, SafetensorError) as error:
            reason = str(error).replace("\n", " ")[:200]
            raise ValueError(
                f"{str(file)!r} cannot be read as tensors alone, and what is in it beside is not executed: {reason}; "
                "where you trust it, save its weights by safetensors.torch.save_file"
            ) from error
    if not state:
        raise ValueError(f"{str(path)!r} contains no tensors by name")
    return state


def _flat(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            if isinstance(key, str):
                yield from _flat(each, f"{name}.{key}" if name else key)


class Matched(NamedTuple):
    """What of a file is for an encoder."""

    state: dict[str, Tensor]  # by the encoder's names, in its shapes
    prefix: str  # of the names in the file
    ties: list[str]  # other prefixes under which as much is found
    wanted: int  # tensors that the encoder has
    missing: list[str]
    misshapen: list[str]  # "name is (64, 3, 7, 7) in the file and (64, 3, 3, 3) here"
    unexpected: list[str]  # below the same prefix in the file

    @property
    def share(self) -> float:
        """The part of the encoder's tensors that the file contains."""
        return 1 - (len(self.missing) + len(self.misshapen)) / self.wanted

    def __str__(self) -> str:
        parts = [f"{self.wanted - len(self.missing) - len(self.misshapen)} of {self.wanted} tensors matched"]
        if self.prefix:
            parts[0] += f" under the prefix {self.prefix!r}"
        if self.ties:
            parts[0] += f" (as many are under {' and '.join(map(repr, self.ties))})"
        for what, names in (("missing", self.missing), ("of another shape", self.misshapen)):
            if names:
                parts.append(f"{len(names)} {what}: {_first(names)}")
        parts.append(f"{len(self.unexpected)} unexpected" + (f": {_first(self.unexpected)}" if self.unexpected else ""))
        return "; ".join(parts)


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def match(state: Mapping[str, Tensor], encoder: Encoder, prefix: str | None) -> Matched:
    """Find the weights of `encoder` among tensors from elsewhere.

    Names are tried as the encoder has them and in each of its `spellings`, behind every prefix that occurs; the one
    that finds most is taken, the first of equals. `prefix`: take this one.
    """
    own = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    normalized = {f"{name}.": part for name, part in encoder.named_modules() if isinstance(part, Normalize)}
    wanted = {
        name for name in own if not name.endswith(".num_batches_tracked") and not name.startswith(tuple(normalized))
    }
    best: tuple[int, dict[str, str], str, list[str]] = (-1, {}, "", [])
    for spelling in ({"": ""}, *encoder.spellings):
        names = {spelled(name, spelling): name for name in own}
        counts = Counter(p for name in state for p in _prefixes(name, names, wanted) if prefix in (None, p))
        most = max(counts.values(), default=0)
        if most > best[0]:
            found = [each for each, count in counts.items() if count == most] or [prefix or ""]
            best = (most, names, found[0], found[1:])
    _, names, taken, ties = best
    below = {name[len(taken) :]: value for name, value in state.items() if name.startswith(taken)}
    known = {names[name]: value for name, value in below.items() if name in names}
    rest = {name: value for name, value in below.items() if name not in names}
    if isinstance(encoder, Published):
        known, rest = _adapted(known, rest, encoder)
    fitting = {name: value for name, value in known.items() if tuple(value.shape) == own[name]}
    return Matched(
        state=fitting,
        prefix=taken,
        ties=ties,
        wanted=len(wanted),
        missing=sorted(wanted - known.keys()),
        misshapen=[
            f"{name} is {tuple(value.shape)} in the file and {own[name]} here"
            for name, value in known.items()
            if name in wanted and name not in fitting
        ],
        unexpected=sorted(rest),
    )


def spelled(name: str, spelling: Mapping[str, str]) -> str:
    """`name` as files of a library spell it.

    >>> spelled("stem.0.weight", {"stem.0.": "conv1."})
    'conv1.weight'
    """
    for here, there in spelling.items():
        if name.startswith(here):
            return there + name[len(here) :]
    return name


def _prefixes(name: str, names: Mapping[str, str], wanted: set[str]) -> Iterator[str]:
    """The prefixes behind which `name` is that of a wanted tensor."""
    at = 0
    while at >= 0:
        if names.get(name[at:]) in wanted:
            yield name[:at]
        at = name.find(".", at) + 1 or -1


def _adapted(
    known: Mapping[str, Tensor], rest: Mapping[str, Tensor], encoder: Published
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights in the shapes of the encoder, by its names; and what is none of them."""
    spelling = encoder.spellings[0]  # type: ignore[attr-defined]
    own = {spelled(name, spelling): name for name in encoder.state_dict()}  # type: ignore[attr-defined]
    state = encoder.adapted({**rest, **{spelled(name, spelling): value for name, value in known.items()}})
    return (
        {own[name]: value for name, value in state.items() if name in own},
        {name: value for name, value in state.items() if name not in own},
    )


def named_files(node: Mapping[str, Any], path: str) -> dict[str, dict[str, Path]]:
    """The files that a node of an encoder names, and those within it: dotted key -> name -> file. `path`: of the node.

    Raises ValueError where one does not exist.
    """
    cls = locate(node["_target_"])
    found: dict[str, dict[str, Path]] = {}
    if issubclass(cls, Encoder):
        for setting, place in cls.places(node).items():
            try:
                found[f"{path}.{setting}"] = weight_files(place)
            except ValueError as error:
                raise ValueError(f"{path}.{setting}: {error}") from error
    for key, value in node.items():
        if isinstance(value, Mapping) and "_target_" in value:
            found |= named_files(value, f"{path}.{key}")
    return found


def parts_with_weights(encoder: Encoder) -> list[Published]:
    """The encoders, itself or within it, that begin with published weights."""
    return [part for part in encoder.modules() if isinstance(part, Published) and part.origin.weights != "none"]


def floor(share: float, digits: int) -> float:
    """
    >>> floor(0.99, 2), floor(0.989, 2)
    (0.99, 0.98)
    """
    return math.floor(round(share * 10**digits, 6)) / 10**digits


def begin(encoder: Encoder, start: Path | None, about: StartFile, which: Which) -> bool:
    """Give an encoder the weights and statistics that its config names; `Encoder.note` says what was matched.

    `start`: `start_from`, `about`: `start_file`. Returns whether its statistics are those of weights from elsewhere,
    which are not to be fitted to the data. Raises ConfigError for files that do not suit it.
    """
    parts = parts_with_weights(encoder)
    try:
        if start is not None:
            if parts:
                raise ValueError("start_from and backbone.weights are both set; an encoder begins with one of them")
            if is_exported(start):
                read_encoder(start, encoder)
            elif which != "none":
                start_files(start)
                inner = [part for part in encoder.modules() if isinstance(part, Encoder)][-1]
                _note(encoder, "start_from", _set(inner, _origin(start, about), "start_from"))
            return True
        for part in parts:
            if which == "all" or (which == "files" and part.origin.file is not None):
                _note(encoder, "weights", _set(part, part.origin, "backbone.weights"))  # type: ignore[arg-type]
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    return bool(parts)


def is_exported(start: Path) -> bool:
    """Whether it is an encoder of ours, or a run's folder with one; not a file of another library."""
    try:
        encoder_folder(start)
    except ValueError:
        return False
    return not start.is_file() or start.name in EXPORTED


def start_files(start: Path) -> dict[str, Path]:
    """The files that `start_from` names, by name. Raises ValueError where there are none."""
    if is_exported(start):
        return exported_files(encoder_folder(start))
    try:
        return weight_files(start)
    except ValueError as error:
        raise ValueError(
            f"start_from: no encoder in {str(start)!r}, neither of a finished run (encoder/encoder.safetensors) nor of "
            f"another library: {error}"
        ) from error


def _origin(start: Path, about: StartFile) -> Origin:
    return Origin(weights=str(start), key="start_file", **vars(about))


def _note(encoder: Encoder, what: str, said: str) -> None:
    encoder.note = "; ".join(each for each in (encoder.note, f"{what}: {said}") if each)


def _set(encoder: Encoder, origin: Origin, key: str) -> str:
    """Set weights and statistics; returns what was done."""
    found = match(_read(encoder, origin, key), encoder, origin.prefix)
    if found.share < origin.matched:
        fewer = f", or set {origin.key}.matched to {floor(found.share, 2)} to begin with the rest random"
        raise ValueError(
            f"{key} is {origin.weights}, which does not suit this backbone: {found}; choose the backbone that it is of"
            + (fewer if found.share >= 0.01 else "")
        )
    statistics = _statistics(encoder, origin, found)
    encoder.load_state_dict(found.state, strict=False)
    for part in encoder.modules():
        if isinstance(part, Normalize) and statistics is not None:
            count = part.mean.numel()
            part.fit(*(adapt_statistics(each, count).to(part.mean) for each in statistics))
    said = f"{found}"
    if statistics is not None:
        mean, std = ([round(float(each), 4) for each in values] for values in statistics)
        said += f"; images are normalized by the mean {mean} and deviation {std} that belong to them"
    return said


def _read(encoder: Encoder, origin: Origin, key: str) -> Mapping[str, Tensor]:
    """The tensors of a file, of a folder, or of the library."""
    library = encoder if isinstance(encoder, Published) else None
    if origin.file is None:
        assert library is not None
        return library.library_weights()
    try:
        own = library.folder_weights(origin.file) if library is not None else None
        return read_tensors(origin.file) if own is None else own
    except (ValueError, OSError) as error:
        raise ValueError(f"{key}: {error}") from error


def _statistics(encoder: Encoder, origin: Origin, found: Matched) -> tuple[Sequence[float], Sequence[float]] | None:
    """Those that belong to the weights: as set, as in the file, or as the library states. None: no images are read."""
    names = [name for name, part in encoder.named_modules() if isinstance(part, Normalize)]
    if not names:
        return None
    if origin.mean is not None and origin.std is not None:
        return origin.mean, origin.std
    if f"{names[0]}.mean" in found.state:
        return found.state[f"{names[0]}.mean"].tolist(), found.state[f"{names[0]}.std"].tolist()
    stated = encoder.library_statistics(origin.file) if isinstance(encoder, Published) else None
    if stated is None:
        raise ValueError(
            f"{origin.key}.mean is null, and nothing states how images were normalized for {origin.weights}: set "
            f"{origin.key}.mean and {origin.key}.std, per channel in [0, 1]; ImageNet's are [0.485,0.456,0.406] and "
            "[0.229,0.224,0.225]"
        )
    return stated
