"""Encoders written for others: what is held against the encoder, what is refused, what torchvision reads."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from exported_backbones import exported, spec_of
from safetensors.torch import load_file
from torch import nn

from ssl_runner.assembly import programs, read_back, tracing
from ssl_runner.config.errors import ConfigError
from ssl_runner.interfaces import Encoder, Features, ImageSpec

LARGE = ImageSpec(channels=3, height=96, width=96)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written is read here: a process of its own takes seconds."""

    def read(format: str, folder: Path, inputs: list[np.ndarray]) -> list[Mapping[str, np.ndarray]]:
        return [read_back.LOADERS[format](folder)(x) for x in inputs]

    monkeypatch.setattr(programs, "read", read)


def test_what_was_written_is_read_in_a_process_without_this_project(tmp_path: Path) -> None:
    encoder, spec = exported("convnet"), spec_of("convnet")
    verified = programs.write("torch_export", encoder, spec, tmp_path)
    assert 0 <= verified.difference <= programs.TOLERANCE
    assert verified.rounding == 0
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt2"]


def test_the_reader_cannot_import_this_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a network would need of it is missing there."""
    spy = tmp_path / "reader.py"
    source = Path(read_back.__file__).read_text()
    spy.write_text(source.replace("    import torch\n", "    import ssl_runner\n    import torch\n"))
    monkeypatch.setattr(read_back, "__file__", str(spy))
    with pytest.raises(ConfigError, match="cannot be read back: ImportError: ssl_runner was asked for"):
        programs.write("torch_export", exported("mlp"), spec_of("mlp"), tmp_path)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("backbone", ["convnet", "lstm"])
@pytest.mark.thorough
def test_features_that_differ_are_refused(backbone: str, tmp_path: Path) -> None:
    encoder, spec = exported(backbone), spec_of(backbone)
    programs.write("torch_export", encoder, spec, tmp_path)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.mul_(1.001)
    with pytest.raises(ConfigError, match=r"gives features that differ by [\d.]+e-0\d of the largest from those"):
        programs.verify("torch_export", encoder, spec, tmp_path)


@pytest.mark.parametrize(
    ("expected", "found", "difference"),
    [
        ([1.0, -4.0], [1.0, -4.2], 0.05),  # of the largest value
        ([0.1, 0.2], [0.1, 0.3], 0.1),  # of 1
        ([1.0], [np.nan], np.inf),
        ([1.0, 2.0], [1.0], np.inf),
        ([1.0, np.nan], [1.0, 7.0], 0.0),  # at padding
    ],
)
def test_the_difference_is_a_part_of_the_largest_value(expected: Any, found: Any, difference: float) -> None:
    assert programs._difference({"pooled": np.array(expected)}, {"pooled": np.array(found)}) == pytest.approx(
        difference
    )


class Rounds(Encoder):
    """Loses the last digits of its input, in float32 about 1e-4."""

    dim = 1

    def forward(self, x: torch.Tensor, *, layers: bool = False) -> Features:
        x = (x + 3000) - 3000
        return Features(x, x.mean(1))


@pytest.mark.parametrize(("times", "kept"), [(1, True), (10, False)])
def test_rounding_of_the_network_itself_is_no_difference(
    times: int, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written gives the exact values, or moves ten times as far from the encoder's."""

    def read(format: str, folder: Path, inputs: list[np.ndarray]) -> list[Mapping[str, np.ndarray]]:
        outputs: list[Mapping[str, np.ndarray]] = []
        for x in inputs:
            own = Rounds()(torch.from_numpy(x)).tokens.numpy()
            tokens = own + times * (x - own)
            outputs.append({"tokens": tokens, "pooled": tokens.mean(1)})
        return outputs

    monkeypatch.setattr(programs, "read", read)
    if kept:
        verified = programs.verify("onnx", Rounds(), spec_of("mlp"), tmp_path)
        assert programs.TOLERANCE < verified.difference < 1e-3
        assert verified.rounding == pytest.approx(verified.difference, rel=0.1)
    else:
        with pytest.raises(ConfigError, match="nothing is kept"):
            programs.verify("onnx", Rounds(), spec_of("mlp"), tmp_path)


@pytest.mark.thorough
def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes(b"no program")
    with pytest.raises(ConfigError, match="format=torch_export: what was written cannot be read back"):
        programs.verify("torch_export", exported("mlp"), spec_of("mlp"), tmp_path)


def test_no_file_has_a_path_of_this_machine(tmp_path: Path) -> None:
    import zipfile

    tracing.write_torch_export(exported("lstm"), spec_of("lstm"), tmp_path / "model.pt2")
    here = str(Path(__file__).parents[3]).encode()
    with zipfile.ZipFile(tmp_path / "model.pt2") as archive:
        assert not [name for name in archive.namelist() if here in archive.read(name)]
    pytest.importorskip("onnxscript")
    tracing.write_onnx(exported("lstm"), spec_of("lstm"), tmp_path / "model.onnx")
    assert here not in (tmp_path / "model.onnx").read_bytes()


def test_free_dimensions_of_a_model_have_names(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    tracing.write_onnx(exported("lstm"), spec_of("lstm"), tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert (given.name, given.shape, given.type) == ("ids", ["batch", "length"], "tensor(int64)")
    assert [(each.name, each.shape[0], each.shape[-1]) for each in session.get_outputs()] == [
        ("pooled", "batch", 256),
        ("tokens", "batch", 256),
    ]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "find_spec", lambda name: None if name == "onnxscript" else object())
    programs.check("torch_export", exported("mlp"))
    with pytest.raises(
        ConfigError, match=r"format=onnx needs the package onnxscript: pip install 'ssl-runner\[onnx\]'"
    ):
        programs.check("onnx", exported("mlp"))


@pytest.mark.parametrize(
    ("backbone", "format"), [("convnet", "torchvision"), ("resnet18", "timm"), ("lstm", "huggingface")]
)
def test_a_network_of_another_library_is_refused_towards_onnx(backbone: str, format: str) -> None:
    with pytest.raises(ConfigError, match=f"format is {format}, and the backbone .* set format=onnx"):
        programs.check(format, exported(backbone))


def test_what_cannot_be_traced_is_refused(tmp_path: Path) -> None:
    encoder, spec = exported("lstm"), spec_of("lstm")
    encoder.layers = nn.ModuleList([nn.LSTM(256, 128, batch_first=True, bidirectional=True)])
    with pytest.raises(
        ConfigError, match=r"layers.0 is an LSTM of several layers, of two directions or without biases"
    ):
        programs.write("torch_export", encoder, spec, tmp_path)


class _Branches(nn.Module):
    """Depends on values, as no graph can."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def test_what_the_exporter_refuses_is_told_in_a_line(tmp_path: Path) -> None:
    encoder, spec = exported("convnet"), spec_of("convnet")
    encoder.stages.append(_Branches())
    with pytest.raises(ConfigError, match=r"format is torch_export: .*; set format=onnx") as told:
        programs.write("torch_export", encoder, spec, tmp_path)
    assert len(told.value.problems[0].splitlines()) == 1


def test_tables_are_searched_as_torch_does() -> None:
    generator = torch.Generator().manual_seed(0)
    for n in (1, 2, 3, 7, 8, 9, 100):
        table = torch.randint(0, 50, (n,), generator=generator).sort().values
        keys = torch.randint(-5, 55, (4, 30), generator=generator)
        assert torch.equal(tracing._bisected(table, keys), torch.searchsorted(table, keys))


# ---------------------------------------------------------------------------------------------------------- torchvision


@pytest.mark.parametrize("depth", [18, 34, 50])
@pytest.mark.sampled(1)
def test_torchvision_loads_a_resnet_strictly(depth: int, tmp_path: Path) -> None:
    encoder = exported(f"resnet{depth}", LARGE, depth=depth)
    encoder.save_for_library(tmp_path)
    about = json.loads((tmp_path / "config.json").read_text())
    assert about["architecture"] == f"resnet{depth}"
    assert about["mean"] == pytest.approx([0.4] * 3)
    assert about["std"] == pytest.approx([0.3] * 3)
    model = getattr(torchvision.models, f"resnet{depth}")(num_classes=encoder.dim)
    found = model.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert (found.missing_keys, found.unexpected_keys) == ([], [])
    x = torch.rand(3, 3, 96, 96)
    with torch.inference_mode():
        expected = encoder(x).pooled
        torch.testing.assert_close(model.eval()((x - 0.4) / 0.3), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("in_this_process")
def test_a_resnet_is_written_for_torchvision_and_verified(tmp_path: Path) -> None:
    verified = programs.write("torchvision", exported("resnet18", LARGE), LARGE, tmp_path)
    assert verified.difference <= programs.TOLERANCE
    assert {file.name for file in tmp_path.iterdir()} == {"model.safetensors", "config.json"}


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.thorough
def test_a_vgg_is_written_for_torchvision_and_verified(tmp_path: Path) -> None:
    spec = ImageSpec(channels=3, height=64, width=32)
    encoder = exported("vgg19_bn", spec, widening=8, connected=0)
    verified = programs.write("torchvision", encoder, spec, tmp_path)
    assert verified.difference <= programs.TOLERANCE
    about = json.loads((tmp_path / "config.json").read_text())
    assert (about["architecture"], about["part"]) == ("vgg11_bn", "features")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"depth": 26}, "backbone.depth=26, and torchvision has no such network"),
        ({"depth": 18, "widening": 1}, "backbone.widening=1, and torchvision has 4 alone"),
        ({"depth": 18, "last_relu": False}, "backbone.last_relu=false, and torchvision has a ReLU there"),
    ],
)
def test_forms_of_a_resnet_that_torchvision_does_not_have_are_refused(changes, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"this network has {problem}"):
        exported("resnet50", LARGE, **changes).save_for_library(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (ImageSpec(channels=3, height=32, width=32), r"the small stem \(backbone.stem\)"),
        (ImageSpec(channels=1, height=96, width=96), "1 channels"),
    ],
)
def test_a_resnet_that_torchvision_does_not_have_is_refused(spec: ImageSpec, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"format is torchvision: this network has {problem}.*set format=onnx"):
        programs.write("torchvision", exported("resnet18", spec), spec, tmp_path)
    assert list(tmp_path.iterdir()) == []
