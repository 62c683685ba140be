"""Clips of moving real digits. n clips, K digits of a clip, T frames, S side of the canvas, D side of a digit."""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypedDict, Unpack, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_runner.data.images.names import DIGITS
from ssl_runner.interfaces import Contents, DataSource, Examples, ImageSpec, SplitName, VideoSpec

Overlap = Literal["cover", "brightest"]
Label = Literal["digit", "direction", "speed", "place"]
Moves = Literal["straight", "gravity", "friction", "symmetric"]

DIRECTIONS = ("right", "down right", "down", "down left", "left", "up left", "up", "up right")
PLACES = ("top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right")
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
TOGETHER = 1024  # clips drawn at a time
GROUND = 0.3  # greatest brightness of a colored ground


class Motion(NamedTuple):
    """The random parameters of the clips of a split; labels refer to the first of K digits."""

    digit: Tensor  # (n, K) int64: which image of the split
    place: Tensor  # (n, T, K, 2) int64: column and row of its corner, pixels
    direction: Tensor  # (n,) int64: the sector in which the first digit sets out, by `DIRECTIONS`
    speed: Tensor  # (n,) int64: which of the speeds the first digit sets out with
    color: Tensor  # (n, K, C): in [0, 1]
    ground: Tensor  # (n, C): in [0, 1]


class DigitSettings(TypedDict):
    """Settings, documented in conf/dataset/moving_digits.yaml."""

    images: DataSource
    clips: int
    val_clips: int
    test_clips: int
    frames: int
    side: int
    digit_side: int
    digits: int
    dim: float
    overlap: Overlap
    label: Label
    motion: Moves
    speeds: list[float]
    gravity: float
    bounce: float
    friction: float
    color: bool
    seed: int


class MovingDigits(DataSource):
    """Digits of `images` that move over a square canvas, bounce off its walls and pass over each other.

    A digit starts anywhere on the canvas with equal probability, in any direction, at one of `speeds`; none of the
    three depends on the others, so that where it stands in one frame does not say where it goes. The first digit has
    full brightness, the others have brightness `dim`; where digits cross, the first lies on top (`overlap`: cover), or
    every pixel shows its brightest (brightest). The classes are the first one's: which digit it is, in which direction
    or at which speed it sets out, or its place, in which third of the ways across and down it is in the middle frame.
    What its `motion` is:

        straight    p' = p + v;  at a wall v turns round
        gravity     v' = v + (0, gravity);  at a wall v turns round and keeps `bounce` of its size
        friction    v' = friction v;  at a wall v turns round
        symmetric   straight up to the middle of the clip, then the same frames backwards: played backwards, each clip
                    is the same clip

    Straight motion is symmetric in time too: each clip and its reverse are equally likely.

    Splits share no digit: those of `images` are the splits of the clips. Where there are more clips than digits, each
    digit begins several. Srivastava, Mansimov, Salakhutdinov 2015, Unsupervised Learning of Video Representations
    using LSTMs, https://arxiv.org/abs/1502.04681, section 3.1.
    Differs from the paper: clips are labeled, and digits may be smaller, or cover each other; its published generator
    is overlap=brightest with dim=1.
    """

    def __init__(self, **settings: Unpack[DigitSettings]) -> None:
        self.images = settings["images"]
        self.clips = {"train": settings["clips"], "val": settings["val_clips"], "test": settings["test_clips"]}
        self.frames = settings["frames"]
        self.side = settings["side"]
        self.digit_side = settings["digit_side"]
        self.digits = settings["digits"]
        self.dim = settings["dim"]
        self.overlap = settings["overlap"]
        self.label = settings["label"]
        self.motion = settings["motion"]
        self.speeds = settings["speeds"]
        self.gravity = settings["gravity"]
        self.bounce = settings["bounce"]
        self.friction = settings["friction"]
        self.color = settings["color"]
        self.seed = settings["seed"]
        self._drawn: dict[SplitName, tuple[Tensor, Motion]] = {}
        self._check()

    def _check(self) -> None:
        """Raise ValueError for values out of range."""
        spec = self.images.spec
        if not isinstance(spec, ImageSpec) or spec.channels != 1 or not spec.classes:
            raise ValueError("dataset.images must be a set of gray images with classes")
        counts = {"clips": self.clips["train"], "val_clips": self.clips["val"], "test_clips": self.clips["test"]}
        counts |= {"frames": self.frames, "digits": self.digits, "digit_side": self.digit_side}
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"dataset.{name} is {value}; it must be at least 1")
        self._check_motion()
        side, digit = self.side, self.digit_side
        if side < digit:
            raise ValueError(f"dataset.side is {side}; it must be at least dataset.digit_side, {digit} pixels")
        if self.label == "place" and side < digit + 2:
            raise ValueError(f"dataset.side is {side}; dataset.label=place needs at least {digit + 2} pixels")

    def _check_motion(self) -> None:
        for name, share in (("dim", self.dim), ("bounce", self.bounce), ("friction", self.friction)):
            if not 0 < share <= 1:
                raise ValueError(f"dataset.{name} is {share}; it must lie in (0, 1]")
        for name, options in (("overlap", Overlap), ("label", Label), ("motion", Moves)):
            if getattr(self, name) not in get_args(options):
                *others, last = get_args(options)
                raise ValueError(f"dataset.{name} is {getattr(self, name)}; it must be {', '.join(others)} or {last}")
        speeds = self.speeds
        if not speeds or min(speeds) < 0 or not math.isfinite(max(speeds)):
            raise ValueError(f"dataset.speeds is {speeds}; it must hold at least one, each 0 or more pixels a frame")
        if not 0 <= self.gravity < math.inf:
            raise ValueError(f"dataset.gravity is {self.gravity}; it must be 0 or more pixels a frame and frame")

    @property
    def spec(self) -> VideoSpec:
        names = {
            "digit": self.images.spec.class_names or DIGITS,
            "direction": DIRECTIONS,
            "speed": tuple(f"{speed:g} pixels a frame" for speed in self.speeds),
            "place": PLACES,
        }[self.label]
        return VideoSpec(
            frames=self.frames,
            channels=3 if self.color else 1,
            height=self.side,
            width=self.side,
            classes=len(names),
            class_names=names,
        )

    def check(self) -> None:
        self.images.check()

    def contents(self) -> Contents:
        return {f"images.{setting}": files for setting, files in self.images.contents().items()}

    def count(self) -> int:
        return self.clips["train"]

    def load(self) -> Mapping[SplitName, Examples]:
        held = self.images.load()
        splits = {split: self._load(split, held[split]) for split in SPLITS}
        return {"pretrain": splits["train"], **splits}

    def masks(self, split: SplitName) -> Tensor:
        """(n, T, S, S) uint8: 1 where the first digit is, 2 where the second is and the first is not, and so on; 0
        the ground. A digit is where its ink is nearer to full than to none. Raises ValueError before `load`."""
        if not self._drawn:
            raise ValueError("masks of clips are requested before the clips were loaded")
        ink, motion = self._drawn["train" if split == "pretrain" else split]
        found = torch.zeros(*motion.place.shape[:2], self.side, self.side, dtype=torch.uint8)
        for thing in reversed(range(self.digits)):
            solid = ink[motion.digit[:, thing]] > 0.5
            for frame in range(self.frames):
                rows = self._window(motion.place[:, frame, thing])
                found[:, frame][rows] = torch.where(solid, thing + 1, found[:, frame][rows])
        return found

    def _load(self, split: SplitName, held: Examples) -> Examples:
        generator = torch.Generator().manual_seed(self.seed * len(SPLITS) + SPLITS.index(split))
        motion = self._draw(self.clips[split], len(held.label), generator)
        ink = shrink(held.data, self.digit_side)
        self._drawn[split] = (ink, motion)
        label = {
            "digit": held.label[motion.digit[:, 0]],
            "direction": motion.direction,
            "speed": motion.speed,
            "place": thirds(motion.place[:, self.frames // 2, 0], self.side - self.digit_side),
        }
        return Examples(self._paint(ink, motion), label[self.label])

    def _draw(self, n: int, digits: int, generator: torch.Generator) -> Motion:
        """Draw the random parameters of `n` clips."""
        repeats = -(-n // digits)
        first = torch.cat([torch.randperm(digits, generator=generator) for _ in range(repeats)])[:n]
        others = torch.randint(digits, (n, self.digits - 1), generator=generator)
        shape = (n, self.digits)
        room = float(self.side - self.digit_side)
        start = torch.rand(*shape, 2, generator=generator) * room
        angle = torch.rand(shape, generator=generator) * 2 * math.pi
        speed = torch.randint(len(self.speeds), shape, generator=generator)
        size = torch.tensor(self.speeds)[speed]
        velocity = size[..., None] * torch.stack([angle.cos(), angle.sin()], -1)
        things = self.digits + 1  # the ground is the last; their hues are evenly apart
        hue = (torch.rand(n, 1, generator=generator) + torch.arange(things) / things) % 1
        brightness = torch.full((things,), self.dim)
        brightness[0] = 1
        brightness[-1] = GROUND
        color = saturated(hue) if self.color else torch.ones(*hue.shape, 1)
        color = color * brightness[:, None]
        ground = color[:, -1] if self.color else torch.zeros(n, 1)
        sector = (angle[:, 0] / (2 * math.pi) * len(DIRECTIONS)).round().long() % len(DIRECTIONS)
        return Motion(
            torch.cat([first[:, None], others], 1),
            self._move(start, velocity, room),
            sector,
            speed[:, 0],
            color[:, :-1],
            ground,
        )

    def _move(self, place: Tensor, velocity: Tensor, room: float) -> Tensor:
        """(n, K, 2) places and velocities of the first frame -> (n, T, K, 2) int64 places, each from 0 to `room`."""
        symmetric = self.motion == "symmetric"
        path = []
        for _ in range((self.frames + 1) // 2 if symmetric else self.frames):
            path.append(place.round().long())
            if self.motion == "gravity":
                velocity = velocity + torch.tensor([0.0, self.gravity])
            elif self.motion == "friction":
                velocity = velocity * self.friction
            place, turned = reflect(place + velocity, room)
            kept = self.bounce if self.motion == "gravity" else 1.0
            velocity = torch.where(turned, -kept * velocity, velocity)
        if symmetric:
            path += path[: self.frames // 2][::-1]
        return torch.stack(path, 1)

    def _paint(self, ink: Tensor, motion: Motion) -> Tensor:
        """(n, T, C, S, S) uint8: the ground, and over it the digits, the first one last."""
        n, channels = motion.ground.shape
        clips = torch.empty(n, self.frames, channels, self.side, self.side, dtype=torch.uint8)
        for part in torch.arange(n).split(TOGETHER):
            for frame in range(self.frames):
                canvas = motion.ground[part, None, None].expand(-1, self.side, self.side, -1).clone()
                for thing in reversed(range(self.digits)):
                    rows = self._window(motion.place[part, frame, thing])
                    cover = ink[motion.digit[part, thing]][..., None]
                    color = motion.color[part, thing][:, None, None]
                    below = canvas[rows]
                    over = below + cover * (color - below)
                    canvas[rows] = over if self.overlap == "cover" else torch.maximum(below, cover * color)
                clips[part, frame] = canvas.movedim(-1, 1).mul(255).round().to(torch.uint8)
        return clips

    def _window(self, corner: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where a digit with each of (n, 2) corners lies, as an index of (n, S, S, ...) that gives (n, D, D, ...)."""
        along = torch.arange(self.digit_side)
        rows = corner[:, 1, None] + along
        columns = corner[:, 0, None] + along
        return torch.arange(len(corner))[:, None, None], rows[:, :, None], columns[:, None, :]


def reflect(place: Tensor, room: float) -> tuple[Tensor, Tensor]:
    """Fold places back into [0, room], as walls there do: the places, and where the motion is turned round.

    >>> reflect(torch.tensor([-1.0, 3.0, 6.0, 11.0]), 5.0)
    (tensor([1., 3., 4., 1.]), tensor([ True, False,  True, False]))
    """
    if room == 0:
        return torch.zeros_like(place), torch.zeros_like(place, dtype=torch.bool)
    phase = place.remainder(2 * room)
    return torch.minimum(phase, 2 * room - phase), phase > room


def thirds(place: Tensor, room: int) -> Tensor:
    """In which third of the ways across and down places (n, 2) from 0 to `room` lie: (n,) int64, by `PLACES`.

    >>> thirds(torch.tensor([[0, 0], [8, 0], [16, 16]]), 16)
    tensor([0, 1, 8])
    """
    column, row = (place * 3 // (room + 1)).unbind(1)
    return row * 3 + column


def shrink(images: Tensor, side: int) -> Tensor:
    """(n, 1, H, W) uint8 -> (n, side, side) in [0, 1]: resized, and as bright as they can be: strokes that got thinner
    than a pixel would be gray."""
    ink = images[:, 0].float() / 255
    if ink.shape[1:] != (side, side):
        ink = F.interpolate(ink[:, None], size=(side, side), mode="bilinear", antialias=True)[:, 0].clamp_(min=0)
    return ink / ink.amax((1, 2), keepdim=True).clamp(min=1 / 255)


def saturated(hue: Tensor) -> Tensor:
    """Colors of full saturation and brightness: (...) hues in [0, 1) -> (..., 3), red green blue.

    >>> saturated(torch.tensor([0.0, 0.5]))
    tensor([[1., 0., 0.],
            [0., 1., 1.]])
    """
    turn = (hue[..., None] * 6 + torch.tensor([0.0, 4.0, 2.0])).remainder(6)
    return ((turn - 3).abs() - 1).clamp(0, 1)
