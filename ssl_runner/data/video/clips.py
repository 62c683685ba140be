"""Decode video files once, into a memory-mapped cache of clips. n clips, T frames, C channels, S side."""

import hashlib
import json
import logging
import os
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from ssl_runner.data.any.folders import PARTS
from ssl_runner.data.any.mapped import mapped
from ssl_runner.data.any.progress import tracked
from ssl_runner.interfaces import DataSource, Examples, SplitName, VideoSpec

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.reformatter import VideoReformatter

log = logging.getLogger(__name__)
T = TypeVar("T")

CACHE_FORMAT = 4  # to be raised when what is decoded changes
AHEAD = 8  # frames that are decoded while others are scaled


class Cut(NamedTuple):
    """Settings of cutting clips from videos."""

    frames: int  # T
    stride: int  # kept frames from the start of a clip to that of the next
    rate: float | None  # frames that are kept of a second; None: all
    side: int  # S
    channels: Literal[1, 3]

    def spec(self, names: tuple[str, ...]) -> VideoSpec:
        """The spec of these clips, with the given classes."""
        return VideoSpec(
            frames=self.frames,
            channels=self.channels,
            height=self.side,
            width=self.side,
            classes=len(names),
            class_names=names,
        )


def check_cut(cut: Cut) -> None:
    """Raise ValueError if a setting is out of range."""
    for name, number in (("side", cut.side), ("frames", cut.frames), ("stride", cut.stride)):
        if number < 1:
            raise ValueError(f"dataset.{name} is {number}; it must be at least 1")
    if cut.rate is not None and not 0 < cut.rate < float("inf"):
        raise ValueError(f"dataset.rate is {cut.rate}; it must be more than 0 frames a second, or null: all frames")
    if cut.channels not in (1, 3):
        raise ValueError(f"dataset.channels is {cut.channels}; it must be 1 (gray) or 3 (color)")


class Clips(NamedTuple):
    data: Tensor  # (n, T, C, S, S) uint8, memory-mapped
    counts: tuple[int, ...]  # clips of each file, in the order of the files; 0: it is broken
    broken: tuple[str, ...]  # "path: why"


class Loaded(NamedTuple):
    splits: dict[SplitName, Examples]
    videos: dict[SplitName, Tensor]  # (n,) int64: the number of each clip's video, which no other split has


class ClipSource(DataSource):
    """A dataset of clips cut from video files: `interfaces.OfVideos`."""

    _videos: Mapping[SplitName, Tensor] = {}  # `Loaded.videos`, after `load`

    def videos(self, split: SplitName) -> Tensor:
        """(n,) int64: the number of each clip's video. Raises ValueError before `load`."""
        if not self._videos:
            raise ValueError("the videos of clips are requested before the clips were loaded")
        return self._videos[split]


def load_splits(
    root: Path,
    key: str,
    splits: Mapping[str, Sequence[tuple[Path, int]]],
    *,
    cut: Cut,
    cache: Path,
    on_broken: Literal["refuse", "skip"],
) -> Loaded:
    """The clips of each of `PARTS`, of videos under `root` with their labels; each clip has the label of its video.

    Raises ValueError, which names the setting `key` that leads to the videos, where files are broken and that is
    refused, where nothing is left of a split, and where the cache cannot be written.
    """
    videos = [video for part in PARTS for video in splits[part]]  # a split is then a slice of what is decoded
    try:
        clips = read_all(root, [path for path, _ in videos], cut=cut, cache=cache)
    except OSError as error:
        raise ValueError(f"decoding into dataset.cache {cache} failed: {error}") from error
    if clips.broken:
        some = "; ".join(clips.broken[:5]) + ("; ..." if len(clips.broken) > 5 else "")
        what = f"{len(clips.broken)} of {len(videos)} videos in {root} ({key}) cannot be used: {some}"
        if on_broken == "refuse":
            raise ValueError(f"{what}; repair or remove them, or set dataset.on_broken=skip")
        log.warning("skipped: %s", what)
    counts = torch.tensor(clips.counts)
    label = torch.tensor([label for _, label in videos]).repeat_interleave(counts)
    number = torch.arange(len(videos)).repeat_interleave(counts)
    sizes = [int(part.sum()) for part in counts.split([len(splits[part]) for part in PARTS])]
    if 0 in sizes:
        raise ValueError(f"all videos of {PARTS[sizes.index(0)]} in {root} ({key}) are damaged")
    train, val, test = (Examples(*both) for both in zip(clips.data.split(sizes), label.split(sizes), strict=True))
    of_train, of_val, of_test = number.split(sizes)
    return Loaded(
        {"pretrain": train, "train": train, "val": val, "test": test},
        {"pretrain": of_train, "train": of_train, "val": of_val, "test": of_test},
    )


def read_all(root: Path, files: Sequence[Path], *, cut: Cut, cache: Path) -> Clips:
    """Decode `files` (under `root`), or take them from `cache` if neither they nor the settings have changed.

    Files are known by their paths, lengths and times of change. They are read one after another, each by as many
    threads as the decoder likes and one that scales, and clips are written as they come: in memory are T frames of S by
    S pixels, `AHEAD` whole frames and what the decoder holds, however long a video is. Raises OSError where the cache
    cannot be written, ValueError where it is damaged.
    """
    stats = [file.stat() for file in files]
    stated = zip(files, stats, strict=True)
    known = [(str(file.relative_to(root)), s.st_size, s.st_mtime_ns, s.st_ctime_ns) for file, s in stated]
    identity = json.dumps(["clips", CACHE_FORMAT, str(root), cut, known])
    folder = cache / hashlib.sha256(identity.encode()).hexdigest()[:24]
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".decoding-") as temporary:
            made = Path(temporary) / "made"
            made.mkdir()
            _read_into(made, root, files, cut)
            try:
                made.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another run was quicker, with the same
                    raise
    return _open(folder, cut)


def _open(folder: Path, cut: Cut) -> Clips:
    try:
        index = json.loads((folder / "index.json").read_text())
        shape = (sum(index["counts"]), cut.frames, cut.channels, cut.side, cut.side)
        data = mapped(folder / "clips.uint8", shape) if shape[0] else torch.empty(shape, dtype=torch.uint8)
        return Clips(data, tuple(index["counts"]), tuple(index["broken"]))
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"the cache {folder} is damaged ({error}); delete it") from error


def _read_into(made: Path, root: Path, files: Sequence[Path], cut: Cut) -> None:
    counts: list[int] = []
    broken: list[str] = []
    with (made / "clips.uint8").open("wb") as out:
        for file in tracked(files, "decoding videos"):
            start, count = out.tell(), 0
            try:
                for clip in read_clips(file, cut):
                    out.write(clip)
                    count += 1
            except ValueError as error:
                out.seek(start)
                out.truncate()
                count = 0
                broken.append(f"{file.relative_to(root)}: {error}")
            counts.append(count)
        out.flush()
        os.fsync(out.fileno())
    (made / "index.json").write_text(json.dumps({"counts": counts, "broken": broken}))


def read_clips(file: Path, cut: Cut) -> Iterator[bytes]:
    """The clips of a video, each (T, C, S, S) bytes; what is too short for another at the end is left out.

    Raises ValueError where it is no whole video, or one too short for a single clip.
    """
    held: deque[np.ndarray] = deque(maxlen=cut.frames)
    seen = 0
    for image in read_frames(file, cut):
        held.append(image)
        seen += 1
        if seen >= cut.frames and (seen - cut.frames) % cut.stride == 0:
            yield np.stack(held).tobytes()
    if not seen:
        raise ValueError("it has no frames")
    if seen < cut.frames:
        at = "" if cut.rate is None else f" at {cut.rate:g} a second (dataset.rate)"
        raise ValueError(f"it has {seen} frames{at}, and a clip needs {cut.frames} (dataset.frames)")


def read_frames(file: Path, cut: Cut) -> Iterator[np.ndarray]:
    """(C, S, S) uint8 each: the shorter side scaled to S, the center cut out; in the order of presentation.

    Sides are those of the displayed picture: pixels that are not square, by the stream's sample aspect ratio, are made
    square. With a rate, frame k is the one that is displayed k / rate seconds after the first, independent of the
    file's frame rate. Raises ValueError for an invalid or truncated video.
    """
    import av
    from av.stream import Disposition
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()  # one for all frames: a frame's own would be set up anew for each
    try:
        with av.open(str(file), metadata_errors="replace") as container:  # titles in any encoding: none is read
            moving = [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]
            if not moving:
                raise ValueError("it has no video stream")
            stream = moving[0]
            stream.thread_type = "AUTO"
            frames = container.decode(stream)
            usual = 1 / Fraction(stream.average_rate or 25)
            # AVI knows when frames are decoded alone, which is evenly before they are shown.
            stamped = ((frame, frame.dts if container.format.name == "avi" else frame.pts) for frame in frames)
            chosen = ((frame, 1) for frame, _ in stamped) if cut.rate is None else _paced(stamped, cut.rate, usual)
            with ThreadPoolExecutor(1) as scaler:
                shape = stream.sample_aspect_ratio or Fraction(1)  # width / height of a pixel; None: it is not known
                begun = (
                    (scaler.submit(fit, frame, shape, cut.side, cut.channels, reformatter), n) for frame, n in chosen
                )
                for image, times in _ahead(begun):
                    for _ in range(times):
                        yield image.result()
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f"it cannot be decoded ({error.strerror or error})") from error


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The items in order, each after `AHEAD` further ones have started."""
    held: deque[T] = deque()
    for item in items:
        held.append(item)
        if len(held) > AHEAD:
            yield held.popleft()
    yield from held


def _paced(
    stamped: Iterator[tuple["VideoFrame", int | None]], rate: float, usual: Fraction
) -> Iterator[tuple["VideoFrame", int]]:
    """Of frames with their times, in units of `time_base`: those that are shown at 0, 1 / rate, 2 / rate, ... seconds,
    and how many times each is."""
    step = 1 / Fraction(str(rate))
    before = None
    shown = due = Fraction(0)
    for frame, stamp in stamped:
        # Of some frames no time is known: they come the usual time after those before them.
        time = shown + usual if stamp is None or frame.time_base is None else stamp * frame.time_base
        if before is None:
            due = time
        elif due < time:
            times = -((due - time) // step)
            yield before, times
            due += times * step
        before, shown = frame, time
    if before is not None and due < shown + usual:
        yield before, 1


def fit(frame: "VideoFrame", pixel: Fraction, side: int, channels: int, reformatter: "VideoReformatter") -> np.ndarray:
    """(C, side, side) uint8: scaled and converted in one step, the center cut out, turned upright as its file says.

    `pixel`: width / height of one as it is shown.
    """
    shown = (frame.width * pixel, Fraction(frame.height))
    width, height = (max(side, round(length * side / min(shown))) for length in shown)
    fitted = reformatter.reformat(frame, width, height, "rgb24" if channels == 3 else "gray")
    image = fitted.to_ndarray()
    top, left = ((length - side) // 2 for length in image.shape[:2])
    image = image[top : top + side, left : left + side].reshape(side, side, channels)
    return np.rot90(image, round(frame.rotation / 90)).transpose(2, 0, 1)  # both count counter-clockwise
