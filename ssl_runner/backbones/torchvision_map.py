"""Convolutional networks of torchvision."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_runner.backbones.library import LibraryEncoder, check_stem, drawn, offline, write_torchvision
from ssl_runner.interfaces import Features, ImageSpec, MapEncoder, Origin
from ssl_runner.nn.normalize import Normalize
from ssl_runner.nn.published import Stem, WeightSettings, adapt_channels, shrink_stem, wants_small_stem

HEADS = ("avgpool", "dropout", "fc", "classifier")  # what follows the map of features
FAMILIES = (  # modules of torchvision whose networks run their other parts one after another
    "alexnet", "convnext", "densenet", "efficientnet", "mobilenetv2", "mobilenetv3", "regnet", "resnet", "shufflenetv2",
    "squeezenet", "vgg",
)  # fmt: skip
OLDER = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\..*)")  # names in torchvision's own files of DenseNet


class TorchvisionMap(LibraryEncoder, MapEncoder):
    """A convolutional network of torchvision, without its classifier.

    https://docs.pytorch.org/vision/stable/models.html. `map` is what the classifier pools; `pooled` is its mean over
    the grid; `layers` are the means after each part with a convolution, and `pooled`. `stem`: `auto` gives images of up
    to 64 pixels a small one, if it is known how: see `nn.published.shrink_stem`. `settings`: of torchvision's function
    of that name. `weights` are set by `assembly.weights`.

    Raises ValueError for a name that torchvision does not have, and for its Transformers.
    """

    library: Literal["torchvision"] = "torchvision"

    def __init__(
        self,
        spec: ImageSpec,
        *,
        name: str,
        settings: dict[str, Any] | None,
        stem: Stem,
        **weights: Unpack[WeightSettings],
    ) -> None:
        super().__init__()
        from torchvision.models import DenseNet  # not at the top: it takes seconds, and validation imports this module

        self.origin = Origin(**weights)
        self.spec = spec
        self.name = name
        self.settings = dict(settings or {})
        small = wants_small_stem(stem, spec)
        net = _create(name, settings)
        first = next(place for place, part in net.named_modules() if isinstance(part, nn.Conv2d))
        self.first = first
        if spec.channels != 3:
            net.set_submodule(first, _reading(net.get_submodule(first), spec.channels))
        pool = "maxpool" if isinstance(getattr(net, "maxpool", None), nn.MaxPool2d) else None
        said = shrink_stem(net, first, pool) if small else ""
        if stem == "small" and not said:
            raise ValueError(f"backbone.stem is small, which is not known of {name}; set backbone.stem=large")
        self.small = bool(said)
        self.spellings = ({"net.": ""}, {f"net.{part}.": f"{at}." for at, (part, _) in enumerate(net.named_children())})
        self.dim = _dim(net)
        self.normalize = Normalize(spec.channels)
        for part in HEADS:
            if hasattr(net, part):
                setattr(net, part, nn.Identity())
        self.net = net
        self.rectified = isinstance(net, DenseNet)  # by its own `forward`, after its parts
        self.note = f"torchvision's {name}, {said or 'its own stem'}"

    def map(self, x: Tensor) -> Tensor:
        *_, last = self._stages(x)
        return last

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        stages = list(self._stages(x))
        pooled = stages[-1].mean((2, 3))
        below = tuple(each.mean((2, 3)) for each in stages[:-1]) if layers else ()
        return Features(stages[-1].flatten(2).mT, pooled, (*below, pooled) if layers else ())

    def _stages(self, x: Tensor) -> Iterator[Tensor]:
        """The map after each part with a convolution; last the features."""
        x = self.normalize(x)
        parts = list(_parts(self.net))
        for part, convolves in parts[:-1]:
            x = part(x)
            if convolves:
                yield x
        x = parts[-1][0](x)
        yield F.relu(x) if self.rectified else x

    def library_weights(self) -> Mapping[str, Tensor]:
        from torchvision.models import get_model_weights

        known = get_model_weights(self.name)
        if not len(known):
            raise ValueError(f"backbone.weights is pretrained, and torchvision has no weights of {self.name}")
        try:
            found: Mapping[str, Tensor] = known.DEFAULT.get_state_dict(
                check_hash=True, progress=False, map_location="cpu", weights_only=True
            )
        except Exception as error:  # of the network, which has many
            raise ValueError(offline(known.DEFAULT.url, error)) from error
        return found

    def adapted(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        state = {OLDER.sub(r"\1\2", name): value for name, value in state.items()}
        return adapt_channels(state, f"{self.first}.weight", self.spec.channels)

    def library_statistics(self, file: Path | None) -> tuple[Sequence[float], Sequence[float]] | None:
        from torchvision.models import get_model_weights

        known = get_model_weights(self.name)
        if not len(known):
            return None
        prepared = known.DEFAULT.transforms()
        return prepared.mean, prepared.std

    def save_for_library(self, folder: Path) -> None:
        """Write `model.safetensors` and `config.json`, as `ResNet` does; `settings` are of torchvision's function.

        Where the head is a single layer, it is the identity. Else the weights are those of `features`, a part of
        torchvision's network, whose mean over the grid is `pooled`. Raises ValueError as `ResNet` does.
        """
        check_stem(self.library, self.small)
        whole = drawn(lambda: _create(self.name, self.settings))
        layers = [
            (name, part)
            for name, part in whole.named_modules()
            if name.startswith(HEADS) and next(part.parameters(recurse=False), None) is not None
        ]
        about: dict[str, Any] = {"architecture": self.name, "settings": self.settings}
        if len(layers) == 1:
            ((name, layer),) = layers
            weight = torch.eye(self.dim).reshape(self.dim, self.dim, *layer.weight.shape[2:])
            state = self.net.state_dict() | {f"{name}.weight": weight, f"{name}.bias": torch.zeros(self.dim)}
            about["num_classes"] = self.dim
        else:
            state = self.net.features.state_dict()
            about["part"] = "features"
        write_torchvision(folder, state, self.normalize, about)


def _create(name: str, settings: Mapping[str, Any] | None) -> Any:
    """A network of torchvision, randomly initialized. Downloads nothing. Raises ValueError where it is of no use."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        raise ValueError(
            f"backbone.name is {name!r}, which torchvision {torchvision.__version__} does not have; "
            + (f"did you mean {' or '.join(near)}?" if near else f"it has: {', '.join(known)}")
        )
    taken = {"weights", "progress", "num_classes"} & set(settings or {})
    if taken:
        raise ValueError(f"backbone.settings.{min(taken)} cannot be set: the encoder sets it")
    family = torchvision.models.get_model_builder(name).__module__.rpartition(".")[2]
    if family not in FAMILIES:
        raise ValueError(
            f"backbone.name is {name}, of torchvision's {family}, which gives no map of features for images of any "
            "size: choose a convolutional network, or backbone=timm_vit for a Vision Transformer"
        )
    try:
        return torchvision.models.get_model(name, weights=None, **(settings or {}))
    except (TypeError, ValueError) as error:
        raise ValueError(f"backbone.name={name} cannot be built by torchvision with these settings: {error}") from error


def _parts(net: nn.Module) -> Iterator[tuple[nn.Module, bool]]:
    """The parts of a network in their order, and whether each has a convolution; those of a sequence one by one."""
    for part in net.children():
        for each in part if isinstance(part, nn.Sequential) else (part,):
            if not isinstance(each, nn.Identity):
                yield each, any(isinstance(inner, nn.Conv2d) for inner in each.modules())


def _dim(net: Any) -> int:
    """The channels of the map of features: what its classifier reads, if that is one vector a map; else those of the
    last convolution."""
    from torchvision.models import VGG, AlexNet, SqueezeNet

    if isinstance(net, AlexNet | VGG):
        return int([part for part in net.features if isinstance(part, nn.Conv2d)][-1].out_channels)
    if isinstance(net, SqueezeNet):
        return int(next(part for part in net.classifier if isinstance(part, nn.Conv2d)).in_channels)
    head = net.fc if hasattr(net, "fc") else net.classifier
    return int(next(part for part in head.modules() if isinstance(part, nn.Linear)).in_features)


def _reading(conv: Any, channels: int) -> nn.Conv2d:
    """A convolution like `conv` for images of `channels` channels, initialized as torchvision's are."""
    size, bias = (conv.kernel_size, conv.stride, conv.padding), conv.bias is not None
    new = nn.Conv2d(channels, conv.out_channels, *size, bias=bias)
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    return new
