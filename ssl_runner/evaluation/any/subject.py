"""A frozen encoder with its data; features are extracted once and shared by all evaluators."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ssl_runner.data.any.progress import tracked
from ssl_runner.data.any.tensors import chosen
from ssl_runner.interfaces import Batch, Data, DataSpec, Encoder, Examples, Made, SplitName, Subject, TextEncoder
from ssl_runner.results.metrics import Split

TOLD: tuple[Split, ...] = ("test", "val")  # whose scores are metrics

PRECISION = torch.float32  # of every evaluation, fine-tuning included


class FrozenSubject:
    """The input of evaluators: `interfaces.Subject`.

    Features are extracted in `PRECISION` regardless of the training precision, so that controls are the same.
    `batch_size`: examples encoded at once. `blocks`: whether features of blocks will be asked for; a single pass then
    returns them with the pooled ones. Features are kept in memory: on disk those of MNIST and its pixels would be
    250 MB a run.
    """

    def __init__(
        self,
        encoder: Encoder,
        data: Data,
        *,
        seed: int,
        device: torch.device,
        batch_size: int,
        blocks: bool = False,
    ) -> None:
        self.encoder = encoder
        self.data = data
        self.seed = seed
        self.device = device
        self.batch_size = batch_size
        self._blocks = blocks
        self._known: dict[tuple[SplitName, str], Tensor] = {}
        self._computed: dict[tuple[Hashable, ...], Any] = {}

    def features(self, split: SplitName, layer: str = "pooled") -> Examples:
        """(n, D) float32 features on the CPU and labels of a split; do not change them in place.

        `layer`: "pooled", or a block counted from the end: "-2". Raises ValueError for a block that is not there, and
        where a feature is not finite.
        """
        examples = self.data.examples(split)
        if (split, layer) not in self._known:
            for name, features in self._extract(split, layer, examples).items():
                self._known.setdefault((split, name), features)  # what was handed out stays the same tensor
        return Examples(self._known[split, layer], examples.label)

    def once(self, key: tuple[Hashable, ...], compute: Callable[[], Made]) -> Made:
        """What `compute` gives, computed once for all evaluators that ask with an equal key."""
        if key not in self._computed:
            self._computed[key] = compute()
        made: Made = self._computed[key]
        return made

    def _extract(self, split: SplitName, layer: str, examples: Examples) -> dict[str, Tensor]:
        """Features by layer: of the one requested, or of all, which a single pass returns."""
        found = extract(
            self.encoder,
            self.data.spec,
            examples.data,
            device=self.device,
            batch_size=self.batch_size,
            layers=self._blocks or layer != "pooled",
        )
        found[layer] = of_layer(found, layer)
        last, pooled = found.get("-1"), self._known.get((split, "pooled"), found["pooled"])
        if last is not None and torch.equal(last, pooled):
            found["-1"] = pooled
        for features in found.values():
            bad = int((~features.isfinite().all(dim=1)).sum())
            if bad:
                raise ValueError(
                    f"the encoder has diverged: {bad} of {len(features)} examples of {split} have features that are "
                    "not finite (NaN or infinite); pretrain with a lower optimizer.lr or trainer.precision=float32"
                )
        return found


def extract(
    encoder: Encoder,
    spec: DataSpec,
    data: Tensor,
    *,
    device: torch.device,
    batch_size: int,
    layers: bool = False,
) -> dict[str, Tensor]:
    """Encode examples as stored, (n, ...), in eval mode and float32 without gradients: (n, D) on the CPU, by layer.

    "pooled", and with `layers` every block, "-1" the last, where the encoder has blocks. Texts are read up to
    the last position that pretraining shows the encoder.
    """
    parts: list[dict[str, Tensor]] = []
    with evaluating(encoder), torch.inference_mode(), torch.autocast(device.type, enabled=False):
        for chunk in tracked(data.split(batch_size), "features"):
            features = encoder(within_reach(encoder, spec.to_input(chunk.to(device))), layers=layers)
            blocks = enumerate(features.layers if layers else ())
            found = {"pooled": features.pooled} | {str(i - len(features.layers)): block for i, block in blocks}
            parts.append({name: value.float().cpu() for name, value in found.items()})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}  # not in inference mode: for autograd


def within_reach(encoder: nn.Module, x: Tensor) -> Tensor:
    """Input truncated to the positions of a text that the encoder saw in pretraining."""
    return x[:, : encoder.reach] if isinstance(encoder, TextEncoder) else x


def of_layer(found: Mapping[str, Tensor], layer: str) -> Tensor:
    """What `extract` gave of a layer; a control without blocks stands for each. Raises ValueError for one not there."""
    if len(found) == 1:
        return found["pooled"]
    if layer not in found:
        count = len(found) - 1
        raise ValueError(f"layer is {layer}; this backbone has {count} blocks: set layer to pooled, or -1 to -{count}")
    return found[layer]


def named_layer(key: str, layer: str | int) -> str:
    """The layer that a config names, as `Subject.features` takes it: "pooled" or "-2". Raises ValueError for others.

    A command line's `layer=-2` arrives as a number.
    """
    name = str(layer)
    if name != "pooled" and not (name.startswith("-") and name[1:].isdecimal() and int(name) < 0):
        raise ValueError(f"{key} is {layer!r}; it must be pooled, or the number of a block counted from the end, as -2")
    return name


def sizes(subject: Subject, *splits: Split) -> dict[str, int]:
    """The numbers of examples of splits, as in a protocol."""
    return {f"{split} examples": len(subject.data.examples(split).label) for split in splits}


def batches(subject: Subject, split: Split, order: Tensor, size: int) -> Iterator[Batch]:
    """The examples of a split at the places `order`, (m,) int64, `size` at once, as input, on the subject's device."""
    for index in tracked(order.split(size), f"examples of {split}"):
        yield chosen(subject.data, split, index, subject.device)


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
