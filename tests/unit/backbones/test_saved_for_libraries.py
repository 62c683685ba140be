"""Networks of libraries, written so that the library reads them in a process without this project."""

from pathlib import Path
from typing import Any

import libraries
import made_bert
import pytest
import torch
import yaml

from ssl_runner.assembly import construct, programs
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.paths import conf_dir
from ssl_runner.interfaces import Encoder, ImageSpec, TextSpec
from ssl_runner.nn.normalize import Normalize

IMAGES = ImageSpec(channels=1, height=32, width=32)
TEXTS = TextSpec(
    length=12, vocabulary=made_bert.tokenizer().get_vocab_size(), tokenizer=made_bert.tokenizer().to_str(),
    special=made_bert.IDS, size=8,
)  # fmt: skip


def made(option: str, **changes: Any) -> tuple[Encoder, ImageSpec | TextSpec]:
    libraries.needs(option)
    node = (
        yaml.safe_load((conf_dir() / "backbone" / f"{option}.yaml").read_text()) | libraries.SMALLER[option] | changes
    )
    spec = TEXTS if option in ("huggingface_text", "huggingface_causal") else IMAGES
    torch.manual_seed(0)
    encoder = construct.encoder(node, spec)
    for part in encoder.modules():
        if isinstance(part, Normalize):
            part.fit(torch.tensor([0.4]), torch.tensor([0.3]))
    with torch.no_grad():
        encoder(spec.to_input(spec.fake(8)))  # statistics of BatchNorm
    return encoder.eval(), spec


@pytest.mark.parametrize(
    ("format", "option", "changes"),
    [
        ("timm", "timm", {"stem": "large"}),
        ("timm", "timm", {"name": "mobilenetv3_small_050", "settings": None, "stem": "large"}),
        ("timm", "timm_vit", {}),
        ("timm", "timm_vit", {"name": "vit_small_patch14_reg4_dinov2"}),
        ("huggingface", "huggingface", {"stem": "large"}),
        ("huggingface", "huggingface_vit", {}),
        ("huggingface", "huggingface_text", {}),
        ("huggingface", "huggingface_causal", {}),
    ],
)  # fmt: skip
def test_the_library_reads_it(format: str, option: str, changes: dict[str, Any], tmp_path: Path) -> None:
    encoder, spec = made(option, **changes)
    assert programs.write(format, encoder, spec, tmp_path) <= 1e-5
    assert {"config.json", "model.safetensors"} <= {file.name for file in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("format", "option", "changes", "said"),
    [
        ("timm", "timm", {}, "this network has small stem .* and timm's has not; set format=onnx"),
        ("timm", "timm_vit", {"pool": "class"}, "the class token as its features"),
        ("huggingface", "huggingface", {}, "this network has small stem .* and that of transformers has not"),
        ("huggingface", "timm_vit", {}, "the backbone TimmViT is no network of that library"),
    ],
)
def test_what_the_library_does_not_have_is_refused(
    format: str, option: str, changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    encoder, spec = made(option, **changes)
    with pytest.raises(ConfigError, match=said):
        programs.write(format, encoder, spec, tmp_path)
