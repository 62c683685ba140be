import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_runner.data.images import decode as decoding


def decode(path: Path, size: int, channels: int, depth: int | None = None) -> np.ndarray:
    return decoding.decode(path, decoding.Decoding(size, channels, depth)).pixels


def save(path, array: np.ndarray, **options: object):
    Image.fromarray(array).save(path, **options)
    return path


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)


def test_the_center_is_cut_out_untouched_where_the_size_fits(tmp_path) -> None:
    wide, tall = noise(20, 50, 3), noise(50, 20, 3)
    assert np.array_equal(decode(save(tmp_path / "w.png", wide), 20, 3), wide[:, 15:35].transpose(2, 0, 1))
    assert np.array_equal(decode(save(tmp_path / "t.png", tall), 20, 3), tall[15:35].transpose(2, 0, 1))


def test_the_shorter_side_is_resized_and_smoothed(tmp_path) -> None:
    """Stripes finer than the new pixels average out; halves stay where they are."""
    image = np.zeros((64, 128, 3), np.uint8)
    image[::2] = 200
    image[:, 64:, 0] = 255
    small = decode(save(tmp_path / "i.png", image), 16, 3)
    assert small.shape == (3, 16, 16)
    assert np.abs(small[1].astype(int) - 100).max() <= 12
    assert small[0, :, 10:].min() > 240


@pytest.mark.parametrize("channels", [1, 3])
def test_gray_and_color_become_what_is_asked(tmp_path, channels: int) -> None:
    gray = decode(save(tmp_path / "g.png", np.full((8, 8), 90, np.uint8)), 8, channels)
    assert gray.shape == (channels, 8, 8)
    assert (gray == 90).all()
    red = decode(save(tmp_path / "r.png", np.full((8, 8, 3), (255, 0, 0), np.uint8)), 8, channels)
    assert red[:, 0, 0].tolist() == ([76] if channels == 1 else [255, 0, 0])  # ITU-R 601: 0.299 * 255


def test_16_bit_gray_is_scaled_not_clipped(tmp_path) -> None:
    array = np.full((8, 8), 0x4080, np.uint16)
    assert (decode(save(tmp_path / "16.png", array), 8, 1) == 0x40).all()


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize(("depth", "bits"), [(8, 8), (10, 10), (12, 12), (16, 16), (None, 16)])
def test_a_stated_depth_is_read_whole(tmp_path: Path, suffix: str, depth: int | None, bits: int) -> None:
    """Against the formula, in floats: value / highest possible value * 255."""
    array = np.random.default_rng(0).integers(2**bits, size=(8, 8)).astype(np.uint16)
    array[0, 0] = 2**bits - 1
    path = tmp_path / f"deep.{suffix}"
    if suffix == "pgm":
        path.write_bytes(b"P5 8 8 65535\n" + array.astype(">u2").tobytes())
    else:
        save(path, array)
    found = decoding.decode(path, decoding.Decoding(8, 1, depth))
    assert np.array_equal(found.pixels[0], np.rint(array / (2**bits - 1) * 255))
    assert found.highest == 2**bits - 1


@pytest.mark.parametrize("dtype", [np.int32, np.uint16])
def test_values_beyond_the_depth_are_refused_not_clipped(tmp_path: Path, dtype: type) -> None:
    path = save(tmp_path / "i.tif", np.full((8, 8), 4096, dtype))
    with pytest.raises(ValueError, match=r"go from 4096 to 4096; with dataset\.depth=12 they may go from 0 to 4095"):
        decode(path, 8, 1, 12)
    if dtype is np.int32:
        for value in (-1, 65536):
            with pytest.raises(ValueError, match=f"go from {value} to {value}; with 16 bits"):
                decode(save(tmp_path / "i.tif", np.full((8, 8), value, dtype)), 8, 1)


def png_of_16_bits(path: Path, array: np.ndarray) -> Path:
    """(H, W, C) of one to four channels; Pillow writes none of colors."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[array.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 16, kind, 0, 0, 0)
    whole = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + whole)
    return path


@pytest.mark.parametrize("bands", [2, 3, 4])
def test_colors_of_16_bits_are_known_as_such(tmp_path: Path, bands: int) -> None:
    array = np.full((8, 8, bands), 0x4080)
    array[..., -1] = 0xFFFF if bands in (2, 4) else 0x0480
    found = decoding.decode(png_of_16_bits(tmp_path / "c.png", array), decoding.Decoding(8, 3))
    assert found.pixels[0, 0, 0] == 0x40
    assert found.highest == 0x40FF
    (tmp_path / "c.ppm").write_bytes(b"P6 2 2 65535\n" + np.full((2, 2, 3), 0x0080, ">u2").tobytes())
    assert decoding.decode(tmp_path / "c.ppm", decoding.Decoding(2, 3)).highest == 0xFF
    with pytest.raises(
        ValueError, match=r"are read by their upper 8 bits, and dataset\.depth is 12: save it with 8 bits"
    ):
        decode(tmp_path / "c.png", 8, 3, 12)
    assert decoding.decode(save(tmp_path / "8.png", noise(8, 8, 3)), decoding.Decoding(8, 3)).highest is None


def test_palettes_with_transparency_and_alpha_are_read(tmp_path) -> None:
    image = Image.fromarray(np.full((8, 8, 3), (10, 200, 30), np.uint8)).quantize(4)
    image.save(tmp_path / "p.png", transparency=bytes([0, 255, 255, 255]))
    assert decode(tmp_path / "p.png", 8, 3)[:, 3, 3].tolist() == [10, 200, 30]
    rgba = np.full((8, 8, 4), (10, 200, 30, 0), np.uint8)
    assert decode(save(tmp_path / "a.png", rgba), 8, 3)[:, 3, 3].tolist() == [10, 200, 30]


def test_photographs_are_turned_upright(tmp_path) -> None:
    array = np.zeros((8, 8, 3), np.uint8)
    array[0] = 255  # a bright top
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter clockwise: the top is then at the right
    upright = decode(save(tmp_path / "e.png", array, exif=exif), 8, 3)
    assert (upright[:, :, 7] == 255).all()
    assert (upright[:, :, :7] == 0).all()


def test_a_large_jpeg_keeps_its_picture(tmp_path) -> None:
    slope = np.linspace(0, 255, 800).astype(np.uint8)
    path = save(tmp_path / "j.jpg", np.broadcast_to(slope[None, :, None], (600, 800, 3)).copy(), quality=95)
    small = decode(path, 32, 3).astype(int)
    expected = np.interp((np.arange(32) + 0.5) / 32 * 600 + 100, np.arange(800) + 0.5, slope)
    assert np.abs(small[1, 16] - expected).max() < 4


def test_what_is_no_image_raises(tmp_path) -> None:
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(OSError, match="cannot identify"):
        decode(tmp_path / "no.png", 8, 3)
    half = save(tmp_path / "half.png", noise(64, 64, 3))
    half.write_bytes(half.read_bytes()[:4000])
    with pytest.raises(OSError, match="truncated"):
        decode(half, 8, 3)
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(ValueError, match=r"an image of floats, whose value range is unknown: set dataset\.range"):
        decode(tmp_path / "f.tif", 8, 3)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize(("depth", "bits"), [(12, 12), (16, 16), (None, 16)])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_kept(tmp_path: Path, suffix: str, depth: int | None, bits: int, channels: int) -> None:
    """Against the formula, in floats: value / highest possible value * 65535."""
    array = np.random.default_rng(0).integers(2**bits, size=(8, 8)).astype(np.uint16)
    path = tmp_path / f"deep.{suffix}"
    if suffix == "pgm":
        path.write_bytes(b"P5 8 8 65535\n" + array.astype(">u2").tobytes())
    else:
        save(path, array)
    found = decoding.decode(path, decoding.Decoding(8, channels, depth, 16))
    assert (found.pixels.dtype, found.pixels.shape, found.highest) == (np.uint16, (channels, 8, 8), array.max())
    assert np.abs(found.pixels - np.rint(array / (2**bits - 1) * 65535)).max() <= 1
    halved = decoding.decode(path, decoding.Decoding(4, 1, depth, 16)).pixels[0] / 65535
    wanted = Image.fromarray((array / (2**bits - 1)).astype(np.float32)).resize((4, 4), Image.Resampling.BICUBIC)
    assert np.abs(halved - np.asarray(wanted).clip(0, 1)).max() < 2e-5


def test_images_of_8_bits_fill_16(tmp_path: Path) -> None:
    array = noise(8, 8, 3)
    found = decoding.decode(save(tmp_path / "8.png", array), decoding.Decoding(8, 3, bits=16)).pixels
    assert np.array_equal(found, array.transpose(2, 0, 1).astype(int) * 257)
    with pytest.raises(ValueError, match=r"read by their upper 8 bits, and dataset\.bits is 16: save it with 8 bits"):
        decoding.decode(png_of_16_bits(tmp_path / "c.png", np.full((8, 8, 3), 500)), decoding.Decoding(8, 3, bits=16))


@pytest.mark.parametrize("bits", [8, 16])
def test_floats_are_read_by_their_range(tmp_path: Path, bits: int) -> None:
    values = np.random.default_rng(0).uniform(-1, 3, (8, 8)).astype(np.float32)
    path = save(tmp_path / "f.tif", values)
    found = decoding.decode(path, decoding.Decoding(8, 1, None, bits, (-1.0, 3.0)))
    assert np.abs(found.pixels[0] / (2**bits - 1) - (values + 1) / 4).max() <= 0.51 / (2**bits - 1) + 1e-6
    with pytest.raises(ValueError, match=r"go from -0\.9\d* to 2\.\d+, and dataset\.range is \[0\.0, 3\.0\]: widen it"):
        decoding.decode(path, decoding.Decoding(8, 1, None, bits, (0.0, 3.0)))
    values[0, 0] = np.nan
    with pytest.raises(ValueError, match="go from nan to nan"):
        decoding.decode(save(path, values), decoding.Decoding(8, 1, None, bits, (-1.0, 3.0)))
