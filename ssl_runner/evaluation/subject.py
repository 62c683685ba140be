"""A frozen encoder with its data: features, extracted once and shared by all evaluators."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from ssl_runner.evaluation.controls import BagOfWords, Pixels
from ssl_runner.interfaces import Data, DataSpec, Encoder, Examples, Features, SplitName


class FrozenSubject:
    """An encoder that is given to evaluators: `interfaces.Subject`.

    `precision`: torch.bfloat16 extracts under autocast, torch.float32 does not. `batch_size`: examples encoded at once.
    `cache`: a folder where features are kept between runs of the program, or None. A cached file is found again only
    for the same weights, structure, data and precision.
    """

    def __init__(
        self,
        encoder: Encoder,
        data: Data,
        *,
        seed: int,
        device: torch.device,
        precision: torch.dtype,
        batch_size: int,
        cache: Path | None,
    ) -> None:
        self.encoder = encoder
        self.data = data
        self.seed = seed
        self.device = device
        self.precision = precision
        self.batch_size = batch_size
        self.cache = cache
        self._known: dict[tuple[SplitName, str], Tensor] = {}

    def features(self, split: SplitName, layer: str = "pooled") -> Examples:
        """(n, D) float32 features on the CPU and labels of a split; do not change them in place.

        `layer`: "pooled", or a block counted from the end: "-2". Raises ValueError for a block that is not there, and
        where a feature is not finite.
        """
        examples = self.data.examples(split)
        if (split, layer) not in self._known:
            self._known[split, layer] = self._read_or_extract(split, layer, examples)
        return Examples(self._known[split, layer], examples.label)

    def _read_or_extract(self, split: SplitName, layer: str, examples: Examples) -> Tensor:
        if self.cache is None:
            return self._extract(split, layer, examples)
        from safetensors.torch import load_file, save_file

        path = self.cache / f"{split}_{layer}_{self._fingerprint(examples)}.safetensors"
        if path.exists():
            return load_file(path)["features"]
        features = self._extract(split, layer, examples)
        self.cache.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.part")
        save_file({"features": features}, unfinished)
        os.replace(unfinished, path)
        return features

    def _extract(self, split: SplitName, layer: str, examples: Examples) -> Tensor:
        features = extract(
            self.encoder,
            self.data.spec,
            examples.data,
            device=self.device,
            precision=self.precision,
            batch_size=self.batch_size,
            layer=layer,
        )
        bad = int((~features.isfinite().all(dim=1)).sum())
        if bad:
            raise ValueError(
                f"the encoder has diverged: {bad} of {len(features)} examples of {split} have features that are not "
                "finite (NaN or infinite); pretrain with a lower optimizer.lr or trainer.precision=32"
            )
        return features

    def _fingerprint(self, examples: Examples) -> str:
        """Of the encoder's structure and weights, the labels, about 1,000 examples, and the precision."""
        known = hashlib.sha256(f"{self.encoder!r} {self.precision} {tuple(examples.data.shape)}".encode())
        spread = examples.data[:: max(1, len(examples.data) // 1000)]
        for tensor in (spread, examples.label, *self.encoder.state_dict().values()):
            known.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return known.hexdigest()[:16]


def extract(
    encoder: Encoder,
    spec: DataSpec,
    data: Tensor,
    *,
    device: torch.device,
    precision: torch.dtype,
    batch_size: int,
    layer: str = "pooled",
) -> Tensor:
    """Encode examples as stored, (n, ...), in eval mode without gradients: (n, D) float32 on the CPU.

    Raises ValueError for a block that the encoder does not have. `Pixels` and `BagOfWords` have none, and give
    the same for all.
    """
    if isinstance(encoder, Pixels | BagOfWords):
        layer = "pooled"
    parts = []
    half = precision is torch.bfloat16
    with evaluating(encoder), torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        for chunk in data.split(batch_size):
            features = encoder(spec.to_input(chunk.to(device)), layers=layer != "pooled")
            parts.append(_chosen(features, layer).float().cpu())
    return torch.cat(parts)  # outside of inference mode, so that autograd may use it


def _chosen(features: Features, layer: str) -> Tensor:
    if layer == "pooled":
        return features.pooled
    blocks = len(features.layers)
    if not -blocks <= int(layer) < 0:
        raise ValueError(
            f"layer is {layer}; this backbone has {blocks} blocks: set layer to pooled, or -1 to -{blocks}"
        )
    return features.layers[int(layer)]


def named_layer(key: str, layer: str | int) -> str:
    """The layer that a config names, as `Subject.features` takes it: "pooled" or "-2". Raises ValueError for others.

    A command line's `layer=-2` arrives as a number.
    """
    name = str(layer)
    if name != "pooled" and not (name.startswith("-") and name[1:].isdecimal() and int(name) < 0):
        raise ValueError(f"{key} is {layer!r}; it must be pooled, or the number of a block counted from the end, as -2")
    return name


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode inside; each part's own mode again afterwards."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's generators start from `seed` inside, and go on afterwards as if nothing had been drawn."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        yield
