from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition
from made_video import write

from ssl_runner.data.any.module import DataModule
from ssl_runner.data.video.clips import Cut, read_clips, read_frames
from ssl_runner.data.video.video_folder import VideoFolder

REAL = Path(__file__).parents[5] / "shared" / "data" / "video"

CUT = Cut(frames=4, stride=4, rate=None, side=32, channels=3)


def source(root: Path, **changes: object) -> VideoFolder:
    settings = {
        "path": str(root),
        "labels": "folders",
        "splits": "folders",
        "side": 32,
        "channels": 3,
        "frames": 4,
        "stride": 4,
        "rate": None,
        "on_broken": "refuse",
        "cache": str(root.parent / "cache"),
        "test_fraction": 0.25,
        "val_fraction": 0.34,
        "split_seed": 0,
    }
    return VideoFolder(**{**settings, **changes})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("left", "right"):
        for number in range(4):
            write(tmp_path / "videos" / name / f"{number}.mp4", 10)
    return tmp_path / "videos"


def test_clips_of_a_video_are_in_one_split_and_the_rest_is_left_out(root: Path) -> None:
    splits = source(root).load()
    # 8 videos, 10 frames: clips at 0 and 4, two frames left. 2 videos for test, round(0.34 * 6) = 2 for val.
    assert {part: len(splits[part].label) for part in ("train", "val", "test")} == {"train": 8, "val": 4, "test": 4}
    assert splits["train"].data.shape == (8, 4, 3, 32, 32)
    assert splits["test"].label.tolist() == [0, 0, 1, 1]
    levels = splits["train"].data[:2].float().mean((2, 3, 4))
    torch.testing.assert_close(levels, torch.arange(8.0).view(2, 4) * 10, atol=3, rtol=0)


def test_clips_know_their_videos(root: Path) -> None:
    found = source(root)
    with pytest.raises(ValueError, match="before the clips were loaded"):
        found.videos("test")
    splits = found.load()
    numbers = [found.videos(part) for part in ("train", "val", "test")]
    assert [each.bincount()[each.unique()].tolist() for each in numbers] == [[2] * 4, [2] * 2, [2] * 2]
    assert len(torch.cat(numbers).unique()) == 8  # no video is in two splits
    for part, number in zip(("train", "val", "test"), numbers, strict=True):
        assert all(len(splits[part].label[number == each].unique()) == 1 for each in number.unique())
    data = DataModule(found, batch_size=2, seed=0)
    assert torch.equal(data.videos("pretrain"), numbers[0])


def test_overlapping_clips(root: Path) -> None:
    data = source(root, stride=3).load()["train"].data  # clips at 0, 3 and 6
    assert len(data) == 12
    assert data[0, 3].equal(data[1, 0])
    assert data[1, 3].equal(data[2, 0])


@pytest.mark.parametrize(
    ("codec", "name"),
    [("mpeg4", "a.avi"), ("libx264", "a.mp4"), ("libvpx-vp9", "a.webm"), ("mpeg4", "a.mkv"), ("mpeg4", "a.mov")],
)
@pytest.mark.parametrize(("channels", "layout"), [(1, "gray"), (3, "rgb24")])
def test_frames_are_those_of_pyav(tmp_path: Path, codec: str, name: str, channels: int, layout: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg cannot write {codec}")
    file = tmp_path / name
    write(file, 9, width=46, height=32, codec=codec)
    with av.open(str(file)) as container:
        truth = [
            frame.to_ndarray(format=layout)[:, 7:39].reshape(32, 32, channels) for frame in container.decode(video=0)
        ]
    ours = list(read_frames(file, Cut(4, 4, None, 32, channels)))
    assert len(ours) == len(truth) == 9
    for mine, theirs in zip(ours, truth, strict=True):
        assert np.array_equal(mine.transpose(1, 2, 0), theirs)


@pytest.mark.parametrize("where", ["title.avi", "title.mkv", "title.mp4", "VideoHandler.mp4"])
def test_titles_that_are_no_utf_8_do_not_matter(tmp_path: Path, where: str) -> None:
    file = tmp_path / where
    write(file, 6, title="VideoHandlex")
    mark = b"VideoHandler" if where.startswith("Video") else b"VideoHandlex"
    content = file.read_bytes()
    assert mark in content
    file.write_bytes(content.replace(mark, b"Vid\xe9oH\xe4ndler"))
    levels = [round(image.mean() / 10) for image in read_frames(file, CUT)]
    assert levels == [0, 1, 2, 3, 4, 5]


def test_the_cover_of_a_sound_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as out:
        sound = out.add_stream("aac", rate=8000)
        cover = out.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "rgb24"
        cover.disposition = Disposition.attached_pic
        out.mux(cover.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), 200, np.uint8), format="rgb24")))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 8000
        out.mux([*sound.encode(silence), *sound.encode()])
    with pytest.raises(ValueError, match="it has no video stream"):
        list(read_frames(tmp_path / "a.mp4", CUT))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
@pytest.mark.parametrize(("width", "height"), [(47, 33), (33, 47), (3, 5), (65, 2)])
def test_odd_sizes_are_read(tmp_path: Path, name: str, width: int, height: int) -> None:
    """The left half is white: up to the scaler's edge, it is so in the square that is kept."""
    write(tmp_path / name, 4, width=width, height=height, mark=(slice(None), slice(0, width // 2)))
    for image in read_frames(tmp_path / name, Cut(4, 4, None, 32, 1)):
        assert image.shape == (1, 32, 32)
        if min(width, height) > 8:
            assert image[0, :, :14].min() > 150
            assert image[0, :, 18:].max() < 80


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
@pytest.mark.parametrize(
    ("width", "height", "pixel"), [(48, 96, Fraction(2)), (96, 48, Fraction(1, 2)), (64, 96, Fraction(3, 2))]
)
def test_pixels_that_are_no_squares_are_made_squares(
    tmp_path: Path, name: str, width: int, height: int, pixel: Fraction
) -> None:
    """A mark as wide as it is high where it is shown, half of the picture, in the middle; each picture is a square."""
    mark = (slice(height // 4, 3 * height // 4), slice(width // 4, 3 * width // 4))
    write(tmp_path / name, 4, width=width, height=height, pixel=pixel, mark=mark)
    for image in read_frames(tmp_path / name, Cut(4, 4, None, 32, 1)):
        white = image[0] > 140
        assert white.any(axis=0).sum() == pytest.approx(16, abs=1)
        assert white.any(axis=1).sum() == pytest.approx(16, abs=1)


@pytest.mark.parametrize("angle", [90, 180, -90])
def test_frames_are_turned_upright(tmp_path: Path, angle: int) -> None:
    file = tmp_path / "a.mp4"
    image = np.zeros((32, 32, 3), np.uint8)
    image[:8, :16] = 255  # the upper half of the left is bright at its upper end
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("this PyAV writes no rotation")
        stream.set_display_rotation(angle)
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    bright = next(iter(read_frames(file, Cut(4, 4, None, 32, 1))))[0] > 127
    part = {90: (slice(16, 32), slice(0, 8)), 180: (slice(24, 32), slice(16, 32)), -90: (slice(0, 16), slice(24, 32))}
    wanted = np.zeros((32, 32), bool)
    wanted[part[angle]] = True
    assert (bright == wanted).mean() > 0.97


def test_a_rate_chooses_by_time(tmp_path: Path) -> None:
    # Shown at 0, 0.1, 0.2, 0.6, 0.7 s; 5 a second: at 0, 0.2, 0.4 (that of 0.2 still), 0.6.
    file = tmp_path / "uneven.mkv"
    write(file, 5, times=[0, 10, 20, 60, 70])
    levels = [round(image.mean() / 10) for image in read_frames(file, Cut(4, 4, 5, 32, 1))]
    assert levels[:4] == [0, 2, 2, 3]


@pytest.mark.parametrize("size", [(33, 51), (51, 33), (7, 5), (201, 99)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    if "ffv1" not in av.codecs_available:
        pytest.skip("this FFmpeg cannot write ffv1")
    write(tmp_path / "odd.mkv", 3, width=size[0], height=size[1], codec="ffv1")
    images = list(read_frames(tmp_path / "odd.mkv", Cut(3, 3, None, 16, 3)))
    assert [image.shape for image in images] == [(3, 16, 16)] * 3
    assert [round(image.mean() / 10) for image in images] == [0, 1, 2]


def test_a_second_start_decodes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = source(root).load()

    def refuse(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("ssl_runner.data.video.clips.read_clips", refuse)
    second = source(root).load()
    assert all(first[part].data.equal(second[part].data) for part in first)
    with pytest.raises(AssertionError):
        source(root, stride=2).load()


def test_broken_files_are_named_and_refused_or_skipped(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "left" / "text.mp4").write_text("no video at all")
    write(root / "right" / "short.mp4", 3)
    with pytest.raises(ValueError, match=r"2 of 10 videos .*text\.mp4.*on_broken=skip") as caught:
        source(root).load()
    assert "short.mp4: it has 3 frames, and a clip needs 4 (dataset.frames)" in str(caught.value)
    splits = source(root, on_broken="skip").load()
    assert sum(len(splits[part].label) for part in ("train", "val", "test")) == 16
    assert "2 of 10 videos" in caplog.text


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not an existing folder"):
        source(tmp_path / "missing").check()
    (tmp_path / "videos" / "a").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"there is no video in .*/a"):
        source(tmp_path / "videos").check()
    for key, value in {
        "rate": 0,
        "side": 0,
        "stride": 0,
        "channels": 2,
        "on_broken": "no",
        "labels": "x",
        "val_fraction": 1,
    }.items():
        with pytest.raises(ValueError, match=f"dataset.{key} is {value}"):
            source(tmp_path, **{key: value})


def test_a_video_without_frames(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "empty.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 32
        container.start_encoding()
    with pytest.raises(ValueError, match=r"it has no frames|it cannot be decoded"):
        list(read_clips(tmp_path / "empty.mkv", CUT))


def test_sound_alone(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match="it has no video stream"):
        list(read_clips(tmp_path / "sound.mkv", CUT))


def test_a_file_that_breaks_off(root: Path) -> None:
    """MP4 has its index at the end: without it there is nothing to read."""
    whole = root / "left" / "0.mp4"
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"1 of 8 videos .*left/0.mp4: it (has no video stream|cannot be decoded)"):
        source(root).load()


def test_uneven_times_without_a_rate_keep_all_frames(tmp_path: Path) -> None:
    write(tmp_path / "uneven.mkv", 5, times=[0, 10, 20, 60, 70])
    levels = [round(image.mean() / 10) for image in read_frames(tmp_path / "uneven.mkv", Cut(4, 4, None, 32, 1))]
    assert levels == [0, 1, 2, 3, 4]


CLIPS = {  # frames; the last packet of each of the first three holds none, which their headers count
    "RATRACE_wave_f_nm_np1_fr_goo_37.avi": 72,
    "SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi": 74,
    "TrumanShow_wave_f_nm_np1_fr_med_26.avi": 48,
    "basketball.mp4": 333,
    "bigbuckbunny.mp4": 132,
}


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real clips are not in {REAL}")
@pytest.mark.parametrize("name", CLIPS)
def test_real_clips(name: str) -> None:
    """MPEG-4 and H.264, whose frames are stored out of order: all, in order and color, as PyAV decodes them."""
    seen = 0
    with av.open(str(REAL / name)) as container:
        stream = container.streams.video[0]
        side = min(stream.width, stream.height)  # nothing is scaled
        ours = read_frames(REAL / name, Cut(16, 16, None, side, 3))
        for mine, frame in zip(ours, container.decode(stream), strict=True):
            left = (frame.width - side) // 2
            assert np.array_equal(mine.transpose(1, 2, 0), frame.to_ndarray(format="rgb24")[:, left : left + side])
            seen += 1
    assert seen == CLIPS[name]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the real clips are not in {REAL}")
@pytest.mark.parametrize(("name", "rate"), [("RATRACE_wave_f_nm_np1_fr_goo_37.avi", 30), ("bigbuckbunny.mp4", 25)])
def test_a_fifth_of_a_real_clip_s_frames(name: str, rate: int) -> None:
    """Frames come in the order of presentation from AVI too, whose own times are those of decoding."""
    all_of_them, chosen = (list(read_frames(REAL / name, Cut(16, 16, r, 32, 1))) for r in (None, rate / 5))
    assert len(chosen) == len(all_of_them[::5])
    assert all(map(np.array_equal, chosen, all_of_them[::5]))
