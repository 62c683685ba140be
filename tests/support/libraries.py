"""Backbones of libraries that need not be installed: which one each needs, and settings that make it small."""

from typing import Any

import pytest

LIBRARIES = {
    "timm": "timm",
    "timm_vit": "timm",
    "huggingface": "transformers",
    "huggingface_vit": "transformers",
    "huggingface_text": "transformers",
    "huggingface_causal": "transformers",
}  # option of conf/backbone/ -> package
SMALLER: dict[str, dict[str, Any]] = {  # settings that cost time and change no promise
    "timm": {"name": "test_resnet", "settings": {"zero_init_last": False}},  # else gradients of zero at the start
    "timm_vit": {"settings": {"embed_dim": 48, "depth": 2}},
    "huggingface": {
        "config": {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1], "layer_type": "basic"}
    },
    "huggingface_vit": {
        "config": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    },
    "huggingface_text": {
        "config": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    },
    "huggingface_causal": {"config": {"n_embd": 32, "n_layer": 2, "n_head": 2}},
    "torchvision": {"name": "regnet_y_400mf"},
}


def needs(backbone: str) -> None:
    """Skip the test where the library of a backbone is not installed."""
    if backbone in LIBRARIES:
        pytest.importorskip(LIBRARIES[backbone])


def words(backbone: str, key: str = "backbone") -> list[str]:
    """Overrides that make a backbone of a library small; none for others."""
    return [f"{key}.{name}={as_word(value)}" for name, value in SMALLER.get(backbone, {}).items()]


def as_word(value: Any) -> str:
    """As the command line has it."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{as_word(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(as_word, value)) + "]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


_VIT = {"embed_dim": 48, "depth": 2, "num_heads": 3}
_TEXT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {  # name -> option of conf/backbone/, settings that make it small
    "timm's ResNet": ("timm", {"name": "test_resnet"}),
    "timm's EfficientNet": ("timm", {"name": "test_efficientnet"}),
    "timm's ConvNeXt": ("timm", {"name": "test_convnext"}),
    "timm's ViT": ("timm_vit", {"name": "vit_tiny_patch16_224", "settings": _VIT}),
    "timm's DINOv2": ("timm_vit", {"name": "vit_small_patch14_reg4_dinov2", "settings": _VIT}),
    "timm's DINOv3": ("timm_vit", {"name": "vit_small_patch16_dinov3", "settings": _VIT}),
    "torchvision's RegNet": ("torchvision", {"name": "regnet_y_400mf"}),
    "torchvision's ResNet": ("torchvision", {"name": "resnet18"}),
    "transformers' ResNet": ("huggingface", SMALLER["huggingface"]),
    "transformers' DINOv2": (
        "huggingface_vit",
        {"name": "dinov2", "config": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}},
    ),
    "transformers' BERT": ("huggingface_text", {"name": "bert", "config": _TEXT}),
    "transformers' GPT-2": ("huggingface_causal", SMALLER["huggingface_causal"]),
}

# What cuts images of 32 pixels into parts that are smaller than a cell of the network's grid, which cannot read them.
TOO_SMALL = {
    ("timm's ConvNeXt", name) for name in ("clip", "cpc", "dino", "jigsaw", "lejepa", "relative_position", "swav")
}
TOO_SMALL |= {("transformers' DINOv2", "clip")}  # it reads square images, and halves are not
