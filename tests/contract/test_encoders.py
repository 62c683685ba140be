"""What `interfaces` promises of every encoder of images, vectors or clips, for every backbone that has a config."""

import copy
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import libraries
import pytest
import torch
from omegaconf import OmegaConf

from ssl_runner.interfaces import (
    ClipEncoder,
    DataSpec,
    Encoder,
    ImageSpec,
    MapEncoder,
    PatchEncoder,
    TextEncoder,
    TubeEncoder,
    VectorSpec,
    VideoSpec,
)
from ssl_runner.testing import encoders
from ssl_runner.testing.encoders import (  # noqa: F401
    test_a_deep_copy_is_equal_and_separate,
    test_features_tell_images_apart,
    test_gradients_reach_every_weight_and_the_image,
    test_rows_are_independent_and_evaluation_is_deterministic,
    test_shapes_are_as_promised,
)

CONF = Path(__file__).parents[2] / "conf" / "backbone"
EVERY = {str(path.relative_to(CONF).with_suffix("")): path for path in sorted(CONF.glob("*.yaml"))}
SMALLER = {  # parameters that cost time and change no promise
    **libraries.SMALLER,
    "vit_tiny": {"depth": 2},
    "vit_small": {"depth": 2},
    "resnet34": {"depth": 18},
    "resnet50_v2": {"depth": 14, "last_relu": False},
    "revnet50": {"depth": 26, "last_relu": False, "widening": 1},
    "vgg19_bn": {"widening": 1, "depth": 11},
}
IMAGES = {"gray 28": (1, 28, 28), "color 32": (3, 32, 32), "color 64": (3, 64, 64), "gray 32 x 64": (1, 32, 64)}
CLIPS = {"gray clips": (4, 1, 16, 16), "color clips": (4, 3, 16, 32)}
SPECS = {**IMAGES, **CLIPS, "vectors": (2, 8)}
FEWER = {  # large ones are not tried at every size, others read no images, or square ones alone
    "huggingface_vit": ["gray 28", "color 32"],
    "mlp": ["vectors"],
    "mixture": ["gray 28", "vectors"],
    "mixture_network": ["color 32", "vectors"],
    "resnet14": ["gray 28"],
    "resnet14_v2": ["gray 28", "gray 32 x 64"],
    "resnet18": ["gray 28", "color 32"],
    "resnet34": ["color 32"],
    "resnet50": ["color 32"],
    "resnet50_v2": ["color 32"],
    "revnet14": ["gray 28", "gray 32 x 64"],
    "revnet50": ["color 32"],
    "vgg19_bn": ["gray 28", "color 32"],
    "vit_small": ["color 32"],
    "r3d18": ["gray clips"],
    "r2plus1d18": ["color clips"],
    "vivit_tiny": ["gray clips"],
}


def class_of(name: str) -> type[Encoder]:
    module, _, cls = OmegaConf.load(EVERY[name])["_target_"].rpartition(".")
    return getattr(import_module(module), cls)


FILES = {name: path for name, path in EVERY.items() if not issubclass(class_of(name), TextEncoder)}
SIZES = {
    name: list(FEWER.get(name, CLIPS if issubclass(class_of(name), ClipEncoder) else IMAGES)) for name in FILES
}  # the first of them in the quick suite
CASES = [(name, size) for name, sizes in SIZES.items() for size in sizes]


def build(name: str, spec: DataSpec, changes: Mapping[str, Any]) -> Encoder:
    node: Any = OmegaConf.to_container(OmegaConf.load(FILES[name]))
    del node["_target_"]
    for choice in node.pop("defaults", []):
        if choice != "_self_":  # a backbone within
            ((key, inner),) = choice.items()
            assert isinstance(spec, VideoSpec)
            node[key] = build(inner, ImageSpec(channels=spec.channels, height=spec.height, width=spec.width), {})
    return class_of(name)(spec, **node | changes)


def tried(kind: type[Encoder]) -> list[Any]:
    return [
        pytest.param((name, size), id=f"{name} {size}", marks=() if size == SIZES[name][0] else pytest.mark.thorough)
        for name, size in CASES
        if issubclass(class_of(name), kind)
    ]


def cases_of(kind: type[Encoder]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", tried(kind), indirect=True)


def spec_of(size: str) -> DataSpec:
    if size in IMAGES:
        channels, height, width = IMAGES[size]
        return ImageSpec(channels=channels, height=height, width=width)
    if size in CLIPS:
        frames, channels, height, width = CLIPS[size]
        return VideoSpec(frames=frames, channels=channels, height=height, width=width)
    count, width = SPECS[size]
    return VectorSpec(count=count, width=width)


@cache
def original(name: str, size: str) -> Encoder:
    """An encoder whose running statistics are of a few batches, in eval mode, normalizing as it would in a run."""
    libraries.needs(name)
    torch.manual_seed(0)
    encoder = build(name, spec_of(size), SMALLER.get(name, {}))
    if size in IMAGES or size in CLIPS:
        channels = SPECS[size][-3]
        inner = getattr(encoder, "image", encoder)  # which normalizes
        inner.normalize.fit(torch.full((channels,), 0.4), torch.full((channels,), 0.3))
    with torch.no_grad():
        encoder(torch.rand(4, *SPECS[size]))
    return encoder.eval()


@pytest.fixture(params=tried(Encoder))
def case(request) -> tuple[str, str]:
    return request.param


@pytest.fixture
def encoder(case) -> Encoder:
    return copy.deepcopy(original(*case))


@pytest.fixture
def x(case) -> torch.Tensor:
    return torch.rand(3, *SPECS[case[1]], generator=torch.Generator().manual_seed(1))


def test_every_config_is_tried():
    assert {"convnet", "resnet18", "resnet34", "resnet50", "vit_micro", "vit_small", "vit_tiny"} <= set(FILES)
    assert {name for name, _ in CASES} == set(FILES)


def test_state_round_trips_strictly(case, encoder, x):
    other = build(case[0], spec_of(case[1]), SMALLER.get(case[0], {})).eval()
    result = other.load_state_dict(encoder.state_dict(), strict=True)
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    with torch.inference_mode():
        assert torch.equal(other(x).pooled, encoder(x).pooled)


@pytest.mark.parametrize("case", [case for case in CASES if case[1] in IMAGES], ids=" ".join, indirect=True)
@pytest.mark.sampled(12)
def test_memory_layout_does_not_matter(encoder, x):
    with torch.inference_mode():
        expected = encoder(x)
        features = encoder.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(features.pooled, expected.pooled, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(features.tokens, expected.tokens, atol=1e-4, rtol=1e-4)


@cases_of(MapEncoder)
def test_the_map_of_a_map_encoder_is_its_tokens(encoder, x):
    encoders.keeps_map(encoder, x)


@cases_of(ClipEncoder)
def test_the_map_of_a_clip_encoder_is_its_tokens_time_first(encoder, x):
    encoders.keeps_map_of_clips(encoder, x)


@cases_of(ClipEncoder)
def test_a_clip_encoder_says_whether_it_sees_the_order_of_frames(encoder, x):
    encoders.says_order(encoder, x)


@cases_of(TubeEncoder)
def test_a_tube_encoder_encodes_a_chosen_few(encoder, x):
    encoders.encodes_chosen_tubes(encoder, x)


@cases_of(PatchEncoder)
def test_a_patch_encoder_encodes_a_chosen_few(encoder, x):
    encoders.encodes_chosen_patches(encoder, x)
