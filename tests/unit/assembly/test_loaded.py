"""load_encoder as people use it: what it reads, what it refuses, which features it gives."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported_backbones import BACKBONES, exported, spec_of
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2.functional import resize

import ssl_runner
from ssl_runner.assembly import construct, export
from ssl_runner.assembly.load import load_encoder
from ssl_runner.assembly.loaded import LoadedEncoder
from ssl_runner.config.compose import compose
from ssl_runner.data.text.tokens import train_tokenizer
from ssl_runner.interfaces import (
    ClipEncoder,
    Encoder,
    Features,
    ImageSpec,
    MapEncoder,
    MixtureEncoder,
    PatchEncoder,
    Published,
    TextEncoder,
    TextSpec,
    TubeEncoder,
    VideoSpec,
)

COLOR = ImageSpec(channels=3, height=6, width=4)
GRAY = ImageSpec(channels=1, height=6, width=4)


class Echo(Encoder):
    """Gives what it is given."""

    dim = 1

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        return Features(x * self.weight, x * self.weight, (x,) if layers else ())


def loaded(spec: Any, resize: bool = True, encoder: Encoder | None = None) -> LoadedEncoder:
    return LoadedEncoder(Echo() if encoder is None else encoder, spec, resize=resize)


@pytest.fixture
def pixels() -> np.ndarray:
    """(5, 6, 4, 3) uint8: five images."""
    return np.random.default_rng(0).integers(256, size=(5, 6, 4, 3), dtype=np.uint8)


def test_it_is_listed_with_what_the_package_gives() -> None:
    assert {"load_encoder", "load_tokenizer", "__version__"} <= set(dir(ssl_runner))
    assert ssl_runner.load_encoder is load_encoder


# --------------------------------------------------------------------------------------------------------------- images


def test_every_form_of_images_is_the_same_input(pixels: np.ndarray) -> None:
    expected = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    first = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    many = [
        pixels,
        first,
        torch.from_numpy(pixels),
        torch.from_numpy(first),
        first / 255,
        (first / 255).astype(np.float32),
        expected,
        expected.double(),
        list(pixels),
        tuple(first),
        list(expected),
        [Image.fromarray(each) for each in pixels],
        pixels[::-1][::-1],
        np.broadcast_to(pixels, pixels.shape),  # not to be written to
        np.flip(pixels, 2)[:, :, ::-1],
    ]
    for given in many:
        found = loaded(COLOR).input(given)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    one = [pixels[0], first[0], torch.from_numpy(first[0]), Image.fromarray(pixels[0]), [pixels[0]], expected[0]]
    for given in one:
        torch.testing.assert_close(loaded(COLOR).input(given), expected[:1], rtol=0, atol=1e-6)


def test_gray_images_may_be_without_channels(pixels: np.ndarray) -> None:
    gray = pixels[..., 0]
    expected = torch.from_numpy(gray)[:, None].float() / 255
    for given in (gray, gray[..., None], gray[:, None], list(gray), [Image.fromarray(each) for each in gray]):
        torch.testing.assert_close(loaded(GRAY).input(given), expected)
    for one in (gray[0], gray[:1], gray[0][..., None], torch.from_numpy(gray[0])):
        torch.testing.assert_close(loaded(GRAY).input(one), expected[:1])


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK"])
def test_pictures_are_converted_and_it_is_said(mode: str, pixels: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    picture = Image.fromarray(pixels[0]).convert(mode)
    encoder = loaded(COLOR)
    expected = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).float() / 255
    for _ in range(2):
        torch.testing.assert_close(encoder.input(picture)[0], expected)
    assert [record.message for record in caplog.records] == [
        f"pictures of mode {'RGBA' if mode == 'P' else mode} are converted to RGB, as the encoder reads them"
    ]


def test_a_picture_is_read_upright(pixels: np.ndarray) -> None:
    picture = Image.fromarray(np.rot90(pixels[0], -1))  # lying, and saying so
    picture.getexif()[0x0112] = 8
    torch.testing.assert_close(loaded(COLOR).input(picture), loaded(COLOR).input(pixels[0]))


def test_other_sizes_are_resized_and_it_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """The center in the proportions of pretraining, as the datasets of folders do."""
    big = torch.rand(2, 3, 20, 8)
    encoder = loaded(COLOR)
    with caplog.at_level(logging.WARNING):
        found = encoder.input(big)
        encoder.input(big)
        encoder.input(torch.rand(1, 3, 12, 12))
    assert found.shape == (2, 3, 6, 4)
    torch.testing.assert_close(found, resize(big[:, :, 4:16], [6, 4], interpolation=3, antialias=True).clamp(0, 1))
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "images of 20 x 8 pixels are resized to 6 x 4"
    ]
    assert loaded(COLOR, resize=False).input(big).shape == big.shape


def test_images_of_several_sizes_are_one_batch() -> None:
    given = [torch.rand(3, 6, 4), torch.rand(3, 9, 9), np.zeros((12, 8, 3), np.uint8)]
    assert loaded(COLOR).input(given).shape == (3, 3, 6, 4)
    with pytest.raises(ValueError, match="in one list; they must be alike"):
        loaded(COLOR, resize=False).input(given)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (torch.linspace(0, 255, 144).view(2, 3, 6, 4), r"floats from 0 to 255 were given; give uint8, or floats in"),
        (torch.linspace(-2, 2, 144).view(2, 3, 6, 4), r"floats from -2 to 2 .* the encoder normalizes by itself"),
        (torch.full((2, 3, 6, 4), torch.nan), "floats from nan to nan"),
        (torch.zeros(2, 3, 6, 4, dtype=torch.int64), "values of type torch.int64 were given; give uint8"),
        (np.zeros((2, 3, 6, 4), bool), "values of type torch.bool"),
        (torch.rand(2, 1, 6, 4), r"shape \(2, 1, 6, 4\) was given; this encoder reads 3 channels: \(B, 3, H, W\)"),
        (torch.rand(24), r"shape \(24,\)"),
        (torch.rand(1, 2, 3, 6, 4), r"shape \(1, 2, 3, 6, 4\)"),
        (np.zeros((3, 6, 3), np.uint8), "channels could be first or last; give a tensor with the channels first"),
        ([], "an empty list was given"),
        ([torch.rand(2, 3, 6, 4)], r"a list of arrays of shape \(2, 3, 6, 4\) was given; each must be one image"),
        ("a text", "which is no array of numbers"),
        (None, "NoneType was given, which is no array of numbers"),
        (Image.fromarray(np.zeros((6, 4), np.float32)), "the picture's mode is F, whose range is unknown"),
    ],
)
def test_what_is_no_image_is_refused(given: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        loaded(COLOR)(given)


def test_a_picture_for_other_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="the encoder reads 5 channels; give an array"):
        loaded(ImageSpec(channels=5, height=6, width=4))(Image.new("RGB", (4, 6)))


def test_a_tensor_has_its_channels_first() -> None:
    x = torch.rand(2, 3, 6, 3)
    assert torch.equal(loaded(ImageSpec(channels=3, height=6, width=3)).input(x), x)


# ---------------------------------------------------------------------------------------------------------------- clips

CLIPS = VideoSpec(frames=2, channels=3, height=6, width=4)


def test_every_form_of_clips_is_the_same_input() -> None:
    pixels = np.random.default_rng(0).integers(256, size=(3, 2, 6, 4, 3), dtype=np.uint8)
    expected = torch.from_numpy(pixels).permute(0, 1, 4, 2, 3).float() / 255
    frames = [[Image.fromarray(frame) for frame in clip] for clip in pixels]
    for given in (pixels, expected, list(pixels), list(expected), frames, [list(clip) for clip in pixels]):
        torch.testing.assert_close(loaded(CLIPS).input(given), expected)
    for one in (pixels[0], expected[0], frames[0], list(pixels[0])):
        torch.testing.assert_close(loaded(CLIPS).input(one), expected[:1])
    assert loaded(CLIPS).input(torch.rand(3, 2, 3, 12, 8)).shape == (3, 2, 3, 6, 4)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (torch.rand(2, 1, 6, 4), r"\(B, T, 3, H, W\)"),
        ([torch.rand(2, 3, 6, 4), torch.rand(3, 6, 4)], "frames and clips were given in one list"),
        ([torch.rand(2, 3, 6, 4), torch.rand(4, 3, 6, 4)], "clips of shapes"),
    ],
)
def test_what_is_no_clip_is_refused(given: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        loaded(CLIPS)(given)


# ---------------------------------------------------------------------------------------------------------------- texts


@pytest.fixture(scope="module")
def text() -> TextSpec:
    tokenizer = train_tokenizer(
        ["a cat sat on a mat"] * 3, tokens="words", words="marks", vocabulary=20, lowercase=True
    )
    return TextSpec(length=6, vocabulary=11, tokenizer=tokenizer)


def test_strings_are_read_by_its_own_tokenizer(text: TextSpec, caplog: pytest.LogCaptureFixture) -> None:
    encoder = loaded(text)
    a, cat, sat = (encoder.tokenizer.token_to_id(word) for word in ("a", "cat", "sat"))
    assert encoder.input("a cat").tolist() == [[2, a, cat, 3]]
    assert encoder.input(["A cat sat", "cat", ""]).tolist() == [[2, a, cat, sat, 3], [2, cat, 3, 0, 0], [2, 3, 0, 0, 0]]
    assert encoder.input(["a cat"] * 3).dtype == torch.int64
    assert encoder.input("a cat sat on a mat").shape == (1, 8)  # any length
    assert not caplog.records


def test_strings_are_cut_to_what_it_was_pretrained_on(text: TextSpec, caplog: pytest.LogCaptureFixture) -> None:
    network = exported("gpt_tiny", text)
    assert isinstance(network, TextEncoder)
    network.reach = 5
    encoder = loaded(text, encoder=network)
    for _ in range(2):
        found = encoder.input(["a cat sat on a mat", "a cat"])
    assert found.shape == (2, 5)
    assert found[0, -1] == 3
    assert [record.message for record in caplog.records] == [
        "texts of more than 5 tokens are cut, the most that this encoder was pretrained on"
    ]


def test_ids_are_read_too(text: TextSpec) -> None:
    encoder = loaded(text)
    expected = torch.tensor([[2, 7, 8, 3], [2, 7, 3, 0]])
    for given in (expected, expected.int(), expected.numpy(), [[2, 7, 8, 3], [2, 7, 3]], list(expected.numpy())):
        assert torch.equal(encoder.input(given), expected)
    for given in (expected[0], [2, 7, 8, 3], expected[:1].numpy()):
        assert torch.equal(encoder.input(given), expected[:1])


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (torch.tensor([[2, 11]]), "ids from 2 to 11 were given; those of this encoder go from 0 to 10"),
        (torch.tensor([[-1, 4]]), "ids from -1 to 4"),
        (torch.rand(2, 3), "values of type torch.float32 were given; this encoder reads strings, or ids"),
        (torch.zeros(1, 2, 3, dtype=torch.int64), r"ids of shape \(1, 2, 3\)"),
        (["a", 3], "which is no array of numbers|values of type"),
        ([], "an empty list"),
    ],
)
def test_what_is_no_text_is_refused(given: Any, problem: str, text: TextSpec) -> None:
    with pytest.raises(ValueError, match=problem):
        loaded(text)(given)


def test_strings_need_a_tokenizer() -> None:
    with pytest.raises(ValueError, match="no tokenizer"):
        loaded(TextSpec(length=6, vocabulary=11))("a text")
    with pytest.raises(ValueError, match="no tokenizer: it was pretrained on images"):
        _ = loaded(COLOR).tokenizer


def test_vectors_are_floats_of_the_width_of_pretraining() -> None:
    encoder = loaded(spec_of("mlp"))
    x = torch.rand(4, 2, 8)
    for given in (x, x.numpy(), x.double(), list(x)):
        torch.testing.assert_close(encoder.input(given), x)
    assert encoder.input(x[0]).shape == (1, 2, 8)
    for given in (torch.rand(4, 2, 7), torch.zeros(4, 2, 8, dtype=torch.int64), torch.rand(8)):
        with pytest.raises(ValueError, match=r"this encoder reads floats of shape \(B, N, 8\)"):
            encoder(given)


# ----------------------------------------------------------------------------------------------- gradients and features


def test_there_are_no_gradients_unless_asked_for() -> None:
    encoder = loaded(spec_of("convnet"), encoder=exported("convnet"))
    x = torch.rand(2, 3, 32, 32)
    assert not encoder(x).pooled.requires_grad
    assert not encoder.features(x, layer=0, per="grid").requires_grad
    x.requires_grad_()
    encoder(x).pooled.sum().backward()
    assert x.grad is not None
    assert x.grad.any()
    assert all(weight.grad is None for weight in encoder.parameters())
    encoder.requires_grad_()
    encoder(x.detach()).pooled.square().sum().backward()
    assert all(weight.grad is not None for weight in encoder.parameters())


@pytest.fixture(params=BACKBONES)
def case(request: pytest.FixtureRequest) -> tuple[LoadedEncoder, Tensor]:
    spec, network = spec_of(request.param), exported(request.param)
    x = spec.to_input(spec.fake(3))
    if isinstance(spec, TextSpec):
        x[1, 7:] = 0
    return loaded(spec, encoder=network), x


def last_alone(network: Encoder) -> bool:
    """Whether only the last layer has a vector for each position."""
    if isinstance(network, TextEncoder):
        return False
    return isinstance(network, Published | MixtureEncoder)


@pytest.mark.sampled(6)
def test_each_layer_has_features_of_examples_and_positions(case: tuple[LoadedEncoder, Tensor]) -> None:
    """Their mean over positions is the layer's pooled vector, but where an order of frames is read."""
    encoder, x = case
    network = encoder.encoder
    expected = network(x, layers=True)
    count = len(expected.layers)
    ordered = isinstance(network, ClipEncoder) and network.ordered and len(x.shape) == 5
    for layer in range(-count, count):
        pooled = encoder.features(x, layer=layer)
        torch.testing.assert_close(pooled, expected.layers[layer], rtol=1e-5, atol=1e-5)
        if last_alone(network) and layer not in (-1, count - 1):
            with pytest.raises(ValueError, match="shows the positions of its last layer alone"):
                encoder.features(x, layer=layer, per="position")
            continue
        positions = encoder.features(x, layer=layer, per="position")
        assert positions.shape[::2] == pooled.shape
        if isinstance(network, TextEncoder):
            for row, length in enumerate((12, 7, 12)):
                torch.testing.assert_close(positions[row, :length].mean(0), pooled[row], rtol=1e-4, atol=1e-5)
        elif not (ordered and layer in (-1, count - 1)) or isinstance(network, TubeEncoder):
            torch.testing.assert_close(positions.mean(1), pooled, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder.features(x), expected.pooled)
    kept = x != 0 if isinstance(network, TextEncoder) else ...
    torch.testing.assert_close(encoder.features(x, per="position")[kept], expected.tokens[kept], rtol=1e-5, atol=1e-5)
    for layer in (count, -count - 1):
        with pytest.raises(ValueError, match=f"layer is {layer}; this encoder has {count}: 0 to {count - 1}"):
            encoder.features(x, layer=layer)


@pytest.mark.sampled(6)
def test_positions_on_a_grid_lie_row_by_row(case: tuple[LoadedEncoder, Tensor]) -> None:
    encoder, x = case
    network = encoder.encoder
    if not isinstance(network, MapEncoder | PatchEncoder | ClipEncoder):
        with pytest.raises(ValueError, match=r"the positions of .* form none; ask for per='position'"):
            encoder.features(x, per="grid")
        return
    for layer in (-1,) if last_alone(network) else (0, -1):
        grid = encoder.features(x, layer=layer, per="grid")
        positions = encoder.features(x, layer=layer, per="position")
        assert grid.ndim == (5 if isinstance(network, ClipEncoder) else 4)
        assert torch.equal(grid.flatten(2).mT, positions)
    if isinstance(network, MapEncoder | ClipEncoder):
        assert torch.equal(encoder.features(x, per="grid"), network.map(x))
    else:
        assert encoder.features(x, per="grid").shape[2:] == network.grid


@pytest.mark.parametrize("pool", ["mean", "lstm", "attention"])
@pytest.mark.parametrize("image", ["convnet", "vit_micro"])
def test_frames_of_a_clip_are_as_the_image_backbone_sees_them(pool: str, image: str) -> None:
    spec = spec_of("per_frame")
    node = compose(["backbone=per_frame", f"backbone/image={image}", f"backbone.pool={pool}"])["backbone"]
    network = construct.encoder(node, spec).eval()
    encoder = loaded(spec, encoder=network)
    x = spec.to_input(spec.fake(2))
    expected = network(x, layers=True).layers
    for layer in range(len(expected) - (pool != "mean")):  # what pools sees the order of frames
        found = encoder.features(x, layer=layer, per="grid")
        assert found.shape[:3] == (2, expected[layer].shape[1], 4)
        torch.testing.assert_close(found.mean((2, 3, 4)), expected[layer], rtol=1e-4, atol=1e-5)


def test_a_network_that_hides_its_blocks_gives_them_pooled() -> None:
    class Hidden(Echo):
        def forward(self, x: Tensor, *, layers: bool = False) -> Features:
            pooled = x.mean((2, 3))
            return Features(x.flatten(2).mT, pooled, (pooled / 2, pooled) if layers else ())

    encoder = loaded(COLOR, encoder=Hidden())
    x = torch.rand(2, 3, 6, 4)
    assert encoder.features(x, layer=0).shape == (2, 3)
    assert encoder.features(x, per="position").shape == (2, 24, 3)
    with pytest.raises(ValueError, match="a Hidden shows the positions of its last layer alone"):
        encoder.features(x, layer=0, per="position")
    with pytest.raises(ValueError, match="per is 'pixel'; it must be example, position or grid"):
        encoder.features(x, per="pixel")


def test_an_exported_folder_is_loaded(tmp_path: Path) -> None:
    network = exported("convnet")
    export.export_encoder(tmp_path / "encoder", network, compose([])["backbone"], spec_of("convnet"))
    encoder = load_encoder(tmp_path)
    assert encoder.dim == 128
    assert not encoder.training
    assert not encoder.encoder.training
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(encoder(x).pooled, network(x).pooled)
    assert encoder(x, layers=True).layers[0].shape == (2, 32)
    assert load_encoder(tmp_path, resize=False)(torch.rand(1, 3, 64, 64)).tokens.shape == (1, 64, 128)
