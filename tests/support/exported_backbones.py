"""Every backbone of conf/, small, as a run would export it: built, normalizing, in eval mode."""

from typing import Any, get_type_hints

import libraries
import torch
import yaml

from ssl_runner.assembly import construct
from ssl_runner.config.compose import compose
from ssl_runner.config.paths import conf_dir
from ssl_runner.config.signatures import locate
from ssl_runner.interfaces import (
    CountEncoder,
    DataSpec,
    Encoder,
    ImageSpec,
    NumericSpec,
    TextSpec,
    VectorSpec,
    VideoSpec,
)
from ssl_runner.nn.normalize import Normalize

BACKBONES = sorted(path.stem for path in (conf_dir() / "backbone").glob("*.yaml"))
SMALLER: dict[str, dict[str, Any]] = {
    **libraries.SMALLER,
    "vit_tiny": {"depth": 1},
    "vit_small": {"depth": 1},
    "vivit_tiny": {"depth": 1},
    "bert_small": {"depth": 1},
    "gpt_small": {"depth": 1},
    "resnet34": {"depth": 18},
    "resnet50_v2": {"depth": 14},
    "revnet50": {"depth": 14},
    "vgg19_bn": {"widening": 1, "depth": 11},
}
SPECS: dict[Any, DataSpec] = {
    ImageSpec: ImageSpec(channels=3, height=32, width=32),
    VideoSpec: VideoSpec(frames=4, channels=1, height=16, width=16),
    VectorSpec: VectorSpec(count=2, width=8),
    NumericSpec: ImageSpec(channels=3, height=8, width=8),
    TextSpec: TextSpec(length=12, vocabulary=30, size=8),
}


def spec_of(backbone: str) -> DataSpec:
    """Of the data that it reads."""
    node = yaml.safe_load((conf_dir() / "backbone" / f"{backbone}.yaml").read_text())
    return SPECS[get_type_hints(locate(node["_target_"]).__init__)["spec"]]


def exported(backbone: str, spec: DataSpec | None = None, **changes: Any) -> Encoder:
    """Its statistics are not those that it began with, and its counts are of eight texts."""
    libraries.needs(backbone)
    spec = spec_of(backbone) if spec is None else spec
    node = compose([f"backbone={backbone}"])["backbone"] | SMALLER.get(backbone, {}) | changes
    torch.manual_seed(0)
    encoder = construct.encoder(node, spec)
    for part in encoder.modules():
        if isinstance(part, Normalize):
            part.fit(torch.full_like(part.mean, 0.4), torch.full_like(part.std, 0.3))
    if isinstance(encoder, CountEncoder):
        ids = (torch.rand(8, 12) ** 3 * 23).long() + 6
        encoder.absorb(ids[:, :-1], ids[:, 1:], torch.arange(8))
    else:
        with torch.no_grad():
            encoder(spec.to_input(spec.fake(8)))  # statistics of BatchNorm
    return encoder.eval()
