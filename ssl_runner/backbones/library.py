"""What encoders around a network of a library share."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssl_runner.interfaces import Encoder, Origin
from ssl_runner.nn.normalize import Normalize
from ssl_runner.nn.published import named_weights


class LibraryEncoder(Encoder):
    """An encoder around `net`, a network of a library, whose weights may be published ones (`interfaces.Published`).

    Its constructor reads no weights. It is built again with `weights: none`: an export holds weights of its own.
    """

    net: Any  # an nn.Module; libraries give no types of its parts
    origin: Origin
    small: bool = False  # whether its stem is not that of the library

    def rebuilt(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**node, "weights": "none"}

    @classmethod
    def places(cls, node: Mapping[str, Any]) -> Mapping[str, Path]:
        return named_weights(node)

    def adapted(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return state

    def folder_weights(self, folder: Path) -> Mapping[str, Tensor] | None:
        return None

    def library_statistics(self, file: Path | None) -> tuple[Sequence[float], Sequence[float]] | None:
        return None


def check_stem(library: str, small: bool) -> None:
    """Raise ValueError for a small stem, as a network of `library` is built with its own."""
    if small:
        raise ValueError(
            f"this network has the small stem (backbone.stem); {library} loads those trained with backbone.stem=large"
        )


def drawn(build: Callable[[], Any]) -> Any:
    """The network that `build` initializes, from a seed of its own: parts of it that stay untrained are the same in
    every export, and the generators of the caller are as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def fill(whole: nn.Module, net: nn.Module) -> list[str]:
    """Copy the weights of `net` into `whole`, the library's network with the parts that `net` had removed as idle.

    Returns the names of the weights of these parts, which stay as the library initialized them. Raises ValueError for
    another network.
    """
    found = whole.load_state_dict(net.state_dict(), strict=False)
    if found.unexpected_keys:
        raise ValueError(f"the library builds no {found.unexpected_keys[0]} with the same settings")
    return list(found.missing_keys)


def write(folder: Path, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write `model.safetensors` and `config.json`."""
    from safetensors.torch import save_file

    save_file({name: value.detach().contiguous() for name, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def write_torchvision(
    folder: Path,
    state: Mapping[str, Tensor],
    normalize: Normalize,
    about: Mapping[str, Any],
) -> None:
    """Write a network for torchvision: `about` says which (`architecture`, `settings` of its function), and whether the
    weights are those of a whole network of so many `num_classes`, or of one `part` of it.

    The statistics that its input is normalized with stand in `config.json`: they cannot be folded into the first
    convolution, which pads the normalized image with zeros. Raises ValueError for images of other than 3 channels.
    """
    if (channels := normalize.mean.numel()) != 3:
        raise ValueError(f"this network has {channels} channels, and torchvision's have 3")
    write(folder, state, {**about, "mean": normalize.mean.tolist(), "std": normalize.std.tolist()})


def offline(place: str, error: Exception) -> str:
    """The refusal of weights that cannot be downloaded: where they are, and where a file of them goes."""
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return (
        f"backbone.weights is pretrained, and the weights cannot be downloaded from {place} ({reason}); fetch the file "
        "on another machine, put it anywhere on this one, and set backbone.weights to its path"
    )
