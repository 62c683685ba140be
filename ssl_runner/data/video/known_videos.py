"""Published video datasets in their published layouts. They are not downloaded."""

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import torch

from ssl_runner.data.video.clips import ClipSource, Cut, check_cut, load_splits
from ssl_runner.interfaces import Contents, Examples, SplitName, VideoSpec


class Video(NamedTuple):
    file: Path
    label: int
    group: str  # videos of one group were cut out of one longer video, or show the same people


class Listed(NamedTuple):
    """The splits of a dataset by its own lists."""

    names: tuple[str, ...]  # of the classes
    train: list[Video]
    test: list[Video]


class KnownVideos(ClipSource):
    """A published dataset under `root`, decoded once and cut into clips as by `video_folder`.

    name:
        ucf101    UCF-101/<class>/v_<class>_g<group>_c<clip>.avi and ucfTrainTestlist/{classInd,trainlist0N,
                  testlist0N}.txt. Soomro, Zamir, Shah 2012, https://arxiv.org/abs/1212.0402
        hmdb51    hmdb51_org/<class>/<file>.avi and testTrainMulti_7030_splits/<class>_test_splitN.txt, where 1 is
                  train, 2 test and 0 neither. Kuehne et al. 2011, https://doi.org/10.1109/ICCV.2011.6126543
        kinetics  {train,val}/[<class>/]<id>_<start>_<end>.mp4 (seconds, six digits) and annotations/{train,val}.csv
                  with label, youtube_id, time_start, time_end. Its val is the test here, since the labels of its own
                  test were not published at first; rows whose video is not there (taken down, as many are) are left
                  out. Kay et al. 2017, https://arxiv.org/abs/1705.06950
    val is held out of the set's train by groups: no group is in both. `split` is N, one of three (kinetics has one).
    """

    def __init__(
        self,
        *,
        name: Literal["ucf101", "hmdb51", "kinetics"],
        root: str,
        split: int,
        side: int,
        channels: Literal[1, 3],
        frames: int,
        stride: int,
        rate: float | None,
        on_broken: Literal["refuse", "skip"],
        cache: str,
        val_fraction: float,
        split_seed: int,
    ) -> None:
        if name not in LISTS:
            raise ValueError(f"dataset.name is {name}; it must be one of {', '.join(LISTS)}")
        if split not in (1, 2, 3) or (name == "kinetics" and split != 1):
            raise ValueError(f"dataset.split is {split}; it must be {'1' if name == 'kinetics' else '1, 2 or 3'}")
        if not 0 < val_fraction < 1:
            raise ValueError(f"dataset.val_fraction is {val_fraction}; it must lie in (0, 1)")
        if on_broken not in ("refuse", "skip"):
            raise ValueError(f"dataset.on_broken is {on_broken}; it must be refuse or skip")
        self.name = name
        self.root = Path(root).expanduser().absolute()
        self.split = split
        self.cut = Cut(frames, stride, rate, side, channels)
        check_cut(self.cut)
        self.on_broken: Literal["refuse", "skip"] = on_broken
        self.cache = Path(cache).expanduser().absolute()
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        self._listed: Listed | None = None

    @property
    def spec(self) -> VideoSpec:
        return self.cut.spec(self._lists().names)

    def check(self) -> None:
        """Raise ValueError if a list, or a video that it names, is missing."""
        self._lists()

    def contents(self) -> Contents:
        listed = self._lists()
        parts = {"train": listed.train, "test": listed.test}
        return {  # by what the lists say of each, too
            "root": {
                f"{part}/{listed.names[video.label]}/{video.file.relative_to(self.root).as_posix()}": video.file
                for part, videos in parts.items()
                for video in videos
            }
        }

    def load(self) -> Mapping[SplitName, Examples]:
        listed = self._lists()
        train, val = hold_out_groups(listed.train, self.val_fraction, self.split_seed)
        splits = {"train": train, "val": val, "test": listed.test}
        files = {part: [(video.file, video.label) for video in videos] for part, videos in splits.items()}
        loaded = load_splits(self.root, "dataset.root", files, cut=self.cut, cache=self.cache, on_broken=self.on_broken)
        self._videos = loaded.videos
        return loaded.splits

    def _lists(self) -> Listed:
        if self._listed is None:
            listed = LISTS[self.name](self.root, self.split)
            for part, videos in (("train", listed.train), ("test", listed.test)):
                if not videos:
                    raise ValueError(f"{self.name} in {self.root} (dataset.root) has no video of {part}")
            self._listed = listed
        return self._listed


def hold_out_groups(videos: Sequence[Video], fraction: float, seed: int) -> tuple[list[Video], list[Video]]:
    """Hold out whole groups, of each class about `fraction` of its groups and at least one: (rest, held).

    A class with a single group is not held out. Raises ValueError where nothing is.
    """
    groups: dict[int, set[str]] = defaultdict(set)
    for video in videos:
        groups[video.label].add(video.group)
    generator = torch.Generator().manual_seed(seed)
    held: set[tuple[int, str]] = set()
    for label in sorted(groups):
        order = sorted(groups[label])
        count = min(max(1, round(fraction * len(order))), len(order) - 1)
        chosen = torch.randperm(len(order), generator=generator)[:count]
        held |= {(label, order[place]) for place in chosen.tolist()}
    if not held:
        raise ValueError(
            "every class of train has a single group of videos: none can be held out (dataset.val_fraction)"
        )
    parts: tuple[list[Video], list[Video]] = ([], [])
    for video in videos:
        parts[(video.label, video.group) in held].append(video)
    return parts


def ucf101(root: Path, split: int) -> Listed:
    lists = root / "ucfTrainTestlist"
    names: list[str] = []
    for number, (place, line) in enumerate(_lines(lists / "classInd.txt"), start=1):
        index, _, name = line.partition(" ")
        if index != str(number) or not name:
            raise ValueError(f"{place}: {line!r}; '{number} <class>' was expected")
        names.append(name)
    found: dict[str, list[Video]] = {}
    for part in ("train", "test"):
        found[part] = []
        for place, line in _lines(lists / f"{part}list{split:02}.txt"):
            entry = line.split(" ")[0]
            parsed = re.fullmatch(r"(?P<name>[^/]+)/v_[^/]+_(?P<group>g\d+)_c\d+\.avi", entry)
            if parsed is None or parsed["name"] not in names:
                raise ValueError(f"{place}: {line!r}; '<class>/v_<class>_g<group>_c<clip>.avi' was expected")
            file = _inside(root / "UCF-101", entry, place)
            found[part].append(Video(file, names.index(parsed["name"]), parsed["group"]))
    return Listed(tuple(names), found["train"], found["test"])


def hmdb51(root: Path, split: int) -> Listed:
    lists, videos = root / "testTrainMulti_7030_splits", root / "hmdb51_org"
    files = sorted(lists.glob(f"*_test_split{split}.txt"))
    if not files:
        raise ValueError(f"there is no <class>_test_split{split}.txt in {lists} (dataset.root); {LAYOUTS['hmdb51']}")
    names = tuple(file.name.removesuffix(f"_test_split{split}.txt") for file in files)
    found: dict[str, list[Video]] = {"0": [], "1": [], "2": []}
    for label, (name, file) in enumerate(zip(names, files, strict=True)):
        for place, line in _lines(file):
            entry, _, part = line.rpartition(" ")
            if part not in found or not entry:
                raise ValueError(f"{place}: {line!r}; '<file>.avi 0', 1 or 2 was expected")
            if part != "0":
                source = entry.partition(f"_{name}_")[0]  # the film or video that the clip was cut out of
                found[part].append(Video(_inside(videos / name, entry, place), label, source))
    return Listed(names, found["1"], found["2"])


def kinetics(root: Path, split: int) -> Listed:
    del split  # there is one
    rows: dict[str, list[tuple[str, Path, str]]] = {}
    for part in ("train", "val"):
        table, rows[part] = root / "annotations" / f"{part}.csv", []
        if not table.is_file():
            raise ValueError(f"there is no {table} (dataset.root); {LAYOUTS['kinetics']}")
        there = {file.name: file for file in sorted((root / part).rglob("*.mp4"))}
        with table.open(encoding="utf-8", newline="") as opened:
            try:
                for row in csv.DictReader(opened, strict=True):
                    start, end = (int(float(row[key])) for key in ("time_start", "time_end"))
                    video = there.get(f"{row['youtube_id']}_{start:06}_{end:06}.mp4")
                    if video is not None:
                        rows[part].append((row["label"], video, row["youtube_id"]))
            except (csv.Error, UnicodeDecodeError, KeyError, TypeError, ValueError, OverflowError) as error:
                wanted = "columns label, youtube_id, time_start and time_end were expected"
                raise ValueError(f"{table} (dataset.root) cannot be read ({error!r}); {wanted}") from error
    names = tuple(sorted({name for part in rows.values() for name, _, _ in part}))
    train, test = ([Video(file, names.index(name), who) for name, file, who in rows[p]] for p in ("train", "val"))
    return Listed(names, train, test)


LISTS: Mapping[str, Callable[[Path, int], Listed]] = {"ucf101": ucf101, "hmdb51": hmdb51, "kinetics": kinetics}
LAYOUTS = {
    "ucf101": "UCF-101/<class>/*.avi and ucfTrainTestlist/*.txt are expected in it",
    "hmdb51": "hmdb51_org/<class>/*.avi and testTrainMulti_7030_splits/*.txt are expected in it",
    "kinetics": "{train,val}/**/<id>_<start>_<end>.mp4 and annotations/{train,val}.csv are expected in it",
}


def _lines(file: Path) -> list[tuple[str, str]]:
    """("file, line n", text) of each line that is not blank. Raises ValueError where there is no such text."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} (dataset.root) is not UTF-8, from byte {error.start} on") from error
    except OSError as error:
        layout = LAYOUTS["ucf101" if file.parent.name == "ucfTrainTestlist" else "hmdb51"]
        raise ValueError(f"{file} (dataset.root) cannot be read ({error.strerror}); {layout}") from error
    return [(f"{file}, line {n}", line.strip()) for n, line in enumerate(lines, start=1) if line.strip()]


def _inside(folder: Path, entry: str, place: str) -> Path:
    """The file that a list names. Raises ValueError where it would lie elsewhere, or is not there."""
    path = PurePosixPath(entry)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{place}: {entry!r} is not a path within {folder}")
    file = folder / path
    if not file.is_file():
        raise ValueError(f"{place}: there is no {file} (dataset.root)")
    return file
