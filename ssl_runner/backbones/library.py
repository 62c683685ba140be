"""What encoders around a network of a library share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ssl_runner.interfaces import Encoder, Origin
from ssl_runner.nn.published import named_weights


class LibraryEncoder(Encoder):
    """An encoder around `net`, a network of a library, whose weights may be published ones (`interfaces.Published`).

    Its constructor reads no weights. It is built again with `weights: none`: an export holds weights of its own.
    """

    net: Any  # an nn.Module; libraries give no types of its parts
    origin: Origin

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


def offline(place: str, error: Exception) -> str:
    """The refusal of weights that cannot be downloaded: where they are, and where a file of them goes."""
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return (
        f"backbone.weights is pretrained, and the weights cannot be downloaded from {place} ({reason}); fetch the file "
        "on another machine, put it anywhere on this one, and set backbone.weights to its path"
    )
