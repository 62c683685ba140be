import numpy as np
import pytest
from PIL import Image

from ssl_runner.data.decode import decode


def save(path, array: np.ndarray, **options: object):
    Image.fromarray(array).save(path, **options)
    return path


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)


def test_the_centre_is_cut_out_untouched_where_the_size_fits(tmp_path) -> None:
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
def test_grey_and_colour_become_what_is_asked(tmp_path, channels: int) -> None:
    grey = decode(save(tmp_path / "g.png", np.full((8, 8), 90, np.uint8)), 8, channels)
    assert grey.shape == (channels, 8, 8)
    assert (grey == 90).all()
    red = decode(save(tmp_path / "r.png", np.full((8, 8, 3), (255, 0, 0), np.uint8)), 8, channels)
    assert red[:, 0, 0].tolist() == ([76] if channels == 1 else [255, 0, 0])  # ITU-R 601: 0.299 * 255


def test_16_bit_grey_is_scaled_not_clipped(tmp_path) -> None:
    array = np.full((8, 8), 0x4080, np.uint16)
    assert (decode(save(tmp_path / "16.png", array), 8, 1) == 0x40).all()


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
    with pytest.raises(ValueError, match="floats"):
        decode(tmp_path / "f.tif", 8, 3)
