"""What `ssl-export` promises of every backbone that has a config: programs that give the encoder's features."""

from pathlib import Path

import numpy as np
import pytest
import torch
from exported_backbones import BACKBONES, exported, spec_of

from ssl_runner.assembly import read_back, tracing
from ssl_runner.interfaces import TextEncoder, TextSpec

FORMATS = {"onnx": tracing.write_onnx, "torch_export": tracing.write_torch_export}
QUICK = {"bert_tiny", "convnet", "lstm", "vit_micro"}  # one of each kind; tracing takes seconds
CASES = [pytest.param(backbone, marks=() if backbone in QUICK else pytest.mark.slow) for backbone in BACKBONES]
FILES = {"onnx": "model.onnx", "torch_export": "model.pt2"}


def ids(n: int, length: int, special: bool) -> torch.Tensor:
    """Texts of that length and shorter ones, some with a second segment."""
    x = torch.randint(6, 29, (n, length), generator=torch.Generator().manual_seed(7 * n + length))
    x[:, 0] = 2
    if special and length > 2:
        x[1::2, length // 2] = 3
        x[2::3, -1] = 0
    return x


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("backbone", CASES)
@pytest.mark.sampled(2)
def test_a_program_gives_the_features_of_its_encoder(backbone: str, format: str, tmp_path: Path) -> None:
    """For numbers of examples, and lengths of texts, that it was not traced with."""
    if format == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    encoder, spec = exported(backbone), spec_of(backbone)
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    FORMATS[format](encoder, spec, tmp_path / FILES[format])
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())
    run = read_back.LOADERS[format](tmp_path)
    if isinstance(spec, TextSpec):
        assert isinstance(encoder, TextEncoder)
        longest = encoder.reach or 20
        inputs = [ids(1, longest, False), ids(5, 3, True), ids(2, 1, False), ids(3, 7, True)]
    else:
        inputs = [spec.to_input(spec.fake(n)) for n in (1, 5)]
    for x in inputs:
        with torch.inference_mode():
            expected = encoder(x)
        found = run(x.numpy())
        assert found.keys() == {"pooled", "tokens"}
        kept = (x != 0).numpy() if isinstance(spec, TextSpec) else ...
        for name, value in (("pooled", expected.pooled), ("tokens", expected.tokens)):
            assert found[name].dtype == np.float32
            assert found[name].shape == value.shape
            place = kept if name == "tokens" else ...
            largest = max(1.0, float(value.abs().max()))
            np.testing.assert_allclose(found[name][place], value.numpy()[place], rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize("backbone", ["gpt_tiny", "bert_tiny"])
@pytest.mark.sampled(1)
def test_no_text_is_longer_than_those_of_pretraining(backbone: str, tmp_path: Path) -> None:
    encoder, spec = exported(backbone), spec_of(backbone)
    assert isinstance(encoder, TextEncoder)
    encoder.reach = 9
    tracing.write_torch_export(encoder, spec, tmp_path / "model.pt2")
    run = read_back.LOADERS["torch_export"](tmp_path)
    run(ids(2, 9, False).numpy())
    with pytest.raises((AssertionError, RuntimeError, ValueError), match=r"9|length"):
        run(ids(2, 10, False).numpy())


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.sampled(1)
def test_a_length_without_room_is_fixed(format: str, tmp_path: Path) -> None:
    if format == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    encoder, spec = exported("gpt_tiny"), spec_of("gpt_tiny")
    assert isinstance(encoder, TextEncoder)
    encoder.reach = 3
    assert tracing.input_of(encoder, spec).shape == ("batch", 3)
    FORMATS[format](encoder, spec, tmp_path / FILES[format])
    x = ids(5, 3, True)
    with torch.inference_mode():
        expected = encoder(x).pooled.numpy()
    found = read_back.LOADERS[format](tmp_path)(x.numpy())["pooled"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1.0, np.abs(expected).max()))
