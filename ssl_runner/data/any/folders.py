"""A user's own files in folders: splits (train, val, test), classes, files."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from ssl_runner.data.any.labels import say_if_alone, some
from ssl_runner.interfaces import SplitName

PARTS: tuple[SplitName, ...] = ("train", "val", "test")
Splits = Literal["folders", "none"]
Labels = Literal["folders", "none"]

SPLITS: Mapping[str, SplitName] = {  # what folders of splits are called, in small letters
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
SYSTEM = frozenset(  # folders that systems and archivers leave among a user's, in small letters
    ["__macosx", "__pycache__", "$recycle.bin", "system volume information", "lost+found", "@eadir"]
)

log = logging.getLogger(__name__)


class Listed(NamedTuple):
    """The files of a split with their classes, in order."""

    files: list[Path]
    labels: list[int]  # -1: unlabeled


class Tree:
    """Files with one of `suffixes` under `root`; `what` names them in messages, such as "image".

    splits "folders": folders in `root` named as in `SPLITS`, in any case, are those splits. Then no other folder with
    such files may lie beside them. "none": no folder is a split.
    labels "folders": each folder in a split is a class, in the order of their names; files may lie deeper in it.
    "none": folders mean nothing.
    Hidden files and folders, those of `SYSTEM`, and links to a folder that holds them are no data. The tree is read
    once, when it is first asked for; then all of these raise ValueError for one that may be meant otherwise.
    """

    def __init__(self, root: Path, suffixes: frozenset[str], what: str, *, labels: Labels, splits: Splits) -> None:
        for key, value, options in (("labels", labels, Labels), ("splits", splits, Splits)):
            if value not in get_args(options):
                raise ValueError(f"dataset.{key} is {value}; it must be {' or '.join(get_args(options))}")
        self.root = root
        self.suffixes = suffixes
        self.what = what
        self.classes = labels == "folders"
        self.splits = splits == "folders"

    def class_names(self) -> tuple[str, ...]:
        return self._names

    def check(self) -> None:
        """Raise ValueError if there is nothing to read; log, once, what may be unintended."""
        _ = self._listed, self._doubts

    def listed(self) -> dict[SplitName, Listed]:
        """The files of each split that has a folder; of "train" only if none has."""
        return self._listed

    def named(self) -> dict[str, Path]:
        """All files by their paths relative to `root`."""
        return {path.relative_to(self.root).as_posix(): path for each in self._listed.values() for path in each.files}

    # -------------------------------------------------------------------------------------------- read when asked for

    @cached_property
    def _parts(self) -> dict[SplitName, Path]:
        if not self.root.is_dir():
            what = "is a file, not a folder" if self.root.exists() else "is not an existing folder"
            raise ValueError(f"dataset.path {self.root} {what}; {self._expected()}")
        folders = _folders(self.root)
        found: dict[SplitName, list[Path]] = {}
        others = []
        for folder in folders if self.splits else ():
            split = SPLITS.get(folder.name.lower())
            if split is None:
                others.append(folder)
            else:
                found.setdefault(split, []).append(folder)
        if not found:
            if self.splits:
                self._refuse_deeper(folders)
            return {"train": self.root}
        for split, named in found.items():
            if len(named) > 1:
                raise ValueError(
                    f"{self.root} (dataset.path) has {some(_names(named))}, which are all names of the "
                    f"split {split}: keep one, or rename the others"
                )
        named = [folder for part in PARTS for folder in found.get(part, ())]
        none = f"set dataset.splits=none, with which {'they are classes' if self.classes else 'no folder is a split'}"
        if strange := [folder for folder in others if next(self._files(folder), None) is not None]:
            raise ValueError(
                f"{self.root} (dataset.path) has {some(_names(named))} beside {some(_names(strange))}: if the former "
                f"are splits, move the latter elsewhere (splits are called {', '.join(SPLITS)}); else {none}"
            )
        if "train" not in found:
            raise ValueError(
                f"{self.root} (dataset.path) has {some(_names(named))}, and no train: if they are splits, "
                f"add a train folder, or set dataset.path to one of them; else {none}"
            )
        return {part: found[part][0] for part in PARTS if part in found}

    def _refuse_deeper(self, folders: Sequence[Path]) -> None:
        """Raise ValueError for split folders at a lower level than expected, which would be read as one split."""
        for folder in folders:
            inner = [each for each in _folders(folder) if each.name.lower() in SPLITS]
            if {"train"} < {SPLITS[each.name.lower()] for each in inner}:
                splits = some(_names(inner))
                if len(folders) == 1:
                    advice = f"if they are the splits, set dataset.path={folder}"
                else:
                    advice = f"splits lie above classes, as {self.root / inner[0].name / folder.name}: move them so"
                raise ValueError(
                    f"{folder} (dataset.path) holds {splits}; {advice}; if they are no splits, set dataset.splits=none"
                )

    @cached_property
    def _names(self) -> tuple[str, ...]:
        parts = self._parts
        if not self.classes:
            return ()
        names = _names(_folders(parts["train"]))
        if not names:
            flat = next(self._files(parts["train"]), None) is not None
            advice = f"{self.what}s lie directly in it: set dataset.labels=none" if flat else self._expected()
            raise ValueError(f"there are no class folders in {parts['train']} (dataset.path); {advice}")
        for name in names:
            if not _is_text(name):
                raise ValueError(
                    f"the name of a class folder in {parts['train']} (dataset.path), "
                    f"{name.encode('utf-8', 'backslashreplace').decode()}, is not UTF-8: rename it"
                )
        for part, folder in parts.items():
            if strange := [each for each in _folders(folder) if each.name not in names]:
                raise ValueError(
                    f"{folder} (dataset.path) has class folders that train does not have: "
                    f"{some(_names(strange))} ({part})"
                )
        return tuple(names)

    @cached_property
    def _listed(self) -> dict[SplitName, Listed]:
        names = self._names
        found: dict[SplitName, Listed] = {}
        places: dict[tuple[int, int], Path] = {}  # folders that were read
        for part, folder in self._parts.items():
            groups = []
            # Every class needs files to train on; val and test may lack some.
            for holder in [folder / name for name in names] or [folder]:
                groups.append(sorted(self._files(holder, places)) if holder.is_dir() else [])
                if not groups[-1] and (part == "train" or not names):
                    raise ValueError(f"there is no {self.what} in {holder} (dataset.path); {self._expected()}")
            if not any(groups):
                raise ValueError(f"there is no {self.what} in {folder} (dataset.path); {self._expected()}")
            first = 0 if names else -1
            found[part] = Listed(
                [path for group in groups for path in group],
                [label for label, group in enumerate(groups, first) for _ in group],
            )
        return found

    @cached_property
    def _doubts(self) -> None:
        parts = self._parts
        holders = {self.root, *(parts.values() if self.classes else ())}  # of folders, and of files that are not read
        for holder in sorted(holders if self.classes or parts["train"] != self.root else ()):
            if beside := sum(1 for entry in _entries(holder) if self._counts(entry)):
                log.warning("%d %ss that lie beside the folders in %s are not read", beside, self.what, holder)
        if len(self._names) == 1:
            only = parts["train"] / self._names[0]
            advice = "if that is not so, set dataset.path to the folder of the classes, or dataset.labels=none"
            if deeper := _names(_folders(only)):
                advice = f"its folders are {some(deeper)}: if these are the classes, set dataset.path={only}"
            say_if_alone(self._names, advice)

    def _files(self, folder: Path, places: dict[tuple[int, int], Path] | None = None) -> Iterator[Path]:
        """At any depth. Raises ValueError for a folder that is in `places`, in which those that are read are noted."""
        waiting = [(folder, frozenset(_mark(each) for each in (folder, *folder.resolve().parents)))]
        while waiting:
            place, above = waiting.pop()
            if places is not None and (first := places.setdefault(_mark(place), place)) != place:
                raise ValueError(
                    f"{first} and {place} (dataset.path) are the same folder, through a link: its "
                    f"{self.what}s would be counted twice; remove the link"
                )
            for entry in _entries(place):
                if _is_folder(entry):
                    if _is_data(entry) and (mark := _mark(Path(entry))) not in above:
                        waiting.append((Path(entry), above | {mark}))
                elif self._counts(entry):
                    if not _is_file(entry):
                        raise ValueError(f"{entry.path} (dataset.path) is not a file, or is a broken link: remove it")
                    yield Path(entry)

    def _counts(self, entry: "os.DirEntry[str]") -> bool:
        """Whether it has a suffix of files that are read."""
        suffix = os.path.splitext(entry.name)[1].lower()
        return suffix in self.suffixes and not entry.name.startswith(".") and not _is_folder(entry)

    def _expected(self) -> str:
        files = f"{self.what}s ({', '.join(sorted(self.suffixes))})"
        return f"it must contain class folders with {files}, or {self.what}s with dataset.labels=none"


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise ValueError(f"{folder} (dataset.path) cannot be read: {error.strerror}") from error


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_data(entry: "os.DirEntry[str]") -> bool:
    return not entry.name.startswith(".") and entry.name.lower() not in SYSTEM


def _folders(folder: Path) -> list[Path]:
    """Those in it, by their names, without one that holds it."""
    above = {_mark(each) for each in (folder, *folder.resolve().parents)}
    found = (Path(entry) for entry in _entries(folder) if _is_folder(entry) and _is_data(entry))
    return sorted((each for each in found if _mark(each) not in above), key=lambda each: each.name)


def _mark(folder: Path) -> tuple[int, int]:
    """The identity of a folder, independent of its path."""
    try:
        about = folder.stat()
    except OSError as error:
        raise ValueError(f"{folder} (dataset.path) cannot be read: {error.strerror}") from error
    return about.st_dev, about.st_ino


def _names(folders: Iterable[Path]) -> list[str]:
    return [folder.name for folder in folders]


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
