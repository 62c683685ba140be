"""DAVIS: videos with object masks in every frame. n clips, T frames, C channels, S side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssl_runner.data.any.folders import PARTS
from ssl_runner.data.images.decode import FORMATS, Decoding, decode_all
from ssl_runner.interfaces import VOID, Contents, DataSource, Examples, SplitName, VideoSpec

PIXELS = "480p"  # folder of JPEGImages/ and Annotations/ that is read
LAYOUT = f"ImageSets/<year>/{{train,val}}.txt, JPEGImages/{PIXELS}/ and Annotations/{PIXELS}/ are expected in it"


class Clip(NamedTuple):
    images: list[Path]
    masks: list[Path]


class Davis(DataSource):
    """Clips of DAVIS in its published layout under `root`, without classes; `masks` holds the object of each pixel.

        ImageSets/<year>/{train,val}.txt   names of videos
        JPEGImages/480p/<video>/*.jpg      their frames
        Annotations/480p/<video>/*.png     as many images with a palette: 0 background, 1, 2, ... objects

    Its val is the test here; val is held out from its train, by whole videos. `year` 2016 has videos of one object, the
    foreground, written as 255; in videos of 2017 255 is void, which metrics ignore. Frames are read as
    `image_folder` reads images, masks are cut and scaled likewise, each pixel that of the nearest. A video is cut into
    clips of `frames` frames, one every `stride`; what is left at the end is left out.

    Perazzi, Pont-Tuset, McWilliams, Van Gool, Gross, Sorkine-Hornung 2016, https://doi.org/10.1109/CVPR.2016.85;
    Pont-Tuset et al. 2017, "The 2017 DAVIS Challenge", https://arxiv.org/abs/1704.00675.
    Differs from the benchmark: small squares and clips, each with the true masks of its first frame, where the
    benchmark has films as they are, of 480 rows. So figures are to be compared with one another, not with its own.
    """

    def __init__(
        self,
        *,
        root: str,
        year: int,
        side: int,
        frames: int,
        stride: int,
        cache: str,
        workers: int,
        val_fraction: float,
        split_seed: int,
    ) -> None:
        if year not in (2016, 2017):
            raise ValueError(f"dataset.year is {year}; it must be 2016 or 2017")
        for name, number in (("side", side), ("frames", frames), ("stride", stride), ("workers", workers)):
            if number < 1:
                raise ValueError(f"dataset.{name} is {number}; it must be at least 1")
        if not 0 < val_fraction < 1:
            raise ValueError(f"dataset.val_fraction is {val_fraction}; it must lie in (0, 1)")
        self.root = Path(root).expanduser().absolute()
        self.year = year
        self.side = side
        self.frames = frames
        self.stride = stride
        self.cache = Path(cache).expanduser().absolute()
        self.workers = workers
        self.val_fraction = val_fraction
        self.split_seed = split_seed

    @property
    def spec(self) -> VideoSpec:
        return VideoSpec(frames=self.frames, channels=3, height=self.side, width=self.side)

    def check(self) -> None:
        """Raise ValueError if a list, video, frame or mask is missing, or a split has no clip."""
        self._clips()

    def contents(self) -> Contents:
        lists = [self.root / "ImageSets" / str(self.year) / f"{part}.txt" for part in ("train", "val")]
        clips = [clip for part in self._clips().values() for clip in part]
        files = [*lists, *(file for clip in clips for both in clip for file in both)]
        return {"root": {file.relative_to(self.root).as_posix(): file for file in files}}

    def load(self) -> Mapping[SplitName, Examples]:
        clips = self._clips()
        files = sorted({image for part in PARTS for clip in clips[part] for image in clip.images})
        try:
            decoded = decode_all(self.root, files, Decoding(self.side, 3), cache=self.cache, workers=self.workers)
        except OSError as error:
            raise ValueError(f"decoding into dataset.cache {self.cache} failed: {error}") from error
        if decoded.broken:
            raise ValueError(f"frames in {self.root} (dataset.root) cannot be read: {'; '.join(decoded.broken[:5])}")
        place = {file: number for number, file in enumerate(files)}
        splits: dict[SplitName, Examples] = {}
        for part in PARTS:
            index = torch.tensor([[place[image] for image in clip.images] for clip in clips[part]])
            splits[part] = Examples(decoded.data[index], torch.full((len(index),), -1))
        return {"pretrain": splits["train"], **splits}

    def masks(self, split: SplitName) -> Tensor:
        """(n, T, S, S) uint8: 0 the ground, 1, 2, ... things, by their numbers in the film, 255 void (`VOID`). Raises
        ValueError for a file that is no mask, and for masks of 2016 where `year` is 2017."""
        clips = self._clips()["train" if split == "pretrain" else split]
        masks = torch.stack([torch.stack([self._mask(file) for file in clip.masks]) for clip in clips])
        if self.year == 2017 and (masks == VOID).any() and not ((masks > 0) & (masks < VOID)).any():
            raise ValueError(
                f"the masks of {split} in {self.root} (dataset.root) have no object but 255, which is "
                "void in 2017 and the object in 2016: set dataset.year=2016"
            )
        return masks

    def _mask(self, file: Path) -> Tensor:
        from PIL import Image, ImageOps

        try:
            with Image.open(file, formats=FORMATS) as image:
                if image.mode not in ("P", "L"):
                    raise ValueError(f"its mode is {image.mode}, not P (a palette)")
                fitted = ImageOps.fit(image, (self.side, self.side), Image.Resampling.NEAREST)
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{file} (dataset.root) is not a mask: {error}") from error
        mask = torch.from_numpy(np.array(fitted))
        return (mask > 0).to(torch.uint8) if self.year == 2016 else mask

    def _clips(self) -> dict[SplitName, list[Clip]]:
        train, test = (self._films(part) for part in ("train", "val"))
        generator = torch.Generator().manual_seed(self.split_seed)
        order = torch.randperm(len(train), generator=generator).tolist()
        held = set(order[: max(1, round(self.val_fraction * len(train)))])
        films: dict[SplitName, Sequence[str]] = {
            "train": [film for place, film in enumerate(train) if place not in held],
            "val": [train[place] for place in sorted(held)],
            "test": test,
        }
        found: dict[SplitName, list[Clip]] = {}
        for part in PARTS:
            found[part] = [clip for film in films[part] for clip in self._cut(film)]
            if not found[part]:
                raise ValueError(
                    f"no film of {part} in {self.root} (dataset.root) has {self.frames} frames: set dataset.frames to "
                    "less"
                )
        return found

    def _films(self, part: str) -> Sequence[str]:
        names = self.root / "ImageSets" / str(self.year) / f"{part}.txt"
        try:
            found = names.read_text(encoding="utf-8").split()
        except OSError as error:
            raise ValueError(f"{names} (dataset.root) cannot be read ({error.strerror}); {LAYOUT}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{names} (dataset.root) is not UTF-8, from byte {error.start} on") from error
        if len(found) < 2:
            raise ValueError(f"{names} (dataset.root) lists {len(found)} films; at least 2 are needed")
        return found

    def _cut(self, film: str) -> list[Clip]:
        images = sorted((self.root / "JPEGImages" / PIXELS / film).glob("*.jpg"))
        masks = [self.root / "Annotations" / PIXELS / film / f"{image.stem}.png" for image in images]
        if not images:
            raise ValueError(f"there is no {self.root / 'JPEGImages' / PIXELS / film}/*.jpg (dataset.root); {LAYOUT}")
        if missing := [mask for mask in masks if not mask.is_file()]:
            raise ValueError(f"there is no {missing[0]} (dataset.root); {LAYOUT}")
        starts = range(0, len(images) - self.frames + 1, self.stride)
        return [Clip(images[at : at + self.frames], masks[at : at + self.frames]) for at in starts]
